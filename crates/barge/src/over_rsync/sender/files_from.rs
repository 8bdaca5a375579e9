//! The names of `--files-from`, wherever they come from.
//!
//! Source: rsync(1), «--files-from», and rsync 3.5.0 as it behaves.

use std::io::{self, BufRead};

use barge_rsync::WireError;
use bytes::{Buf, BytesMut};
use crossbeam_channel::{Receiver, Sender};

use crate::over_rsync::failure::{Failure, exit};

/// The longest name, in bytes.
const MAX_NAME: usize = 4096;

/// Takes names off the wire, for the scan.
pub(super) struct NameFeed {
    to: Sender<Vec<u8>>,
    /// They stand outside all frames, as protocol 30 sends them.
    pub(super) is_raw: bool,
}

impl NameFeed {
    /// The feed, and where the names come out.
    pub(super) fn new(is_raw: bool) -> (Self, Receiver<Vec<u8>>) {
        let (to, names) = crossbeam_channel::unbounded();
        (Self { to, is_raw }, names)
    }

    /// Takes the names that have come, each with a NUL behind it. Whether the empty one came that
    /// ends them.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        while let Some(len) = input.iter().position(|&byte| byte == 0) {
            let name = input.split_to(len).to_vec();
            input.advance(1);
            if name.is_empty() {
                return Ok(true);
            }
            // A scan that has ended wants no more of them; they are read all the same.
            let _ = self.to.send(name);
        }
        if input.len() > MAX_NAME {
            return Err(WireError::Limit("a name of --files-from that does not end"));
        }
        Ok(false)
    }
}

/// The names in a file: one a line, or with `from0` each with a NUL behind it. Those that begin with
/// `#` or `;` are none, with `from0` too.
pub(super) fn names_in(
    file: impl BufRead,
    from0: bool,
) -> impl Iterator<Item = Result<Vec<u8>, Failure>> {
    let is_end = move |byte: &u8| match from0 {
        true => *byte == 0,
        false => matches!(byte, b'\n' | b'\r' | 0),
    };
    let lines = Lines { file, is_end };
    lines.filter(move |line| {
        let is_comment = |line: &Vec<u8>| matches!(line.first(), Some(b'#' | b';'));
        line.as_ref()
            .map_or(true, |line| !line.is_empty() && !is_comment(line))
    })
}

struct Lines<F, E> {
    file: F,
    is_end: E,
}

impl<F: BufRead, E: Fn(&u8) -> bool> Iterator for Lines<F, E> {
    type Item = Result<Vec<u8>, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
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
            let end = ready.iter().position(&self.is_end);
            let len = end.unwrap_or(ready.len());
            line.extend_from_slice(&ready[..len]);
            self.file.consume(len + usize::from(end.is_some()));
            if end.is_some() {
                return Some(Ok(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lines_without_comments_or_all_that_ends_in_a_nul() {
        let names = |text: &[u8], from0| -> Vec<Vec<u8>> {
            names_in(text, from0).map(Result::unwrap).collect()
        };
        let text = b"a/b\n\r\n# no\n;no\nc d\rlast";
        assert_eq!(names(text, false), [&b"a/b"[..], b"c d", b"last"]);
        assert_eq!(names(b"a\nb\0\0#c\0;d\0e", true), [&b"a\nb"[..], b"e"]);
    }

    #[test]
    fn names_off_the_wire_end_with_an_empty_one_wherever_they_are_cut() {
        let wire = b"x/f1\0y\0\0next";
        for cut in 0..wire.len() {
            let (mut feed, names) = NameFeed::new(false);
            let mut input = BytesMut::from(&wire[..cut]);
            let mut ended = feed.take(&mut input).unwrap();
            input.extend_from_slice(&wire[cut..]);
            ended = ended || feed.take(&mut input).unwrap();
            drop(feed);
            assert!(ended, "cut at {cut}");
            assert_eq!(input, &b"next"[..]);
            assert_eq!(names.iter().collect::<Vec<_>>(), [&b"x/f1"[..], b"y"]);
        }
        let (mut feed, _names) = NameFeed::new(false);
        assert!(feed.take(&mut BytesMut::from(&[b'x'; 5000][..])).is_err());
    }
}
