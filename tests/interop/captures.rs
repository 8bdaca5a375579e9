//! Lines of rsync that unit tests of the program compare with: captured again and compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use barge_testkit::scratch::Scratch;

use crate::roles::stock_version;

/// Captures with `capture` and compares with the committed file, or writes it when
/// `INTEROP_CAPTURE` is set.
fn compare_captured(name: &str, capture: impl FnOnce(&Path) -> String) {
    match stock_version() {
        Some(version) if version == "3.5.0" => {}
        other => return eprintln!("skipped: needs rsync 3.5.0, found {other:?}"),
    }
    let scratch = Scratch::new().unwrap();
    let captured = capture(scratch.path());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/agent/tests/captured");
    let path = path.join(name);
    if std::env::var_os("INTEROP_CAPTURE").is_some() {
        return fs::write(path, captured).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    for (captured, committed) in captured.lines().zip(committed.lines()) {
        assert_eq!(captured, committed, "in {name}");
    }
    assert_eq!(
        captured.lines().count(),
        committed.lines().count(),
        "{name}"
    );
}

fn rsync(locale: &str, options: &[&str], args: &[&OsStr], place: &Path) -> Vec<u8> {
    let output = Command::new("rsync")
        .args(options)
        .args(args)
        .current_dir(place)
        .envs([("LC_ALL", locale), ("TZ", "UTC")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn numbers_are_those_captured() {
    compare_captured("numbers.txt", |place| {
        for size in SIZES {
            let file = File::create(place.join(format!("{size:020}"))).unwrap();
            file.set_len(*size).unwrap();
        }
        let columns = [["--no-h"].as_slice(), &[], &["-h"], &["-hh"]].map(|options| {
            let listed = rsync(
                "C",
                &[&["--list-only"], options].concat(),
                &["./".as_ref()],
                place,
            );
            let listed = String::from_utf8(listed).unwrap();
            let lines = listed.lines().skip(1);
            let sizes = lines.map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
            sizes.collect::<Vec<_>>()
        });
        let lines =
            (0..SIZES.len()).map(|n| columns.each_ref().map(|c| c[n].clone()).join(" ") + "\n");
        lines.collect()
    });
}

const SIZES: &[u64] = &[
    0,
    1,
    99,
    999,
    1000,
    1004,
    1005,
    1006,
    1023,
    1024,
    1025,
    1029,
    1030,
    9994,
    9995,
    9999,
    10_000,
    99_999,
    100_000,
    999_949,
    999_994,
    999_995,
    999_999,
    1_000_000,
    1_048_570,
    1_048_571,
    1_048_575,
    1_048_576,
    1_234_567,
    999_999_999,
    1_000_000_000,
    1_073_741_823,
    1_073_741_824,
    999_999_999_999,
    1_000_000_000_000,
    1_099_511_627_775,
    1_099_511_627_776,
    999_999_999_999_999,
    1_000_000_000_000_000,
    1_125_899_906_842_624,
    1_000_000_000_000_000_000,
    1_152_921_504_606_846_976,
    9_223_372_036_854_771_712,
];

/// How names look in the locales C and C.UTF-8, with `-8`, and in a log file: the name and these
/// four, a line each, between tabs and escaped as Rust escapes bytes.
#[test]
fn names_are_those_captured() {
    compare_captured("names.txt", |place| {
        let source = place.join("source");
        fs::create_dir(&source).unwrap();
        let all = names();
        for name in &all {
            File::create(source.join(OsStr::from_bytes(name))).unwrap();
        }
        let mut shown = Vec::new();
        for (locale, more) in [("C", ""), ("C.UTF-8", ""), ("C", "-8")] {
            let options = ["--list-only", more]
                .into_iter()
                .filter(|option| !option.is_empty());
            let options: Vec<&str> = options.collect();
            let listed = rsync(locale, &options, &["source/".as_ref()], place);
            shown.push(by_line(&listed, LISTED));
        }
        rsync(
            "C.UTF-8",
            &["-a", "--log-file=log"],
            &["source/", "target"].map(OsStr::new),
            place,
        );
        let log = fs::read(place.join("log")).unwrap();
        let entries = log.split_inclusive(|&byte| byte == b'\n');
        let entries = entries.filter(|line| line.windows(4).any(|four| four == b" >f+"));
        shown.push(by_line(&entries.collect::<Vec<_>>().concat(), LOGGED));
        let lines = all.iter().enumerate().map(|(n, name)| {
            let mut columns = vec![name.escape_ascii().to_string()];
            columns.extend(shown.iter().map(|c| c[n].escape_ascii().to_string()));
            columns.join("\t") + "\n"
        });
        lines.collect()
    });
}

/// What stands behind the first bytes of each line, but for the directory's own.
fn by_line(text: &[u8], skip: Skip) -> Vec<Vec<u8>> {
    let lines = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    let names = lines.map(|line| skip(line).to_vec());
    names.filter(|name| name != b".").collect()
}

type Skip = fn(&[u8]) -> &[u8];
const LISTED: Skip = |line| &line["-rw-r--r--              0 2024/01/01 00:00:00 ".len()..];
const LOGGED: Skip = |line| {
    let at = line.windows(4).position(|four| four == b" >f+").unwrap();
    &line[at + " >f+++++++++ ".len()..]
};

/// In the order rsync lists them.
fn names() -> Vec<Vec<u8>> {
    let bytes = (1..=255)
        .filter(|byte| ![b'.', b'/'].contains(byte))
        .map(|byte| vec![byte]);
    let texts = [
        "\u{ad}",
        "\u{200b}",
        "\u{feff}",
        "\u{1f600}",
        "\u{e000}",
        "e\u{301}",
    ];
    let texts = texts.map(|text| [b"z", text.as_bytes()].concat());
    let escapes: [&[u8]; 8] = [
        b"\\#123",
        b"\\#12",
        b"\\x",
        b"\\\\#123",
        b"\\#abc",
        b"\\#1234",
        b"\\#999",
        b"\\#089",
    ];
    let escapes = escapes.map(|text| [b"z", text].concat());
    let broken: [&[u8]; 6] = [
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xe2\x82",
        b"a\xe2\x82b",
        b"\xff\xc3\xa9\xfe",
        b"\xc3\xa9\x01",
    ];
    let broken = broken.map(|text| [b"y", text].concat());
    let mut names: Vec<_> = bytes.chain(texts).chain(escapes).chain(broken).collect();
    names.sort();
    names
}

/// Lines of `--list-only` for every kind of entry and every odd mode.
#[test]
fn listings_are_those_captured() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    compare_captured("listing.txt", |place| {
        let made = place.join("made");
        make_kinds(&made);
        let listed = rsync("C", &["--list-only", "-l"], &["made/".as_ref()], place);
        let listed = String::from_utf8(listed).unwrap();
        // Sizes of directories are the file system's.
        let lines = listed
            .split_inclusive('\n')
            .filter(|line| !line.starts_with('d'));
        lines.collect()
    });
}

fn make_kinds(at: &Path) {
    use barge_testkit::tree::set_mtime;
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};

    fs::create_dir(at).unwrap();
    for mode in [
        0o0, 0o644, 0o1666, 0o1777, 0o2644, 0o2755, 0o4644, 0o4755, 0o7000, 0o7777,
    ] {
        let path = at.join(format!("{mode:04o}"));
        fs::write(&path, [b'x'; 1234]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    for (name, kind, device) in [
        ("block", SFlag::S_IFBLK, makedev(7, 200)),
        ("char", SFlag::S_IFCHR, makedev(1, 3)),
        ("fifo", SFlag::S_IFIFO, 0),
        ("socket", SFlag::S_IFSOCK, 0),
    ] {
        mknod(
            &at.join(name),
            kind,
            Mode::from_bits_truncate(0o640),
            device,
        )
        .unwrap();
    }
    std::os::unix::fs::symlink("target", at.join("link")).unwrap();
    let times: BTreeMap<&str, i64> = BTreeMap::from([
        ("0000", -1),
        ("0644", -2_000_000_000),
        ("zz", 4_000_000_000),
    ]);
    let names = fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    for name in names.map(|name| name.into_string().unwrap()) {
        let time = times.get(name.as_str()).copied().unwrap_or(1_234_567_890);
        set_mtime(&at.join(name), time, 999_999_999).unwrap();
    }
    fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
    set_mtime(at, 1_700_000_000, 0).unwrap();
}
