//! What a run of rsync is to do: its command line, resolved.
//!
//! Plain data, the same for a client, for `--server`, and for a daemon's connection.

mod about;
mod algorithm;
mod command;
mod draft;
mod flag;
mod refuse;
mod size;
mod table;
mod vector;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

pub use algorithm::{AUTH_DIGESTS, CHECKSUMS, COMPRESSIONS};
pub use command::{
    Command, DaemonOptions, Environment, Policy, Refusal, parse, parse_connection, parse_server,
};
pub use vector::{ServerArgs, Transport, server_args};
pub use words::AskedInfo;

/// An rsync run's options. Every field is the resolved value: implied options are set, conflicts
/// are refused before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// `--server`: started by a client, speaks on its standard streams or a daemon's connection.
    pub server: bool,
    /// This side sends. A client knows it when it has looked at its arguments.
    pub sender: bool,

    // What is walked.
    /// `-r`.
    pub recursive: bool,
    /// `-d`, explicit or implied: directories are listed without what is in them.
    pub dirs: bool,
    /// `-R`.
    pub relative: bool,
    /// `--no-implied-dirs` unset.
    pub implied_dirs: bool,
    /// `-x`: 0, 1, or 2 (mount points are left out altogether).
    pub one_file_system: u8,
    /// Incremental recursion is acceptable to this side (`--inc-recursive`, the default).
    pub inc_recursive: bool,
    /// `--files-from`.
    pub files_from: Option<FilesFrom>,
    /// The host of [`FilesFrom::Remote`], when it is named: it has to be the peer.
    pub files_from_host: Option<OsString>,
    /// `--from0`.
    pub from0: bool,
    /// `--list-only`, also implied by a client without a destination.
    pub list_only: bool,
    /// `--ignore-missing-args`.
    pub ignore_missing_args: bool,
    /// `--delete-missing-args`.
    pub delete_missing_args: bool,

    // Links and special files.
    /// `-l`.
    pub links: bool,
    /// `-L`.
    pub copy_links: bool,
    /// `-k`.
    pub copy_dirlinks: bool,
    /// `-K`.
    pub keep_dirlinks: bool,
    /// `--copy-unsafe-links`.
    pub copy_unsafe_links: bool,
    /// `--safe-links`.
    pub safe_links: bool,
    /// `--munge-links`, or a module's `munge symlinks`.
    pub munge_links: bool,
    /// `-H`.
    pub hard_links: bool,
    /// `--devices`.
    pub devices: bool,
    /// `--specials`.
    pub specials: bool,
    /// `--copy-devices`: the sender sends a device's content as a file.
    pub copy_devices: bool,
    /// `--write-devices`: the receiver writes a file's content into a device.
    pub write_devices: bool,

    // Attributes.
    /// `-p`.
    pub perms: bool,
    /// `-E`, without `-p`.
    pub executability: bool,
    /// `-A`.
    pub acls: bool,
    /// `-X`: 0, 1, or 2 (`user.rsync.%` names too).
    pub xattrs: u8,
    /// `-o`.
    pub owner: bool,
    /// `-g`.
    pub group: bool,
    /// `-t`.
    pub times: bool,
    /// `-U`: 0, 1, or 2 (files are opened without touching it).
    pub atimes: u8,
    /// `--open-noatime`.
    pub open_noatime: bool,
    /// `-N`.
    pub crtimes: bool,
    /// `-O`.
    pub omit_dir_times: bool,
    /// `-J`.
    pub omit_link_times: bool,
    /// `--numeric-ids`.
    pub numeric_ids: bool,
    /// `--super` or `--no-super`; unset: as the user is root or not.
    pub as_super: Option<bool>,
    /// `--fake-super`.
    pub fake_super: bool,
    /// `--usermap`, with the user of `--chown`.
    pub usermap: Option<Vec<u8>>,
    /// `--groupmap`, with the group of `--chown`.
    pub groupmap: Option<Vec<u8>>,
    /// `--chmod`, in order.
    pub chmod: Vec<Vec<u8>>,

    // What is compared, and how content comes over.
    /// `-c`.
    pub checksum: bool,
    /// `--size-only`.
    pub size_only: bool,
    /// `-I`.
    pub ignore_times: bool,
    /// `--modify-window`, seconds; negative: nanoseconds count.
    pub modify_window: i64,
    /// `-u`.
    pub update: bool,
    /// `--existing`.
    pub existing: bool,
    /// `--ignore-existing`.
    pub ignore_existing: bool,
    /// `--max-size`, bytes.
    pub max_size: Option<u64>,
    /// `--min-size`, bytes.
    pub min_size: Option<u64>,
    /// `-W`, `--no-W`; unset: whole for local copies.
    pub whole_file: Option<bool>,
    /// `-B`, bytes; unset: by the size of the basis.
    pub block_size: Option<u32>,
    /// `--checksum-choice`: for transfers, for the list. Unset: negotiated.
    pub checksum_choice: Option<(String, String)>,
    /// `--checksum-seed`.
    pub checksum_seed: Option<i32>,
    /// `-z` and kin.
    pub compress: Compress,
    /// `--compress-level`.
    pub compress_level: Option<i32>,
    /// `--skip-compress`: suffixes that are not worth it.
    pub skip_compress: Option<Vec<u8>>,
    /// `-y`: 0, 1, or 2.
    pub fuzzy: u8,
    /// `--compare-dest`, `--copy-dest` or `--link-dest`: only one kind at a time.
    pub basis_dirs: Vec<OsString>,
    /// Which kind they are.
    pub basis_kind: BasisKind,

    // How files are written.
    /// `--inplace`, also implied by append and `--write-devices`.
    pub inplace: bool,
    /// `--append`: 0, 1, or 2 (`--append-verify`).
    pub append: u8,
    /// `-S`.
    pub sparse: bool,
    /// `--preallocate`.
    pub preallocate: bool,
    /// `--partial`.
    pub partial: bool,
    /// `--partial-dir`, or the holding place of `--delay-updates`.
    pub partial_dir: Option<OsString>,
    /// `--delay-updates`.
    pub delay_updates: bool,
    /// `-T`.
    pub temp_dir: Option<OsString>,
    /// `-b`.
    pub backup: bool,
    /// `--backup-dir`.
    pub backup_dir: Option<OsString>,
    /// `--suffix`; `~` without a backup directory.
    pub suffix: Vec<u8>,
    /// `--fsync`.
    pub fsync: bool,
    /// `--mkpath`.
    pub mkpath: bool,
    /// `--remove-source-files`.
    pub remove_source_files: bool,

    // Deletions.
    /// Whether and when the receiving side deletes.
    pub delete: Delete,
    /// `--delete-excluded`.
    pub delete_excluded: bool,
    /// `--max-delete`; 0 deletes nothing.
    pub max_delete: Option<u64>,
    /// `--ignore-errors`.
    pub ignore_errors: bool,
    /// `--force`.
    pub force: bool,
    /// `-m`.
    pub prune_empty_dirs: bool,

    /// `--filter`, `--exclude`, `--include` and their `-from`, `-F`: in order.
    pub filters: Vec<FilterOption>,
    /// `-C`: its rules come last, wherever it was given.
    pub cvs_exclude: bool,

    // The run.
    /// `-n`.
    pub dry_run: bool,
    /// `--bwlimit`, bytes a second.
    pub bwlimit: Option<u64>,
    /// `--timeout`, seconds; 0: none.
    pub timeout: u32,
    /// `--contimeout`, seconds; 0: none.
    pub contimeout: u32,
    /// `--max-alloc`, bytes.
    pub max_alloc: u64,
    /// `-s`, `--secluded-args`.
    pub secluded_args: bool,
    /// `--old-args`: 0, 1, or 2 (no backslashes at all).
    pub old_args: u8,
    /// `--protocol`.
    pub protocol: Option<u8>,
    /// `--trust-sender`.
    pub trust_sender: bool,

    // What is told.
    /// `-v`, as often as given.
    pub verbose: u8,
    /// `-q`: of what this side would print, only errors appear, whatever [`info`](Self::info) says.
    pub quiet: bool,
    /// Whether [`out_format`](Self::out_format) itemizes: 0, 1, or 2 (unchanged entries too).
    pub itemize: u8,
    /// `--out-format`, or what `-i` and `--info=name` stand for; on a server `--log-format`.
    pub out_format: Option<Vec<u8>>,
    /// `--stats`.
    pub stats: bool,
    /// `--progress`: per-file progress.
    pub progress: bool,
    /// `-h`: 0 to 3 levels as rsync counts them; 1 is the default (digit groups).
    pub human_readable: u8,
    /// `-8`.
    pub eight_bit_output: bool,
    /// The words of `--info`, with their levels, as resolved from `-v`, `-i`, `--progress`, ….
    pub info: Info,
    /// `--log-file`.
    pub log_file: Option<PathBuf>,
    /// `--log-file-format`.
    pub log_file_format: Option<Vec<u8>>,
    /// `--outbuf`: `N`, `L` or `B`.
    pub outbuf: Option<u8>,
    /// `--stderr`: errors go to the client's messages (`errors`, `all`, `client`).
    pub stderr: Option<String>,

    // How the peer is reached.
    /// `-e`.
    pub rsh: Option<OsString>,
    /// `--rsync-path`.
    pub rsync_path: Option<OsString>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--address`.
    pub address: Option<String>,
    /// `--sockopts`.
    pub sockopts: Option<String>,
    /// `-4` or `-6`.
    pub ip_version: Option<u8>,
    /// `--blocking-io`.
    pub blocking_io: Option<bool>,
    /// `--password-file`.
    pub password_file: Option<PathBuf>,
    /// `--early-input`.
    pub early_input: Option<PathBuf>,
    /// `--no-motd`.
    pub no_motd: bool,
    /// `-M`: for the server alone, in order.
    pub remote_options: Vec<OsString>,

    /// On a server: what the client states behind `-e.`, as letters.
    pub capabilities: Vec<u8>,

    /// The paths that follow the options, as given.
    pub args: Vec<OsString>,

    /// What a server is told as it was typed.
    pub typed: Typed,
}

/// What the arguments for a server repeat, where the resolved options do not tell it any more.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Typed {
    /// `-d`, or `--no-d`.
    pub dirs: Option<bool>,
    /// `-H`, as often as given, up to 2.
    pub hard_links: u8,
    /// `--list-only` was given, not implied.
    pub list_only: bool,
    /// `--checksum-choice`, unless it leaves the choice open.
    pub checksum_choice: Option<Vec<u8>>,
    /// `--compress-choice`, or what stands for it.
    pub compress: Option<Vec<u8>>,
    /// `z` is among the letters.
    pub compress_letter: bool,
    /// `--max-alloc`, unless it is the default.
    pub max_alloc: Option<Vec<u8>>,
    /// One of `--delete-before`, `-during`, `-delay`, `-after` was given.
    pub delete_timing: bool,
    /// `--modify-window` was given.
    pub modify_window: bool,
    /// `--partial-dir` was given, or `RSYNC_PARTIAL_DIR`.
    pub partial_dir: bool,
    /// `--suffix` differs from its default.
    pub suffix: bool,
    /// The old word for `--remove-source-files`.
    pub remove_sent_files: bool,
    /// The words of `--info`.
    pub info: AskedInfo,
}

impl BasisKind {
    /// The option.
    pub fn option(self) -> &'static str {
        match self {
            Self::Compare => "--compare-dest",
            Self::Copy => "--copy-dest",
            Self::Link => "--link-dest",
        }
    }
}

impl Default for Options {
    /// A client's without an option.
    fn default() -> Self {
        Self {
            server: false,
            sender: false,
            recursive: false,
            dirs: false,
            relative: false,
            implied_dirs: true,
            one_file_system: 0,
            inc_recursive: true,
            files_from: None,
            files_from_host: None,
            from0: false,
            list_only: false,
            ignore_missing_args: false,
            delete_missing_args: false,
            links: false,
            copy_links: false,
            copy_dirlinks: false,
            keep_dirlinks: false,
            copy_unsafe_links: false,
            safe_links: false,
            munge_links: false,
            hard_links: false,
            devices: false,
            specials: false,
            copy_devices: false,
            write_devices: false,
            perms: false,
            executability: false,
            acls: false,
            xattrs: 0,
            owner: false,
            group: false,
            times: false,
            atimes: 0,
            open_noatime: false,
            crtimes: false,
            omit_dir_times: false,
            omit_link_times: false,
            numeric_ids: false,
            as_super: None,
            fake_super: false,
            usermap: None,
            groupmap: None,
            chmod: Vec::new(),
            checksum: false,
            size_only: false,
            ignore_times: false,
            modify_window: 0,
            update: false,
            existing: false,
            ignore_existing: false,
            max_size: None,
            min_size: None,
            whole_file: None,
            block_size: None,
            checksum_choice: None,
            checksum_seed: None,
            compress: Compress::Off,
            compress_level: None,
            skip_compress: None,
            fuzzy: 0,
            basis_dirs: Vec::new(),
            basis_kind: BasisKind::Compare,
            inplace: false,
            append: 0,
            sparse: false,
            preallocate: false,
            partial: false,
            partial_dir: None,
            delay_updates: false,
            temp_dir: None,
            backup: false,
            backup_dir: None,
            suffix: b"~".to_vec(),
            fsync: false,
            mkpath: false,
            remove_source_files: false,
            delete: Delete::No,
            delete_excluded: false,
            max_delete: None,
            ignore_errors: false,
            force: false,
            prune_empty_dirs: false,
            filters: Vec::new(),
            cvs_exclude: false,
            dry_run: false,
            bwlimit: None,
            timeout: 0,
            contimeout: 0,
            max_alloc: 1 << 30,
            secluded_args: false,
            old_args: 0,
            protocol: None,
            trust_sender: false,
            verbose: 0,
            quiet: false,
            itemize: 0,
            out_format: None,
            stats: false,
            progress: false,
            human_readable: 1,
            eight_bit_output: false,
            info: Info {
                nonreg: 1,
                ..Info::default()
            },
            log_file: None,
            log_file_format: None,
            outbuf: None,
            stderr: None,
            rsh: None,
            rsync_path: None,
            port: None,
            address: None,
            sockopts: None,
            ip_version: None,
            blocking_io: None,
            password_file: None,
            early_input: None,
            no_motd: false,
            remote_options: Vec::new(),
            capabilities: Vec::new(),
            args: Vec::new(),
            typed: Typed::default(),
        }
    }
}

/// Where `--files-from` names come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FilesFrom {
    /// A file of this side; `-` is the standard input.
    Local(PathBuf),
    /// A file of the peer (`:path`, `host:path`).
    Remote(OsString),
    /// On a server: the client sends them over the connection (`--files-from=-`).
    Wire,
}

/// How literal data is compressed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Compress {
    /// Not at all.
    #[default]
    Off,
    /// `-z`: what both sides like best.
    Negotiated,
    /// `--compress-choice`, `--new-compress`, `--old-compress`: `zstd`, `lz4`, `zlibx`, `zlib`.
    Chosen(String),
}

/// What the directories of `--compare-dest` and its kin are for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BasisKind {
    /// Files that are the same there are left out.
    #[default]
    Compare,
    /// They are copied.
    Copy,
    /// They are linked.
    Link,
}

/// Whether and when the receiving side deletes what the sender does not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Delete {
    /// Never.
    #[default]
    No,
    /// Before anything is requested.
    Before,
    /// As each directory is come to.
    During,
    /// Found as each directory is come to, done at the end.
    Delay,
    /// At the end.
    After,
}

/// One option that makes filter rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FilterOption {
    /// `--filter=RULE`.
    Rule(Vec<u8>),
    /// `--exclude=PATTERN`.
    Exclude(Vec<u8>),
    /// `--include=PATTERN`.
    Include(Vec<u8>),
    /// `--exclude-from=FILE`; `-` is the standard input.
    ExcludeFrom(PathBuf),
    /// `--include-from=FILE`.
    IncludeFrom(PathBuf),
    /// `-0` or `--no-from0`: how the files that are named after it end their rules.
    From0(bool),
}

/// Levels of the `--info` words; 0 is off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Info {
    /// Backups.
    pub backup: u8,
    /// Copies made from basis directories.
    pub copy: u8,
    /// Deletions.
    pub del: u8,
    /// The file list.
    pub flist: u8,
    /// Miscellaneous.
    pub misc: u8,
    /// Mount points.
    pub mount: u8,
    /// Names: 1 changed, 2 unchanged too.
    pub name: u8,
    /// Entries skipped for being non-regular.
    pub nonreg: u8,
    /// Progress: 1 a file, 2 the whole.
    pub progress: u8,
    /// Files removed at the source.
    pub remove: u8,
    /// Files skipped by options.
    pub skip: u8,
    /// Closing statistics: 1 to 3.
    pub stats: u8,
    /// Unsafe symbolic links.
    pub symsafe: u8,
}
