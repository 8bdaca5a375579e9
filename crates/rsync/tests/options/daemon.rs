//! What a daemon lets its clients ask for, and a daemon's own command line.

use std::ffi::OsString;

use barge_rsync::options::{Command, Policy, parse, parse_connection};

/// What is said to a client's words, behind `--server` and a cluster, when the module has these
/// `refuse options`; `None` when it is let in.
fn said_to(patterns: &str, words: &str) -> Option<String> {
    let policy = Policy {
        refuse: patterns.as_bytes().to_vec(),
    };
    let words = format!("--server {words} . mod/");
    let args: Vec<Vec<u8>> = words
        .split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect();
    let refusal = parse_connection(&args, None, &policy).err()?;
    assert_eq!(refusal.exit_code, 4, "{words}");
    assert!(refusal.options.server, "{words}");
    Some(refusal.text)
}

// `RSYNC_CONNECT_PROG='rsync --config=… --daemon' rsync … s/ x::mod/` with 3.5.0 on both sides.
#[test]
fn a_module_refuses_what_stock_refuses_by_its_patterns() {
    for (patterns, words, refused) in [
        ("delete", "-re.iLsfxCIvu --delete", Some("--delete")),
        ("delete", "-re.iLsfxCIvu --delete-after", Some("--delete")),
        (
            "delete",
            "-re.iLsfxCIvu --delete-missing-args",
            Some("--delete"),
        ),
        (
            "delete",
            "--sender -re.iLsfxCIvu --remove-source-files",
            Some("--delete"),
        ),
        (
            "delete",
            "--sender -re.iLsfxCIvu --remove-sent-files",
            Some("--delete"),
        ),
        ("delete", "-re.iLsfxCIvu --remove-source-files", None),
        (
            "delete-*",
            "-re.iLsfxCIvu --delete",
            Some("--delete-before"),
        ),
        (
            "delete-*",
            "-re.iLsfxCIvu --delete-after",
            Some("--delete-after"),
        ),
        ("delete-* !delete-during", "-re.iLsfxCIvu --delete", None),
        ("delete-during", "-re.iLsfxCIvu --del", Some("--del")),
        ("c", "-rce.iLsfxCIvu", Some("--checksum (-c)")),
        ("checksum", "-rce.iLsfxCIvu", Some("--checksum (-c)")),
        ("*", "-rce.iLsfxCIvu", Some("--recursive (-r)")),
        ("*", "-e.LsfxCIvu --checksum-seed=3", None),
        (
            "*",
            "-ne.LsfxCIvu --ignore-missing-args --log-format=%i --from0",
            None,
        ),
        ("* !a !v", "-vlogDtpre.iLsfxCIvu", None),
        ("* !a !v", "-vlogDtprce.iLsfxCIvu", Some("--checksum (-c)")),
        ("* !a", "-vlogDtpre.iLsfxCIvu", Some("--verbose (-v)")),
        ("a", "-tre.iLsfxCIvu", Some("--times (-t)")),
        ("archive", "-de.LsfxCIvu", Some("--dirs (-d)")),
        ("p", "-logDtpre.iLsfxCIvu", Some("--perms (-p)")),
        ("archive*", "-logDtpre.iLsfxCIvu", None),
        ("compress", "-ze.LsfxCIvu", Some("--compress (-z)")),
        (
            "compress",
            "-e.LsfxCIvu --new-compress",
            Some("--compress (-z)"),
        ),
        (
            "compress",
            "-e.LsfxCIvu --compress-choice=lz4",
            Some("--compress (-z)"),
        ),
        (
            "compress",
            "-e.LsfxCIvu --compress-level=3",
            Some("--compress (-z)"),
        ),
        (
            "*",
            "-e.LsfxCIvu --checksum-choice=md5",
            Some("--checksum-choice"),
        ),
        (
            "new-compress",
            "-e.LsfxCIvu --new-compress",
            Some("--new-compress"),
        ),
        ("partial", "-e.LsfxCIvu --partial-dir x", None),
        ("partial", "-e.LsfxCIvu --partial", Some("--partial")),
        ("partial", "-e.LsfxCIvu --inplace", Some("--partial")),
        ("inplace", "-e.LsfxCIvu --append", Some("--inplace")),
        ("recursive", "-ae.LsfxCIvu", Some("--recursive (-r)")),
        ("h", "-he.LsfxCIvu", Some("--human-readable (-h)")),
        ("no-*", "-e.LsfxCIvu --no-W", Some("--no-W")),
        ("no-*", "-e.LsfxCIvu --no-iconv", None),
        ("", "-e.LsfxCIvu --write-devices", Some("--write-devices")),
        ("!write-devices", "-e.LsfxCIvu --write-devices", None),
        (
            "",
            "--sender -e.LsfxCIvu --copy-devices",
            Some("--copy-devices"),
        ),
        ("", "-e.LsfxCIvu --iconv=utf8", Some("--iconv")),
        ("!log-file*", "-e.LsfxCIvu --log-file=x", Some("--log-file")),
        (
            "",
            "-e.LsfxCIvu --log-file-format=x",
            Some("--log-file-format"),
        ),
        ("", "-e.LsfxCIvu --insecure-links", Some("--insecure-links")),
    ] {
        let wanted =
            refused.map(|title| format!("rsync: The server is configured to refuse {title}"));
        assert_eq!(said_to(patterns, words), wanted, "[{patterns}] {words}");
    }
}

#[test]
fn a_connection_names_no_files_of_the_daemons_and_becomes_no_daemon() {
    for (words, said) in [
        (
            "-e.L --nosuch",
            "rsync: on remote machine: --nosuch: unknown option",
        ),
        (
            "-e.L --timeout=x",
            "rsync: on remote machine: --timeout=x: invalid numeric value",
        ),
        (
            "-re.L --delete-before --delete-after",
            "rsync: You may not combine multiple --delete-WHEN options.",
        ),
        ("-e.L --daemon", "rsync: Attempt to hack rsync thwarted!"),
        ("-e.L --config=x", "rsync: Attempt to hack rsync thwarted!"),
        (
            "-e.L --exclude-from=/etc/shadow",
            "rsync: The server is configured to refuse --exclude-from",
        ),
        (
            "-e.L --password-file=x",
            "rsync: The server is configured to refuse --password-file",
        ),
        (
            "-e.L --copy-as=root",
            "rsync: The server is configured to refuse --copy-as",
        ),
        (
            "-e.L --filter=merge",
            "rsync: This rsync does not support filter options on a server: rules come from the client",
        ),
        ("-e.L --version", "rsync: a server prints no help"),
    ] {
        assert_eq!(said_to("", words).as_deref(), Some(said), "{words}");
    }
}

#[test]
fn options_lose_their_backslashes_and_paths_keep_them() {
    let args = [
        "--server",
        "-be.L",
        "--backup-dir",
        r"a\ b\\*",
        r"--suffix=\.x\",
        ".",
        r"mod/a\*b",
        "-x",
    ];
    let args = args.map(|arg| arg.as_bytes().to_vec());
    let options = parse_connection(&args, None, &Policy::default()).unwrap();
    assert_eq!(options.backup_dir.unwrap(), r"a b\*");
    assert_eq!(options.suffix, br".x\");
    assert_eq!(options.args, [".", r"mod/a\*b", "-x"]);
}

#[test]
fn a_secluded_list_is_awaited_and_keeps_its_backslashes() {
    let first = [&b"--server"[..], b"-svre.iLsfxCIvu"].map(<[u8]>::to_vec);
    let policy = Policy::default();
    let awaiting = parse_connection(&first, None, &policy).unwrap();
    assert!(awaiting.secluded_args && awaiting.recursive && awaiting.args.is_empty());
    let second = [&b"rsync"[..], b"--suffix=\\x", b".", b"mod/a"].map(<[u8]>::to_vec);
    let options = parse_connection(&first, Some(&second), &policy).unwrap();
    assert_eq!((options.verbose, &options.suffix[..]), (1, &b"\\x"[..]));
    assert_eq!(options.args, [".", "mod/a"]);
}

#[test]
fn a_daemon_has_options_of_its_own() {
    let line = "--daemon --no-detach --config=c -M pidfile=p --dparam=port=1 --port=2222 -vv -4 \
        --address=a --bwlimit=100 --log-file=l --log-file-format=%n --sockopts=s";
    let args: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
    let Ok(Command::Daemon(options)) = parse(&args, &Default::default()) else {
        panic!("a daemon");
    };
    assert!(!options.detach && !options.server);
    assert_eq!(options.config.unwrap(), std::path::Path::new("c"));
    let params = [("pidfile", &b"p"[..]), ("port", b"1")];
    let params = params.map(|(name, value)| (name.to_owned(), value.to_vec()));
    assert_eq!(options.params, params);
    assert_eq!(
        (options.port, options.verbose, options.ip_version),
        (Some(2222), 2, Some(4))
    );
    assert_eq!(options.bwlimit, Some(100 * 1024));
}
