//! The arguments for a server, as stock rsync composes them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use barge_rsync::options::{
    Command, Options, Policy, Transport, parse, parse_connection, parse_server, server_args,
};
use barge_rsync::session::args::without_backslashes;

use crate::capture::{Stock, Vectors};
use crate::words::{environment, read, spell, spell_bytes};

#[test]
fn a_server_is_handed_what_stock_hands_it() {
    let mut wrong = String::new();
    for record in records() {
        let ours = vectors_of(&record.line);
        let wanted = record.ours.as_ref().or(record.stock.as_ref());
        let wanted = wanted.expect("the file is recorded");
        if ours != *wanted {
            let line = spell(&record.line);
            writeln!(wrong, "$ {line}\nstock {wanted:?}\nours  {ours:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_server_makes_of_a_stock_vector_what_its_client_meant() {
    let mut wrong = String::new();
    for record in records() {
        let line = spell(&record.line);
        let Vectors { first, second } = record.stock.expect("the file is recorded");
        let words = [&first[..], second.as_deref().unwrap_or_default()].concat();
        let is_told_less = TOLD_LESS.iter().any(|words| line.contains(words));
        if is_told_less || words.iter().any(|word| is_not_for_us(word)) {
            continue;
        }
        let os = |words: &[Vec<u8>]| -> Vec<OsString> {
            words.iter().cloned().map(OsString::from_vec).collect()
        };
        let (client, paths, transport) = client_of(&record.line);
        // What a remote shell makes of its words.
        let plain = |word: &Vec<u8>| match transport {
            Transport::Shell if client.old_args < 2 => without_backslashes(word),
            _ => word.clone(),
        };
        let plain: Vec<Vec<u8>> = first.iter().map(plain).collect();
        let parsed = match transport {
            Transport::Daemon => parse_connection(&first, second.as_deref(), &Policy::default()),
            Transport::Shell => parse_server(&os(&plain), second.as_deref().map(os).as_deref()),
        };
        let server = parsed.unwrap_or_else(|refusal| panic!("{line}: {}", refusal.text));
        assert!(server.server, "{line}");
        assert_eq!(server.capabilities, capabilities(&words), "{line}");
        assert_eq!(server.args.len(), paths.len() + 1, "{line}");
        let (meant, made) = (told(&client, client.sender), told(&server, client.sender));
        for (meant, made) in meant.iter().zip(&made) {
            if meant != made {
                writeln!(wrong, "$ {line}\nmeant {meant:?}\nmade  {made:?}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Where a stock vector does not say all: nine `v` at most, implications that cannot be taken back,
/// sizes beyond 2^53.
const TOLD_LESS: [&str; 5] = [
    "-avvvvvvvvvvvv",
    "-aUU --no-open-noatime",
    "-A --no-p",
    "--max-size=8000P-1",
    "--partial-dir=a/../b",
];

/// Words that no server of 3.5.0 takes: what `-M` made up, a word its server does not know, a rate
/// that wrapped.
fn is_not_for_us(word: &[u8]) -> bool {
    let unknown: [&[u8]; 4] = [b"--foo", b"--a\\", b"--use-qsort", b"--bwlimit=-"];
    unknown.iter().any(|start| word.starts_with(start))
}

/// What both sides have to agree upon.
fn told(options: &Options, pushes: bool) -> Vec<(&'static str, String)> {
    let o = options;
    macro_rules! fields {
        ($($field:ident),*) => { vec![$((stringify!($field), format!("{:?}", o.$field))),*] };
    }
    let mut told = fields![
        recursive,
        relative,
        links,
        copy_unsafe_links,
        safe_links,
        hard_links,
        devices,
        specials,
        perms,
        acls,
        xattrs,
        owner,
        group,
        times,
        atimes,
        open_noatime,
        numeric_ids,
        checksum,
        ignore_times,
        one_file_system,
        sparse,
        compress,
        compress_level,
        checksum_choice,
        checksum_seed,
        block_size,
        timeout,
        backup,
        backup_dir,
        dry_run,
        quiet,
        verbose,
        inplace,
        append,
        remove_source_files,
        ignore_errors,
        update,
        cvs_exclude,
        max_alloc,
        delete_missing_args
    ];
    let for_receiver = fields![
        delete,
        delete_excluded,
        max_delete,
        max_size,
        min_size,
        size_only,
        force,
        partial,
        partial_dir,
        delay_updates,
        basis_dirs,
        basis_kind,
        temp_dir,
        existing,
        ignore_existing,
        omit_dir_times,
        omit_link_times,
        keep_dirlinks,
        prune_empty_dirs,
        usermap,
        groupmap,
        fsync,
        mkpath,
        preallocate,
        write_devices,
        modify_window,
        itemize,
        stats
    ];
    let for_sender = fields![copy_links, copy_dirlinks, copy_devices, ignore_missing_args];
    told.extend(if pushes { for_receiver } else { for_sender });
    told
}

#[test]
fn the_installed_rsync_hands_over_what_is_recorded() {
    let Some(stock) = Stock::find() else {
        return;
    };
    let records = records();
    let lines: Vec<&[OsString]> = records.iter().map(|record| &*record.line).collect();
    let captured = stock.capture(&lines);
    if std::env::var_os("RECORD").is_some() {
        return write(&records, &captured);
    }
    for (record, captured) in records.iter().zip(captured) {
        let line = spell(&record.line);
        assert_eq!(record.stock.as_ref(), Some(&captured), "$ {line}");
    }
}

/// A command line, and what comes of it.
struct Record {
    line: Vec<OsString>,
    stock: Option<Vectors>,
    ours: Option<Vectors>,
}

/// What our client hands over.
fn vectors_of(line: &[OsString]) -> Vectors {
    let (options, paths, transport) = client_of(line);
    let args = server_args(&options, &paths, transport);
    let bytes = |args: Vec<OsString>| args.into_iter().map(OsStringExt::into_vec).collect();
    Vectors {
        first: bytes(args.first),
        second: args.secluded.map(bytes),
    }
}

/// Our client's options, the paths of its far side, and how it gets there.
fn client_of(line: &[OsString]) -> (Options, Vec<OsString>, Transport) {
    let (environment, rest) = environment(line);
    let mut options = match parse(rest, &environment) {
        Ok(Command::Client(options)) => *options,
        other => panic!("{}: {other:?}", spell(line)),
    };
    let far = |path: &OsString| {
        let path = path.as_bytes();
        let path = [&b"d::"[..], b"h:", b":"]
            .iter()
            .find_map(|host| path.strip_prefix(*host))?;
        Some(OsString::from_vec(path.to_vec()))
    };
    let is_daemon = options
        .args
        .iter()
        .any(|path| path.as_bytes().starts_with(b"d::"));
    options.sender = options.args.len() > 1 && far(options.args.last().unwrap()).is_some();
    let paths = options.args.iter().filter_map(far).collect();
    let transport = match is_daemon {
        true => Transport::Daemon,
        false => Transport::Shell,
    };
    (options, paths, transport)
}

fn capabilities(words: &[Vec<u8>]) -> Vec<u8> {
    let cluster = words.iter().find_map(|word| {
        let at = word.windows(2).position(|two| two == b"e.")?;
        Some(word[at + 2..].to_vec())
    });
    cluster.unwrap()
}

fn records() -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let lines = include_str!("vectors.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let Some((mark, words)) = line.split_once(' ') else {
            continue;
        };
        let words = read(words);
        if mark == "$" {
            records.push(Record {
                line: words.into_iter().map(OsString::from_vec).collect(),
                stock: None,
                ours: None,
            });
            continue;
        }
        let first = |words| {
            let (first, second) = (words, None);
            Some(Vectors { first, second })
        };
        let record = records.last_mut();
        match (mark, record) {
            ("=", Some(record)) => record.stock = first(words),
            ("!", Some(record)) => record.ours = first(words),
            ("+", Some(record)) => record.stock.as_mut().unwrap().second = Some(words),
            ("/", Some(record)) => record.ours.as_mut().unwrap().second = Some(words),
            _ => {}
        }
    }
    records
}

/// Writes the file anew, with what was captured.
fn write(records: &[Record], captured: &[Vectors]) {
    let heading = include_str!("vectors.txt").lines();
    let heading = heading.take_while(|line| line.starts_with('#'));
    let mut text: String = heading.map(|line| format!("{line}\n")).collect();
    for (record, stock) in records.iter().zip(captured) {
        writeln!(text, "\n$ {}", spell(&record.line)).unwrap();
        for (vectors, marks) in [
            (Some(stock), ['=', '+']),
            (record.ours.as_ref(), ['!', '/']),
        ] {
            let Some(vectors) = vectors else {
                continue;
            };
            writeln!(text, "{} {}", marks[0], spell_bytes(&vectors.first)).unwrap();
            if let Some(second) = &vectors.second {
                writeln!(text, "{} {}", marks[1], spell_bytes(second)).unwrap();
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/options/vectors.txt");
    fs::write(path, text).unwrap();
}
