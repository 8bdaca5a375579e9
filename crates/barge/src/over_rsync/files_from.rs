//! The names of `--files-from`, wherever they come from.
//!
//! Source: rsync(1), «--files-from», and rsync 3.5.0 as it behaves.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Weak};

use barge_fs::{Ground, Root};
use barge_rsync::WireError;
use barge_rsync::options::{FilesFrom, Options};
use barge_types::RelPath;
use bytes::{Buf, BufMut, BytesMut};
use crossbeam_channel::Sender;

use super::Level;
use super::agreed::Base;
use super::asked::Asked;
use super::failure::{Failure, exit};
use super::glob::parts;
use super::read_ahead::Bell;
use super::run::Run;
use crate::filter::RuleSide;

/// The longest name, in bytes.
const MAX_NAME: usize = 4096;

/// Names that may wait for the scan: more are not taken off the wire before it has got on.
const MOST_WAITING: usize = 1024;

/// Takes names off the wire, for the scan.
pub(crate) struct NameFeed {
    to: Sender<Vec<u8>>,
    /// They stand outside all frames, as protocol 30 sends them.
    pub(crate) is_raw: bool,
    /// Names were left where they are, since the scan had no room.
    held_up: bool,
}

impl NameFeed {
    /// The feed, and where the names come out; the bell rings when there is room again.
    pub(crate) fn new(
        is_raw: bool,
        bell: Arc<Bell>,
    ) -> (Self, impl Iterator<Item = Vec<u8>> + Send + use<>) {
        let (to, names) = crossbeam_channel::bounded(MOST_WAITING);
        let waiting = names.clone();
        let names = names.into_iter().inspect(move |_| {
            if waiting.len() == MOST_WAITING / 2 {
                bell.ring();
            }
        });
        let feed = Self {
            to,
            is_raw,
            held_up: false,
        };
        (feed, names)
    }

    /// Takes the names that have come and that the scan has room for, each with a NUL behind it.
    /// Whether the empty one came that ends them.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        self.held_up = false;
        while !self.to.is_full() {
            let Some(len) = input.iter().position(|&byte| byte == 0) else {
                return match input.len() > MAX_NAME {
                    true => Err(WireError::Limit("a name of --files-from that does not end")),
                    false => Ok(false),
                };
            };
            let name = input.split_to(len).to_vec();
            input.advance(1);
            if name.is_empty() {
                return Ok(true);
            }
            // A scan that has ended wants no more of them; they are read all the same.
            let _ = self.to.try_send(name);
        }
        self.held_up = true;
        Ok(false)
    }

    /// Whether names were left where they are: when there is room again they are to be taken.
    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up
    }

    /// Whether the scan has got on enough to be given more.
    pub(crate) fn has_room(&self) -> bool {
        self.to.len() <= MOST_WAITING / 2
    }
}

/// Opens a list of names on this side. `-` is a client's standard input. In a module it is below the
/// module's root, and nothing that its rules hide.
///
/// # Errors
///
/// Exit code 1 when it cannot be opened, 4 when it is hidden.
pub(crate) fn open_list(
    base: &Base,
    ground: &Ground,
    path: &Path,
    server: bool,
) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") && !server {
        return Ok(Box::new(io::stdin()));
    }
    let path = match base {
        Base::Working => path.as_os_str().as_bytes().to_vec(),
        Base::Module(module) => {
            let path = parts(path.as_os_str().as_bytes()).join(&b'/');
            if module.rules.refuses(&path, false, RuleSide::Sending) {
                let text = "rsync: Your options have been rejected by the server.";
                return Err(Failure::fatal(exit::UNSUPPORTED, text));
            }
            path
        }
    };
    match ground.open_stream(&path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            let (path, reason) = (path.escape_ascii(), error.reason());
            let text = format!("rsync: failed to open files-from file {path}: {reason}");
            Err(Failure::fatal(exit::SYNTAX, text))
        }
    }
}

/// The names in a list: one a line, or each with a NUL behind it.
pub(crate) struct Lines<F> {
    file: F,
    from0: bool,
}

impl<F: BufRead> Lines<F> {
    pub(crate) fn new(file: F, from0: bool) -> Self {
        Self { file, from0 }
    }

    /// Without those that begin with `#` or `;`, which are none in a list that the sending side reads
    /// itself, with `from0` too.
    pub(crate) fn without_comments(self) -> impl Iterator<Item = Result<Vec<u8>, Failure>> {
        let is_comment = |line: &Vec<u8>| matches!(line.first(), Some(b'#' | b';'));
        self.filter(move |line| !line.as_ref().is_ok_and(is_comment))
    }

    fn is_end(from0: bool, byte: u8) -> bool {
        byte == 0 || (!from0 && matches!(byte, b'\n' | b'\r'))
    }

    /// The next line, which may be empty.
    fn line(&mut self) -> Option<Result<Vec<u8>, Failure>> {
        let (mut line, from0) = (Vec::new(), self.from0);
        loop {
            let ready = match self.file.fill_buf() {
                Ok(ready) => ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text = format!("rsync: read of --files-from failed: {error}");
                    return Some(Err(Failure::fatal(exit::FILE, text)));
                }
            };
            if ready.is_empty() {
                return (!line.is_empty()).then_some(Ok(line));
            }
            let end = ready.iter().position(|&byte| Self::is_end(from0, byte));
            let len = end.unwrap_or(ready.len());
            line.extend_from_slice(&ready[..len]);
            self.file.consume(len + usize::from(end.is_some()));
            if end.is_some() {
                return Some(Ok(line));
            }
        }
    }
}

impl<F: BufRead> Iterator for Lines<F> {
    type Item = Result<Vec<u8>, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.line()? {
                Ok(line) if line.is_empty() => {}
                line => return Some(line),
            }
        }
    }
}

/// On a receiving side: tells the sender the names of a list that is on this side, while everything
/// else goes on.
///
/// # Errors
///
/// Exit code 1 when the list cannot be opened.
pub(crate) fn forward(
    run: &Arc<Run>,
    options: &Options,
    base: &Base,
    asked: Option<Arc<Asked>>,
) -> Result<(), Failure> {
    let Some(FilesFrom::Local(path)) = &options.files_from else {
        return Ok(());
    };
    let list = open_list(base, &ground(base)?, path, run.server)?;
    let to = Arc::downgrade(run);
    let file = FlushFirst {
        file: list,
        to: Weak::clone(&to),
    };
    let names = Lines::new(BufReader::new(file), options.from0);
    // The run does not wait for it: who types names may never end.
    let started = std::thread::Builder::new()
        .name("rsync names".to_owned())
        .spawn(move || tell(names, &to, asked.as_deref()));
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::fatal(
            exit::IPC,
            format!("rsync: no thread: {error}"),
        )),
    }
}

fn ground(base: &Base) -> Result<Ground, Failure> {
    let ground = match base {
        Base::Working => Ground::anywhere(Path::new(".")),
        Base::Module(module) => Root::open(&module.root)
            .and_then(|root| root.with_mounts().dir(&RelPath::root()))
            .and_then(|top| Ground::beneath(&top)),
    };
    ground.map_err(|error| {
        let text = format!("rsync: change_dir failed: {}", error.reason());
        Failure::fatal(exit::SELECTION, text)
    })
}

/// Tells all names and the empty one that ends them. Where that fails, the connection has failed,
/// which others will notice.
fn tell(
    mut names: impl Iterator<Item = Result<Vec<u8>, Failure>>,
    to: &Weak<Run>,
    asked: Option<&Asked>,
) {
    loop {
        let name = names.next();
        let Some(run) = to.upgrade() else {
            return;
        };
        let name = match name {
            Some(Ok(name)) => name,
            Some(Err(failure)) => {
                run.say(Level::FileError, format!("{failure}\n"));
                Vec::new()
            }
            None => Vec::new(),
        };
        if let Some(asked) = asked.filter(|_| !name.is_empty()) {
            asked.also(&name);
        }
        if run.is_over() || put(&run, &name).is_err() || name.is_empty() {
            return;
        }
    }
}

fn put(run: &Run, name: &[u8]) -> Result<(), Failure> {
    if run.setup.protocol.is_31_or_newer() {
        run.outgoing.data(|out| {
            out.put_slice(name);
            out.put_u8(0);
        })?;
    } else {
        run.outgoing.raw(&[name, b"\0"].concat())?;
    }
    match name.is_empty() {
        true => run.outgoing.flush(),
        false => Ok(()),
    }
}

/// Sees that the names so far leave before more are waited for.
struct FlushFirst<F> {
    file: F,
    to: Weak<Run>,
}

impl<F: Read> Read for FlushFirst<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(run) = self.to.upgrade() {
            // The run itself notices that the connection has failed.
            let _ = run.outgoing.flush();
        }
        self.file.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lines_without_comments_or_all_that_ends_in_a_nul() {
        let names = |text: &[u8], from0| -> Vec<Vec<u8>> {
            let names = Lines::new(text, from0).without_comments();
            names.map(Result::unwrap).collect()
        };
        let text = b"a/b\n\r\n# no\n;no\nc d\rlast";
        assert_eq!(names(text, false), [&b"a/b"[..], b"c d", b"last"]);
        assert_eq!(names(b"a\nb\0\0#c\0;d\0e", true), [&b"a\nb"[..], b"e"]);
    }

    #[test]
    fn names_off_the_wire_end_with_an_empty_one_wherever_they_are_cut() {
        let wire = b"x/f1\0y\0\0next";
        for cut in 0..wire.len() {
            let (mut feed, names) = NameFeed::new(false, Arc::default());
            let mut input = BytesMut::from(&wire[..cut]);
            let mut ended = feed.take(&mut input).unwrap();
            input.extend_from_slice(&wire[cut..]);
            ended = ended || feed.take(&mut input).unwrap();
            drop(feed);
            assert!(ended, "cut at {cut}");
            assert_eq!(input, &b"next"[..]);
            assert_eq!(names.collect::<Vec<_>>(), [&b"x/f1"[..], b"y"]);
        }
        let (mut feed, _names) = NameFeed::new(false, Arc::default());
        assert!(feed.take(&mut BytesMut::from(&[b'x'; 5000][..])).is_err());
    }

    #[test]
    fn names_wait_on_the_wire_while_the_scan_has_no_room() {
        let (mut feed, mut names) = NameFeed::new(false, Arc::default());
        let mut input = BytesMut::from(&b"x\0".repeat(5 * MOST_WAITING)[..]);
        input.extend_from_slice(b"\0rest");
        let (mut came, mut ended) = (0, false);
        while !ended {
            ended = feed.take(&mut input).unwrap();
            assert!(ended || feed.is_held_up());
            while ended || !feed.has_room() {
                match names.next() {
                    Some(_) => came += 1,
                    None => break,
                }
                if ended && came == 5 * MOST_WAITING {
                    break;
                }
            }
        }
        assert_eq!((came, &input[..]), (5 * MOST_WAITING, &b"rest"[..]));
    }
}
