//! Which names a transfer leaves out, or spares: patterns of a native transfer, and all of rsync's
//! filter rules.

mod exclude;
mod pattern;
mod rules;

pub use exclude::{Filter, FilterError};
pub use rules::{
    DaemonRules, ReadAbove, RuleError, RuleList, RuleSide, RuleSources, Scope, rules_cross,
};
