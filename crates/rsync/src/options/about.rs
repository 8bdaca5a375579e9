//! What `--version`, `-VV` and `--help` print.
//!
//! Source: the shapes that rsync 3.5.0 prints, which other programs read; what is said is barge's.

use super::algorithm::{AUTH_DIGESTS, CHECKSUMS, COMPRESSIONS};
use super::flag::Flag;
use super::table::{DAEMON_FLAGS, FLAGS};

/// What there may be in an rsync: in the text, in JSON, and whether it is here.
const CAPABILITIES: [(&str, &str, Has); 22] = [
    ("64-bit files", "file_bits", Has::Bits64),
    ("64-bit inums", "inum_bits", Has::Bits64),
    ("64-bit timestamps", "timestamp_bits", Has::Bits64),
    ("64-bit long ints", "long_int_bits", Has::Bits64),
    ("socketpairs", "socketpairs", Has::Yes),
    ("symlinks", "symlinks", Has::Yes),
    ("symtimes", "symtimes", Has::Yes),
    ("hardlinks", "hardlinks", Has::Yes),
    ("hardlink-specials", "hardlink_specials", Has::Yes),
    ("hardlink-symlinks", "hardlink_symlinks", Has::Yes),
    ("IPv6", "IPv6", Has::Yes),
    ("atimes", "atimes", Has::Yes),
    ("batchfiles", "batchfiles", Has::If("--write-batch")),
    ("inplace", "inplace", Has::If("--inplace")),
    ("append", "append", Has::If("--append")),
    ("ACLs", "ACLs", Has::If("--acls")),
    ("ACL-at", "ACL_at", Has::If("--acls")),
    ("xattrs", "xattrs", Has::If("--xattrs")),
    ("secluded-args", "secluded_args", Has::Optional),
    ("iconv", "iconv", Has::If("--iconv")),
    ("prealloc", "prealloc", Has::If("--preallocate")),
    ("stop-at", "stop_at", Has::If("--stop-at")),
];

const MORE_CAPABILITIES: [(&str, &str, Has); 1] = [("crtimes", "crtimes", Has::If("--crtimes"))];

const OPTIMIZATIONS: [(&str, &str, Has); 4] = [
    ("SIMD-roll", "SIMD_roll", Has::No),
    ("asm-roll", "asm_roll", Has::No),
    ("openssl-crypto", "openssl_crypto", Has::No),
    ("asm-MD5", "asm_MD5", Has::No),
];

#[derive(Clone, Copy, Debug)]
enum Has {
    Yes,
    No,
    /// 64 bits of it.
    Bits64,
    /// When it is asked for.
    Optional,
    /// When this flag is honoured.
    If(&'static str),
}

impl Has {
    fn is_here(self) -> bool {
        match self {
            Self::Yes | Self::Bits64 | Self::Optional => true,
            Self::No => false,
            Self::If(name) => FLAGS
                .iter()
                .any(|flag| flag.names.contains(&name) && flag.refusal().is_none()),
        }
    }

    fn json(self) -> String {
        match self {
            Self::Bits64 => "64".to_owned(),
            Self::Optional => "\"optional\"".to_owned(),
            has => has.is_here().to_string(),
        }
    }
}

/// What `--version` prints.
pub(super) fn version() -> String {
    let capabilities: Vec<String> = CAPABILITIES
        .iter()
        .chain(&MORE_CAPABILITIES)
        .map(word)
        .collect();
    let optimizations: Vec<String> = OPTIMIZATIONS.iter().map(word).collect();
    let checksums = CHECKSUMS.map(|name| match name {
        "xxh64" => "xxh64 (xxhash)",
        name => name,
    });
    format!(
        "{}\
        Capabilities:\n{}\
        Optimizations:\n{}\
        Checksum list:\n    {}\n\
        Compress list:\n    {}\n\
        Daemon auth list:\n    {}\n\n\
        barge comes with no warranty. It is licensed under the Apache License 2.0.\n",
        heading(),
        wrapped(&capabilities),
        wrapped(&optimizations),
        checksums.join(" "),
        COMPRESSIONS.join(" "),
        AUTH_DIGESTS.join(" "),
    )
}

/// What `-VV` prints.
pub(super) fn version_json() -> String {
    let pairs = |rows: &mut dyn Iterator<Item = &(&str, &str, Has)>| {
        let pairs: Vec<String> = rows
            .map(|(_, name, has)| format!("\"{name}\": {}", has.json()))
            .collect();
        pairs.join(",\n    ")
    };
    let quoted = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        names.join(", ")
    };
    format!(
        "{{\n  \
        \"program\": \"rsync\",\n  \
        \"version\": \"{RSYNC_VERSION}\",\n  \
        \"protocol\": \"{PROTOCOL}.0\",\n  \
        \"implementation\": \"barge {BARGE_VERSION}\",\n  \
        \"capabilities\": {{\n    {}\n  }},\n  \
        \"optimizations\": {{\n    {}\n  }},\n  \
        \"checksum_list\": [\n    {}\n  ],\n  \
        \"compress_list\": [\n    {}\n  ],\n  \
        \"daemon_auth_list\": [\n    {}\n  ],\n  \
        \"license\": \"Apache-2.0\",\n  \
        \"caveat\": \"barge comes with no warranty\"\n}}\n",
        pairs(&mut CAPABILITIES.iter().chain(&MORE_CAPABILITIES)),
        pairs(&mut OPTIMIZATIONS.iter()),
        quoted(&CHECKSUMS),
        quoted(&COMPRESSIONS),
        quoted(&AUTH_DIGESTS),
    )
}

/// What `--help` prints.
pub(super) fn help() -> String {
    let refused: Vec<&str> = FLAGS
        .iter()
        .filter(|flag| flag.refusal().is_some())
        .map(|flag| flag.names[0])
        .collect();
    format!(
        "{}\n{USAGE}\n{}\nRefused, never ignored: {}\n\nUse \"rsync --daemon --help\" to see the daemon-mode command-line options.\n",
        heading(),
        table(FLAGS),
        refused.join(" ")
    )
}

/// What `--daemon --help` prints.
pub(super) fn daemon_help() -> String {
    format!(
        "{}\nUsage: rsync --daemon [OPTION]...\n{}",
        heading(),
        table(DAEMON_FLAGS)
    )
}

fn heading() -> String {
    format!(
        "rsync  version {RSYNC_VERSION}  protocol version {PROTOCOL}\n\
        This is barge {BARGE_VERSION}, a program of its own that does what rsync {RSYNC_VERSION} does.\n"
    )
}

/// The flags that the help tells of, a line each.
fn table<D>(flags: &[Flag<D>]) -> String {
    let mut table = String::new();
    for flag in flags {
        if flag.help.is_empty() || flag.refusal().is_some() {
            continue;
        }
        let names: Vec<String> = flag
            .names
            .iter()
            .map(|name| match flag.value {
                Some(value) if name.starts_with("--") => format!("{name}={value}"),
                _ => (*name).to_owned(),
            })
            .collect();
        let mut lines = flag.help.lines();
        let first = lines.next().unwrap_or_default();
        table += &format!("{:<24} {first}\n", names.join(", "));
        for line in lines {
            table += &format!("{:<24} {line}\n", "");
        }
    }
    table
}

fn word(&(text, _, has): &(&str, &str, Has)) -> String {
    match has {
        Has::Optional => format!("optional {text}"),
        has if has.is_here() => text.to_owned(),
        _ => format!("no {text}"),
    }
}

/// Words with commas, in lines of less than 80 columns.
fn wrapped(words: &[String]) -> String {
    let mut text = String::new();
    let mut line = "   ".to_owned();
    for (at, word) in words.iter().enumerate() {
        let comma = if at + 1 < words.len() { "," } else { "" };
        if line.len() + word.len() + comma.len() >= 76 {
            text += &line;
            text.push('\n');
            "   ".clone_into(&mut line);
        }
        line += &format!(" {word}{comma}");
    }
    text + &line + "\n"
}

const USAGE: &str = "\
Usage: rsync [OPTION]... SRC [SRC]... DEST
  or   rsync [OPTION]... SRC [SRC]... [USER@]HOST:DEST
  or   rsync [OPTION]... SRC [SRC]... [USER@]HOST::DEST
  or   rsync [OPTION]... SRC [SRC]... rsync://[USER@]HOST[:PORT]/DEST
  or   rsync [OPTION]... [USER@]HOST:SRC [DEST]
  or   rsync [OPTION]... [USER@]HOST::SRC [DEST]
  or   rsync [OPTION]... rsync://[USER@]HOST[:PORT]/SRC [DEST]
The ':' usages connect via remote shell, while '::' & 'rsync://' usages connect
to an rsync daemon, and require SRC or DEST to start with a module name.

Options";

/// The rsync whose command line this is.
const RSYNC_VERSION: &str = "3.5.0";

const PROTOCOL: u8 = 32;

const BARGE_VERSION: &str = env!("CARGO_PKG_VERSION");
