//! The lines a daemon and its client begin with: greeting, message of the day, module.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::{Buf, BytesMut};

use super::auth::{self, Digest};
use crate::ProtocolVersion;

/// Bytes of a line at most, its end not counted.
pub const MAX_LINE: usize = 1023;

/// Bytes of data for a daemon's early hook at most.
pub const MAX_EARLY_INPUT: usize = 5120;

/// Takes a line off `input`, without its end; `None` until there is a whole one.
///
/// # Errors
///
/// [`LineError`] for a line that is too long, and for a NUL in it.
pub fn take_line(input: &mut BytesMut) -> Result<Option<Vec<u8>>, LineError> {
    let end = input.iter().position(|&byte| byte == b'\n');
    let len = end.unwrap_or(input.len());
    if len > MAX_LINE {
        return Err(LineError::TooLong);
    }
    if input[..len].contains(&0) {
        return Err(LineError::Nul);
    }
    let Some(end) = end else {
        return Ok(None);
    };
    let mut line = input.split_to(end).to_vec();
    input.advance(1);
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

/// Why a line is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LineError {
    /// Longer than [`MAX_LINE`].
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// A NUL in it.
    #[error("a NUL in a line")]
    Nul,
}

/// What a side says of itself in its first line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Greeting {
    /// The newest version of the protocol it speaks.
    pub version: u32,
    /// Not 0 for a version that was never released.
    pub sub: u32,
    /// The digests it knows, by name, the best first; `None` when it says none.
    pub digests: Option<Vec<u8>>,
}

impl Greeting {
    /// Our own, its end included.
    pub fn line(version: ProtocolVersion) -> Vec<u8> {
        let digests = Digest::names();
        format!("{PREFIX}{version}.0 {digests}\n").into_bytes()
    }

    /// Reads the peer's.
    ///
    /// # Errors
    ///
    /// [`GreetingError`], whose texts are what a peer of either role is told.
    pub fn parse(line: &[u8]) -> Result<Self, GreetingError> {
        let strange = || GreetingError::NoGreeting(line.to_vec());
        let rest = line.strip_prefix(PREFIX.as_bytes()).ok_or_else(strange)?;
        let (version, rest) = number(rest).ok_or_else(strange)?;
        let sub = rest.strip_prefix(b".").and_then(number);
        if sub.is_none() && version >= 30 {
            return Err(GreetingError::NoSubprotocol(line.to_vec()));
        }
        let (sub, rest) = sub.unwrap_or((0, rest));
        let digests = rest.trim_ascii();
        let digests = (!digests.is_empty()).then(|| digests.to_vec());
        if digests.is_none() && version > 31 {
            return Err(GreetingError::NoDigests(line.to_vec()));
        }
        Ok(Self {
            version,
            sub,
            digests,
        })
    }

    /// The version to speak, when we say `ours`. A version of the peer that was never released
    /// counts as the one before.
    ///
    /// # Errors
    ///
    /// As [`ProtocolVersion::agree`].
    pub fn agree(&self, ours: ProtocolVersion) -> Result<ProtocolVersion, crate::WireError> {
        let unreleased = self.sub != 0 && self.version <= u32::from(ours.get());
        ours.agree(self.version - u32::from(unreleased && self.version > 0))
    }

    /// The digest to authenticate by, as both sides choose it.
    ///
    /// # Errors
    ///
    /// [`auth::NoCommonDigest`].
    pub fn digest(&self) -> Result<Digest, auth::NoCommonDigest> {
        Digest::choose(self.digests.as_deref())
    }
}

/// A decimal number at the front, and what follows it.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    let digits = std::str::from_utf8(digits).ok()?;
    Some((digits.parse().ok()?, rest))
}

/// Why the peer's first line is no greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GreetingError {
    /// Something else altogether.
    NoGreeting(Vec<u8>),
    /// A version from 30 on says its subprotocol.
    NoSubprotocol(Vec<u8>),
    /// A version from 32 on says its digests.
    NoDigests(Vec<u8>),
}

impl GreetingError {
    /// The line that a daemon answers, its end included.
    pub fn to_client(&self) -> Vec<u8> {
        match self {
            Self::NoGreeting(_) => b"@ERROR: protocol startup error\n".to_vec(),
            Self::NoSubprotocol(line) => omitted(
                b"@ERROR: your client omitted the subprotocol value: ",
                line,
                b"\n",
            ),
            Self::NoDigests(line) => omitted(
                b"@ERROR: your client omitted the digest name list: ",
                line,
                b"\n",
            ),
        }
    }

    /// What a client tells its user, without an end.
    pub fn to_user(&self) -> Vec<u8> {
        match self {
            Self::NoGreeting(line) => {
                omitted(b"rsync: server sent \"", line, b"\" rather than greeting")
            }
            Self::NoSubprotocol(line) => omitted(
                b"rsync: the server omitted the subprotocol value: ",
                line,
                b"",
            ),
            Self::NoDigests(line) => omitted(
                b"rsync: the server omitted the digest name list: ",
                line,
                b"",
            ),
        }
    }
}

fn omitted(before: &[u8], line: &[u8], after: &[u8]) -> Vec<u8> {
    [before, line, after].concat()
}

/// What a client wants of a daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// A module, by its name.
    Module(Vec<u8>),
    /// The list of modules.
    List,
    /// So many bytes for the early hook, and then a request.
    EarlyInput(usize),
}

impl Request {
    /// Reads a client's line.
    ///
    /// # Errors
    ///
    /// The line a daemon answers, its end included.
    pub fn parse(line: &[u8]) -> Result<Self, Vec<u8>> {
        if line.is_empty() || line == b"#list" {
            return Ok(Self::List);
        }
        if let Some(len) = line.strip_prefix(EARLY_INPUT.as_bytes()) {
            let len = number(len).map_or(0, |(len, _)| len as usize);
            return match len {
                1..=MAX_EARLY_INPUT => Ok(Self::EarlyInput(len)),
                _ => Err(b"@ERROR: invalid early_input length\n".to_vec()),
            };
        }
        if line.starts_with(b"#") {
            return Err(omitted(b"@ERROR: Unknown command '", line, b"'\n"));
        }
        Ok(Self::Module(line.to_vec()))
    }

    /// The line that makes the request, its end included.
    pub fn line(&self) -> Vec<u8> {
        match self {
            Self::Module(name) => [name, &b"\n"[..]].concat(),
            Self::List => b"#list\n".to_vec(),
            Self::EarlyInput(len) => format!("{EARLY_INPUT}{len}\n").into_bytes(),
        }
    }
}

/// What a daemon says after its greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// A line for the user: message of the day, list of modules.
    Text(Vec<u8>),
    /// The client must authenticate: the challenge.
    Authenticate(Vec<u8>),
    /// The arguments may come.
    Accepted,
    /// The list is through.
    Exit,
    /// The daemon refuses, in this line.
    Refused(Vec<u8>),
}

impl Reply {
    /// Reads a daemon's line.
    pub fn parse(line: Vec<u8>) -> Self {
        if let Some(challenge) = line.strip_prefix(AUTHENTICATE.as_bytes()) {
            return Self::Authenticate(challenge.to_vec());
        }
        match &*line {
            ACCEPTED => Self::Accepted,
            EXIT => Self::Exit,
            _ if line.starts_with(b"@ERROR") => Self::Refused(line),
            _ => Self::Text(line),
        }
    }

    /// The line of the daemon, its end included.
    pub fn line(&self) -> Vec<u8> {
        match self {
            Self::Text(line) | Self::Refused(line) => omitted(b"", line, b"\n"),
            Self::Authenticate(challenge) => omitted(AUTHENTICATE.as_bytes(), challenge, b"\n"),
            Self::Accepted => omitted(b"", ACCEPTED, b"\n"),
            Self::Exit => omitted(b"", EXIT, b"\n"),
        }
    }
}

/// The line of a module in the list, without its end.
pub fn list_line(name: &str, comment: &[u8]) -> Vec<u8> {
    [format!("{name:<15}\t").as_bytes(), comment].concat()
}

const PREFIX: &str = "@RSYNCD: ";
const AUTHENTICATE: &str = "@RSYNCD: AUTHREQD ";
const ACCEPTED: &[u8] = b"@RSYNCD: OK";
const EXIT: &[u8] = b"@RSYNCD: EXIT";
const EARLY_INPUT: &str = "#early_input=";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, LineError>> {
        let (mut input, mut lines) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(line) = take_line(&mut input).transpose() {
                let failed = line.is_err();
                lines.push(line);
                if failed {
                    return lines;
                }
            }
        }
        lines
    }

    #[test]
    fn lines_are_indifferent_to_where_they_are_cut() {
        let text = b"@RSYNCD: 32.0 md5\r\nWelcome\n\n@RSYNCD: OK\n";
        let whole = lines(&[text]);
        let expected: [&[u8]; 4] = [b"@RSYNCD: 32.0 md5", b"Welcome", b"", b"@RSYNCD: OK"];
        assert_eq!(whole, expected.map(|line| Ok(line.to_vec())));
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(lines(&[a, b]), whole, "cut at byte {cut}");
        }
    }

    #[test]
    fn a_line_has_a_limit_and_no_nul() {
        let long = [b'a'; MAX_LINE + 1];
        assert_eq!(lines(&[&long]), [Err(LineError::TooLong)]);
        assert_eq!(lines(&[&long[1..], b"\n"]).len(), 1);
        assert_eq!(lines(&[b"a\0b"]), [Err(LineError::Nul)]);
        let mut rest = BytesMut::from(&b"a\n\0\0"[..]);
        assert_eq!(take_line(&mut rest), Ok(Some(b"a".to_vec())));
        assert_eq!(rest, &b"\0\0"[..]);
    }

    #[test]
    fn our_greeting_is_stock_rsyncs() {
        let line = Greeting::line(ProtocolVersion::NEWEST);
        assert_eq!(line, b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n");
    }

    #[test]
    fn greetings_of_all_ages_are_read() {
        for (line, version, sub, digests) in [
            ("@RSYNCD: 30.0", 30, 0, None),
            ("@RSYNCD: 31.0", 31, 0, None),
            ("@RSYNCD: 31.0 sha512 md5", 31, 0, Some("sha512 md5")),
            ("@RSYNCD: 32.1 md5 md4", 32, 1, Some("md5 md4")),
            ("@RSYNCD: 29", 29, 0, None),
        ] {
            let greeting = Greeting {
                version,
                sub,
                digests: digests.map(|names| names.as_bytes().to_vec()),
            };
            assert_eq!(Greeting::parse(line.as_bytes()), Ok(greeting), "{line}");
        }
    }

    /// What stock 3.5.0 answered to such a client, and told its user of such a server.
    #[test]
    fn strange_greetings_are_answered_in_stock_rsyncs_words() {
        for (line, to_client, to_user) in [
            (
                "hello",
                "@ERROR: protocol startup error\n",
                "rsync: server sent \"hello\" rather than greeting",
            ),
            (
                "@RSYNCD: 32",
                "@ERROR: your client omitted the subprotocol value: @RSYNCD: 32\n",
                "rsync: the server omitted the subprotocol value: @RSYNCD: 32",
            ),
            (
                "@RSYNCD: 32.0",
                "@ERROR: your client omitted the digest name list: @RSYNCD: 32.0\n",
                "rsync: the server omitted the digest name list: @RSYNCD: 32.0",
            ),
        ] {
            let error = Greeting::parse(line.as_bytes()).unwrap_err();
            assert_eq!(error.to_client(), to_client.as_bytes());
            assert_eq!(error.to_user(), to_user.as_bytes());
        }
    }

    #[test]
    fn an_unreleased_version_counts_as_the_one_before() {
        let agree = |line: &str| {
            let greeting = Greeting::parse(line.as_bytes()).unwrap();
            greeting
                .agree(ProtocolVersion::NEWEST)
                .map(ProtocolVersion::get)
        };
        assert_eq!(agree("@RSYNCD: 32.0 md5"), Ok(32));
        assert_eq!(agree("@RSYNCD: 32.3 md5"), Ok(31));
        assert_eq!(agree("@RSYNCD: 31.2 md5"), Ok(30));
        assert_eq!(agree("@RSYNCD: 33.3 md5"), Ok(32));
        assert!(agree("@RSYNCD: 30.1 md5").is_err());
        assert!(agree("@RSYNCD: 19.0").is_err());
        assert!(agree("@RSYNCD: 0").is_err());
    }

    /// As stock 3.5.0 answered.
    #[test]
    fn requests_are_read_or_answered_in_stock_rsyncs_words() {
        let module = |name: &str| Ok(Request::Module(name.into()));
        for (line, request) in [
            ("", Ok(Request::List)),
            ("#list", Ok(Request::List)),
            ("rw", module("rw")),
            ("a b", module("a b")),
            ("#early_input=5", Ok(Request::EarlyInput(5))),
            ("#early_input=5120", Ok(Request::EarlyInput(5120))),
            (
                "#early_input=0",
                Err("@ERROR: invalid early_input length\n"),
            ),
            (
                "#early_input=5121",
                Err("@ERROR: invalid early_input length\n"),
            ),
            (
                "#early_input=x",
                Err("@ERROR: invalid early_input length\n"),
            ),
            ("#foo", Err("@ERROR: Unknown command '#foo'\n")),
        ] {
            let expected = request.map_err(|text: &str| text.as_bytes().to_vec());
            assert_eq!(Request::parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn replies_survive_the_wire() {
        for reply in [
            Reply::Text(b"@RSYNCD: WHAT".to_vec()),
            Reply::Text(Vec::new()),
            Reply::Authenticate(b"agInEZBZWRHU".to_vec()),
            Reply::Accepted,
            Reply::Exit,
            Reply::Refused(b"@ERROR: Unknown module 'x'".to_vec()),
        ] {
            let mut line = reply.line();
            assert_eq!(line.pop(), Some(b'\n'));
            assert_eq!(Reply::parse(line), reply);
        }
    }

    /// As stock 3.5.0 lists them.
    #[test]
    fn modules_are_listed_in_columns() {
        assert_eq!(
            list_line("rw", b"writable area"),
            b"rw             \twritable area"
        );
        assert_eq!(
            list_line("averyveryverylongname", b""),
            b"averyveryverylongname\t"
        );
    }
}
