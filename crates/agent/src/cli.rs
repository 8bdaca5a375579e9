//! The command line: commands, flags, and what contradicts what.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use barge::{Filter, FilterError, Options, default_streams};
use barge_net::Target;
use barge_types::ByteRate;
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};

use crate::logging::{INFO, LogFormat};
use crate::manual;

/// Moves Kubernetes volumes between clusters.
#[derive(Debug, Parser)]
#[command(name = "barge", version, long_about = manual::ABOUT, after_long_help = manual::after_barge())]
pub(crate) struct Cli {
    /// How a line of the log looks
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", help_heading = LOGGING)]
    pub(crate) log_format: LogFormat,
    /// Log decisions; twice: every file and frame
    #[arg(long, short, global = true, help_heading = LOGGING, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log warnings and errors only, and show no bar; twice: errors only
    #[arg(long, short, global = true, help_heading = LOGGING, action = ArgAction::Count)]
    quiet: u8,
    #[command(subcommand)]
    pub(crate) command: Order,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Make keys for both ends of a migration
    #[command(long_about = manual::KEYS, after_long_help = manual::after(manual::KEYS_AFTER))]
    Keys(KeysArgs),
    /// Take volumes: the end with the target
    #[command(long_about = manual::SERVE, after_long_help = manual::after(manual::SERVE_AFTER))]
    Serve(ServeArgs),
    /// Send a directory to a volume: the end with the source
    #[command(long_about = manual::SEND, after_long_help = manual::after_moving(manual::SEND_AFTER))]
    Send(SendArgs),
    /// Copy a directory within this machine
    #[command(long_about = manual::COPY, after_long_help = manual::after_moving(manual::COPY_AFTER))]
    Copy(CopyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    /// Where the folders server and client are made
    pub(crate) dir: PathBuf,
    /// A name or address clients dial the server by, also *.example.org [default: localhost]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// A volume: its name to clients, and its directory; may be repeated
    #[arg(long, required_unless_present = "device", value_name = "NAME=PATH",
          value_parser = OsStringValueParser::new().try_map(Volume::parse))]
    pub(crate) volume: Vec<Volume>,
    /// A block device or raw image: its name to clients, and its path; may be repeated
    #[arg(long, value_name = "NAME=PATH",
          value_parser = OsStringValueParser::new().try_map(Volume::parse))]
    pub(crate) device: Vec<Volume>,
    /// The folder with tls.crt, tls.key and ca.crt, or with the folder server that has them
    #[arg(long, value_name = "DIR")]
    pub(crate) tls: PathBuf,
    /// Where to listen, port 0 for any [default: [::]:8443, or 0.0.0.0:8443 without IPv6]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where to answer /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// End after the first run, with its exit code; a client that is refused is no run
    #[arg(long)]
    pub(crate) once: bool,
    /// Leave a report as JSON here, after each run
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Take a connection on which nothing came for so long for lost: 90s, 2m
    #[arg(long, value_name = "DURATION", default_value_t = Timeout::default())]
    pub(crate) stall_timeout: Timeout,
}

#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// The directory to send, or with --device the block device or raw image
    #[arg(value_name = "PATH")]
    pub(crate) source: PathBuf,
    /// PATH is a block device or a raw image, and so is the volume
    #[arg(long)]
    pub(crate) device: bool,
    /// The server; port 443 unless said
    #[arg(long, value_name = "HOST[:PORT]", value_parser = Target::parse)]
    pub(crate) to: Target,
    /// The volume's name at the server
    #[arg(long, value_name = "NAME", value_parser = volume_name)]
    pub(crate) volume: String,
    /// The folder with tls.crt, tls.key and ca.crt, or with the folder client that has them
    #[arg(long, value_name = "DIR")]
    pub(crate) tls: PathBuf,
    /// The name to ask the route for (SNI), and to expect in the server's certificate, where it is not HOST
    #[arg(long, value_name = "SNI")]
    pub(crate) server_name: Option<String>,
    /// What to speak: barge's own protocol, rsync's, or rsync's where the server does not know ours
    #[arg(long, value_name = "PROTOCOL", default_value = "auto")]
    pub(crate) protocol: Language,
    /// Connections, 1 to 32, or auto: by the number of processors
    #[arg(long, value_name = "N", default_value_t = Streams::Auto)]
    streams: Streams,
    /// How often in a row a connection is dialled again before the run is given up
    #[arg(long, value_name = "N", default_value_t = Options::default().retries)]
    retries: u32,
    /// Take a connection on which nothing came for so long for lost: 90s, 2m
    #[arg(long, value_name = "DURATION", default_value_t = Timeout::default())]
    stall_timeout: Timeout,
    #[command(flatten)]
    pub(crate) rules: Rules,
}

#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// The directory to copy
    #[arg(value_name = "SRC")]
    pub(crate) source: PathBuf,
    /// The directory to copy to
    #[arg(value_name = "DST")]
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) rules: Rules,
}

/// What a run is to do, wherever it goes.
#[derive(Args, Debug)]
pub(crate) struct Rules {
    /// Delete at the target what the source does not have
    #[arg(long)]
    delete: bool,
    /// Stop deleting after N paths; exit code 9 when more were left
    #[arg(long, value_name = "N")]
    max_delete: Option<u64>,
    /// Leave out what matches; may be repeated, see Patterns
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// At most so many bytes of content a second: 500K, 200Mi, 1G
    #[arg(long, value_name = "RATE")]
    bwlimit: Option<ByteRate>,
    /// Compare content, not size and time
    #[arg(long)]
    checksum: bool,
    /// Send changed files whole, without looking for what the target has of them
    #[arg(long)]
    whole_file: bool,
    /// Write into existing files: a file that is being written when the run is cut is lost
    #[arg(long)]
    inplace: bool,
    /// Change nothing, report what would be
    #[arg(long)]
    dry_run: bool,
    /// Name every path that is not unchanged
    #[arg(long)]
    pub(crate) itemize: bool,
    /// Do not keep owner and group
    #[arg(long)]
    no_owner: bool,
    /// Do not bring over devices, fifos and sockets
    #[arg(long)]
    no_devices: bool,
    /// Bring over each name of a file as a file of its own
    #[arg(long)]
    no_hard_links: bool,
    /// Do not keep extended attributes
    #[arg(long)]
    no_xattrs: bool,
    /// Do not keep POSIX ACLs
    #[arg(long)]
    no_acls: bool,
    /// Write holes as zeros
    #[arg(long)]
    no_sparse: bool,
    /// Keep the label security.selinux, which else belongs to the cluster
    #[arg(long)]
    selinux: bool,
    /// Write one JSON object a line to standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave a report as JSON here
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Reads the command line and the environment.
///
/// # Errors
///
/// Also for `--help` and `--version`: to be printed by its `exit`.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    match cli.command.contradiction() {
        Some(text) => Err(command.error(ErrorKind::ArgumentConflict, text)),
        None => Ok(cli),
    }
}

/// The commands, each flag also from the environment.
fn command() -> Command {
    let command = Cli::command().mut_args(from_environment);
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().into())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| sub.mut_args(from_environment))
    })
}

/// `--max-delete` is also `BARGE_MAX_DELETE`.
fn from_environment(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else {
        return arg;
    };
    let name = format!("BARGE_{}", long.to_uppercase().replace('-', "_"));
    let arg = arg.env(name).hide_env(true);
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        // One value a line: commas and spaces may be part of a pattern or a path.
        ArgAction::Append => arg.value_delimiter('\n'),
        _ => arg,
    }
}

impl Cli {
    /// How much is logged: see [`crate::logging::init`].
    pub(crate) fn level(&self) -> usize {
        (INFO + usize::from(self.verbose)).saturating_sub(usize::from(self.quiet))
    }

    /// Whether less than usual is to be shown.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }
}

impl Order {
    fn contradiction(&self) -> Option<&'static str> {
        match self {
            Self::Keys(_) => None,
            Self::Serve(args) => args.contradiction(),
            Self::Send(args) => args.contradiction(),
            Self::Copy(args) => args.rules.contradiction(),
        }
    }
}

impl ServeArgs {
    fn contradiction(&self) -> Option<&'static str> {
        let all = self.volume.iter().chain(&self.device);
        let names: BTreeSet<&str> = all.map(|volume| volume.name.as_str()).collect();
        let text = "--volume and --device give two volumes the same name";
        (names.len() < self.volume.len() + self.device.len()).then_some(text)
    }
}

impl SendArgs {
    fn contradiction(&self) -> Option<&'static str> {
        if self.device && self.rules.are_about_trees() {
            Some("--device sends all that is in PATH: leave away what chooses among files")
        } else if self.device && self.protocol == Language::Rsync {
            Some("--device needs barge's own protocol: rsync's knows no devices that are written")
        } else {
            self.rules.contradiction()
        }
    }

    /// What the run is to do.
    ///
    /// # Errors
    ///
    /// As [`Rules::options`].
    pub(crate) fn options(&self) -> Result<Options, FilterError> {
        Ok(Options {
            streams: self.streams.count(),
            retries: self.retries,
            stall_timeout: self.stall_timeout.0,
            ..self.rules.options()?
        })
    }
}

impl Rules {
    /// What the run is to do.
    ///
    /// # Errors
    ///
    /// [`FilterError`] when a pattern of `--exclude` is none.
    pub(crate) fn options(&self) -> Result<Options, FilterError> {
        Ok(Options {
            delete: self.delete,
            max_delete: self.max_delete,
            // A line of BARGE_EXCLUDE may be empty, as is the last one of a block of YAML.
            filter: Filter::new(
                self.exclude
                    .iter()
                    .map(|line| line.as_bytes())
                    .filter(|line| !line.is_empty()),
            )?,
            bwlimit: self.bwlimit,
            checksum: self.checksum,
            whole_file: self.whole_file,
            inplace: self.inplace,
            dry_run: self.dry_run,
            itemize: self.itemize,
            owner: !self.no_owner,
            devices: !self.no_devices,
            hard_links: !self.no_hard_links,
            xattrs: !self.no_xattrs,
            acls: !self.no_acls,
            selinux: self.selinux,
            sparse: !self.no_sparse,
            ..Options::default()
        })
    }

    /// Whether anything is asked for that has a meaning for directories alone.
    fn are_about_trees(&self) -> bool {
        self.max_delete.is_some()
            || !self.exclude.is_empty()
            || [
                self.delete,
                self.checksum,
                self.whole_file,
                self.inplace,
                self.dry_run,
                self.itemize,
                self.no_owner,
                self.no_devices,
                self.no_hard_links,
                self.no_xattrs,
                self.no_acls,
                self.no_sparse,
                self.selinux,
            ]
            .contains(&true)
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.max_delete.is_some() && !self.delete {
            Some("--max-delete limits --delete, which is not given: add it, or leave both away")
        } else if self.selinux && self.no_xattrs {
            Some("--selinux keeps an extended attribute, and --no-xattrs keeps none: choose one")
        } else {
            None
        }
    }
}

/// What `barge send` speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Language {
    /// Ours; a server that does not know it is refused.
    Native,
    /// That of rsync's daemons.
    Rsync,
    /// Ours, or rsync's where the server does not choose ours.
    Auto,
}

/// A volume that is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Volume {
    /// Its name to clients.
    pub(crate) name: String,
    /// Its directory.
    pub(crate) path: PathBuf,
}

impl Volume {
    fn parse(text: OsString) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no volume: write NAME=PATH");
        let bytes = text.as_bytes();
        let at = bytes.iter().position(|&b| b == b'=').ok_or_else(refuse)?;
        let (name, path) = (&bytes[..at], &bytes[at + 1..]);
        let name = volume_name(std::str::from_utf8(name).map_err(|_| refuse())?)?;
        if path.is_empty() {
            return Err(refuse());
        }
        Ok(Self {
            name,
            path: OsString::from_vec(path.to_vec()).into(),
        })
    }
}

/// The name of a volume: 1 to 253 bytes, the most the protocol carries.
fn volume_name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=253 => Ok(text.to_owned()),
        n => Err(format!(
            "a volume's name of {n} bytes: 1 to 253 are possible"
        )),
    }
}

/// How many connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Streams {
    Auto,
    Count(u8),
}

impl Streams {
    fn count(self) -> u8 {
        match self {
            Self::Auto => default_streams(),
            Self::Count(n) => n,
        }
    }
}

impl FromStr for Streams {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(n @ 1..=32) => Ok(Self::Count(n)),
            _ => Err("write a number from 1 to 32, or auto"),
        }
    }
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(n) => n.fmt(f),
        }
    }
}

/// How long silence is borne: a second to a day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Timeout(pub(crate) Duration);

impl Default for Timeout {
    fn default() -> Self {
        Self(Options::default().stall_timeout)
    }
}

impl FromStr for Timeout {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = "write a whole number and its unit, from 1s to 24h: 90s, 2m, 1h";
        let digits = text.trim_end_matches(['s', 'm', 'h']);
        let unit: u64 = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(refuse),
        };
        let count: u64 = digits.parse().map_err(|_| refuse)?;
        match count.checked_mul(unit) {
            Some(seconds @ 1..=86_400) => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(refuse),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

const LOGGING: &str = "Logging";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        let error = read(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    fn options(flags: &str) -> Options {
        match read(&format!("barge copy a b{flags}")).unwrap().command {
            Order::Copy(args) => args.rules.options().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn command_is_well_formed_and_every_flag_is_read_from_the_environment() {
        command().debug_assert();
        let command = command();
        for part in command.get_subcommands().chain([&command]) {
            for arg in part.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let env = arg.get_env().and_then(|name| name.to_str()).unwrap();
                let long = arg.get_long().unwrap();
                assert_eq!(
                    env,
                    format!("BARGE_{}", long.to_uppercase().replace('-', "_"))
                );
            }
        }
    }

    #[test]
    fn copy_without_flags_is_the_mover_s_default() {
        assert_eq!(
            format!("{:?}", options("")),
            format!("{:?}", Options::default())
        );
    }

    #[test]
    fn each_flag_changes_its_own_option() {
        type Holds = fn(&Options) -> bool;
        let cases: [(&str, Holds); 16] = [
            (" --delete", |o| o.delete),
            (" --delete --max-delete 7", |o| o.max_delete == Some(7)),
            (" --exclude *.tmp --exclude /x", |o| {
                o.filter.patterns().count() == 2
            }),
            (" --bwlimit 2Ki", |o| {
                o.bwlimit.is_some_and(|rate| rate.bytes_per_sec() == 2048)
            }),
            (" --checksum", |o| o.checksum),
            (" --whole-file", |o| o.whole_file),
            (" --inplace", |o| o.inplace),
            (" --dry-run", |o| o.dry_run),
            (" --itemize", |o| o.itemize),
            (" --no-owner", |o| !o.owner),
            (" --no-devices", |o| !o.devices),
            (" --no-hard-links", |o| !o.hard_links),
            (" --no-xattrs", |o| !o.xattrs),
            (" --no-acls", |o| !o.acls),
            (" --no-sparse", |o| !o.sparse),
            (" --selinux", |o| o.selinux),
        ];
        for (flags, holds) in cases {
            assert!(holds(&options(flags)), "{flags}");
            assert!(!holds(&options("")), "{flags}");
        }
    }

    #[test]
    fn send_reads_where_to_and_how_persistently() {
        let line = "barge send /src --to [::1]:8443 --volume data --tls keys --streams 4 \
                    --retries 3 --stall-timeout 2m --server-name volume.test";
        let Order::Send(args) = read(line).unwrap().command else {
            panic!()
        };
        let options = args.options().unwrap();
        assert_eq!((options.streams, options.retries), (4, 3));
        assert_eq!(options.stall_timeout, Duration::from_secs(120));
        assert_eq!((args.to.host(), args.to.port()), ("::1", 8443));
        assert_eq!(args.server_name.as_deref(), Some("volume.test"));
        let line = "barge send /src --to host --volume data --tls keys --streams auto";
        let Order::Send(args) = read(line).unwrap().command else {
            panic!()
        };
        assert_eq!(args.options().unwrap().streams, default_streams());
        assert_eq!(args.to.port(), 443);
    }

    #[test]
    fn serve_reads_several_volumes_with_any_path() {
        let line = "barge serve --volume a=/x=y --volume b=rel --tls keys --once";
        let Order::Serve(args) = read(line).unwrap().command else {
            panic!()
        };
        let volumes: Vec<_> = args
            .volume
            .iter()
            .map(|v| (&*v.name, v.path.to_str()))
            .collect();
        assert_eq!(volumes, [("a", Some("/x=y")), ("b", Some("rel"))]);
        assert!(args.once && args.listen.is_none());
        let volume = Volume::parse(OsString::from_vec(b"a=/\xff".to_vec())).unwrap();
        assert_eq!(volume.path.as_os_str().as_bytes(), b"/\xff");
    }

    #[test]
    fn wrong_usage_is_refused_with_the_cause() {
        for (line, cause) in [
            ("barge", "Usage"),
            ("barge copy a", "<DST>"),
            ("barge copy a b --max-delete 3", "--delete"),
            ("barge copy a b --selinux --no-xattrs", "--no-xattrs"),
            ("barge copy a b -v -q", "--quiet"),
            ("barge copy a b --bwlimit fast", "fast"),
            ("barge copy a b --to host", "--to"),
            ("barge send a --to h --tls k", "--volume"),
            ("barge send a --to h --volume v", "--tls"),
            ("barge send a --to h:0 --volume v --tls k", "h:0"),
            (
                "barge send a --to h --volume v --tls k --streams 0",
                "1 to 32",
            ),
            (
                "barge send a --to h --volume v --tls k --streams 33",
                "1 to 32",
            ),
            (
                "barge send a --to h --volume v --tls k --stall-timeout 60",
                "90s",
            ),
            ("barge serve --volume /path --tls k", "NAME=PATH"),
            ("barge serve --volume =/path --tls k", "1 to 253"),
            ("barge serve --volume a= --tls k", "NAME=PATH"),
            (
                "barge serve --volume a=/x --volume a=/y --tls k",
                "same name",
            ),
            ("barge serve --volume a=/x --tls k --listen 8443", "8443"),
        ] {
            let text = refusal(line);
            assert!(text.contains(cause), "{line}: {cause:?} is not in:\n{text}");
        }
    }

    #[test]
    fn timeout_reads_whole_units_from_a_second_to_a_day() {
        for (text, seconds) in [("1s", 1), ("60s", 60), ("2m", 120), ("24h", 86_400)] {
            assert_eq!(
                text.parse::<Timeout>().unwrap().0.as_secs(),
                seconds,
                "{text}"
            );
        }
        for text in [
            "",
            "60",
            "s",
            "0s",
            "1.5m",
            "-1s",
            "25h",
            "1d",
            "2mh",
            "99999999999999999h",
        ] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
        assert_eq!(
            Timeout::default().to_string().parse(),
            Ok(Timeout::default())
        );
    }

    #[test]
    fn level_follows_v_and_q() {
        for (flags, level) in [("", 2), (" -v", 3), (" -vv", 4), (" -q", 1), (" -qq", 0)] {
            assert_eq!(
                read(&format!("barge copy a b{flags}")).unwrap().level(),
                level
            );
        }
    }

    #[test]
    fn help_of_every_command_tells_how_it_is_used_and_how_it_ends() {
        for name in ["keys", "serve", "send", "copy"] {
            let error = read(&format!("barge {name} --help")).unwrap_err();
            assert_eq!(error.exit_code(), 0);
            let help = error.to_string();
            for part in [
                "Examples:",
                "Environment:",
                "Exit codes:",
                &format!("barge {name}"),
            ] {
                assert!(help.contains(part), "{name}: {part:?} is not in:\n{help}");
            }
        }
        let help = read("barge --help").unwrap_err().to_string();
        assert!(help.contains("keys") && help.contains("serve") && help.contains("Exit codes:"));
    }
}
