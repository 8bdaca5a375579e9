//! The sending side: lists what is named, and sends what is asked for.
//!
//! Three threads: one scans the sources ahead ([`scan`]), one takes what the peer sends as it comes
//! ([`ReadAhead`]), and one talks ([`answer`]): it sends lists, and answers requests in their order.

mod answer;
mod arguments;
mod attributes;
mod bases;
mod content;
mod look;
mod queue;
mod removal;
mod scan;
#[cfg(test)]
mod tests;
mod trouble;

use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use barge_fs::{Ground, Root};
use barge_rsync::WireError;
use barge_rsync::options::{FilesFrom, Options};
use barge_rsync::role::phase::SenderPhase;
use barge_rsync::role::requests::Requests;
use barge_rsync::wire::flist::{FlistEncoder, Format};
use barge_rsync::wire::idlist::Names;
use barge_rsync::wire::mux::Message;
use barge_rsync::wire::ndx::NdxWriter;
use barge_rsync::wire::rules::{Records, write};
use barge_types::{ByteRate, RelPath};

use self::answer::{Answers, Safe};
pub(super) use self::arguments::Argument;
use self::arguments::join;
use self::attributes::Carried;
use self::bases::{Bases, Shown};
use self::content::Contents;
use self::look::Look;
use self::queue::Queue;
use self::scan::Scan;
use super::activity::Activity;
use super::agreed::{Agreed, Base, Ended, ModuleBase};
use super::failure::{Failure, exit};
use super::files_from::{Lines, NameFeed, open_list};
use super::incoming::{Heard, Incoming};
use super::outgoing::Outgoing;
use super::read_ahead::{Bell, ReadAhead, Watch};
use super::run::Run;
use super::{Event, Input, Level};
use crate::filter::{RuleList, RuleSources, rules_cross};

/// Sends what `agreed` names, to the end of the run.
pub(crate) fn send(agreed: Agreed) -> Ended {
    let Agreed {
        setup,
        options,
        connection,
        moved,
        listener,
        stderr,
        rules,
        base,
        paths,
        asked: _,
    } = agreed;
    let activity = Arc::new(Activity::new(options.timeout));
    let rate = options.bwlimit.and_then(ByteRate::new);
    let outgoing = Outgoing::new(connection.output, Arc::clone(&activity), rate, moved.sent);
    let server = options.server;
    let run = Run::new(
        server,
        true,
        setup,
        outgoing,
        activity,
        moved.received,
        listener,
    )
    .with_stderr(stderr, options.stderr.as_deref());
    let sender = Sender {
        run: Arc::new(run),
        options: Arc::new(options),
        base,
        paths,
    };
    sender.start(connection.input, rules)
}

/// One sending side.
struct Sender {
    run: Arc<Run>,
    options: Arc<Options>,
    base: Base,
    paths: Vec<PathBuf>,
}

impl Sender {
    fn start(self, input: Box<dyn Input>, rules: RuleList) -> Ended {
        let (bell, safe) = (Arc::new(Bell::default()), Safe::default());
        let ahead = match ReadAhead::start(input, Arc::clone(&bell)) {
            Ok(ahead) => ahead,
            Err(error) => {
                let text = format!("rsync: no thread to read with: {error}");
                return Ended::failed(Failure::fatal(exit::IPC, text));
            }
        };
        let watch = ahead.watch();
        let ear = self.ear(&safe);
        let mut incoming = Incoming::new(Box::new(ahead), Arc::clone(&self.run), ear);
        match self.prepare(&mut incoming, rules, Arc::clone(&bell)) {
            Ok(prepared) => self.talk(incoming, prepared, bell, watch, safe),
            Err(failure) => {
                let failure = self.run.give_up(&mut incoming, failure);
                Ended::failed(failure)
            }
        }
    }

    fn ear(&self, safe: &Safe) -> super::incoming::Ear {
        let (safe, waits) = (Arc::clone(safe), self.options.remove_source_files);
        Box::new(move |heard| match heard {
            Heard::Success(index) if waits => {
                let mut safe = safe.lock().unwrap_or_else(PoisonError::into_inner);
                safe.push_back(index);
                Ok(())
            }
            Heard::IoError => Ok(()),
            _ => Err(WireError::Protocol("news of a file that were not waited for").into()),
        })
    }

    /// What comes before the first list, and the start of the scan.
    fn prepare(
        &self,
        incoming: &mut Incoming,
        rules: RuleList,
        bell: Arc<Bell>,
    ) -> Result<Prepared, Failure> {
        let Options { timeout, .. } = *self.options;
        if matches!(self.base, Base::Module(_)) && timeout > 0 && self.is_31_or_newer() {
            self.run.outgoing.message(&Message::IoTimeout(timeout));
        }
        let rules = match self.run.server {
            true => self.read_rules(incoming)?,
            false => self.send_rules(rules)?,
        };
        let (ground, shown, module) = self.ground()?;
        let (feed, named) = self.named(&ground, module.is_some(), &bell)?;
        let bases = Arc::new(Bases::new(ground, shown));
        let queue = Arc::new(Queue::new(bell));
        self.run.tell(Event::ListBegins {
            incremental: self.run.setup.is_incremental(),
            checksum_len: match self.options.checksum {
                true => self.run.setup.list_checksum.digest_len(),
                false => self.run.setup.checksum.digest_len(),
            },
        });
        let format = Format::new(&self.options, &self.run.setup);
        let scan = self.scan(&bases, rules, module, &queue, format);
        let thread = std::thread::Builder::new()
            .name("rsync scan".to_owned())
            .spawn(move || scan.run(named))
            .map_err(|error| Failure::fatal(exit::IPC, format!("rsync: no thread: {error}")))?;
        Ok(Prepared {
            bases,
            queue,
            feed,
            format,
            thread,
        })
    }

    fn scan(
        &self,
        bases: &Arc<Bases>,
        rules: RuleList,
        module: Option<Arc<ModuleBase>>,
        queue: &Arc<Queue>,
        format: Format,
    ) -> Scan {
        let numeric = module.as_ref().is_some_and(|module| module.numeric_ids);
        let identity = barge_fs::Identity::of_process();
        let carried = Carried::new(&self.options, identity.is_root());
        let look = Look::new(
            Arc::clone(&self.run),
            Arc::clone(bases),
            Arc::clone(&self.options),
            module,
            carried,
            identity.umask.bits(),
        );
        Scan {
            run: Arc::clone(&self.run),
            options: Arc::clone(&self.options),
            bases: Arc::clone(bases),
            look,
            rules,
            encoder: FlistEncoder::new(format),
            names: Box::new(HostNames {
                run: Arc::clone(&self.run),
                numeric,
            }),
            queue: Arc::clone(queue),
            // What is named twice is listed twice, its links too.
            forgets_links: self.options.files_from.is_none() && self.paths.len() == 1,
            books: scan::Books::new(format.first_index().get()),
        }
    }

    fn talk(
        self,
        incoming: Incoming,
        prepared: Prepared,
        bell: Arc<Bell>,
        watch: Watch,
        safe: Safe,
    ) -> Ended {
        let Prepared {
            bases,
            queue,
            feed,
            format,
            thread,
        } = prepared;
        let (run, setup) = (Arc::clone(&self.run), self.run.setup);
        let contents = Contents::new(Arc::clone(&run), Arc::clone(&bases), &self.options);
        let mut answers = Answers {
            run: Arc::clone(&run),
            requests: Requests::new(&self.options, &setup),
            options: self.options,
            bases,
            format,
            incoming,
            bell,
            watch,
            queue: Arc::clone(&queue),
            safe,
            names: feed,
            contents,
            phase: SenderPhase::new(setup.protocol, format.incremental),
            ndx: NdxWriter::default(),
            books: answer::Books::new(),
        };
        let ended = answers.run();
        queue.abandon();
        let (mut incoming, stats) = answers.into_stats();
        let failure = match ended {
            Ok(()) => part(&run, &mut incoming),
            Err(failure) => Some(run.give_up(&mut incoming, failure)),
        };
        // It ends at its next entry; a panic there has been told.
        let _ = thread.join();
        Ended {
            code: failure
                .as_ref()
                .map_or_else(|| run.exit_code(), Failure::exit_code),
            stats,
            failure,
        }
    }

    fn is_31_or_newer(&self) -> bool {
        self.run.setup.protocol.is_31_or_newer()
    }

    /// A server reads its client's rules.
    fn read_rules(&self, incoming: &mut Incoming) -> Result<RuleList, Failure> {
        let mut records = Records::default();
        while !incoming.read(|reader| records.take(reader))? {}
        let records = records.into_vec();
        let mut refuse = |_: &Path| Err(std::io::ErrorKind::PermissionDenied.into());
        let mut sources = RuleSources {
            read: &mut refuse,
            cvsignore: None,
            cvsignore_variable: None,
        };
        let records = records.iter().map(Vec::as_slice);
        RuleList::of_server(&self.options, records, &mut sources)
            .map_err(|error| Failure::fatal(error.exit_code, error.text))
    }

    /// A client sends its own, where they are due.
    fn send_rules(&self, rules: RuleList) -> Result<RuleList, Failure> {
        if rules_cross(&self.options, false) {
            let records = rules.records(&self.options);
            let records = records.iter().map(Vec::as_slice);
            self.run.outgoing.data(|out| write(records, out))?;
        }
        Ok(rules)
    }

    /// Where paths begin, and how they are shown.
    fn ground(&self) -> Result<(Ground, Shown, Option<Arc<ModuleBase>>), Failure> {
        let fails = |error: barge_fs::Error| {
            let text = format!("rsync: [sender] change_dir failed: {}", error.reason());
            Failure::fatal(exit::SELECTION, text)
        };
        match &self.base {
            Base::Working => {
                let start = std::env::current_dir().unwrap_or_default();
                let shown = Shown::Absolute(start.as_os_str().as_bytes().to_vec());
                let ground = Ground::anywhere(Path::new(".")).map_err(fails)?;
                Ok((ground, shown, None))
            }
            Base::Module(module) => {
                let root = Root::open(&module.root).map_err(fails)?;
                let top = root.with_mounts().dir(&RelPath::root());
                let ground = top.and_then(|top| Ground::beneath(&top)).map_err(fails)?;
                let shown = Shown::Module(module.name.clone());
                Ok((ground, shown, Some(Arc::clone(module))))
            }
        }
    }

    /// All that is named, by arguments or by `--files-from`; and where names go that come over the
    /// connection.
    fn named(
        &self,
        ground: &Ground,
        confined: bool,
        bell: &Arc<Bell>,
    ) -> Result<(Option<NameFeed>, Arguments), Failure> {
        let relative = self.options.relative;
        let given = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let paths = self.paths.iter().map(|path| given(path));
        let paths = paths.map(move |path| match confined {
            true => arguments::below(&path),
            false => path,
        });
        let Some(from) = &self.options.files_from else {
            let paths: Vec<_> = paths.collect();
            let arguments = paths
                .into_iter()
                .map(move |path| Argument::new(&path, relative));
            return Ok((None, Box::new(arguments)));
        };
        let dir = paths.take(1).next().unwrap_or_default();
        let in_dir = move |name: Result<Vec<u8>, Failure>| {
            let name = arguments::below(&name?);
            let mut argument = Argument::new(&name, relative)?;
            argument.dir = match (&*dir, argument.dir.is_empty()) {
                (b"." | b"", _) => argument.dir,
                (_, true) => dir.clone(),
                (_, false) => join(&dir, &argument.dir),
            };
            Ok(argument)
        };
        let on_this_side = match from {
            FilesFrom::Local(path) => Some(path),
            FilesFrom::Remote(_) | FilesFrom::Wire => None,
        };
        if let Some(path) = on_this_side {
            let file = open_list(&self.base, ground, path, self.run.server)?;
            let names = Lines::new(BufReader::new(file), self.options.from0).without_comments();
            return Ok((None, Box::new(names.map(in_dir))));
        }
        let (feed, names) = NameFeed::new(!self.is_31_or_newer(), Arc::clone(bell));
        Ok((Some(feed), Box::new(names.map(Ok).map(in_dir))))
    }
}

/// What a scan is given.
type Arguments = Box<dyn Iterator<Item = Result<Argument, Failure>> + Send>;

/// What stands before the first list is sent.
struct Prepared {
    bases: Arc<Bases>,
    queue: Arc<Queue>,
    feed: Option<NameFeed>,
    format: Format,
    thread: JoinHandle<()>,
}

/// Says that nothing more will come; a client hears what its server still has to say. A client of ours
/// has said all there was, and may wait for us to go.
fn part(run: &Run, incoming: &mut Incoming) -> Option<Failure> {
    // The goodbye was said: a connection that fails now has done all it was for.
    if run.outgoing.close().is_err() || run.server {
        return None;
    }
    incoming.drain(LAST_WORDS).err()
}

/// The names of this host's accounts.
struct HostNames {
    run: Arc<Run>,
    /// They are kept to itself.
    numeric: bool,
}

impl HostNames {
    /// The name that was looked up. Where it cannot be told, the number stands for somebody else at the
    /// receiver, perhaps.
    fn told(
        &self,
        id: u32,
        look_up: impl Fn(u32) -> Result<Option<Vec<u8>>, barge_fs::Error>,
    ) -> Option<Vec<u8>> {
        if self.numeric {
            return None;
        }
        look_up(id).unwrap_or_else(|error| {
            let (op, reason) = (error.op, error.reason());
            let line = format!("rsync: [sender] {op} {id} failed: {reason}\n");
            self.run.say(Level::FileError, line);
            None
        })
    }
}

impl Names for HostNames {
    fn user(&mut self, uid: u32) -> Option<Vec<u8>> {
        self.told(uid, barge_fs::user_name)
    }

    fn group(&mut self, gid: u32) -> Option<Vec<u8>> {
        self.told(gid, barge_fs::group_name)
    }
}

/// How long a peer that said goodbye may take to close the connection.
const LAST_WORDS: Duration = Duration::from_secs(5);
