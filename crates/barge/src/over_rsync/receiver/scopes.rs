//! The filter rules that hold in the directories of the destination.

use barge_fs::{Dir, Error};

use super::side::Side;
use crate::filter::{RuleError, RuleList, RuleSide, Scope};
use crate::over_rsync::agreed::Base;

/// The scopes on the way to one directory: those that follow each other share most of them.
pub(super) struct Scopes {
    above: Scope,
    /// By path; the first is the root's.
    chain: Vec<(Vec<u8>, Scope)>,
}

/// Why there is no scope.
#[derive(Debug)]
pub(super) enum NoScope {
    /// A rule is none, or a file of rules cannot be read.
    Rules(RuleError),
    /// A directory on the way cannot be opened.
    Dir,
}

impl Scopes {
    /// Begins above the root of the transfer.
    pub(super) fn new(side: &Side, rules: &RuleList) -> Result<Self, RuleError> {
        let none = RuleList::default();
        let daemon = match &side.base {
            Base::Module(module) => &module.rules,
            Base::Working => &none,
        };
        let absolute = side.target().absolute();
        let mut read = |path: &[u8]| side.target().read_above(path);
        let above = Scope::new(daemon, rules, RuleSide::Receiving, &absolute, &mut read)?;
        Ok(Self {
            above,
            chain: Vec::new(),
        })
    }

    /// The scope of a directory, by its path in the lists; `.` is the root. Directories on the way
    /// are opened with `open`.
    pub(super) fn of(
        &mut self,
        path: &[u8],
        open: &dyn Fn(&[u8]) -> Result<Dir, Error>,
    ) -> Result<Scope, NoScope> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        while self
            .chain
            .last()
            .is_some_and(|(above, _)| !leads_to(above, path))
        {
            self.chain.pop();
        }
        if self.chain.is_empty() {
            let root = open(b".").map_err(|_| NoScope::Dir)?;
            let scope = self.above.enter_root(&root).map_err(NoScope::Rules)?;
            self.chain.push((b".".to_vec(), scope));
        }
        while let Some((above, scope)) = self.chain.last()
            && above != path
            && path != b"."
        {
            let begin = if above == b"." { 0 } else { above.len() + 1 };
            let rest = &path[begin..];
            let len = rest
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(rest.len());
            let next = path[..begin + len].to_vec();
            let dir = open(&next).map_err(|_| NoScope::Dir)?;
            let scope = scope.enter(&rest[..len], &dir).map_err(NoScope::Rules)?;
            self.chain.push((next, scope));
        }
        let (_, scope) = self.chain.last().expect("the root's is there");
        Ok(scope.clone())
    }
}

/// Whether one path is the other, or on the way to it.
fn leads_to(above: &[u8], path: &[u8]) -> bool {
    above == b"."
        || path
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
