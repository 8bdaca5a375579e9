//! Filter rules, before the first list: a client says its own, a server hears its client's.

use barge_rsync::options::Options;
use barge_rsync::wire::rules::{Records, write};

use crate::filter::{RuleList, RuleSources, rules_cross};
use crate::over_rsync::Failure;
use crate::over_rsync::incoming::Incoming;
use crate::over_rsync::run::Run;

/// Says or hears the rules of a run; what holds on this side.
pub(super) fn exchange(
    run: &Run,
    options: &Options,
    wire: &mut Incoming,
    rules: RuleList,
) -> Result<RuleList, Failure> {
    if !run.server {
        say(run, options, &rules)?;
        return Ok(rules);
    }
    if !rules_cross(options, false) {
        return Ok(rules);
    }
    let records = hear(wire)?;
    let mut sources = RuleSources {
        read: &mut |_| Err(std::io::ErrorKind::PermissionDenied.into()),
        cvsignore: None,
        cvsignore_variable: None,
    };
    let records = records.iter().map(|record| &record[..]);
    RuleList::of_server(options, records, &mut sources)
        .map_err(|error| Failure::fatal(error.exit_code, error.text))
}

fn say(run: &Run, options: &Options, rules: &RuleList) -> Result<(), Failure> {
    if !rules_cross(options, true) {
        return Ok(());
    }
    let records = rules.records(options);
    let records = records.iter().map(Vec::as_slice);
    run.outgoing.data(|out| write(records, out))?;
    run.outgoing.flush()
}

fn hear(wire: &mut Incoming) -> Result<Vec<Vec<u8>>, Failure> {
    let mut records = Records::default();
    while !wire.read(|reader| records.take(reader))? {}
    Ok(records.into_vec())
}
