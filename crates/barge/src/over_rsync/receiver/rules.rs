//! Filter rules, before the first list: a client says its own, a server hears its client's.

use barge_rsync::WireError;
use barge_rsync::options::Options;
use bytes::BufMut;

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
    let records = match rules_cross(options, false) {
        true => hear(wire)?,
        false => Vec::new(),
    };
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
    run.outgoing.data(|out| {
        for record in &records {
            out.put_u32_le(record.len() as u32);
            out.put_slice(record);
        }
        out.put_u32_le(0);
    })?;
    run.outgoing.flush()
}

fn hear(wire: &mut Incoming) -> Result<Vec<Vec<u8>>, Failure> {
    let (mut records, mut held) = (Vec::new(), 0);
    loop {
        let record = wire.read(|reader| {
            let len = usize::try_from(reader.i32()?).ok();
            let len = len.filter(|&len| len <= LONGEST);
            let len = len.ok_or(WireError::Protocol("a filter rule of a wrong length"))?;
            Ok(reader.bytes(len)?.to_vec())
        })?;
        if record.is_empty() {
            return Ok(records);
        }
        held += record.len() + COST;
        if held > MOST {
            return Err(WireError::Limit("filter rules").into());
        }
        records.push(record);
    }
}

/// The longest rule, in bytes.
const LONGEST: usize = 8192;

/// What one more rule costs besides its bytes.
const COST: usize = 64;

/// Bytes of rules that are held.
const MOST: usize = 16 << 20;
