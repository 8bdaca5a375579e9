//! Which names a transfer leaves out, or spares: patterns of a native transfer, and all of rsync's
//! filter rules.

mod collect;
mod cvs;
mod exclude;
mod list;
mod merge;
mod path;
mod pattern;
mod rule;
mod scope;

pub use exclude::{Filter, FilterError};
pub use list::{DaemonRules, RuleError, RuleList, RuleSources, rules_cross};
pub use merge::ReadAbove;
pub(crate) use pattern::name_matches;
pub use rule::RuleSide;
pub use scope::Scope;
