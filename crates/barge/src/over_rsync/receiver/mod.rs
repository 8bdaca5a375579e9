//! The receiving side of a run: compares what the sender lists with what is here, asks for what is
//! missing, and writes what comes.
//!
//! One thread takes everything that comes and writes files; it never waits for the other. The
//! other, the generator, walks the lists, compares, and asks. They share a [`Side`]; news for the
//! generator wait in an unbounded queue. A list is dropped when everything in it is in its final
//! state.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers, and rsync(1).

mod attributes;
mod backup;
mod basis;
mod decide;
mod delete;
mod destination;
mod dirs;
mod files;
mod folders;
mod followers;
mod fuzzy;
mod generator;
mod hard_links;
mod hidden;
mod others;
mod partial;
mod progress;
mod receive;
mod requests;
mod rules;
mod safe;
mod scopes;
mod set;
mod side;
mod sweep;
mod texts;
mod walk;
mod write;

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use barge_fs::Identity;
use barge_rsync::WireError;
use barge_types::ByteRate;

use self::attributes::Attributes;
use self::generator::Generator;
use self::receive::Receiving;
use self::requests::Requests;
use self::side::{Side, Tally, Told};
use super::activity::Activity;
use super::agreed::{Agreed, Base, Ended};
use super::asked::Asked;
use super::failure::exit;
use super::files_from;
use super::incoming::{Ear, Heard, Incoming};
use super::options::{Delete, Options};
use super::outgoing::Outgoing;
use super::owners::{HostAccounts, Owners};
use super::run::Run;
use super::{Event, Failure, Level, RunStats};
use crate::filter::RuleList;

/// Receives into what [`Agreed::paths`] name, to the end of the run.
pub(super) fn receive(agreed: Agreed) -> Ended {
    let Agreed {
        setup,
        mut options,
        connection,
        moved,
        listener,
        stderr,
        rules,
        base,
        mut paths,
        asked,
    } = agreed;
    // A listing changes nothing.
    options.dry_run |= options.list_only;
    let activity = Arc::new(Activity::new(options.timeout));
    let rate = options.bwlimit.and_then(ByteRate::new);
    let outgoing = Outgoing::new(connection.output, Arc::clone(&activity), rate, moved.sent);
    let run = Run::new(
        options.server,
        false,
        setup,
        outgoing,
        activity,
        moved.received,
        listener,
    )
    .with_stderr(stderr, options.stderr.as_deref());
    let run = Arc::new(run);
    let (tell, hear) = mpsc::channel();
    let requests = Arc::new(Requests::default());
    let ear = ear(tell.clone(), Arc::clone(&requests));
    let mut wire = Incoming::new(connection.input, Arc::clone(&run), ear);
    let order = Order {
        options,
        rules,
        base,
        destination: paths.pop().unwrap_or_else(|| PathBuf::from(".")),
        asked,
    };
    match prepare(&run, &mut wire, order, requests) {
        Ok(side) => take_part(side, wire, tell, hear),
        Err(failure) => gave_up(&run, &mut wire, failure, RunStats::default()),
    }
}

/// What is to be received, and where to.
struct Order {
    options: Options,
    rules: RuleList,
    base: Base,
    destination: PathBuf,
    asked: Option<Arc<Asked>>,
}

/// Says and hears what comes before the lists.
fn prepare(
    run: &Arc<Run>,
    wire: &mut Incoming,
    order: Order,
    requests: Arc<Requests>,
) -> Result<Arc<Side>, Failure> {
    let Order {
        options,
        rules,
        base,
        destination,
        asked,
    } = order;
    if let Some(option) = not_honoured(&options, asked.as_deref()) {
        let text = format!("barge does not support {option} at the receiving side");
        return Err(Failure::fatal(exit::UNSUPPORTED, text));
    }
    let rules = rules::exchange(run, &options, wire, rules)?;
    files_from::forward(run, &options, &base, asked.clone())?;
    run.tell(Event::ListBegins {
        incremental: run.setup.is_incremental(),
        checksum_len: match options.checksum {
            true => run.setup.list_checksum.digest_len(),
            false => run.setup.checksum.digest_len(),
        },
    });
    let owners = owners(run, &options, &base)?;
    let incoming = match &base {
        Base::Module(module) => module.incoming_chmod.as_ref(),
        Base::Working => None,
    };
    let identity = Identity::of_process();
    Ok(Arc::new(Side {
        attributes: Attributes::new(&options, incoming, &identity, rules.clone(), owners),
        rules,
        destination,
        run: Arc::clone(run),
        options,
        base,
        asked,
        requests,
        tally: Tally::default(),
        target: OnceLock::new(),
        temp: OnceLock::new(),
        alternates: OnceLock::new(),
        backup: OnceLock::new(),
        delayed: Mutex::default(),
    }))
}

/// Takes what comes on one thread and asks for it on another, until both are through.
fn take_part(
    side: Arc<Side>,
    wire: Incoming,
    tell: Sender<Told>,
    hear: mpsc::Receiver<Told>,
) -> Ended {
    let run = Arc::clone(&side.run);
    let mut receiving = Receiving::new(Arc::clone(&side), wire, tell.clone());
    let mut generator = Generator::new(Arc::clone(&side), hear);
    let (received, generated) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| take_all(&mut receiving, &tell));
        let generated = generator.run();
        if generated.is_err() {
            run.end();
        }
        (thread.join(), generated)
    });
    let received = received.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let stats = side.stats();
    let ended = match (received, generated) {
        (Err(failure), Ok(()) | Err(Failure::Over)) => Err(failure),
        (_, generated) => generated,
    };
    match ended {
        Ok(()) => part(&run, &mut receiving.wire, stats),
        Err(failure) => gave_up(&run, &mut receiving.wire, failure, stats),
    }
}

/// An option that asks the receiving side for what it does not do.
fn not_honoured(options: &Options, asked: Option<&Asked>) -> Option<&'static str> {
    // The server would say which directories were asked for, and which are only on the way.
    let widened = options.relative && asked.is_none() && !options.trust_sender;
    let asked = [
        (
            !options.server && widened && options.delete != Delete::No,
            "deletions with --relative or --files-from where it cannot tell what was asked for",
        ),
        (options.write_devices, "--write-devices"),
    ];
    asked
        .into_iter()
        .find_map(|(asked, name)| asked.then_some(name))
}

/// How the sender's users and groups are mapped to those of this host.
fn owners(run: &Run, options: &Options, base: &Base) -> Result<Owners, Failure> {
    let by_module = matches!(base, Base::Module(module) if module.numeric_ids);
    let numeric = options.numeric_ids || by_module;
    let (owners, warnings) = Owners::new(options, numeric, &HostAccounts)
        .map_err(|text| Failure::fatal(exit::SYNTAX, text))?;
    for warning in warnings {
        run.say(Level::Warning, warning + "\n");
    }
    Ok(owners)
}

/// The receiving thread, and what the generator has to hear when it ends.
fn take_all(receiving: &mut Receiving, tell: &Sender<Told>) -> Result<(), Failure> {
    let received = receiving.run();
    if received.is_err() {
        // The generator may have ended before.
        let _ = tell.send(Told::Over);
        receiving.end_requests();
    }
    received
}

fn ear(tell: Sender<Told>, requests: Arc<Requests>) -> Ear {
    Box::new(move |heard| match heard {
        Heard::NoSend(index) if requests.refuse(index) => {
            let _ = tell.send(Told::NoSend(index));
            Ok(())
        }
        Heard::NoSend(_) => Err(WireError::Protocol("a refusal of what was not asked for").into()),
        Heard::IoError => Ok(()),
        Heard::Success(_) => Err(WireError::Protocol("news of a file that is ours").into()),
    })
}

/// A run that came to its end: a client hears its server's last words. A client of ours has said
/// all there was, and may wait for us to go.
fn part(run: &Run, wire: &mut Incoming, stats: RunStats) -> Ended {
    let closed = run.outgoing.close();
    let heard = closed.and_then(|()| match run.server {
        true => Ok(()),
        false => wire.drain(LAST_WORDS),
    });
    let failure = match heard {
        // The goodbye was complete: that the peer has gone is no failure.
        Err(failure @ Failure::Peer(_)) => Some(failure),
        _ => None,
    };
    Ended {
        code: failure
            .as_ref()
            .map_or_else(|| run.exit_code(), Failure::exit_code),
        stats,
        failure,
    }
}

fn gave_up(run: &Run, wire: &mut Incoming, failure: Failure, stats: RunStats) -> Ended {
    let failure = run.give_up(wire, failure);
    Ended {
        code: failure.exit_code(),
        stats,
        failure: Some(failure),
    }
}

/// How long a peer that was told goodbye may take to close.
const LAST_WORDS: Duration = Duration::from_secs(10);
