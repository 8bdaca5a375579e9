//! Differences that are known, each with its reason.

use std::collections::BTreeMap;
use std::fs;

use crate::roles::here;

/// The committed list: a case's name, or the beginning and the end of some around a `*`, with the
/// reason.
pub(crate) struct Known(BTreeMap<String, String>);

impl Known {
    /// Reads `expect/known.txt`: lines of `NAME: REASON`; empty ones and those that begin with `#`
    /// say nothing. They are ours: another program has none.
    pub(crate) fn read() -> Self {
        if std::env::var_os("INTEROP_SUBJECT").is_some() {
            return Self(BTreeMap::new());
        }
        let text = fs::read_to_string(here().join("expect/known.txt")).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.map(|line| {
            let (name, reason) = line.split_once(": ").expect("a line is NAME: REASON");
            (name.to_owned(), reason.to_owned())
        });
        Self(entries.collect())
    }

    /// The entry that a case falls under.
    pub(crate) fn entry(&self, case: &str) -> Option<&str> {
        let fits = |name: &&String| match name.split_once('*') {
            Some((beginning, end)) => case
                .strip_prefix(beginning)
                .is_some_and(|rest| rest.ends_with(end)),
            None => case == name.as_str(),
        };
        self.0.keys().find(fits).map(String::as_str)
    }
}
