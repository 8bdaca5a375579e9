//! What other programs read from `--version` and its kin.

use std::ffi::OsString;
use std::process;

use barge_rsync::options::{Command, parse};
use serde_json::Value;

use crate::capture::Stock;

#[test]
fn the_version_begins_as_stocks_and_names_barge() {
    for line in ["--version", "-V", "-nr -V s/ d/", "--server -V"] {
        let (text, to_stderr) = printed(line);
        assert!(text.starts_with("rsync  version 3.5.0  protocol version 32\nThis is barge "));
        assert!(
            text.contains("\nChecksum list:\n    xxh128 xxh3 xxh64 (xxhash) md5 md4 sha1 none\n")
        );
        assert!(text.contains("\nCompress list:\n    zstd lz4 zlibx zlib none\n"));
        assert_eq!(to_stderr, line.starts_with("--server"));
    }
}

#[test]
fn capabilities_say_what_the_flags_do() {
    for line in ["-VV", "-VVV", "-VV -h"] {
        let json: Value = serde_json::from_str(&printed(line).0).unwrap();
        assert_eq!(json["protocol"], "32.0");
        let can = &json["capabilities"];
        for (name, wanted) in [
            ("ACLs", true),
            ("xattrs", true),
            ("prealloc", true),
            ("iconv", false),
            ("batchfiles", false),
            ("stop_at", false),
            ("crtimes", false),
        ] {
            assert_eq!(can[name], wanted, "{name}");
        }
    }
}

#[test]
fn the_json_has_the_keys_of_the_installed_rsyncs() {
    let Some(_) = Stock::find() else {
        return;
    };
    let stock = process::Command::new("rsync")
        .arg("-VV")
        .output()
        .unwrap()
        .stdout;
    let stock: Value = serde_json::from_slice(&stock).unwrap();
    let ours: Value = serde_json::from_str(&printed("-VV").0).unwrap();
    for (key, value) in stock.as_object().unwrap() {
        if ["copyright", "url"].contains(&key.as_str()) {
            continue;
        }
        let of_ours = ours.get(key).expect(key);
        match value {
            Value::Object(stock) => {
                assert!(
                    stock.keys().eq(of_ours.as_object().unwrap().keys()),
                    "{key}"
                );
            }
            Value::Array(_) => assert_eq!(of_ours, value, "{key}"),
            _ => assert!(of_ours.is_string(), "{key}"),
        }
    }
}

#[test]
fn help_is_asked_for_in_several_ways_and_shown_in_a_terminals_width() {
    for line in [
        "--help",
        "-h",
        "-hh",
        "-hn",
        "--human-readable",
        "--help --nosuch",
        "--version --help",
    ] {
        let (text, _) = printed(line);
        assert!(text.starts_with("rsync  version "), "{line}");
        assert!(text.contains("\n--recursive, -r          recurse into directories\n"));
        assert!(!text.contains("\n--iconv"));
    }
    let (text, _) = printed("--daemon --help");
    assert!(text.contains("\n--no-detach              do not detach from the parent\n"));
    let (text, _) = printed("--info=help");
    assert!(text.contains("\n1) COPY,DEL,FLIST,MISC,NAME,STATS,SYMSAFE\n"));
}

#[test]
fn help_on_info_is_the_installed_rsyncs() {
    let Some(_) = Stock::find() else {
        return;
    };
    let stock = process::Command::new("rsync")
        .arg("--info=help")
        .output()
        .unwrap()
        .stdout;
    assert_eq!(printed("--info=help").0.as_bytes(), stock);
}

fn printed(line: &str) -> (String, bool) {
    let args: Vec<OsString> = line.split(' ').map(Into::into).collect();
    match parse(&args, &Default::default()) {
        Ok(Command::Print { text, to_stderr }) => (text, to_stderr),
        other => panic!("{line}: {other:?}"),
    }
}
