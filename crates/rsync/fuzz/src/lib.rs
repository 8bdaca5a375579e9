//! Ways into the decoders and machines for bytes from a hostile peer.
//!
//! Shared by the fuzz targets and by `tests/golden/hostile.rs`. Of each input the first bytes choose what
//! the sides agreed on and in which pieces the rest comes. Every entry returns how many things it
//! was told, so that a caller can see whether that follows from the length of the input.

use barge_delta::Checksum;
use barge_rsync::role::incoming::{Event as Sent, Incoming};
use barge_rsync::role::requests::{Event as Asked, Requests};
use barge_rsync::session::args::ArgsReader;
use barge_rsync::session::greeting::{Greeting, Reply, Request, take_line};
use barge_rsync::session::setup::{Preferences, SetupExchange, VersionExchange};
use barge_rsync::session::{CompatFlags, Setup};
use barge_rsync::wire::budget::Budget;
use barge_rsync::wire::mux::{Demux, Peer};
use barge_rsync::wire::sums::{SumHead, SumsDecoder};
use barge_rsync::wire::token::{Compression, Token};
use barge_rsync::{Options, ProtocolVersion};
use bytes::BytesMut;

/// One way in.
pub type Entry = fn(&[u8]) -> usize;

/// All of them, by name.
pub const ENTRIES: [(&str, Entry); 5] = [
    ("frames", frames),
    ("sender", sender),
    ("generator", generator),
    ("daemon", daemon),
    ("client", client),
];

/// Things an entry may be told, beyond one for each byte of its input.
pub const MOST_TOLD: usize = 64;

/// Bytes that choose: see [`Agreed::read`].
pub const HEAD: usize = 6;

/// What both sides agreed on, and how the bytes come.
struct Agreed {
    /// `server` is of who reads, `sender` of who is read.
    options: Options,
    setup: Setup,
    piece: usize,
}

impl Agreed {
    fn read(input: &[u8]) -> Option<(Self, &[u8])> {
        let (&[piece, protocol, flags, kept, more, compression], rest) =
            input.split_first_chunk::<HEAD>()?;
        let is = |bits: u8, bit: u8| bits & 1 << bit != 0;
        let options = Options {
            server: is(more, 0),
            sender: !is(protocol, 3),
            relative: is(more, 1),
            dry_run: is(more, 2),
            checksum: is(more, 3),
            delete_missing_args: is(more, 4),
            numeric_ids: is(more, 5),
            crtimes: is(more, 6),
            append: more >> 7,
            recursive: true,
            implied_dirs: true,
            owner: is(kept, 0),
            group: is(kept, 1),
            devices: is(kept, 2),
            specials: is(kept, 2),
            links: is(kept, 3),
            hard_links: is(kept, 4),
            acls: is(kept, 5),
            xattrs: kept >> 6 & 1,
            atimes: kept >> 7,
            ..Options::default()
        };
        let setup = Setup {
            protocol: ProtocolVersion::new(30 + (protocol & 3) % 3)?,
            compat: CompatFlags::from_bits(u32::from(flags) | u32::from(protocol & 4) << 6),
            checksum: Checksum::Xxh128,
            list_checksum: Checksum::Xxh128,
            compression: Compression::ALL[usize::from(compression) % Compression::ALL.len()],
            seed: 1,
        };
        let piece = match piece {
            0 => usize::MAX,
            piece => piece.into(),
        };
        let agreed = Self {
            options,
            setup,
            piece,
        };
        Some((agreed, rest))
    }
}

/// Frames of any peer.
pub fn frames(input: &[u8]) -> usize {
    let Some((agreed, rest)) = Agreed::read(input) else {
        return 0;
    };
    let mut demux = Demux::new(Peer {
        protocol: agreed.setup.protocol.get(),
        server: !agreed.options.server,
        sender: agreed.options.sender,
    });
    let mut told = 0;
    for piece in rest.chunks(agreed.piece) {
        demux.handle_input(BytesMut::from(piece));
        loop {
            match demux.poll() {
                Ok(Some(_)) => told += 1,
                Ok(None) => break,
                Err(_) => return told,
            }
        }
    }
    told
}

/// A sender's data stream, as the receiving side reads it.
pub fn sender(input: &[u8]) -> usize {
    let Some((agreed, rest)) = Agreed::read(input) else {
        return 0;
    };
    let mut incoming = Incoming::new(&agreed.options, &agreed.setup, Budget::default());
    let (mut told, mut head) = (0, SumHead::NONE);
    for piece in rest.chunks(agreed.piece) {
        incoming.handle_data(BytesMut::from(piece));
        loop {
            let event = match incoming.poll() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) => return told,
            };
            told += 1;
            match event {
                Sent::Answer(answer) => head = answer.head.unwrap_or(head),
                Sent::Token(Token::Literal(bytes)) => told += bytes.len() / LITERAL,
                Sent::Token(Token::Blocks { count, .. }) if incoming.wants_matched() => {
                    // A receiver has the bytes of a basis; here they are as many as are cheap.
                    let block = vec![0; head.block_len().min(700) as usize];
                    (0..count.min(8)).for_each(|_| incoming.matched(&block));
                }
                _ => {}
            }
        }
    }
    told
}

/// A generator's data stream, as the sending side reads it.
pub fn generator(input: &[u8]) -> usize {
    let Some((agreed, rest)) = Agreed::read(input) else {
        return 0;
    };
    let checksum = agreed.setup.checksum;
    let mut requests = Requests::new(&agreed.options, &agreed.setup);
    let (mut told, mut sums) = (0, None::<SumsDecoder>);
    for piece in rest.chunks(agreed.piece) {
        requests.handle_data(BytesMut::from(piece));
        loop {
            if let Some(open) = &mut sums {
                if !open.poll(requests.input()) {
                    break;
                }
                sums = None;
            }
            match requests.poll() {
                Ok(Some(Asked::Request(request))) if agreed.options.append == 0 => {
                    let with_sums = |head: SumHead| {
                        let strong = head.strong_sum(checksum, 1, true);
                        SumsDecoder::new(head, strong, MAX_SUMS)
                    };
                    sums = request.head.map(with_sums);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return told,
            }
            told += 1;
        }
    }
    told
}

/// What a daemon's client says before the first frame.
pub fn daemon(input: &[u8]) -> usize {
    let Some((agreed, rest)) = Agreed::read(input) else {
        return 0;
    };
    let mut input = BytesMut::from(rest);
    let Ok(Some(line)) = take_line(&mut input) else {
        return 0;
    };
    let Ok(greeting) = Greeting::parse(&line) else {
        return 1;
    };
    let (Ok(protocol), Ok(Some(line))) = (
        greeting.agree(ProtocolVersion::NEWEST),
        take_line(&mut input),
    ) else {
        return 1;
    };
    let _ = (greeting.digest(), Request::parse(&line));
    let mut reader = ArgsReader::default();
    let told = match reader.poll(&mut input) {
        Ok(Some(args)) => args.len(),
        _ => return 2,
    };
    let mut output = BytesMut::new();
    let exchange = SetupExchange::server(
        &agreed.options,
        protocol,
        Preferences::new(true),
        b"iLsfxCIvu",
        1,
        &mut output,
    );
    if let Ok(mut exchange) = exchange {
        let _ = exchange.poll(&mut input, &mut output);
    }
    told + 2
}

/// What a server says before the first frame: a daemon, then one behind a remote shell.
pub fn client(input: &[u8]) -> usize {
    let Some((agreed, rest)) = Agreed::read(input) else {
        return 0;
    };
    let (mut input, mut output) = (BytesMut::from(rest), BytesMut::new());
    let mut told = 0;
    while let Ok(Some(line)) = take_line(&mut input) {
        let _ = (Greeting::parse(&line), Reply::parse(line));
        told += 1;
    }
    let mut input = BytesMut::from(rest);
    let version = VersionExchange::new(ProtocolVersion::NEWEST, &mut output);
    let Ok(Some(protocol)) = version.poll(&mut input) else {
        return told;
    };
    let preferences = Preferences::new(false);
    if let Ok(mut exchange) = SetupExchange::client(&agreed.options, protocol, preferences) {
        let _ = exchange.poll(&mut input, &mut output);
    }
    told + 1
}

/// Bytes of one literal that count as one thing more: what is decompressed may be long.
const LITERAL: usize = 64 << 10;
/// Bytes that sums may take.
const MAX_SUMS: usize = 1 << 20;
