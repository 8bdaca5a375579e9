//! The two command lines.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use barge::over_blockrsync::BlockSize;
use clap::builder::TypedValueParser;
use clap::{ArgGroup, Args, Parser};

/// Which side it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// It has the data, and connects.
    Source,
    /// It gets them, and listens.
    Target,
}

/// `blockrsync`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "blockrsync",
    about = "Makes a block device or raw image equal to another pod's"
)]
#[command(group = ArgGroup::new("role").required(true).args(["source", "target"]))]
pub(super) struct SyncArgs {
    /// The block device or raw image.
    pub(super) path: PathBuf,
    /// It is read.
    #[arg(long, requires = "target_address")]
    source: bool,
    /// It is written.
    #[arg(long)]
    target: bool,
    /// Where a source connects to.
    #[arg(long, value_name = "HOST")]
    pub(super) target_address: Option<String>,
    /// Where it connects to, or listens: on this machine alone.
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// Bytes that are compared at a time: a multiple of 4096, the same on both sides.
    #[arg(long, default_value = "65536", value_parser = block_size())]
    pub(super) block_size: BlockSize,
    /// Write zeros instead of making holes.
    #[arg(long)]
    pub(super) preallocate: bool,
    #[command(flatten)]
    zap: ZapArgs,
}

impl SyncArgs {
    /// Reads a command line without the program's name.
    pub(super) fn parse(args: Vec<OsString>) -> Result<Self, clap::Error> {
        parse("blockrsync", args)
    }

    pub(super) fn role(&self) -> Role {
        if self.source {
            Role::Source
        } else {
            Role::Target
        }
    }
}

/// `proxy`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "proxy",
    about = "Connects the blockrsync of one pod with that of another"
)]
#[command(group = ArgGroup::new("role").required(true).args(["source", "target"]))]
pub(super) struct ProxyArgs {
    /// It is beside the source.
    #[arg(long, requires = "target_address")]
    source: bool,
    /// It is beside the target.
    #[arg(long)]
    target: bool,
    /// Made at the end, however that comes.
    #[arg(long, value_name = "FILE")]
    pub(super) control_file: PathBuf,
    /// Where a source's proxy connects to.
    #[arg(long, value_name = "HOST")]
    pub(super) target_address: Option<String>,
    /// Where it listens, on this machine alone.
    #[arg(long, default_value_t = 9080)]
    pub(super) listen_port: u16,
    /// Where a source's proxy connects to.
    #[arg(long, default_value_t = 9000)]
    pub(super) target_port: u16,
    /// Accepted; a target's proxy does the work itself.
    #[arg(long, value_name = "FILE")]
    blockrsync_path: Option<PathBuf>,
    /// Bytes that are compared at a time, at a target's.
    #[arg(long, default_value = "65536", value_parser = block_size())]
    pub(super) block_size: BlockSize,
    /// A volume, by 32 characters: at a target's, the environment names its device or image, as ID or id-ID.
    #[arg(long = "identifier", value_name = "ID", required = true, value_parser = identifier)]
    pub(super) identifiers: Vec<[u8; 32]>,
    #[command(flatten)]
    zap: ZapArgs,
}

impl ProxyArgs {
    /// Reads a command line without the program's name.
    pub(super) fn parse(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let args: Self = parse("proxy", args)?;
        if args.source && args.identifiers.len() != 1 {
            let text = "a source has one identifier";
            return Err(clap::Error::raw(
                clap::error::ErrorKind::TooManyValues,
                text,
            ));
        }
        Ok(args)
    }

    pub(super) fn role(&self) -> Role {
        if self.source {
            Role::Source
        } else {
            Role::Target
        }
    }
}

/// What the logging of the stock programs takes. There is one way to log here.
#[derive(Args, Clone, Debug)]
struct ZapArgs {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    zap_devel: Option<Option<String>>,
    #[arg(long, hide = true)]
    zap_encoder: Option<String>,
    #[arg(long, hide = true)]
    zap_log_level: Option<String>,
    #[arg(long, hide = true)]
    zap_stacktrace_level: Option<String>,
    #[arg(long, hide = true)]
    zap_time_encoding: Option<String>,
}

fn parse<P: Parser>(name: &str, args: Vec<OsString>) -> Result<P, clap::Error> {
    let args = args.into_iter().map(as_switch);
    P::try_parse_from([OsString::from(name)].into_iter().chain(args))
}

/// Go's switches may have a value.
fn as_switch(arg: OsString) -> OsString {
    let switches = ["--source", "--target", "--preallocate"];
    let switch = switches.iter().find(|switch| {
        let value = arg.to_str().and_then(|arg| arg.strip_prefix(**switch));
        matches!(value, Some("=true" | "=1"))
    });
    switch.map_or(arg, |switch| OsStr::new(switch).to_owned())
}

fn block_size() -> impl TypedValueParser<Value = BlockSize> {
    clap::value_parser!(u64).try_map(|bytes| {
        BlockSize::new(bytes).ok_or("a multiple of 4096 is needed, of 64 MiB at most")
    })
}

fn identifier(text: &str) -> Result<[u8; 32], String> {
    let wrong = |_| format!("{} characters, and 32 are needed", text.len());
    text.as_bytes().try_into().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn command_lines_of_a_migration_are_understood() {
        let line = "/dev/0 --source --target-address localhost --port 9002 --zap-log-level 3 --block-size 131072";
        let args = SyncArgs::parse(words(line)).unwrap();
        assert_eq!((args.role(), args.port), (Role::Source, 9002));
        assert_eq!(args.block_size.bytes(), 131_072);

        let line = "/mnt/0/disk.img --target=true --port=3223 --zap-log-level 3 --zap-devel --preallocate=true";
        let args = SyncArgs::parse(words(line)).unwrap();
        assert_eq!((args.role(), args.port), (Role::Target, 3223));
        assert!(args.preallocate);
        assert_eq!(args.block_size.bytes(), 65_536);

        let (a, b) = (
            "0123456789abcdef0123456789abcdef",
            "f123456789abcdef0123456789abcdef",
        );
        let line = format!(
            "--target --listen-port 2222 --blockrsync-path /blockrsync --control-file /usr/share/stunnel-communication/blockrsync-done --block-size 131072 --identifier {a} --identifier {b}"
        );
        let args = ProxyArgs::parse(words(&line)).unwrap();
        assert_eq!((args.role(), args.listen_port), (Role::Target, 2222));
        assert_eq!(args.identifiers.concat(), [a, b].concat().as_bytes());

        let line = format!(
            "--source --target-address localhost --identifier {a} --listen-port 9002 --target-port 6443 --control-file /done"
        );
        let args = ProxyArgs::parse(words(&line)).unwrap();
        assert_eq!((args.role(), args.target_port), (Role::Source, 6443));
    }

    #[test]
    fn wrong_command_lines_end_with_2() {
        let id = "0123456789abcdef0123456789abcdef";
        for line in [
            "/dev/0",
            "/dev/0 --source --target --target-address h",
            "/dev/0 --source",
            "/dev/0 --target --block-size 0",
            "/dev/0 --target --block-size 6144",
            "/dev/0 --target --port 65536",
            "--target",
            "/dev/0 --target --whatever",
        ] {
            let error = SyncArgs::parse(words(line)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        for line in [
            format!("--target --identifier {id}"),
            "--target --control-file f".to_owned(),
            "--target --control-file f --identifier short".to_owned(),
            format!("--source --control-file f --identifier {id}"),
            format!(
                "--source --control-file f --target-address h --identifier {id} --identifier {id}"
            ),
        ] {
            let error = ProxyArgs::parse(words(&line)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
