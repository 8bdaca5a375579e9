//! Lists against recorded bytes, against themselves, and against what no peer may send.

use std::collections::HashSet;
use std::sync::Arc;

use barge_types::{Device, Timestamp};
use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::WireError;
use crate::wire::attrs::{Acl, AclEntry, Xattr, XattrSet};
use crate::wire::budget::Budget;
use crate::wire::entry::{DirKind, HardLink, WirePath};
use crate::wire::idlist::Names;
use crate::wire::list::{Directories, List, ListDir};
use crate::wire::mux::IoErrors;
use crate::wire::ndx::DirIndex;

/// What two rsyncs 3.5.0 agree on for `-a`, with incremental lists.
const ARCHIVE: Format = Format {
    protocol: ProtocolVersion::NEWEST,
    incremental: true,
    safe_end: true,
    varint_flags: true,
    id0_names: true,
    xattr_optim: false,
    owner: true,
    group: true,
    devices: true,
    specials: true,
    links: true,
    hard_links: false,
    acls: false,
    xattrs: false,
    atimes: false,
    crtimes: false,
    numeric_ids: false,
    relative: false,
    no_implied_dirs: false,
    missing_args: false,
    dry_run: false,
    checksum_len: None,
};

/// What rsync 3.0.0 agrees on.
const OLD: Format = Format {
    protocol: ProtocolVersion::OLDEST,
    safe_end: false,
    varint_flags: false,
    id0_names: false,
    ..ARCHIVE
};

/// Root and a user.
struct Known;

impl Names for Known {
    fn user(&mut self, uid: u32) -> Option<Vec<u8>> {
        match uid {
            0 => Some(b"root".to_vec()),
            4321 => Some(b"tsync".to_vec()),
            _ => None,
        }
    }

    fn group(&mut self, gid: u32) -> Option<Vec<u8>> {
        self.user(gid)
    }
}

fn index(index: u32) -> FileIndex {
    FileIndex::new(index).unwrap()
}

fn entry(path: &str, mode: u32, len: u64, mtime: (i64, u32)) -> FileEntry {
    let mut entry = FileEntry::new(WirePath::new(path.as_bytes()), mode);
    entry.len = len;
    entry.mtime = Timestamp::new(mtime.0, mtime.1).unwrap();
    entry
}

fn decoder(format: Format) -> FlistDecoder {
    let mut decoder = FlistDecoder::new(format, Budget::default());
    decoder.begin(format.first_index(), None);
    decoder
}

/// The first list of a connection, which is all there is.
fn decode(format: Format, bytes: &[u8]) -> Result<Option<List>, WireError> {
    let mut input = BytesMut::from(bytes);
    let list = decoder(format).poll(&mut input)?;
    assert!(list.is_none() || input.is_empty(), "bytes are left over");
    Ok(list)
}

fn encode(format: Format, entries: &mut [FileEntry], errors: IoErrors) -> BytesMut {
    let mut encoder = FlistEncoder::new(format);
    let mut out = BytesMut::new();
    encoder.begin(format.first_index());
    for entry in entries {
        encoder.put(&mut out, entry, None, &mut Known);
    }
    encoder.end(&mut out, errors, &mut Known);
    out
}

/// The entries of a list in its order, as they were sent.
fn entries(list: &List) -> Vec<FileEntry> {
    let mut entries: Vec<_> = list.entries().map(|(_, entry)| entry.clone()).collect();
    entries.iter_mut().for_each(|entry| entry.tag = 0);
    entries
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// rsync 3.5.0 pushing a small tree, `-av`: its first list.
const PUSH: &str = "
    8c01 01 2e 000010 65257d93 ed410000 00 04 726f6f74 00 04 726f6f74
    8098 04 6c696e6b 000500 ffa10000 05 612e747874
    8098 03 737562 000010 ed410000
    a098 05 612e747874 000c00 e715cd5b a4810000
    00 00";

fn push_entries() -> Vec<FileEntry> {
    let time = 0x6593_7d25;
    let mut root = entry(".", 0o040_755, 4096, (time, 0));
    root.dir_kind = DirKind::Top;
    let mut link = entry("link", 0o120_777, 5, (time, 0));
    link.extra_mut().link = Some((*b"a.txt").into());
    let sub = entry("sub", 0o040_755, 4096, (time, 0));
    let file = entry("a.txt", 0o100_644, 12, (time, 123_456_789));
    vec![root, link, sub, file]
}

#[test]
fn a_list_has_the_recorded_bytes() {
    let bytes = encode(ARCHIVE, &mut push_entries(), IoErrors::default());
    assert_eq!(bytes, hex(PUSH)[..]);
    let list = decode(ARCHIVE, &bytes).unwrap().unwrap();
    let [root, link, sub, file] = push_entries().try_into().unwrap();
    assert_eq!(entries(&list), [root, file, link, sub]);
    assert_eq!(list.names.users, [(0, (*b"root").into())]);
    assert_eq!(list.names.groups, [(0, (*b"root").into())]);
    assert_eq!(list.parent().unwrap().path.to_vec(), b".");
    let order: Vec<_> = list.entries().map(|(_, entry)| entry.tag).collect();
    assert_eq!(order, [1, 4, 2, 3], "as they came");
}

#[test]
fn a_list_is_the_same_wherever_it_is_cut() {
    let bytes = hex(PUSH);
    let whole = entries(&decode(ARCHIVE, &bytes).unwrap().unwrap());
    for cut in 0..bytes.len() {
        let mut decoder = decoder(ARCHIVE);
        let mut input = BytesMut::from(&bytes[..cut]);
        assert!(decoder.poll(&mut input).unwrap().is_none(), "cut at {cut}");
        input.extend_from_slice(&bytes[cut..]);
        let list = decoder.poll(&mut input).unwrap().unwrap();
        assert_eq!(entries(&list), whole, "cut at {cut}");
        assert_eq!(list.names.users.len(), 1, "cut at {cut}");
    }
}

/// The beginning of a pull `-aHAX` between two rsyncs 3.5.0, the S stream of the first list.
const PULL: &str = "
    ac01 01 2e 000010 6b93a602 eff385de ed410000 00 04 726f6f74 00 04 726f6f74
        0000 0000 0000
    a09a 02 6432 000010 f0a4e11c1c 01 01
        00 02 0a 01 747275737465642e7400 78
        0a 64 757365722e6c6f6e6700 10bcd9513482f3ba7350ddb862462d0d
    a0ba 01 01 31 000010 f0a8286e10 01 00 1f 07050705 01 90e1 1f 05 7473796e63 01
    b298 02 6631 000400 ef0b34c2 bc810000
        00 12 04 02 90e1 1e a2b8 14
        00 01 0b 03 757365722e73686f727400 616263
    a2ba 01 01 32 04 02 03
    00 00";

fn pull_format() -> Format {
    Format {
        hard_links: true,
        acls: true,
        xattrs: true,
        ..ARCHIVE
    }
}

fn named(is_user: bool, id: u32, perms: u8) -> AclEntry {
    AclEntry { is_user, id, perms }
}

#[test]
fn acls_xattrs_and_hard_links_have_the_recorded_bytes() {
    let list = decode(pull_format(), &hex(PULL)).unwrap().unwrap();
    let read = entries(&list);
    let paths: Vec<_> = read.iter().map(|entry| entry.path.to_vec()).collect();
    assert_eq!(paths, [&b"."[..], b"f1", b"f2", b"d1", b"d2"]);
    let [root, f1, f2, d1, d2] = &read[..] else {
        panic!("five entries");
    };
    let of_file = Acl {
        group_obj: Some(4),
        named: vec![named(true, 4321, 7), named(false, 8888, 5)],
        ..Acl::default()
    };
    assert_eq!(f1.acl.as_deref(), Some(&of_file));
    assert_eq!(f2.acl.as_deref(), Some(&of_file));
    let of_new_files = Acl {
        user_obj: Some(7),
        group_obj: Some(5),
        mask: Some(7),
        other: Some(5),
        named: vec![named(true, 4321, 7)],
    };
    assert_eq!(d1.extra().default_acl.as_deref(), Some(&of_new_files));
    assert_eq!(d2.extra().default_acl, None);
    let digest = hex("10bcd9513482f3ba7350ddb862462d0d").try_into().unwrap();
    let of_d2 = XattrSet::new(vec![
        Xattr::short(b"trusted.t", b"x"),
        Xattr::long(b"user.long", 100, digest),
    ]);
    assert_eq!(d2.xattrs.as_deref(), Some(&of_d2));
    assert_eq!(root.xattrs.as_deref(), Some(&XattrSet::default()));
    let group = |first| Some(HardLink { group: 4, first });
    assert_eq!(f1.extra().hard_link, group(true));
    assert_eq!(f2.extra().hard_link, group(false));
    assert_eq!((f2.len, f2.mode, f2.mtime), (f1.len, f1.mode, f1.mtime));
    assert_eq!(list.names.users.len(), 2, "root, and tsync in an ACL");

    let mut encoder = FlistEncoder::new(pull_format());
    let mut out = BytesMut::new();
    encoder.begin(index(1));
    let inode = Inode {
        device: 1,
        number: 2,
        names: Some(2),
    };
    for (entry, inode) in [
        (root, None),
        (d2, None),
        (d1, None),
        (f1, Some(inode)),
        (f2, Some(inode)),
    ] {
        encoder.put(&mut out, &mut entry.clone(), inode, &mut Known);
    }
    encoder.end(&mut out, IoErrors::default(), &mut Known);
    assert_eq!(out, hex(PULL)[..]);
}

#[test]
fn attributes_are_the_same_wherever_they_are_cut() {
    let bytes = hex(PULL);
    let whole = entries(&decode(pull_format(), &bytes).unwrap().unwrap());
    for cut in 0..bytes.len() {
        let mut decoder = decoder(pull_format());
        let mut input = BytesMut::from(&bytes[..cut]);
        assert!(decoder.poll(&mut input).unwrap().is_none(), "cut at {cut}");
        input.extend_from_slice(&bytes[cut..]);
        let list = decoder.poll(&mut input).unwrap().unwrap();
        assert_eq!(entries(&list), whole, "cut at {cut}");
    }
}

#[test]
fn equal_attributes_are_held_once() {
    let acl = || {
        Some(Arc::new(Acl {
            mask: Some(5),
            ..Acl::default()
        }))
    };
    let set = || Some(Arc::new(XattrSet::new(vec![Xattr::short(b"user.a", b"1")])));
    let mut sent: Vec<_> = ["a", "b"]
        .map(|path| {
            let mut entry = entry(path, 0o100_644, 0, (1, 0));
            (entry.acl, entry.xattrs) = (acl(), set());
            entry
        })
        .into();
    let bytes = encode(pull_format(), &mut sent, IoErrors::default());
    let received = entries(&decode(pull_format(), &bytes).unwrap().unwrap());
    for [a, b] in [sent, received].map(|entries| <[_; 2]>::try_from(entries).unwrap()) {
        assert!(Arc::ptr_eq(
            a.acl.as_ref().unwrap(),
            b.acl.as_ref().unwrap()
        ));
        assert!(Arc::ptr_eq(
            a.xattrs.as_ref().unwrap(),
            b.xattrs.as_ref().unwrap()
        ));
    }
}

/// Hard links in the recorded order, `-aH --files-from`, three times: an entry that stands for
/// another changes what the next one is compared with.
#[test]
fn abbreviated_entries_are_what_the_next_is_compared_with() {
    let format = Format {
        hard_links: true,
        incremental: false,
        relative: true,
        ..ARCHIVE
    };
    let files = "
        9200 02 6631 000400 5e00e10b a4810000 00 00
        10 01 78 000200 5f0066ee ed810000 84d2
        8210 02 6632 00
        809a 01 79 000200
        00 00 00 04 726f6f74 00 04 726f6f74";
    let list = decode(format, &hex(files)).unwrap().unwrap();
    let read = entries(&list);
    let y = read.iter().find(|entry| entry.path.base() == b"y").unwrap();
    assert_eq!((y.mode, y.mtime.secs(), y.uid), (0o100_644, 0x5e0b_e100, 0));
    let devices = "
        9200 01 61 000000 5e00e10b a4210000 00 00 05 01
        809a 01 62 000000 07 01
        829a 01 63 00
        819a 01 64 000000 02
        00 00 00 04 726f6f74 00 04 726f6f74";
    let list = decode(format, &hex(devices)).unwrap().unwrap();
    let numbers = |entry: &FileEntry| entry.extra().device.map(|it| (it.major, it.minor));
    let read: Vec<_> = entries(&list).iter().map(numbers).collect();
    assert_eq!(read, [(5, 1), (7, 1), (5, 1), (5, 2)].map(Some));
    let times = "
        9200 01 66 000200 5e00e10b a4810000 6180c9f9 00 00
        a01a 01 68 000200 6b903305 f04cdf7d18 60009618
        821a 01 67 00
        c01a60 01 69 000200 6b903305 f04cdf7d18
        00 00 00 04 726f6f74 00 04 726f6f74";
    let format = Format {
        atimes: true,
        ..format
    };
    let list = decode(format, &hex(times)).unwrap().unwrap();
    let times = entries(&list);
    let atimes: Vec<_> = times.iter().map(|entry| entry.extra().atime).collect();
    let (f, h) = (0x61f9_c980, 0x6018_9600);
    assert_eq!(atimes, [f, f, h, f].map(Some), "f, g, h, i");
}

#[test]
fn lists_of_old_peers_have_the_recorded_bytes() {
    // 3.1.3: flags are two bytes, and there are nanoseconds.
    let format = Format {
        varint_flags: false,
        id0_names: false,
        ..ARCHIVE
    };
    let mut root = entry(".", 0o040_755, 4096, (0x6b02_a971, 754_952_367));
    root.dir_kind = DirKind::Top;
    let with_filler = entry("x", 0o100_644, 1, (5, 0));
    let mut sent = [root, with_filler.clone()];
    // `-a` without owner and group leaves a file's flags empty when all differs.
    let bytes = encode(format, &mut sent, IoErrors::default());
    assert!(bytes.starts_with(&hex("052c 01 2e 000010 6b71a902")));
    let read = entries(&decode(format, &bytes).unwrap().unwrap());
    assert_eq!(read, sent);
    // 3.0.0: one byte, and neither owner nor time is the same as before.
    let bytes = hex("01 01 2e 000010 6b71a902 ed410000 00 00  98 05 622e747874 02e022 a4810000 00");
    let format = Format {
        numeric_ids: true,
        ..OLD
    };
    let list = decode(format, &bytes).unwrap().unwrap();
    let mut sent = entries(&list);
    assert_eq!(sent[1].len, 140_000);
    assert_eq!(encode(format, &mut sent, IoErrors::default()), bytes[..]);
}

#[test]
fn flags_are_never_the_end_of_the_list() {
    let plain = |path| {
        let mut plain = entry(path, 0o100_600, 0, (1, 0));
        (plain.uid, plain.gid) = (7, 7);
        plain
    };
    let mut dir = entry("d", 0o040_700, 0, (2, 0));
    (dir.uid, dir.gid) = (8, 8);
    for (format, first, second) in [
        (
            Format {
                varint_flags: true,
                ..ARCHIVE
            },
            &[4][..],
            &[4][..],
        ),
        (
            Format {
                varint_flags: false,
                ..ARCHIVE
            },
            &[1],
            &[4, 0],
        ),
    ] {
        let mut sent = [plain("a"), dir.clone()];
        let bytes = encode(format, &mut sent, IoErrors::default());
        assert!(bytes.starts_with(first));
        let tail = &bytes[bytes.len() - 1 - usize::from(format.varint_flags)..];
        assert!(tail.iter().all(|&byte| byte == 0));
        let at = bytes.windows(2).position(|pair| pair == [1, b'd']).unwrap();
        assert!(bytes[..at].ends_with(second));
        assert_eq!(entries(&decode(format, &bytes).unwrap().unwrap()), sent);
    }
}

#[test]
fn errors_stand_at_the_end_of_a_list_where_they_may() {
    let byte_flags = Format {
        varint_flags: false,
        ..ARCHIVE
    };
    for (format, errors, end, told) in [
        (ARCHIVE, 0, &b"\0\0"[..], true),
        (ARCHIVE, 3, b"\0\x03", true),
        (byte_flags, 0, b"\0", true),
        (byte_flags, 3, b"\x04\x10\x03", true),
        (OLD, 0, b"\0", true),
        (OLD, 3, b"\0", false),
    ] {
        let mut out = BytesMut::new();
        let errors = IoErrors::from_wire(errors);
        let is_told = FlistEncoder::new(format).end(&mut out, errors, &mut Known);
        assert_eq!((&out[..], is_told), (end, told));
        let read = decode(format, &out).unwrap().unwrap().errors;
        assert_eq!(read, if told { errors } else { IoErrors::default() });
    }
}

#[test]
fn errors_at_the_end_are_cut_to_those_that_have_a_meaning() {
    let list = decode(ARCHIVE, &hex("00 80ff")).unwrap().unwrap();
    assert_eq!(list.errors.bits(), 7);
}

#[test]
fn tables_of_names_stand_behind_lists_that_are_not_incremental() {
    let format = Format {
        incremental: false,
        ..ARCHIVE
    };
    let mut file = entry("f", 0o100_644, 0, (1, 0));
    (file.uid, file.gid) = (4321, 4321);
    let bytes = encode(format, &mut [file], IoErrors::default());
    let tables = hex("0000 90e1 05 7473796e63 00 04 726f6f74 90e1 05 7473796e63 00 04 726f6f74");
    assert!(bytes.ends_with(&tables));
    let names = decode(format, &bytes).unwrap().unwrap().names;
    let both: Vec<(u32, Box<[u8]>)> = vec![(4321, (*b"tsync").into()), (0, (*b"root").into())];
    assert_eq!((names.users, names.groups), (both.clone(), both));
}

#[test]
fn tables_are_there_only_for_what_is_kept() {
    let format = Format {
        incremental: false,
        ..ARCHIVE
    };
    for (format, tables) in [
        (
            Format {
                numeric_ids: true,
                ..format
            },
            0,
        ),
        (
            Format {
                owner: false,
                ..format
            },
            1,
        ),
        (
            Format {
                group: false,
                ..format
            },
            1,
        ),
        (
            Format {
                owner: false,
                group: false,
                ..format
            },
            0,
        ),
        (
            Format {
                owner: false,
                group: false,
                acls: true,
                ..format
            },
            2,
        ),
        (
            Format {
                incremental: true,
                ..format
            },
            0,
        ),
    ] {
        let end = encode(format, &mut [], IoErrors::default());
        assert_eq!(end.len(), 2 + tables * hex("00 04 726f6f74").len());
        assert!(decode(format, &end).unwrap().is_some());
    }
}

/// A connection's lists, one after the other, as a sender writes and a receiver reads them.
fn exchange(format: Format, trees: Vec<Vec<FileEntry>>) -> Vec<Vec<FileEntry>> {
    let (mut encoder, mut decoder) = (
        FlistEncoder::new(format),
        FlistDecoder::new(format, Budget::default()),
    );
    let mut start = format.first_index();
    let mut received = Vec::new();
    let mut dir: Option<ListDir> = None;
    let mut table = Directories::default();
    for mut entries_sent in trees {
        let mut out = BytesMut::new();
        encoder.begin(start);
        for entry in &mut entries_sent {
            encoder.put(&mut out, entry, None, &mut Known);
        }
        encoder.end(&mut out, IoErrors::default(), &mut Known);
        decoder.begin(start, dir);
        let list = decoder.poll(&mut out).unwrap().unwrap();
        table.add(&list, &mut Budget::default()).unwrap();
        start = index(list.range().end + 1);
        received.push(entries(&list));
        dir = table
            .take(DirIndex::new(1).unwrap(), &mut Budget::default())
            .ok();
    }
    received
}

#[test]
fn what_is_remembered_lasts_for_all_lists() {
    let of = |path: &str, mode| {
        let mut entry = entry(path, mode, 1, (7, 9));
        (entry.uid, entry.gid) = (4321, 1);
        entry
    };
    let trees = vec![
        vec![of(".", 0o040_755), of("d", 0o040_755)],
        vec![of("d/a", 0o100_600), of("d/b", 0o100_600)],
    ];
    assert_eq!(exchange(ARCHIVE, trees.clone()), trees);
}

#[test]
fn a_later_list_refers_to_hard_links_of_earlier_ones_with_all_fields() {
    let format = pull_format();
    let (mut encoder, mut decoder) = (
        FlistEncoder::new(format),
        FlistDecoder::new(format, Budget::default()),
    );
    let inode = Some(Inode {
        device: 1,
        number: 1,
        names: None,
    });
    let mut out = BytesMut::new();
    encoder.begin(index(1));
    let mut dir = entry("d", 0o040_755, 0, (1, 0));
    encoder.put(&mut out, &mut dir, None, &mut Known);
    let mut first = entry("z", 0o100_644, 3, (1, 0));
    encoder.put(&mut out, &mut first, inode, &mut Known);
    encoder.end(&mut out, IoErrors::default(), &mut Known);
    decoder.begin(index(1), None);
    let list = decoder.poll(&mut out).unwrap().unwrap();
    let mut table = Directories::default();
    table.add(&list, &mut Budget::default()).unwrap();

    encoder.begin(index(4));
    let mut second = entry("d/y", 0o100_644, 3, (1, 0));
    encoder.put(&mut out, &mut second, inode, &mut Known);
    encoder.end(&mut out, IoErrors::default(), &mut Known);
    assert_eq!(
        &out[..2],
        hex("829a"),
        "no time, no mode: they are the same"
    );
    decoder.begin(
        index(4),
        table
            .take(DirIndex::new(0).unwrap(), &mut Budget::default())
            .ok(),
    );
    let list = decoder.poll(&mut out).unwrap().unwrap();
    let link = list.get(index(4)).unwrap().extra().hard_link;
    let group = 2;
    assert_eq!(
        link,
        Some(HardLink {
            group,
            first: false
        })
    );
    assert_eq!(list.get(index(4)).unwrap().len, 3);
}

/// What is sent of files without owners.
const NUMERIC: Format = Format {
    numeric_ids: true,
    owner: false,
    group: false,
    ..ARCHIVE
};

/// Each of these lists is refused: what is wrong with it, and its bytes. Tables of names have no place in
/// them; every one fails before.
#[track_caller]
fn refused(format: Format, cases: &[(&str, &str)]) {
    for (what, bytes) in cases {
        let read = decode(format, &hex(bytes));
        assert!(read.is_err(), "{what}: {read:?}");
    }
}

// 0x18: no owner; 3-byte length, 4-byte time, mode.

#[test]
fn paths_that_no_peer_may_send_are_refused() {
    refused(
        NUMERIC,
        &[
            ("an empty path", "18 00 000000 00000000 a4810000"),
            (
                "a path with an empty name",
                "18 04 612f2f62 000000 00000000 a4810000",
            ),
            (
                "a path that ends in a slash",
                "18 02 612f 000000 00000000 ed410000",
            ),
            (
                "a path that leads up",
                "18 02 2e2e 000000 00000000 ed410000",
            ),
            (
                "a path that leads up below",
                "18 04 612f2e2e 000000 00000000 ed410000",
            ),
            (
                "a path with a dot below",
                "18 03 612f2e 000000 00000000 ed410000",
            ),
            (
                "a path that begins with a dot",
                "18 03 2e2f61 000000 00000000 ed410000",
            ),
            (
                "an absolute path without -R",
                "18 02 2f61 000000 00000000 a4810000",
            ),
            ("a NUL in a path", "18 03 610062 000000 00000000 a4810000"),
            ("a long path", "58 9000"),
            (
                "more shared than there is",
                "38 01 01 61 000000 00000000 a4810000",
            ),
            (
                "a root that is no directory",
                "18 01 2e 000000 00000000 a4810000",
            ),
            (
                "an entry of no directory",
                "18 03 612f62 000000 00000000 a4810000 0000",
            ),
            (
                "an entry of a file",
                "18 01 61 000000 00000000 a4810000 809a 03 612f62 000000 0000",
            ),
        ],
    );
}

#[test]
fn numbers_that_no_peer_may_send_are_refused() {
    refused(
        NUMERIC,
        &[
            (
                "a negative length",
                "18 01 61 fcffffffffffffffff 00000000 a4810000",
            ),
            ("a time of too many bits", "18 01 61 000000 fc"),
            ("a mode of no kind", "18 01 61 000000 00000000 a4010000"),
            (
                "a mode of an unknown kind",
                "18 01 61 000000 00000000 a4f10000",
            ),
            ("a mode with high bits", "18 01 61 000000 00000000 a4810100"),
            (
                "no mode without --delete-missing-args",
                "18 01 61 000000 00000000 00000000",
            ),
            (
                "a second of nanoseconds",
                "a018 01 61 000000 00000000 fb9aca00",
            ),
            (
                "negative nanoseconds",
                "a018 01 61 000000 00000000 f0ffffffff",
            ),
            ("unknown flags", "c11800 01 61 000000 00000000 a4810000"),
            ("flags of too many bits", "f8"),
        ],
    );
    let nanos_at_30 = Format {
        numeric_ids: true,
        ..OLD
    };
    refused(
        nanos_at_30,
        &[(
            "nanoseconds at protocol 30",
            "0520 01 61 000000 00000000 00 a4810000",
        )],
    );
}

#[test]
fn targets_that_no_peer_may_send_are_refused() {
    refused(
        NUMERIC,
        &[
            ("an empty target", "18 01 61 000000 00000000 ffa10000 00"),
            ("a long target", "18 01 61 000000 00000000 ffa10000 9000"),
            (
                "a negative target",
                "18 01 61 000000 00000000 ffa10000 f0ffffffff",
            ),
        ],
    );
}

#[test]
fn hard_links_that_no_peer_may_send_are_refused() {
    let kept = Format {
        hard_links: true,
        ..NUMERIC
    };
    refused(
        kept,
        &[
            (
                "a hard link to nothing",
                "8218 01 61 00 000000 00000000 a4810000",
            ),
            (
                "a hard link to itself",
                "8218 01 61 01 000000 00000000 a4810000",
            ),
            (
                "a hard link to no first",
                "18 01 61 000000 00000000 a4810000 8298 01 62 01",
            ),
            (
                "a hard link to a later entry",
                "9218 01 61 000000 00000000 a4810000 8298 01 62 02",
            ),
            (
                "a negative hard link",
                "8218 01 61 f0ffffffff 000000 00000000 a4810000",
            ),
            (
                "a first that is no link",
                "9018 01 61 000000 00000000 a4810000",
            ),
            (
                "a directory that is a hard link",
                "9218 01 61 000000 00000000 ed410000",
            ),
        ],
    );
    refused(
        NUMERIC,
        &[(
            "a hard link without -H",
            "9218 01 61 000000 00000000 a4810000",
        )],
    );
}

#[test]
fn acls_that_no_peer_may_send_are_refused() {
    let kept = Format {
        acls: true,
        ..NUMERIC
    };
    refused(
        kept,
        &[
            (
                "an ACL that was never sent",
                "18 01 61 000000 00000000 a4810000 01",
            ),
            (
                "an ACL of the other kind",
                "18 01 61 000000 00000000 ed410000 0000 01",
            ),
            (
                "a negative ACL",
                "18 01 61 000000 00000000 a4810000 f0ffffffff",
            ),
            (
                "an ACL with unknown parts",
                "18 01 61 000000 00000000 a4810000 0020",
            ),
            (
                "permissions above 7",
                "18 01 61 000000 00000000 a4810000 000108",
            ),
            (
                "permissions above 7 of a user",
                "18 01 61 000000 00000000 a4810000 0010010722",
            ),
            (
                "too many users",
                "18 01 61 000000 00000000 a4810000 0010c10001",
            ),
            (
                "a negative number of users",
                "18 01 61 000000 00000000 a4810000 0010f0ffffffff",
            ),
        ],
    );
}

#[test]
fn attributes_that_no_peer_may_send_are_refused() {
    let kept = Format {
        xattrs: true,
        ..NUMERIC
    };
    refused(
        kept,
        &[
            (
                "attributes that were never sent",
                "18 01 61 000000 00000000 a4810000 01",
            ),
            (
                "too many attributes",
                "18 01 61 000000 00000000 a4810000 00c10001",
            ),
            (
                "an attribute without a name",
                "18 01 61 000000 00000000 a4810000 00010100 00",
            ),
            (
                "a name without its NUL",
                "18 01 61 000000 00000000 a4810000 00010200 6162",
            ),
            (
                "a name with a NUL within",
                "18 01 61 000000 00000000 a4810000 00010400 61006200",
            ),
            (
                "a name of no bytes",
                "18 01 61 000000 00000000 a4810000 00010000",
            ),
            (
                "a long name",
                "18 01 61 000000 00000000 a4810000 0001900101",
            ),
            (
                "a huge value",
                "18 01 61 000000 00000000 a4810000 000102e8000001",
            ),
            (
                "a negative value",
                "18 01 61 000000 00000000 a4810000 000102f0ffffffff",
            ),
        ],
    );
}

#[test]
fn values_that_are_too_much_together_are_refused() {
    let xattrs = Format {
        xattrs: true,
        numeric_ids: true,
        ..ARCHIVE
    };
    // 128 MiB each: four are as much as may be, and their digests are all that is there.
    let value = |name| format!("02 e8000000 {name}00 {}", "00".repeat(16));
    let entry = |count: u8| {
        let values: String = (0..count).map(|n| value(61 + n)).collect();
        format!("18 01 61 000000 00000000 a4810000 00 {count:02x} {values} 0000")
    };
    assert!(decode(xattrs, &hex(&entry(4))).is_ok());
    assert!(matches!(
        decode(xattrs, &hex(&entry(5))),
        Err(WireError::Limit(_))
    ));
}

#[test]
fn what_was_agreed_on_decides_the_fields() {
    let setup = |protocol, bits| Setup {
        protocol: ProtocolVersion::new(protocol).unwrap(),
        compat: CompatFlags::from_bits(bits),
        checksum: barge_delta::Checksum::Xxh128,
        list_checksum: barge_delta::Checksum::Sha1,
        compression: crate::wire::token::Compression::None,
        seed: 0,
    };
    let options = Options {
        owner: true,
        xattrs: 2,
        checksum: true,
        relative: true,
        ..Options::default()
    };
    let new = |protocol, bits| Format::new(&options, &setup(protocol, bits));
    let format = new(32, 0x1ff);
    assert!(format.incremental && format.safe_end && format.varint_flags && format.id0_names);
    assert!(format.owner && !format.group && format.xattrs && !format.xattr_optim);
    assert!(format.relative && !format.acls);
    assert_eq!(format.checksum_len, Some(20));
    assert_eq!(format.first_index(), index(1));
    // What rsync 3.1.0 and 3.0.0 agree on.
    let format = new(31, 0x06);
    assert!(!format.incremental && format.safe_end && !format.varint_flags && format.xattr_optim);
    assert_eq!(format.first_index(), index(0));
    let format = new(30, 0x07);
    assert!(format.incremental && !format.safe_end && !format.xattr_optim);
}

#[test]
fn lists_of_a_directory_have_its_children_only() {
    let dir = ListDir {
        index: DirIndex::new(1).unwrap(),
        entry: Arc::new(entry("d", 0o040_755, 0, (1, 0))),
    };
    for (path, good) in [
        ("d/a", true),
        ("a", false),
        ("d", false),
        (".", false),
        ("d/a/b", false),
        ("e/a", false),
        ("dd/a", false),
    ] {
        let bytes = encode(
            ARCHIVE,
            &mut [entry(path, 0o040_755, 0, (1, 0))],
            IoErrors::default(),
        );
        let mut decoder = FlistDecoder::new(ARCHIVE, Budget::default());
        decoder.begin(index(9), Some(dir.clone()));
        let read = decoder.poll(&mut BytesMut::from(&bytes[..]));
        assert_eq!(read.is_ok(), good, "{path}");
    }
}

#[test]
fn absolute_paths_and_missing_entries_need_their_options() {
    let relative = Format {
        relative: true,
        no_implied_dirs: true,
        missing_args: true,
        ..ARCHIVE
    };
    let mut sent = vec![
        entry("x/y", 0, 0, (0, 0)),
        entry("/etc/passwd", 0o100_644, 5, (1, 0)),
    ];
    let bytes = encode(relative, &mut sent, IoErrors::default());
    let list = decode(relative, &bytes).unwrap().unwrap();
    assert_eq!(list.len(), 2);
    assert!(
        decode(
            Format {
                relative: false,
                ..relative
            },
            &bytes
        )
        .is_err()
    );
    assert!(
        decode(
            Format {
                missing_args: false,
                ..relative
            },
            &bytes
        )
        .is_err()
    );
    assert!(
        decode(
            Format {
                no_implied_dirs: false,
                ..relative
            },
            &bytes
        )
        .is_err()
    );
}

#[test]
fn the_root_of_the_host_is_that_of_the_transfer() {
    let relative = Format {
        relative: true,
        numeric_ids: true,
        ..ARCHIVE
    };
    // `rsync -dR /`, recorded: `/.`, then `/etc`.
    let bytes = hex("19 02 2f2e 000010 6b7f3405 ed410000  3b 01 03 657463 000010 6b782a05 0000");
    let list = decode(relative, &bytes).unwrap().unwrap();
    let paths: Vec<_> = entries(&list)
        .iter()
        .map(|entry| entry.path.to_vec())
        .collect();
    assert_eq!(paths, [&b"."[..], b"/etc"]);
    assert!(list.parent().is_some());
    let not_relative = Format {
        relative: false,
        ..relative
    };
    assert!(decode(not_relative, &bytes).is_err());
}

#[test]
fn indexes_of_lists_do_not_overflow() {
    let mut decoder = FlistDecoder::new(ARCHIVE, Budget::default());
    decoder.begin(index(i32::MAX as u32 - 1), None);
    let bytes = encode(ARCHIVE, &mut push_entries(), IoErrors::default());
    assert!(decoder.poll(&mut BytesMut::from(&bytes[..])).is_err());
}

fn arbitrary_entry() -> impl Strategy<Value = FileEntry> {
    let kinds = prop::sample::select(vec![
        0o100_000, 0o040_000, 0o120_000, 0o020_000, 0o060_000, 0o010_000, 0o140_000,
    ]);
    let attributes = (
        any::<u64>(),
        any::<i64>(),
        0..1_000_000_000u32,
        any::<u32>(),
        0..5u32,
    );
    let rest = (
        any::<i64>(),
        any::<u32>(),
        any::<u32>(),
        0..4u8,
        any::<Option<u8>>(),
    );
    (
        "[a-c]{1,3}|[d-f]{250,300}",
        kinds,
        0..0o10000u32,
        attributes,
        rest,
    )
        .prop_map(
            |(
                name,
                kind,
                perms,
                (len, secs, nanos, uid, gid),
                (atime, major, minor, dir, seed),
            )| {
                let mut it = entry(&name, kind | perms, len >> 1, (secs, nanos));
                (it.uid, it.gid) = (uid, gid);
                if it.is_dir() {
                    use DirKind::{Content, Implied, NoContent, Top};
                    it.dir_kind = [Content, Top, Implied, NoContent][usize::from(dir)];
                } else {
                    it.extra_mut().atime = Some(atime);
                }
                if it.is_symlink() {
                    it.extra_mut().link = Some(name.as_bytes().into());
                }
                if it.is_device() {
                    it.extra_mut().device = Some(Device { major, minor });
                }
                if it.is_file() {
                    it.extra_mut().checksum = Some(vec![dir; 16].into());
                }
                if let Some(seed) = seed.filter(|_| !it.is_symlink()) {
                    let named = (0..seed % 4).map(|id| named(id < 2, id.into(), seed & 7));
                    it.acl = Some(Arc::new(Acl {
                        mask: Some(seed & 7),
                        named: named.collect(),
                        ..Acl::default()
                    }));
                    let attr = |at: u8| match at % 2 {
                        0 => Xattr::short(&[b'a' + at], &vec![seed; usize::from(seed % 33)]),
                        _ => Xattr::long(&[b'a' + at], 33 + u32::from(seed), [seed; 16]),
                    };
                    it.xattrs = Some(Arc::new(XattrSet::new((0..seed % 5).map(attr).collect())));
                }
                it
            },
        )
}

/// What the other end has of an entry that had no attributes at all.
fn with_empty_attributes(mut entry: FileEntry) -> FileEntry {
    entry.xattrs.get_or_insert_default();
    if !entry.is_symlink() {
        entry.acl.get_or_insert_default();
    }
    entry
}

proptest! {
    #[test]
    fn entries_come_back_as_they_went(
        mut sent in prop::collection::vec(arbitrary_entry(), 0..8),
        incremental: bool, varint_flags: bool, errors in 0..8,
    ) {
        let format = Format {
            incremental,
            varint_flags,
            acls: true,
            xattrs: true,
            atimes: true,
            checksum_len: Some(16),
            ..ARCHIVE
        };
        let mut paths = HashSet::new();
        sent.retain(|entry| paths.insert(entry.path.to_vec()));
        let bytes = encode(format, &mut sent, IoErrors::from_wire(errors));
        let list = decode(format, &bytes).unwrap().unwrap();
        let mut expected: Vec<_> = sent.into_iter().map(with_empty_attributes).collect();
        expected.sort_by(crate::wire::sort::compare);
        prop_assert_eq!(entries(&list), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes: Vec<u8>, varint_flags: bool, incremental: bool, all: bool, old: bool,
    ) {
        let format = Format {
            varint_flags,
            incremental,
            hard_links: all,
            acls: all,
            xattrs: all,
            atimes: all,
            crtimes: all,
            relative: all,
            missing_args: all,
            checksum_len: all.then_some(16),
            ..if old { OLD } else { ARCHIVE }
        };
        let _ = decoder(format).poll(&mut BytesMut::from(&bytes[..]));
    }
}

#[test]
fn an_inode_is_remembered_until_its_last_name() {
    let format = pull_format();
    let mut encoder = FlistEncoder::new(format);
    let mut out = BytesMut::new();
    encoder.begin(index(1));
    let mut group_of = |number, names| {
        let inode = Inode {
            device: 1,
            number,
            names,
        };
        let mut name = entry("x", 0o100_644, 0, (1, 0));
        encoder.put(&mut out, &mut name, Some(inode), &mut Known);
        let link = name.extra().hard_link.unwrap();
        (link.group, link.first)
    };
    assert_eq!(group_of(7, Some(2)), (1, true));
    assert_eq!(group_of(8, None), (2, true));
    assert_eq!(group_of(7, Some(3)), (1, false));
    assert_eq!(group_of(8, None), (2, false));
    // The number was given to another file.
    assert_eq!(group_of(7, Some(2)), (5, true));
    assert_eq!(group_of(8, None), (2, false));
}

#[test]
fn lists_take_no_more_than_their_budget_wherever_it_is_spent() {
    let bytes = hex(PULL);
    let fails = |most| {
        let mut decoder = FlistDecoder::new(pull_format(), Budget::new(most));
        decoder.begin(index(1), None);
        decoder.poll(&mut BytesMut::from(&bytes[..])).is_err()
    };
    let enough = (0..10_000).step_by(8).find(|&most| !fails(most)).unwrap();
    assert!(enough > 500, "{enough}");
    assert!((0..enough).step_by(8).all(fails));
}
