//! What both sides agree on before the first multiplexed frame.
//!
//! Over a remote shell both say their version first; on a daemon's connection the greetings did.
//! The server says compatibility flags; with [`CompatFlags::VARINT_FLIST_FLAGS`] both say which
//! checksums and compressions they can do, and take the best that both can; the server says the
//! checksum seed.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use barge_delta::Checksum;
use bytes::{Buf, BufMut, BytesMut};

use crate::options::{Compress, Delete, Options};
use crate::wire::cursor::{Parsed, Reader, Stop};
use crate::wire::int::Put;
use crate::wire::token::Compression;
use crate::{ProtocolVersion, WireError};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setup {
    /// The version of the protocol.
    pub protocol: ProtocolVersion,
    /// What the server switched on.
    pub compat: CompatFlags,
    /// Of blocks and of whole files that were transferred.
    pub checksum: Checksum,
    /// Of `--checksum`, in the file list.
    pub list_checksum: Checksum,
    /// Of literal data.
    pub compression: Compression,
    /// Mixed into the block sums; 0 is none.
    pub seed: i32,
}

impl Setup {
    /// Whether the list comes in pieces, and counts from 1.
    pub fn is_incremental(&self) -> bool {
        self.compat.has(CompatFlags::INC_RECURSE)
    }
}

/// What a server switches on, as it says it to the client.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct CompatFlags(u32);

impl CompatFlags {
    /// Incremental recursion: the list comes in pieces while files already move.
    pub const INC_RECURSE: Self = Self(0x001);
    /// The server can set the times of symbolic links.
    pub const SYMLINK_TIMES: Self = Self(0x002);
    /// The server can convert the targets of symbolic links between character sets.
    pub const SYMLINK_ICONV: Self = Self(0x004);
    /// An error code may follow the end of a list.
    pub const SAFE_FLIST: Self = Self(0x008);
    /// Requests for attributes come with hard links too.
    pub const AVOID_XATTR_OPTIM: Self = Self(0x010);
    /// The seed of a seeded MD5 comes before the data.
    pub const CHECKSUM_SEED_FIX: Self = Self(0x020);
    /// A basis in the partial directory may be updated in place.
    pub const INPLACE_PARTIAL_DIR: Self = Self(0x040);
    /// The flags of a list's entries are varints, and strings are negotiated.
    pub const VARINT_FLIST_FLAGS: Self = Self(0x080);
    /// Tables of ids end with the name of id 0.
    pub const ID0_NAMES: Self = Self(0x100);

    /// The flags as they cross the wire.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The flags as they cross the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `flags` are among these.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// What a server switches on for a client that states `capabilities`: the letters behind
    /// `-e.`. `is_incremental_fine` is what the server makes of its own options.
    fn for_client(capabilities: &[u8], is_incremental_fine: bool) -> Self {
        let mut flags = Self::SYMLINK_TIMES;
        for (letter, flag) in CAPABILITIES {
            let fine = flag != Self::INC_RECURSE || is_incremental_fine;
            if capabilities.contains(&letter) && fine {
                flags = flags | flag;
            }
        }
        flags
    }
}

impl std::ops::BitOr for CompatFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::fmt::Debug for CompatFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompatFlags({:#x})", self.0)
    }
}

/// Letters by which a client asks for a flag.
const CAPABILITIES: [(u8, CompatFlags); 7] = [
    (b'i', CompatFlags::INC_RECURSE),
    (b'f', CompatFlags::SAFE_FLIST),
    (b'x', CompatFlags::AVOID_XATTR_OPTIM),
    (b'C', CompatFlags::CHECKSUM_SEED_FIX),
    (b'I', CompatFlags::INPLACE_PARTIAL_DIR),
    (b'v', CompatFlags::VARINT_FLIST_FLAGS),
    (b'u', CompatFlags::ID0_NAMES),
];

/// Whether these options let the list come in pieces, as far as this side can tell: a client before
/// it offers, a server before it agrees. `receives` is whether this side is to receive.
pub fn is_incremental_fine(options: &Options, receives: bool) -> bool {
    let needs_whole_list = matches!(options.delete, Delete::Before | Delete::After)
        || options.delay_updates
        || options.prune_empty_dirs;
    options.recursive && options.inc_recursive && !(receives && needs_whole_list)
}

/// Which checksums and compressions this side offers where they are negotiated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Preferences {
    checksums: Vec<Checksum>,
    compressions: Vec<Compression>,
}

impl Preferences {
    /// What a side offers by itself: a client does not offer to do without.
    pub fn new(server: bool) -> Self {
        Self::from_user(None, None, server)
    }

    /// What the user allows, in the variables `RSYNC_CHECKSUM_LIST` and `RSYNC_COMPRESS_LIST`
    /// (rsync(1)): names, those of a client before a `&` and those of a server behind it.
    ///
    /// They are offered in the order of preference both sides know, whatever the user's: with
    /// another order two peers may choose differently.
    pub fn from_user(checksums: Option<&[u8]>, compressions: Option<&[u8]>, server: bool) -> Self {
        let mut all = Self {
            checksums: Checksum::ALL.to_vec(),
            compressions: Compression::ALL.to_vec(),
        };
        if !server {
            all.checksums.retain(|&kind| kind != Checksum::None);
            all.compressions.retain(|&kind| kind != Compression::None);
        }
        Self {
            checksums: allowed(all.checksums, Checksum::named, checksums, server),
            compressions: allowed(all.compressions, Compression::named, compressions, server),
        }
    }

    fn checksum_names(&self) -> Vec<u8> {
        joined(self.checksums.iter().map(|kind| kind.name()))
    }

    fn compression_names(&self) -> Vec<u8> {
        joined(self.compressions.iter().map(|kind| kind.name()))
    }
}

fn allowed<T: Ord + Copy>(
    all: Vec<T>,
    named: fn(&[u8]) -> Option<T>,
    list: Option<&[u8]>,
    server: bool,
) -> Vec<T> {
    let Some(list) = list else {
        return all;
    };
    let mut sides = list.splitn(2, |&byte| byte == b'&');
    let client = sides.next().unwrap_or_default();
    let list = match sides.next() {
        Some(of_server) if server => of_server,
        _ => client,
    };
    if list.trim_ascii().is_empty() {
        return all;
    }
    let mut allowed: Vec<T> = words(list).filter_map(named).collect();
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}

fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// The two versions that begin a conversation over a remote shell.
#[derive(Debug)]
pub struct VersionExchange {
    ours: ProtocolVersion,
}

impl VersionExchange {
    /// Begins by saying `ours` to the peer.
    pub fn new(ours: ProtocolVersion, output: &mut BytesMut) -> Self {
        output.put_u32_le(ours.get().into());
        Self { ours }
    }

    /// Takes what the peer said off `input`; the version to speak, once it is there.
    ///
    /// # Errors
    ///
    /// [`WireError::Version`].
    pub fn poll(&self, input: &mut BytesMut) -> Result<Option<ProtocolVersion>, WireError> {
        let theirs = take(input, |reader| reader.i32())?;
        theirs
            .map(|theirs| self.ours.agree(theirs as u32))
            .transpose()
    }
}

/// The conversation from the compatibility flags to the seed, at either side.
#[derive(Debug)]
pub struct SetupExchange {
    protocol: ProtocolVersion,
    side: Side,
    checksum: Choice<Checksum>,
    list_checksum: Option<Checksum>,
    compression: Choice<Compression>,
    preferences: Preferences,
    /// Of a server: known from the beginning. Of a client: once it has been told.
    compat: Option<CompatFlags>,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Client {
        offers_incremental: bool,
        crtimes: bool,
    },
    Server {
        seed: i32,
    },
}

/// What is spoken, or that it is negotiated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Choice<T> {
    Made(T),
    Open,
}

impl SetupExchange {
    /// A client's part.
    ///
    /// # Errors
    ///
    /// [`WireError::Unsupported`] when the options name what nobody knows.
    pub fn client(
        options: &Options,
        protocol: ProtocolVersion,
        preferences: Preferences,
    ) -> Result<Self, WireError> {
        let side = Side::Client {
            offers_incremental: is_incremental_fine(options, !options.sender),
            crtimes: options.crtimes,
        };
        Self::new(options, protocol, preferences, side)
    }

    /// A server's part, for a client that states `capabilities`: the letters behind `-e.`. `seed` is
    /// taken unless the options say one. Says all it has to say before it reads.
    ///
    /// # Errors
    ///
    /// As [`client`](Self::client).
    pub fn server(
        options: &Options,
        protocol: ProtocolVersion,
        preferences: Preferences,
        capabilities: &[u8],
        seed: i32,
        output: &mut BytesMut,
    ) -> Result<Self, WireError> {
        let seed = options.checksum_seed.unwrap_or(seed);
        let mut exchange = Self::new(options, protocol, preferences, Side::Server { seed })?;
        let incremental = is_incremental_fine(options, !options.sender);
        let compat = CompatFlags::for_client(capabilities, incremental);
        // A varint says what one byte does where no flag beyond the seventh is set.
        output.put_varint(compat.bits() as i32);
        exchange.switch_on(compat, output);
        Ok(exchange)
    }

    fn new(
        options: &Options,
        protocol: ProtocolVersion,
        preferences: Preferences,
        side: Side,
    ) -> Result<Self, WireError> {
        let (checksum, list_checksum) = chosen_checksums(options)?;
        Ok(Self {
            protocol,
            side,
            checksum,
            list_checksum,
            compression: chosen_compression(options)?,
            preferences,
            compat: None,
        })
    }

    /// Takes what is there off `input` and says what is due; what both sides agreed on, once they
    /// did. Multiplexed frames follow.
    ///
    /// # Errors
    ///
    /// [`WireError`]; of [`WireError::Unsupported`] the peer knows as well.
    pub fn poll(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Setup>, WireError> {
        let compat = match self.compat {
            Some(compat) => compat,
            None => match take(input, |reader| reader.varint())? {
                Some(bits) => self.told(CompatFlags::from_bits(bits as u32), output)?,
                None => return Ok(None),
            },
        };
        let (side, negotiates) = (self.side, self.negotiates(compat));
        let (wants_checksum, wants_compression) = (
            negotiates && self.checksum == Choice::Open,
            negotiates && self.compression == Choice::Open,
        );
        let parsed = take(input, |reader| {
            let mut list = |wanted: bool| -> Parsed<Vec<u8>> {
                match wanted {
                    true => Ok(reader
                        .vstring(MAX_NAMES, "a list of names too long")?
                        .to_vec()),
                    false => Ok(Vec::new()),
                }
            };
            let checksums = list(wants_checksum)?;
            let compressions = list(wants_compression)?;
            let seed = match side {
                Side::Client { .. } => reader.i32()?,
                Side::Server { seed } => seed,
            };
            Ok((checksums, compressions, seed))
        })?;
        let Some((checksums, compressions, seed)) = parsed else {
            return Ok(None);
        };
        let setup = self.agree(compat, &checksums, &compressions, seed)?;
        if let Side::Server { seed } = side {
            output.put_i32_le(seed);
        }
        Ok(Some(setup))
    }

    /// The server told the client what it switched on.
    fn told(
        &mut self,
        compat: CompatFlags,
        output: &mut BytesMut,
    ) -> Result<CompatFlags, WireError> {
        if let Side::Client {
            offers_incremental,
            crtimes,
        } = self.side
        {
            if compat.has(CompatFlags::INC_RECURSE) && !offers_incremental {
                let text = "the server switched on incremental recursion unasked".to_owned();
                return Err(WireError::Usage(text));
            }
            if crtimes && !compat.has(CompatFlags::VARINT_FLIST_FLAGS) {
                return Err(WireError::Protocol("creation times need a newer server"));
            }
        }
        self.switch_on(compat, output);
        Ok(compat)
    }

    /// Says what this side can do, before it reads what the other can.
    fn switch_on(&mut self, compat: CompatFlags, output: &mut BytesMut) {
        self.compat = Some(compat);
        if !self.negotiates(compat) {
            return;
        }
        if self.checksum == Choice::Open {
            output.put_vstring(&self.preferences.checksum_names());
        }
        if self.compression == Choice::Open {
            output.put_vstring(&self.preferences.compression_names());
        }
    }

    fn negotiates(&self, compat: CompatFlags) -> bool {
        compat.has(CompatFlags::VARINT_FLIST_FLAGS)
    }

    fn is_server(&self) -> bool {
        matches!(self.side, Side::Server { .. })
    }

    fn agree(
        &self,
        compat: CompatFlags,
        checksums: &[u8],
        compressions: &[u8],
        seed: i32,
    ) -> Result<Setup, WireError> {
        let negotiates = self.negotiates(compat);
        let checksum = match self.checksum {
            Choice::Made(checksum) => checksum,
            Choice::Open if !negotiates => Checksum::Md5,
            Choice::Open => {
                let ours = self.preferences.checksum_names();
                self.choose("checksum", Checksum::named, &ours, checksums)?
            }
        };
        let compression = match self.compression {
            Choice::Made(compression) => compression,
            Choice::Open if !negotiates => Compression::Zlib,
            Choice::Open => {
                let ours = self.preferences.compression_names();
                self.choose("compress", Compression::named, &ours, compressions)?
            }
        };
        Ok(Setup {
            protocol: self.protocol,
            compat,
            checksum,
            list_checksum: self.list_checksum.unwrap_or(checksum),
            compression,
            seed,
        })
    }

    /// The first name of the client's list that the server's has too.
    fn choose<T: PartialEq>(
        &self,
        what: &str,
        named: fn(&[u8]) -> Option<T>,
        ours: &[u8],
        theirs: &[u8],
    ) -> Result<T, WireError> {
        let (client, server) = match self.is_server() {
            true => (theirs, ours),
            false => (ours, theirs),
        };
        let of_server: Vec<T> = words(server).filter_map(named).collect();
        let mut of_client = words(client).filter_map(named);
        of_client
            .find(|kind| of_server.contains(kind))
            .ok_or_else(|| {
                let (server, client) = (printable(server), printable(client));
                WireError::Unsupported(format!(
                    "Failed to negotiate a {what} choice.\nServer list: {server}\nClient list: {client}"
                ))
            })
    }
}

/// Names with spaces between; what stock rsync says where there is none.
fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let names: Vec<&str> = names.collect();
    match &*names {
        [] => b"INVALID".to_vec(),
        names => names.join(" ").into_bytes(),
    }
}

fn printable(list: &[u8]) -> String {
    list.escape_ascii().to_string()
}

/// With any choice of the user's nothing is negotiated: `auto` beside another is what two sides speak
/// that cannot negotiate.
fn chosen_checksums(options: &Options) -> Result<(Choice<Checksum>, Option<Checksum>), WireError> {
    let Some((transfer, list)) = &options.checksum_choice else {
        return Ok((Choice::Open, None));
    };
    let named = |name: &str| match name {
        "auto" => Ok(Checksum::Md5),
        name => Checksum::named(name.as_bytes())
            .ok_or_else(|| WireError::Unsupported(format!("unknown checksum name: {name}"))),
    };
    Ok((Choice::Made(named(transfer)?), Some(named(list)?)))
}

fn chosen_compression(options: &Options) -> Result<Choice<Compression>, WireError> {
    match &options.compress {
        Compress::Off => Ok(Choice::Made(Compression::None)),
        Compress::Negotiated => Ok(Choice::Open),
        Compress::Chosen(name) => Compression::named(name.as_bytes())
            .map(Choice::Made)
            .ok_or_else(|| WireError::Unsupported(format!("unknown compress name: {name}"))),
    }
}

/// Reads one thing off the front, whole or not at all.
fn take<T>(
    input: &mut BytesMut,
    mut parse: impl FnMut(&mut Reader<'_>) -> Parsed<T>,
) -> Result<Option<T>, WireError> {
    let mut reader = Reader::new(input);
    match parse(&mut reader) {
        Ok(value) => {
            let used = input.len() - reader.rest().len();
            input.advance(used);
            Ok(Some(value))
        }
        Err(Stop::NotYet) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// Bytes of a list of names at most.
const MAX_NAMES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded between two stock 3.5.0 peers, from the compatibility flags to the last byte before
    /// the first frame. What the server says, what the client says, and what came of it.
    struct Recorded {
        options: fn(&mut Options),
        protocol: u8,
        capabilities: &'static [u8],
        server: &'static [u8],
        client: &'static [u8],
        compat: u32,
        checksums: [Checksum; 2],
        compression: Compression,
        seed: i32,
    }

    const RECORDED: [Recorded; 6] = [
        // rsync -az --checksum-seed=1 src/ rsync://h/rw/
        Recorded {
            options: |options| {
                options.recursive = true;
                options.sender = true;
                options.compress = Compress::Negotiated;
                options.checksum_seed = Some(1);
            },
            protocol: 32,
            capabilities: b"iLsfxCIvu",
            server: b"\x81\xff\x23xxh128 xxh3 xxh64 md5 md4 sha1 none\x18zstd lz4 zlibx zlib none\x01\0\0\0",
            client: b"\x1exxh128 xxh3 xxh64 md5 md4 sha1\x13zstd lz4 zlibx zlib",
            compat: 0x1ff,
            checksums: [Checksum::Xxh128; 2],
            compression: Compression::Zstd,
            seed: 1,
        },
        // rsync -a --protocol=30 --checksum-seed=1 src/ rsync://h/rw/
        Recorded {
            options: |options| {
                options.recursive = true;
                options.sender = true;
                options.checksum_seed = Some(1);
            },
            protocol: 30,
            capabilities: b"iLsfxCIvu",
            server: b"\x81\xff\x23xxh128 xxh3 xxh64 md5 md4 sha1 none\x01\0\0\0",
            client: b"\x1exxh128 xxh3 xxh64 md5 md4 sha1",
            compat: 0x1ff,
            checksums: [Checksum::Xxh128; 2],
            compression: Compression::None,
            seed: 1,
        },
        // rsync -az --no-r --cc=md5 --zc=lz4 --checksum-seed=1 rsync://h/rw/ dst/
        Recorded {
            options: |options| {
                options.checksum_choice = Some(("md5".into(), "md5".into()));
                options.compress = Compress::Chosen("lz4".into());
                options.checksum_seed = Some(1);
            },
            protocol: 32,
            capabilities: b"LsfxCIvu",
            server: b"\x81\xfe\x01\0\0\0",
            client: b"",
            compat: 0x1fe,
            checksums: [Checksum::Md5; 2],
            compression: Compression::Lz4,
            seed: 1,
        },
        // rsync -az --cc=xxh3,sha1 --checksum-seed=1 rsync://h/rw/ dst/
        Recorded {
            options: |options| {
                options.recursive = true;
                options.checksum_choice = Some(("xxh3".into(), "sha1".into()));
                options.compress = Compress::Negotiated;
                options.checksum_seed = Some(1);
            },
            protocol: 32,
            capabilities: b"iLsfxCIvu",
            server: b"\x81\xff\x18zstd lz4 zlibx zlib none\x01\0\0\0",
            client: b"\x13zstd lz4 zlibx zlib",
            compat: 0x1ff,
            checksums: [Checksum::Xxh3, Checksum::Sha1],
            compression: Compression::Zstd,
            seed: 1,
        },
        // 3.1.3: rsync -az src/ rsync://h/rw/ to a 3.5.0 daemon
        Recorded {
            options: |options| {
                options.recursive = true;
                options.sender = true;
                options.compress = Compress::Negotiated;
                options.checksum_seed = Some(-2);
            },
            protocol: 31,
            capabilities: b"iLsfxC",
            server: b"\x3f\xfe\xff\xff\xff",
            client: b"",
            compat: 0x3f,
            checksums: [Checksum::Md5; 2],
            compression: Compression::Zlib,
            seed: -2,
        },
        // 3.0.0: rsync -a src/ rsync://h/rw/ to a 3.5.0 daemon
        Recorded {
            options: |options| {
                options.recursive = true;
                options.sender = true;
                options.checksum_seed = Some(7);
            },
            protocol: 30,
            capabilities: b"iL",
            server: b"\x07\x07\0\0\0",
            client: b"",
            compat: 0x07,
            checksums: [Checksum::Md5; 2],
            compression: Compression::None,
            seed: 7,
        },
    ];

    impl Recorded {
        fn protocol(&self) -> ProtocolVersion {
            ProtocolVersion::new(self.protocol).unwrap()
        }

        fn client_options(&self) -> Options {
            let mut options = Options::default();
            (self.options)(&mut options);
            options
        }

        fn setup(&self, compat: u32) -> Setup {
            Setup {
                protocol: self.protocol(),
                compat: CompatFlags::from_bits(compat),
                checksum: self.checksums[0],
                list_checksum: self.checksums[1],
                compression: self.compression,
                seed: self.seed,
            }
        }
    }

    /// Feeds `pieces`, and gives what was agreed on, what was said, and what was left.
    fn feed(
        exchange: &mut SetupExchange,
        pieces: &[&[u8]],
        output: &mut BytesMut,
    ) -> (Option<Setup>, BytesMut) {
        let (mut input, mut setup) = (BytesMut::new(), None);
        for piece in pieces {
            input.extend_from_slice(piece);
            if setup.is_none() {
                setup = exchange.poll(&mut input, output).unwrap();
            }
        }
        (setup, input)
    }

    #[test]
    fn a_client_says_and_learns_what_was_recorded_wherever_the_stream_is_cut() {
        for recorded in &RECORDED {
            let options = recorded.client_options();
            for cut in 0..=recorded.server.len() {
                let (preferences, mut output) = (Preferences::new(false), BytesMut::new());
                let protocol = recorded.protocol();
                let mut client = SetupExchange::client(&options, protocol, preferences).unwrap();
                let (a, b) = recorded.server.split_at(cut);
                let (setup, left) = feed(&mut client, &[a, b, b"frame"], &mut output);
                assert_eq!(
                    setup,
                    Some(recorded.setup(recorded.compat)),
                    "cut at byte {cut}"
                );
                assert_eq!(left, &b"frame"[..]);
                assert_eq!(output, recorded.client);
            }
        }
    }

    #[test]
    fn a_server_says_and_learns_what_was_recorded_wherever_the_stream_is_cut() {
        // Of the flags a stock server says, ours leaves out the one for character sets.
        let without_iconv = |bits: u32| bits & !CompatFlags::SYMLINK_ICONV.bits();
        for recorded in &RECORDED {
            let mut options = recorded.client_options();
            options.sender = !options.sender;
            for cut in 0..=recorded.client.len() {
                let (preferences, mut output) = (Preferences::new(true), BytesMut::new());
                let mut server = SetupExchange::server(
                    &options,
                    recorded.protocol(),
                    preferences,
                    recorded.capabilities,
                    99,
                    &mut output,
                )
                .unwrap();
                let (a, b) = recorded.client.split_at(cut);
                let (setup, left) = feed(&mut server, &[a, b, b"frame"], &mut output);
                let compat = without_iconv(recorded.compat);
                assert_eq!(setup, Some(recorded.setup(compat)), "cut at byte {cut}");
                assert_eq!(left, &b"frame"[..]);
                let mut expected = BytesMut::new();
                expected.put_varint(compat as i32);
                let flags = if recorded.compat < 0x80 { 1 } else { 2 };
                expected.extend_from_slice(&recorded.server[flags..]);
                assert_eq!(output, expected);
            }
        }
    }

    #[test]
    fn a_client_refuses_what_it_did_not_offer() {
        let mut options = Options::default();
        let client = |flags: &[u8], options: &Options| {
            let (preferences, protocol) = (Preferences::new(false), ProtocolVersion::NEWEST);
            let mut client = SetupExchange::client(options, protocol, preferences).unwrap();
            client.poll(&mut BytesMut::from(flags), &mut BytesMut::new())
        };
        assert_eq!(client(b"\x81\xff", &options).unwrap_err().exit_code(), 1);
        options.crtimes = true;
        assert_eq!(client(b"\x3e", &options).unwrap_err().exit_code(), 2);
        options.crtimes = false;
        // More than a varint, and a list too long.
        assert_eq!(client(b"\xff", &options).unwrap_err().exit_code(), 12);
        assert_eq!(
            client(b"\x81\xfe\x81\x00", &options)
                .unwrap_err()
                .exit_code(),
            2
        );
    }

    /// In the words of stock 3.5.0.
    #[test]
    fn without_a_common_name_both_lists_are_told() {
        let preferences = Preferences::from_user(Some(b"md5&xxh128"), None, false);
        let (options, protocol) = (Options::default(), ProtocolVersion::NEWEST);
        let mut client = SetupExchange::client(&options, protocol, preferences).unwrap();
        let mut input = BytesMut::from(&b"\x81\xfe\x06xxh128\0\0\0\0"[..]);
        let mut output = BytesMut::new();
        let error = client.poll(&mut input, &mut output).unwrap_err();
        let text = "Failed to negotiate a checksum choice.\nServer list: xxh128\nClient list: md5";
        assert_eq!(error, WireError::Unsupported(text.to_owned()));
        assert_eq!(output, &b"\x03md5"[..]);
    }

    #[test]
    fn a_users_list_allows_names_and_does_not_order_them() {
        let names = |list: &str, server| {
            let preferences = Preferences::from_user(Some(list.as_bytes()), None, server);
            String::from_utf8(preferences.checksum_names()).unwrap()
        };
        assert_eq!(
            names("md5 xxhash auto foo xxh128 md5", false),
            "xxh128 xxh64 md5"
        );
        assert_eq!(names("md5&sha1", false), "md5");
        assert_eq!(names("md5&sha1", true), "sha1");
        assert_eq!(names("foo", true), "INVALID");
        assert_eq!(names(" & ", true), "xxh128 xxh3 xxh64 md5 md4 sha1 none");
        assert_eq!(names("", false), "xxh128 xxh3 xxh64 md5 md4 sha1");
        assert_eq!(names("none", false), "none");
    }

    #[test]
    fn versions_are_exchanged_in_four_bytes() {
        let mut output = BytesMut::new();
        let exchange = VersionExchange::new(ProtocolVersion::NEWEST, &mut output);
        assert_eq!(output, &[0x20, 0, 0, 0][..]);
        let mut input = BytesMut::from(&[0x1f, 0, 0][..]);
        assert_eq!(exchange.poll(&mut input), Ok(None));
        input.extend_from_slice(&[0, 9]);
        assert_eq!(exchange.poll(&mut input).unwrap().unwrap().get(), 31);
        assert_eq!(input, &[9][..]);
        let mut banner = BytesMut::from(&b"Last login"[..]);
        assert_eq!(exchange.poll(&mut banner).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn lists_in_pieces_are_refused_where_all_must_be_known() {
        let mut options = Options::default();
        assert!(!is_incremental_fine(&options, false));
        options.recursive = true;
        assert!(is_incremental_fine(&options, true));
        options.delete = Delete::After;
        assert!(is_incremental_fine(&options, false));
        assert!(!is_incremental_fine(&options, true));
        options.delete = Delete::During;
        assert!(is_incremental_fine(&options, true));
        options.inc_recursive = false;
        assert!(!is_incremental_fine(&options, false));
    }
}
