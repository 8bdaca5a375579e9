//! What a receiving side may not ask for.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use barge_delta::Checksum;
use barge_rsync::ProtocolVersion;
use barge_rsync::options::Options;
use barge_rsync::session::{CompatFlags, Setup};
use barge_rsync::wire::token::Compression;
use tempfile::TempDir;

use crate::filter::RuleList;
use crate::over_rsync::agreed::{Agreed, Base, Ended, ModuleBase, Moved};
use crate::over_rsync::{Connection, Event, Listener, pipe};

struct Silence;

impl Listener for Silence {
    fn event(&self, _: Event<'_>) {}
}

/// What is sent: a directory with a file, and one below; the root has index 0.
fn tree() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("dir")).unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    std::fs::write(folder.path().join("dir/below"), "more").unwrap();
    folder
}

fn agreed(connection: Connection, options: Options, base: Base, path: &str) -> Agreed {
    let flags = CompatFlags::INC_RECURSE | CompatFlags::VARINT_FLIST_FLAGS;
    Agreed {
        setup: Setup {
            protocol: ProtocolVersion::NEWEST,
            compat: flags | CompatFlags::SAFE_FLIST | CompatFlags::AVOID_XATTR_OPTIM,
            checksum: Checksum::Md5,
            list_checksum: Checksum::Md5,
            compression: Compression::None,
            seed: 1,
        },
        options,
        connection,
        moved: Moved::default(),
        listener: Arc::new(Silence),
        stderr: None,
        rules: RuleList::default(),
        base,
        paths: vec![PathBuf::from(path)],
        asked: None,
    }
}

fn options() -> Options {
    Options {
        sender: true,
        recursive: true,
        ..Options::default()
    }
}

/// Sends `tree` to a peer that says `bytes` and then nothing more. What became of the sender, and
/// all it said.
fn told(options: Options, bytes: &[u8]) -> (Ended, Vec<u8>) {
    let folder = tree();
    let (ours, theirs) = pipe();
    let path = format!("{}/", folder.path().display());
    let agreed = agreed(ours, options, Base::Working, &path);
    converse(agreed, theirs, bytes)
}

fn converse(agreed: Agreed, mut peer: Connection, bytes: &[u8]) -> (Ended, Vec<u8>) {
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| super::send(agreed));
        let mut said = Vec::new();
        // The lists first: what is asked for before they came would be out of turn.
        let mut buffer = [0; 4096];
        let patience = Some(Duration::from_millis(100));
        while let Ok(count @ 1..) = peer.input.read(&mut buffer, patience) {
            said.extend_from_slice(&buffer[..count]);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(count) = peer.output.write(&[IoSlice::new(rest)], None) else {
                break;
            };
            rest = &rest[count..];
        }
        peer.output.close().unwrap();
        while let Ok(count @ 1..) = peer.input.read(&mut buffer, None) {
            said.extend_from_slice(&buffer[..count]);
        }
        (sender.join().unwrap(), said)
    })
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8, 0, 0, 7], bytes].concat()
}

#[test]
fn what_no_receiving_side_may_say_ends_the_run_with_its_code() {
    let whole = [0; 16];
    let cases: &[(&str, Vec<u8>, u8)] = &[
        ("the end of the stream", vec![], 12),
        ("an index of no entry", data(&[0xfe, 0, 200, 0, 0]), 2),
        ("a file list", data(&[0xff, 0x65]), 2),
        (
            "the content of the root",
            data(&[&[1, 0, 0x80], &whole[..]].concat()),
            2,
        ),
        (
            "the content of a directory",
            data(&[&[4, 0, 0x80], &whole[..]].concat()),
            2,
        ),
        (
            "content after the end of transfers",
            data(&[&[0, 0, 0, 0, 3, 0, 0x80], &whole[..]].concat()),
            2,
        ),
        (
            "more block sums than there can be",
            data(&[
                3, 0, 0x80, 255, 255, 255, 127, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
            ]),
            2,
        ),
        (
            "block sums that never come",
            data(&[
                3, 0, 0x80, 255, 255, 255, 127, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0,
            ]),
            12,
        ),
        ("news of a safe file", vec![4, 0, 0, 0x6b, 2, 0, 0, 0], 2),
        (
            "a message of the sender's",
            vec![4, 0, 0, 0x6d, 2, 0, 0, 0],
            12,
        ),
        ("no frame", vec![1, 2, 3, 4, 5], 12),
    ];
    for (what, bytes, code) in cases {
        let (ended, _) = told(options(), bytes);
        assert_eq!(ended.code, *code, "{what}: {:?}", ended.failure);
    }
}

/// A receiving side may be through with the first list while the second is still scanned. All its
/// markers are on their way at once: two lists, redos, updates, deletions, the goodbye.
#[test]
fn list_is_not_done_before_the_next_is_sent() {
    let folder = tree();
    for n in 0..5000 {
        std::fs::write(folder.path().join(format!("dir/{n}")), "").unwrap();
    }
    for _ in 0..10 {
        let (ours, mut peer) = pipe();
        let path = format!("{}/", folder.path().display());
        let agreed = agreed(ours, options(), Base::Working, &path);
        let ended = std::thread::scope(|scope| {
            let sender = scope.spawn(|| super::send(agreed));
            let mut buffer = [0; 4096];
            peer.input.read(&mut buffer, None).unwrap();
            let markers = data(&[0; 6]);
            let count = peer.output.write(&[IoSlice::new(&markers)], None);
            assert_eq!(count.unwrap(), markers.len());
            // It has nothing more to say.
            peer.output.close().unwrap();
            while let Ok(1..) = peer.input.read(&mut buffer, None) {}
            sender.join().unwrap()
        });
        assert_eq!(ended.code, 0, "{:?}", ended.failure);
    }
}

#[test]
fn safe_file_that_is_none_is_refused_and_no_directory_is_removed() {
    let removing = Options {
        remove_source_files: true,
        ..options()
    };
    for (index, code) in [(99, 2), (5, 12), (3, 12)] {
        // The root, a directory's own index, a directory as an entry.
        let message = [&[4, 0, 0, 0x6b, index, 0, 0, 0][..], &data(&[0])].concat();
        let (ended, _) = told(removing.clone(), &message);
        assert_eq!(ended.code, code, "{index}: {:?}", ended.failure);
    }
}

#[test]
fn nothing_of_a_module_leads_out_of_it() {
    let outside = tree();
    let inside = tempfile::tempdir().unwrap();
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, inside.path().join(name)).unwrap();
    };
    link(&outside.path().join("file"), "link");
    link(outside.path(), "dir");
    let climbing = format!("../{}", outside.path().file_name().unwrap().display());
    link(climbing.as_ref(), "up");
    let following = Options {
        server: true,
        copy_links: true,
        ..options()
    };
    for path in [
        "",
        "dir/",
        "dir",
        "up/",
        "link",
        "../",
        "dir/../..",
        &climbing,
        "/../../etc",
    ] {
        let (ours, theirs) = pipe();
        let module = ModuleBase {
            name: "m".to_owned(),
            root: inside.path().to_owned(),
            ..ModuleBase::default()
        };
        let base = Base::Module(Arc::new(module));
        let agreed = agreed(ours, following.clone(), base, path);
        // No filter rules.
        let (_, said) = converse(agreed, theirs, &data(&[0; 4]));
        let names = [&b"below"[..], b"content", b"passwd", b"hosts"];
        let shows = |name: &[u8]| said.windows(name.len()).any(|part| part == name);
        let shown: Vec<_> = names.into_iter().filter(|name| shows(name)).collect();
        assert!(shown.is_empty(), "{path}: {}", said.escape_ascii());
    }
}
