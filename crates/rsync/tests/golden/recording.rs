//! Recorded conversations, apart into sides, with what their handshakes agreed on.

use std::path::Path;

use barge_delta::Checksum;
use barge_rsync::options::{Delete, FilesFrom, Options};
use barge_rsync::session::{CompatFlags, Setup};
use barge_rsync::wire::cursor;
use barge_rsync::wire::mux::{FrameHeader, Peer};
use barge_rsync::wire::token::Compression;
use barge_rsync::{ProtocolVersion, wire::cursor::Reader};
use bytes::{Buf, BytesMut};

/// What one side said from the first frame on.
pub(crate) struct Side {
    /// Who said it.
    pub peer: Peer,
    /// The server's options.
    pub options: Options,
    pub setup: Setup,
    /// Before the first frame.
    pub handshake: Vec<u8>,
    pub frames: Vec<u8>,
    /// Bytes outside all frames, behind the first one.
    pub raw_len: usize,
}

/// All conversations by name: what the client said, and what the server did.
pub(crate) fn conversations() -> Vec<(String, [Side; 2])> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "golden"));
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, sides(&std::fs::read(path).unwrap()))
    };
    paths.into_iter().map(read).collect()
}

fn sides(mut file: &[u8]) -> [Side; 2] {
    let _command = line(&mut file);
    let _exit = line(&mut file);
    let mut len = || -> usize {
        let line = line(&mut file);
        line.split(' ').next_back().unwrap().parse().unwrap()
    };
    let (client_len, _) = (len(), len());
    let (client, server) = file.split_at(client_len);
    apart(client, server)
}

/// Takes a line, without its end.
fn line(bytes: &mut &[u8]) -> String {
    let len = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let line = String::from_utf8(bytes[..len].to_vec()).unwrap();
    bytes.advance(len + 1);
    line
}

fn apart(mut client: &[u8], mut server: &[u8]) -> [Side; 2] {
    let (all_of_client, all_of_server) = (client, server);
    let said = |line: String| line["@RSYNCD: ".len()..][..2].parse().unwrap();
    let (ours, theirs): (u8, u32) = (said(line(&mut client)), said(line(&mut server)).into());
    let protocol = ProtocolVersion::new(ours).unwrap().agree(theirs).unwrap();
    let _module = line(&mut client);
    while line(&mut server) != "@RSYNCD: OK" {}
    let options = options(&mut client);
    let mut server = BytesMut::from(server);
    let bits = cursor::read(&mut server, |reader| reader.varint()).unwrap();
    let compat = CompatFlags::from_bits(bits.unwrap() as u32);
    let mut checksum = Checksum::Md5;
    if options.checksum_choice.is_none() {
        let skip = |reader: &mut Reader<'_>| Ok(reader.vstring(255, "names")?.len());
        cursor::read(&mut server, skip).unwrap().unwrap();
        let len = client.get_u8();
        client.advance(len.into());
        checksum = Checksum::Xxh128;
    }
    let setup = Setup {
        protocol,
        compat,
        checksum,
        list_checksum: checksum,
        compression: Compression::None,
        seed: server.get_i32_le(),
    };
    let side = |is_server: bool, all: &[u8], frames: &[u8]| {
        let sender = options.sender == is_server;
        let is_raw = options.files_from == Some(FilesFrom::Wire) && !protocol.is_31_or_newer();
        Side {
            peer: Peer {
                protocol: protocol.get(),
                server: is_server,
                sender,
            },
            options: options.clone(),
            setup,
            handshake: all[..all.len() - frames.len()].to_vec(),
            frames: frames.to_vec(),
            raw_len: if is_raw && !is_server {
                raw_len(frames)
            } else {
                0
            },
        }
    };
    [
        side(false, all_of_client, client),
        side(true, all_of_server, &server),
    ]
}

/// How long the names are that stand behind the first frame.
fn raw_len(frames: &[u8]) -> usize {
    let FrameHeader { len, .. } = FrameHeader::decode(*frames.first_chunk().unwrap()).unwrap();
    names_len(&frames[FrameHeader::LEN + len..])
}

/// Up to the empty name.
fn names_len(names: &[u8]) -> usize {
    names.windows(2).position(|pair| pair == [0, 0]).unwrap() + 2
}

/// The arguments of a server, as far as they matter here.
fn options(client: &mut &[u8]) -> Options {
    let mut options = Options {
        server: true,
        ..Options::default()
    };
    loop {
        let len = client.iter().position(|&byte| byte == 0).unwrap();
        let arg = String::from_utf8(client[..len].to_vec()).unwrap();
        client.advance(len + 1);
        match arg.as_str() {
            "" => return options,
            "--sender" => options.sender = true,
            "--numeric-ids" => options.numeric_ids = true,
            "--files-from=-" => options.files_from = Some(FilesFrom::Wire),
            "--append" => options.append += 1,
            "--delete-missing-args" => options.delete_missing_args = true,
            "--checksum-choice=md5" => {
                options.checksum_choice = Some(("md5".to_owned(), "md5".to_owned()));
            }
            long if long.starts_with("--delete") => options.delete = Delete::During,
            long if long.starts_with("--") => {}
            cluster if cluster.starts_with('-') => letters(&mut options, cluster),
            _ => {}
        }
    }
}

fn letters(options: &mut Options, cluster: &str) {
    for letter in cluster[1..].chars().take_while(|&letter| letter != 'e') {
        match letter {
            'r' => options.recursive = true,
            'l' => options.links = true,
            'o' => options.owner = true,
            'g' => options.group = true,
            'D' => (options.devices, options.specials) = (true, true),
            't' => options.times = true,
            'p' => options.perms = true,
            'H' => options.hard_links = true,
            'A' => options.acls = true,
            'X' => options.xattrs = 1,
            'U' => options.atimes = 1,
            'c' => options.checksum = true,
            'R' => options.relative = true,
            'n' => options.dry_run = true,
            _ => {}
        }
    }
}

impl Side {
    /// The options of who listens to this side.
    pub(crate) fn options_of_reader(&self) -> Options {
        Options {
            server: !self.peer.server,
            ..self.options.clone()
        }
    }

    /// How much stands before the first list, or the first request: rules, names.
    pub(crate) fn before_stream(&self, data: &[u8]) -> usize {
        if self.peer.server {
            return 0;
        }
        let has_rules = !self.peer.sender || self.options.delete != Delete::No;
        let rules = if has_rules { rules_len(data) } else { 0 };
        match &self.options.files_from {
            Some(FilesFrom::Wire) if !self.peer.sender => rules + names_len(&data[rules..]),
            _ => rules,
        }
    }
}

/// Up to the empty rule.
fn rules_len(data: &[u8]) -> usize {
    let mut rest = data;
    loop {
        let len = rest.get_i32_le() as usize;
        rest.advance(len);
        if len == 0 {
            return data.len() - rest.len();
        }
    }
}
