//! The arguments of a server, as a client sends them over the connection.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::{Buf, BytesMut};

use crate::WireError;

/// Arguments of a list at most.
pub const MAX_ARGS: usize = 16_000;

/// Bytes of an argument at most.
pub const MAX_ARG: usize = 5120;

/// Bytes of all arguments at most: twice of what a command line can have on Linux, since a client
/// may put a backslash before each of them.
pub const MAX_ARGS_BYTES: usize = 12 << 20;

/// A list of arguments as it crosses the wire. An empty one would end the list: it goes as `.`.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut list = Vec::new();
    for arg in args {
        match arg.as_ref() {
            b"" => list.push(b'.'),
            arg => list.extend_from_slice(arg),
        }
        list.push(0);
    }
    list.push(0);
    list
}

/// Reads a list of arguments that comes in pieces.
#[derive(Debug, Default)]
pub struct ArgsReader {
    args: Vec<Vec<u8>>,
    /// What all of them have, lists before the one at hand included.
    bytes: usize,
}

impl ArgsReader {
    /// Takes what is there of the list off `input`; the list, once it is whole.
    ///
    /// # Errors
    ///
    /// [`WireError::Limit`] for too many arguments, and for one that is too long.
    pub fn poll(&mut self, input: &mut BytesMut) -> Result<Option<Vec<Vec<u8>>>, WireError> {
        loop {
            let end = input.iter().position(|&byte| byte == 0);
            if end.unwrap_or(input.len()) > MAX_ARG {
                return Err(WireError::Limit("an argument of more than 5120 bytes"));
            }
            let Some(end) = end else {
                return Ok(None);
            };
            let arg = input.split_to(end);
            input.advance(1);
            if arg.is_empty() {
                return Ok(Some(std::mem::take(&mut self.args)));
            }
            if self.args.len() == MAX_ARGS {
                return Err(WireError::Limit("more than 16000 arguments"));
            }
            self.bytes += arg.len();
            if self.bytes > MAX_ARGS_BYTES {
                return Err(WireError::Limit("arguments of more than 12 MiB"));
            }
            self.args.push(arg.to_vec());
        }
    }
}

/// Takes the backslashes away that a client puts before what a shell would see; a last one alone
/// stays.
pub fn without_backslashes(arg: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(arg.len());
    let mut bytes = arg.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next().unwrap_or(&b'\\')),
            _ => plain.push(byte),
        }
    }
    plain
}

/// The paths in a module that an argument asks for, without the module's name.
///
/// One argument may hold several: the name of the module and a slash, behind a space, begin a new
/// one. A trailing backslash before what is no wildcard is the caller's matter.
pub fn paths_in_module(module: &[u8], arg: &[u8]) -> Vec<Vec<u8>> {
    let strip = |path: &[u8]| match path.strip_prefix(module) {
        Some(b"") => Vec::new(),
        Some([b'/', rest @ ..]) => rest.to_vec(),
        _ => path.to_vec(),
    };
    let next = [b" ", module, b"/"].concat();
    let mut paths = Vec::new();
    let mut rest = arg;
    while let Some(at) = rest.windows(next.len()).position(|window| window == next) {
        paths.push(strip(&rest[..at]));
        rest = &rest[at + 1..];
    }
    paths.push(strip(rest));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded between two stock 3.5.0 peers: `rsync -va d1/ rsync://host/rw/d1/`.
    const PUSH: &[u8] = b"--server\0-vlogDtpre.iLsfxCIvu\0.\0rw/d1/\0\0";
    /// And `rsync -s -tr …` from `rw/sa dir/`: the options, then the rest.
    const SECLUDED: &[u8] = b"--server\0-stre.iLsfxCIvu\0\0rsync\0.\0rw/sa dir/\0\0";

    fn read(reader: &mut ArgsReader, pieces: &[&[u8]]) -> Vec<Vec<Vec<u8>>> {
        let (mut input, mut lists) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(list) = reader.poll(&mut input).unwrap() {
                lists.push(list);
            }
        }
        lists
    }

    #[test]
    fn recorded_lists_are_read_wherever_they_are_cut_and_written_alike() {
        for recorded in [PUSH, SECLUDED] {
            let whole = read(&mut ArgsReader::default(), &[recorded]);
            for cut in 0..=recorded.len() {
                let (a, b) = recorded.split_at(cut);
                let lists = read(&mut ArgsReader::default(), &[a, b]);
                assert_eq!(lists, whole, "cut at byte {cut}");
            }
            let written: Vec<u8> = whole.iter().flat_map(|list| encode(list)).collect();
            assert_eq!(written, recorded);
        }
    }

    #[test]
    fn what_follows_a_list_is_left_alone() {
        let mut input = BytesMut::from(&b"a\0\0\x20\0"[..]);
        let list = ArgsReader::default().poll(&mut input).unwrap();
        assert_eq!(list, Some(vec![b"a".to_vec()]));
        assert_eq!(input, &b"\x20\0"[..]);
    }

    #[test]
    fn limits_hold() {
        let poll = |bytes: &[u8]| ArgsReader::default().poll(&mut BytesMut::from(bytes));
        assert!(poll(&[b'a'; MAX_ARG + 1]).is_err());
        assert!(poll(&[b'a'; MAX_ARG]).is_ok());
        assert!(poll(&b"a\0".repeat(MAX_ARGS)).is_ok());
        assert!(poll(&b"a\0".repeat(MAX_ARGS + 1)).is_err());
        let long = [vec![b'a'; MAX_ARG], vec![0]].concat();
        assert!(poll(&long.repeat(MAX_ARGS_BYTES / MAX_ARG)).is_ok());
        assert!(poll(&long.repeat(MAX_ARGS_BYTES / MAX_ARG + 1)).is_err());
    }

    #[test]
    fn an_empty_argument_goes_as_a_dot() {
        assert_eq!(encode(&["a", "", "b"]), b"a\0.\0b\0\0");
    }

    #[test]
    fn backslashes_go_and_what_they_stood_before_stays() {
        for (arg, plain) in [
            (r"--usermap=\*:root", "--usermap=*:root"),
            (r"a\ b\*", "a b*"),
            (r"a\\b", r"a\b"),
            (r"a\", r"a\"),
            ("", ""),
        ] {
            assert_eq!(
                without_backslashes(arg.as_bytes()),
                plain.as_bytes(),
                "{arg}"
            );
        }
    }

    #[test]
    fn an_argument_names_one_or_more_paths_in_the_module() {
        for (arg, expected) in [
            ("rw/", &[""][..]),
            ("rw", &[""]),
            ("rw/d1/", &["d1/"]),
            ("rw/a rw/b c", &["a", "b c"]),
            ("rw/a[ ]rw/b", &["a[ ]rw/b"]),
            ("other", &["other"]),
            ("rwx/a", &["rwx/a"]),
        ] {
            let paths = paths_in_module(b"rw", arg.as_bytes());
            let expected: Vec<Vec<u8>> = expected
                .iter()
                .map(|path| path.as_bytes().to_vec())
                .collect();
            assert_eq!(paths, expected, "{arg}");
        }
    }
}
