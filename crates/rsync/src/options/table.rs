//! rsync's flags, a row each: how they are spelled, what they do, what the help says.
//!
//! The rows are in the order of rsync's own help. Source: rsync(1) of 3.5.0, for names and help.

use super::draft::Recursion;
use super::draft::{Draft, os};
use super::flag::{Flag, Given, Stop};
use super::size::Range;
use super::words::check_debug;
use super::{BasisKind, DaemonOptions, FilterOption};
use crate::Chmod;

/// The flags of a client and of a server.
#[rustfmt::skip] // One flag, one row.
pub(super) static FLAGS: &[Flag<Draft>] = &[
    Flag::set(&["--verbose", "-v"], "increase verbosity", |d| d.options.verbose = d.options.verbose.saturating_add(1)),
    Flag::set(&["--no-verbose", "--no-v"], "", |d| d.options.verbose = 0),
    Flag::take(&["--info"], "FLAGS", "fine-grained informational verbosity", |d, given| d.asked_info.take(given, d.options.server)),
    Flag::take(&["--debug"], "FLAGS", "checked; there are no lines for these words", |d, given| check_debug(given, d.options.server)),
    Flag::take(&["--stderr"], "e|a|c", "change stderr output mode (default: errors)", stderr),
    Flag::set(&["--msgs2stderr"], "", |d| d.options.stderr = Some("all".to_owned())),
    Flag::set(&["--no-msgs2stderr"], "", |d| d.options.stderr = Some("client".to_owned())),
    Flag::set(&["--quiet", "-q"], "suppress non-error messages", |d| d.options.quiet = true),
    Flag::set(&["--motd"], "", |d| d.options.no_motd = false),
    Flag::set(&["--no-motd"], "suppress daemon-mode MOTD", |d| d.options.no_motd = true),
    Flag::set(&["--checksum", "-c"], "skip based on checksum, not mod-time & size", |d| d.options.checksum = true),
    Flag::set(&["--no-checksum", "--no-c"], "", |d| d.options.checksum = false),
    Flag::set(&["--archive", "-a"], "archive mode is -rlptgoD (no -A,-X,-U,-N,-H)", Draft::archive),
    Flag::set(&["--recursive", "-r"], "recurse into directories", |d| d.recursion = Recursion::Asked),
    Flag::set(&["--no-recursive", "--no-r"], "", |d| d.recursion = Recursion::Off),
    Flag::set(&["--inc-recursive", "--i-r"], "enable incremental recursion", |d| d.options.inc_recursive = true),
    Flag::set(&["--no-inc-recursive", "--no-i-r"], "disable incremental recursion", |d| d.options.inc_recursive = false),
    Flag::set(&["--relative", "-R"], "use relative path names", |d| d.relative = Some(true)),
    Flag::set(&["--no-relative", "--no-R"], "", |d| d.relative = Some(false)),
    Flag::set(&["--implied-dirs", "--i-d"], "", |d| d.options.implied_dirs = true),
    Flag::set(&["--no-implied-dirs", "--no-i-d"], "don't send implied directories with --relative", |d| d.options.implied_dirs = false),
    Flag::set(&["--backup", "-b"], "make backups (see --suffix & --backup-dir)", |d| d.backup = true),
    Flag::set(&["--no-backup"], "", |d| d.backup = false),
    Flag::take(&["--backup-dir"], "DIR", "make backups into hierarchy based in DIR", |d, given| to(&mut d.backup_dir, os(given.value))),
    Flag::take(&["--suffix"], "SUFFIX", "backup suffix (default ~ w/o --backup-dir)", |d, given| to(&mut d.suffix, given.value.to_vec())),
    Flag::set(&["--update", "-u"], "skip files that are newer on the receiver", |d| d.options.update = true),
    Flag::set(&["--inplace"], "update destination files in-place", |d| d.options.inplace = true),
    Flag::set(&["--no-inplace"], "", |d| d.options.inplace = false),
    // A server is told of --append-verify by saying --append twice.
    Flag::set(&["--append"], "append data onto shorter files", |d| d.options.append = if d.options.server { 2.min(d.options.append + 1) } else { 1 }),
    Flag::set(&["--append-verify"], "--append w/old data in file checksum", |d| d.options.append = 2),
    Flag::set(&["--no-append"], "", |d| d.options.append = 0),
    Flag::set(&["--dirs", "-d"], "transfer directories without recursing", |d| d.dirs = Some(true)),
    Flag::set(&["--no-dirs", "--no-d"], "", |d| d.dirs = Some(false)),
    Flag::set(&["--old-dirs", "--old-d"], "works like --dirs when talking to old rsync", |d| d.old_dirs = true),
    Flag::set(&["--mkpath"], "create destination's missing path components", |d| d.options.mkpath = true),
    Flag::set(&["--no-mkpath"], "", |d| d.options.mkpath = false),
    Flag::set(&["--links", "-l"], "copy symlinks as symlinks", |d| d.options.links = true),
    Flag::set(&["--no-links", "--no-l"], "", |d| d.options.links = false),
    Flag::set(&["--copy-links", "-L"], "transform symlink into referent file/directory", |d| d.options.copy_links = true),
    Flag::set(&["--copy-unsafe-links"], "only \"unsafe\" symlinks are transformed", |d| d.options.copy_unsafe_links = true),
    Flag::set(&["--safe-links"], "ignore symlinks that point outside the tree", |d| d.options.safe_links = true),
    Flag::refused(&["--insecure-links"], None, "follow attacker-owned symlinks in operator paths", "there is one way in which paths are followed"),
    Flag::set(&["--no-insecure-links"], "", |_| {}),
    Flag::refused(&["--confine-root"], Some("DIR"), "refuse operator paths resolving outside DIR", "the paths of an operator are not confined"),
    Flag::set(&["--munge-links"], "munge symlinks to make them safe & unusable", |d| d.options.munge_links = true),
    Flag::set(&["--no-munge-links"], "", |d| d.options.munge_links = false),
    Flag::set(&["--copy-dirlinks", "-k"], "transform symlink to directory into referent directory", |d| d.options.copy_dirlinks = true),
    Flag::set(&["--keep-dirlinks", "-K"], "treat symlinked directory on receiver as directory", |d| d.options.keep_dirlinks = true),
    Flag::set(&["--hard-links", "-H"], "preserve hard links", |d| d.hard_links = 2.min(d.hard_links + 1)),
    Flag::set(&["--no-hard-links", "--no-H"], "", |d| d.hard_links = 0),
    Flag::set(&["--perms", "-p"], "preserve permissions", |d| d.options.perms = true),
    Flag::set(&["--no-perms", "--no-p"], "", |d| d.options.perms = false),
    Flag::set(&["--executability", "-E"], "preserve executability", |d| d.options.executability = true),
    Flag::take(&["--chmod"], "CHMOD", "affect file and/or directory permissions", chmod),
    Flag::set(&["--acls", "-A"], "preserve ACLs (implies --perms)", |d| { d.options.acls = true; d.options.perms = true }),
    Flag::set(&["--no-acls", "--no-A"], "", |d| d.options.acls = false),
    Flag::set(&["--xattrs", "-X"], "preserve extended attributes", |d| d.options.xattrs = 2.min(d.options.xattrs + 1)),
    Flag::set(&["--no-xattrs", "--no-X"], "", |d| d.options.xattrs = 0),
    Flag::set(&["--owner", "-o"], "preserve owner (super-user only)", |d| d.options.owner = true),
    Flag::set(&["--no-owner", "--no-o"], "", |d| d.options.owner = false),
    Flag::set(&["--group", "-g"], "preserve group", |d| d.options.group = true),
    Flag::set(&["--no-group", "--no-g"], "", |d| d.options.group = false),
    Flag::set(&["--devices"], "preserve device files (super-user only)", |d| d.options.devices = true),
    Flag::set(&["--no-devices"], "", |d| d.options.devices = false),
    Flag::set(&["--copy-devices"], "copy device contents as a regular file", |d| d.options.copy_devices = true),
    Flag::set(&["--write-devices"], "write to devices as files (implies --inplace)", |d| d.options.write_devices = true),
    Flag::set(&["--no-write-devices"], "", |d| d.options.write_devices = false),
    Flag::set(&["--specials"], "preserve special files", |d| d.options.specials = true),
    Flag::set(&["--no-specials"], "", |d| d.options.specials = false),
    Flag::refused(&["--drop-D"], None, "receiver refuses to create devices/specials", "give --no-D to both sides"),
    Flag::set(&["--no-drop-D"], "", |_| {}),
    Flag::set(&["-D"], "same as --devices --specials", |d| (d.options.devices, d.options.specials) = (true, true)),
    Flag::set(&["--no-D"], "", |d| (d.options.devices, d.options.specials) = (false, false)),
    Flag::set(&["--times", "-t"], "preserve modification times", |d| d.options.times = true),
    Flag::set(&["--no-times", "--no-t"], "", |d| d.options.times = false),
    Flag::set(&["--atimes", "-U"], "preserve access (use) times", |d| { d.options.atimes = 2.min(d.options.atimes + 1); d.options.open_noatime |= d.options.atimes == 2 }),
    Flag::set(&["--no-atimes", "--no-U"], "", |d| d.options.atimes = 0),
    Flag::set(&["--open-noatime"], "avoid changing the atime on opened files", |d| d.options.open_noatime = true),
    Flag::set(&["--no-open-noatime"], "", |d| d.options.open_noatime = false),
    Flag::refused(&["--crtimes", "-N"], None, "preserve create times (newness)", "Linux cannot set them"),
    Flag::set(&["--no-crtimes", "--no-N"], "", |_| {}),
    Flag::set(&["--omit-dir-times", "-O"], "omit directories from --times", |d| d.options.omit_dir_times = true),
    Flag::set(&["--no-omit-dir-times", "--no-O"], "", |d| d.options.omit_dir_times = false),
    Flag::set(&["--omit-link-times", "-J"], "omit symlinks from --times", |d| d.options.omit_link_times = true),
    Flag::set(&["--no-omit-link-times", "--no-J"], "", |d| d.options.omit_link_times = false),
    Flag::set(&["--super"], "receiver attempts super-user activities", |d| d.options.as_super = Some(true)),
    Flag::set(&["--no-super"], "", |d| d.options.as_super = Some(false)),
    Flag::set(&["--fake-super"], "store/recover privileged attrs using xattrs", |d| d.options.fake_super = true),
    Flag::set(&["--sparse", "-S"], "turn sequences of nulls into sparse blocks", |d| d.options.sparse = true),
    Flag::set(&["--no-sparse", "--no-S"], "", |d| d.options.sparse = false),
    Flag::set(&["--preallocate"], "allocate dest files before writing them", |d| d.options.preallocate = true),
    Flag::set(&["--dry-run", "-n"], "perform a trial run with no changes made", |d| d.options.dry_run = true),
    Flag::set(&["--whole-file", "-W"], "copy files whole (w/o delta-xfer algorithm)", |d| d.options.whole_file = Some(true)),
    Flag::set(&["--no-whole-file", "--no-W"], "use the delta-xfer algorithm", |d| d.options.whole_file = Some(false)),
    Flag::take(&["--checksum-choice", "--cc"], "STR", "choose the checksum algorithm", |d, given| to(&mut d.checksum_choice, given.value.to_vec())),
    Flag::set(&["--one-file-system", "-x"], "don't cross filesystem boundaries", |d| d.options.one_file_system = 2.min(d.options.one_file_system + 1)),
    Flag::set(&["--no-one-file-system", "--no-x"], "", |d| d.options.one_file_system = 0),
    Flag::take(&["--block-size", "-B"], "SIZE", "force a fixed checksum block-size", block_size),
    Flag::take(&["--rsh", "-e"], "COMMAND", "specify the remote shell to use", |d, given| to(&mut d.rsh, given.value.to_vec())),
    Flag::take(&["--rsync-path"], "PROGRAM", "specify the rsync to run on remote machine", |d, given| to(&mut d.options.rsync_path, os(given.value))),
    Flag::set(&["--existing", "--ignore-non-existing"], "skip creating new files on receiver", |d| d.options.existing = true),
    Flag::set(&["--ignore-existing"], "skip updating files that exist on receiver", |d| d.options.ignore_existing = true),
    Flag::set(&["--remove-source-files"], "sender removes synchronized files (non-directory)", |d| d.options.remove_source_files = true),
    Flag::set(&["--remove-sent-files"], "", |d| (d.options.remove_source_files, d.typed.remove_sent_files) = (true, true)),
    Flag::set(&["--delete-during", "--del"], "receiver deletes during the transfer", |d| (d.deletes.during, d.deletes.delay) = (true, false)),
    Flag::set(&["--delete"], "delete extraneous files from dest directories", |d| d.deletes.some_time = true),
    Flag::set(&["--delete-before"], "receiver deletes before xfer, not during", |d| d.deletes.before = true),
    Flag::set(&["--delete-delay"], "find deletions during, delete after", |d| (d.deletes.during, d.deletes.delay) = (false, true)),
    Flag::set(&["--delete-after"], "receiver deletes after transfer, not during", |d| d.deletes.after = true),
    Flag::set(&["--delete-excluded"], "also delete excluded files from dest directories", |d| d.deletes.excluded = true),
    Flag::set(&["--ignore-missing-args"], "ignore missing source arguments without error", |d| d.options.ignore_missing_args = true),
    Flag::set(&["--delete-missing-args"], "delete missing source arguments from destination", |d| d.options.delete_missing_args = true),
    Flag::set(&["--ignore-errors"], "delete even if there are I/O errors", |d| d.options.ignore_errors = true),
    Flag::set(&["--no-ignore-errors"], "", |d| d.options.ignore_errors = false),
    Flag::set(&["--force"], "force deletion of directories even if not empty", |d| d.options.force = true),
    Flag::set(&["--no-force"], "", |d| d.options.force = false),
    Flag::number(&["--max-delete"], "NUM", "don't delete more than NUM files", |d, most| d.max_delete = Some(most)),
    Flag::take(&["--max-size"], "SIZE", "don't transfer any file larger than SIZE", |d, given| to(&mut d.options.max_size, Range::ANY.parse(given)?)),
    Flag::take(&["--min-size"], "SIZE", "don't transfer any file smaller than SIZE", |d, given| to(&mut d.options.min_size, Range::ANY.parse(given)?)),
    Flag::take(&["--max-alloc"], "SIZE", "change a limit relating to memory alloc", |d, given| to(&mut d.max_alloc, given.value.to_vec())),
    Flag::set(&["--partial"], "keep partially transferred files", |d| d.options.partial = true),
    Flag::set(&["--no-partial"], "", |d| d.options.partial = false),
    Flag::take(&["--partial-dir"], "DIR", "put a partially transferred file into DIR", |d, given| to(&mut d.partial_dir, os(given.value))),
    Flag::set(&["--delay-updates"], "put all updated files into place at end", |d| d.options.delay_updates = true),
    Flag::set(&["--no-delay-updates"], "", |d| d.options.delay_updates = false),
    Flag::set(&["--prune-empty-dirs", "-m"], "prune empty directory chains from file-list", |d| d.options.prune_empty_dirs = true),
    Flag::set(&["--no-prune-empty-dirs", "--no-m"], "", |d| d.options.prune_empty_dirs = false),
    Flag::set(&["--numeric-ids"], "don't map uid/gid values by user/group name", |d| d.options.numeric_ids = true),
    Flag::set(&["--no-numeric-ids"], "", |d| d.options.numeric_ids = false),
    Flag::take(&["--usermap"], "STRING", "custom username mapping", |d, given| d.usermap("--usermap", given.value.to_vec())),
    Flag::take(&["--groupmap"], "STRING", "custom groupname mapping", |d, given| d.groupmap("--groupmap", given.value.to_vec())),
    Flag::take(&["--chown"], "USER:GROUP", "simple username/groupname mapping", Draft::chown),
    Flag::number(&["--timeout"], "SECONDS", "set I/O timeout in seconds", |d, seconds| d.options.timeout = u32::try_from(seconds).unwrap_or(0)),
    Flag::set(&["--no-timeout"], "", |d| d.options.timeout = 0),
    Flag::number(&["--contimeout"], "SECONDS", "set daemon connection timeout in seconds", |d, seconds| d.options.contimeout = u32::try_from(seconds).unwrap_or(0)),
    Flag::set(&["--no-contimeout"], "", |d| d.options.contimeout = 0),
    Flag::set(&["--ignore-times", "-I"], "don't skip files that match size and time", |d| d.options.ignore_times = true),
    Flag::set(&["--size-only"], "skip files that match in size", |d| d.options.size_only = true),
    Flag::number(&["--modify-window", "-@"], "NUM", "set the accuracy for mod-time comparisons", |d, seconds| (d.options.modify_window, d.typed.modify_window) = (seconds.into(), true)),
    Flag::take(&["--temp-dir", "-T"], "DIR", "create temporary files in directory DIR", |d, given| to(&mut d.options.temp_dir, os(given.value))),
    Flag::set(&["--fuzzy", "-y"], "find similar file for basis if no dest file", |d| d.options.fuzzy = 2.min(d.options.fuzzy + 1)),
    Flag::set(&["--no-fuzzy", "--no-y"], "", |d| d.options.fuzzy = 0),
    Flag::take(&["--compare-dest"], "DIR", "also compare destination files relative to DIR", |d, given| d.basis_dir(BasisKind::Compare, given)),
    Flag::take(&["--copy-dest"], "DIR", "... and include copies of unchanged files", |d, given| d.basis_dir(BasisKind::Copy, given)),
    Flag::take(&["--link-dest"], "DIR", "hardlink to files in DIR when unchanged", |d, given| d.basis_dir(BasisKind::Link, given)),
    Flag::set(&["--compress", "-z"], "compress file data during the transfer", |d| d.compress = d.compress.saturating_add(1)),
    Flag::set(&["--no-compress", "--no-z"], "", |d| (d.compress, d.compress_choice) = (0, None)),
    Flag::set(&["--old-compress"], "", |d| d.compress_choice = Some(b"zlib".to_vec())),
    Flag::set(&["--new-compress"], "", |d| d.compress_choice = Some(b"zlibx".to_vec())),
    Flag::take(&["--compress-choice", "--zc"], "STR", "choose the compression algorithm", |d, given| to(&mut d.compress_choice, given.value.to_vec())),
    Flag::number(&["--compress-level", "--zl"], "NUM", "explicitly set compression level", |d, level| d.options.compress_level = Some(level)),
    Flag::number(&["--compress-threads", "--zt"], "NUM", "accepted; one thread compresses a stream", |_, _| {}),
    Flag::take(&["--skip-compress"], "LIST", "skip compressing files with suffix in LIST", |d, given| to(&mut d.options.skip_compress, given.value.to_vec())),
    Flag::set(&["--cvs-exclude", "-C"], "auto-ignore files in the same way CVS does", |d| d.options.cvs_exclude = true),
    Flag::take(&["--filter", "-f"], "RULE", "add a file-filtering RULE", |d, given| filter(d, FilterOption::Rule(given.value.to_vec()))),
    Flag::set(&["-F"], "same as --filter='dir-merge /.rsync-filter'\nrepeated: --filter='- .rsync-filter'", Draft::merge_files),
    Flag::take(&["--exclude"], "PATTERN", "exclude files matching PATTERN", |d, given| filter(d, FilterOption::Exclude(given.value.to_vec()))),
    Flag::take(&["--exclude-from"], "FILE", "read exclude patterns from FILE", |d, given| filter(d, FilterOption::ExcludeFrom(os(given.value).into()))),
    Flag::take(&["--include"], "PATTERN", "don't exclude files matching PATTERN", |d, given| filter(d, FilterOption::Include(given.value.to_vec()))),
    Flag::take(&["--include-from"], "FILE", "read include patterns from FILE", |d, given| filter(d, FilterOption::IncludeFrom(os(given.value).into()))),
    Flag::take(&["--files-from"], "FILE", "read list of source-file names from FILE", |d, given| to(&mut d.files_from, given.value.to_vec())),
    Flag::set(&["--from0", "-0"], "all *-from/filter files are delimited by 0s", |d| from0(d, true)),
    Flag::set(&["--no-from0"], "", |d| from0(d, false)),
    Flag::set(&["--old-args"], "disable the modern argument-protection idiom", |d| d.old_args = Some(d.old_args.unwrap_or(0).saturating_add(1))),
    Flag::set(&["--no-old-args"], "", |d| d.old_args = Some(0)),
    Flag::set(&["--secluded-args", "--protect-args", "-s"], "use the protocol to safely send the arguments", |d| d.secluded_args = Some(true)),
    Flag::set(&["--no-secluded-args", "--no-protect-args", "--no-s"], "", |d| d.secluded_args = Some(false)),
    Flag::set(&["--trust-sender"], "trust the remote sender's file list", |d| d.options.trust_sender = true),
    Flag::refused(&["--copy-as"], Some("USER[:GROUP]"), "specify user & optional group for the copy", "it runs as whoever started it"),
    Flag::take(&["--address"], "ADDRESS", "bind address for outgoing socket to daemon", |d, given| to(&mut d.options.address, given.text())),
    Flag::take(&["--port"], "PORT", "specify double-colon alternate port number", |d, given| to(&mut d.options.port, port(given)?)),
    Flag::take(&["--sockopts"], "OPTIONS", "specify custom TCP options", |d, given| to(&mut d.options.sockopts, given.text())),
    Flag::set(&["--blocking-io"], "use blocking I/O for the remote shell", |d| d.options.blocking_io = Some(true)),
    Flag::set(&["--no-blocking-io"], "", |d| d.options.blocking_io = Some(false)),
    Flag::take(&["--outbuf"], "N|L|B", "set out buffering to None, Line, or Block", outbuf),
    Flag::set(&["--stats"], "give some file-transfer stats", |d| d.stats = true),
    Flag::set(&["--8-bit-output", "-8"], "leave high-bit chars unescaped in output", |d| d.options.eight_bit_output = true),
    Flag::set(&["--no-8-bit-output", "--no-8"], "", |d| d.options.eight_bit_output = false),
    Flag::set(&["--human-readable", "-h"], "output numbers in a human-readable format", |d| d.options.human_readable = d.options.human_readable.saturating_add(1)),
    Flag::set(&["--no-human-readable", "--no-h"], "", |d| d.options.human_readable = 0),
    Flag::set(&["--progress"], "show progress during transfer", |d| d.options.progress = true),
    Flag::set(&["--no-progress"], "", |d| d.options.progress = false),
    Flag::set(&["-P"], "same as --partial --progress", |d| (d.options.partial, d.options.progress) = (true, true)),
    Flag::set(&["--itemize-changes", "-i"], "output a change-summary for all updates", |d| d.itemize = 2.min(d.itemize + 1)),
    Flag::set(&["--no-itemize-changes", "--no-i"], "", |d| d.itemize = 0),
    Flag::take(&["--remote-option", "-M"], "OPT", "send OPTION to the remote side only", remote_option),
    Flag::take(&["--out-format", "--log-format"], "FORMAT", "output updates using the specified FORMAT", |d, given| to(&mut d.options.out_format, given.value.to_vec())),
    Flag::take(&["--log-file"], "FILE", "log what we're doing to the specified FILE", |d, given| to(&mut d.options.log_file, os(given.value).into())),
    Flag::take(&["--log-file-format"], "FMT", "log updates using the specified FMT", |d, given| to(&mut d.options.log_file_format, given.value.to_vec())),
    Flag::take(&["--password-file"], "FILE", "read daemon-access password from FILE", |d, given| to(&mut d.options.password_file, os(given.value).into())),
    Flag::take(&["--early-input"], "FILE", "use FILE for daemon's early exec input", |d, given| to(&mut d.options.early_input, os(given.value).into())),
    Flag::set(&["--list-only"], "list the files instead of copying them", |d| d.options.list_only = true),
    Flag::take(&["--bwlimit"], "RATE", "limit socket I/O bandwidth", |d, given| { d.options.bwlimit = bwlimit(given)?; Ok(()) }),
    Flag::set(&["--no-bwlimit"], "", |d| d.options.bwlimit = None),
    Flag::refused(&["--stop-after", "--time-limit"], Some("MINS"), "stop rsync after MINS minutes have elapsed", "a run ends when it is done"),
    Flag::refused(&["--stop-at"], Some("y-m-dTh:m"), "stop rsync at the specified point in time", "a run ends when it is done"),
    Flag::set(&["--fsync"], "fsync every written file", |d| d.options.fsync = true),
    Flag::refused(&["--write-batch"], Some("FILE"), "write a batched update to FILE", NO_BATCHES),
    // A server of a client that writes a batch receives nothing: a trial run.
    Flag::refused_unless(&["--only-write-batch"], "FILE", "like --write-batch but w/o updating dest", NO_BATCHES, |d, _| { d.options.dry_run |= d.options.server; d.options.server }),
    Flag::refused(&["--read-batch"], Some("FILE"), "read a batched update from FILE", NO_BATCHES),
    Flag::number(&["--protocol"], "NUM", "force an older protocol version to be used", |d, version| d.protocol = Some(version)),
    Flag::refused_unless(&["--iconv"], "CONVERT_SPEC", "request charset conversion of filenames", NO_CHARSETS, |d, spec| { d.no_iconv = matches!(spec, b"" | b"-"); d.no_iconv }),
    Flag::set(&["--no-iconv"], "", |d| d.no_iconv = true),
    Flag::number(&["--checksum-seed"], "NUM", "set block/file checksum seed (advanced)", |d, seed| d.options.checksum_seed = (seed != 0).then_some(seed)),
    Flag::set(&["--ipv4", "-4"], "prefer IPv4", |d| d.options.ip_version = Some(4)),
    Flag::set(&["--ipv6", "-6"], "prefer IPv6", |d| d.options.ip_version = Some(6)),
    Flag::set(&["--version", "-V"], "print the version + other info and exit", |d| d.version = d.version.saturating_add(1)),
    // `-h` is a row above; alone on a line it means this.
    Flag::attempt(&["--help"], "show this help (* -h is help only on its own)", |_| Err(Stop::Print(super::about::help()))),
    Flag::set(&["--qsort", "--use-qsort"], "", |d| d.use_qsort = true),
    Flag::set(&["--server"], "", |d| d.options.server = true),
    Flag::attempt(&["--sender"], "", sender),
    Flag::attempt(&["--daemon"], "", |_| Err(Stop::Daemon)),
    Flag::attempt(&["--detach", "--no-detach"], "", |_| Err(Stop::Daemon)),
    Flag::take(&["--config", "--dparam"], "FILE", "", |_, _| Err(Stop::Daemon)),
];

/// The flags of `rsync --daemon`.
#[rustfmt::skip]
pub(super) static DAEMON_FLAGS: &[Flag<DaemonDraft>] = &[
    Flag::set(&["--daemon"], "run as an rsync daemon", |d| d.daemon = true),
    Flag::take(&["--address"], "ADDRESS", "bind to the specified address", |d, given| to(&mut d.options.address, given.text())),
    Flag::number(&["--bwlimit"], "RATE", "limit socket I/O bandwidth", |d, kib| d.options.bwlimit = u64::try_from(kib).ok().filter(|kib| *kib > 0).map(|kib| kib * 1024)),
    Flag::take(&["--config"], "FILE", "specify alternate rsyncd.conf file", |d, given| to(&mut d.options.config, os(given.value).into())),
    Flag::take(&["--dparam", "-M"], "OVERRIDE", "override global daemon config parameter", dparam),
    Flag::set(&["--detach"], "", |d| d.options.detach = true),
    Flag::set(&["--no-detach"], "do not detach from the parent", |d| d.options.detach = false),
    Flag::number(&["--port"], "PORT", "listen on alternate port number", |d, port| d.port = Some(port)),
    Flag::take(&["--log-file"], "FILE", "override the \"log file\" setting", |d, given| to(&mut d.options.log_file, os(given.value).into())),
    Flag::take(&["--log-file-format"], "FMT", "override the \"log format\" setting", |d, given| to(&mut d.options.log_file_format, given.value.to_vec())),
    Flag::take(&["--sockopts"], "OPTIONS", "specify custom TCP options", |d, given| to(&mut d.options.sockopts, given.text())),
    Flag::set(&["--verbose", "-v"], "increase verbosity", |d| d.options.verbose = d.options.verbose.saturating_add(1)),
    Flag::set(&["--ipv4", "-4"], "prefer IPv4", |d| d.options.ip_version = Some(4)),
    Flag::set(&["--ipv6", "-6"], "prefer IPv6", |d| d.options.ip_version = Some(6)),
    Flag::set(&["--server"], "", |d| d.options.server = true),
    Flag::attempt(&["--help", "-h"], "show this help (when used with --daemon)", |_| Err(Stop::Print(super::about::daemon_help()))),
];

/// A daemon's options as they are read.
#[derive(Clone, Debug, Default)]
pub(super) struct DaemonDraft {
    pub(super) daemon: bool,
    pub(super) port: Option<i32>,
    pub(super) options: DaemonOptions,
}

fn to<T>(place: &mut Option<T>, value: T) -> Result<(), Stop> {
    *place = Some(value);
    Ok(())
}

fn filter(draft: &mut Draft, filter: FilterOption) -> Result<(), Stop> {
    draft.options.filters.push(filter);
    Ok(())
}

fn from0(draft: &mut Draft, from0: bool) {
    draft.options.from0 = from0;
    draft.options.filters.push(FilterOption::From0(from0));
}

fn stderr(draft: &mut Draft, given: &Given<'_>) -> Result<(), Stop> {
    let mode = ["errors", "all", "client"]
        .into_iter()
        .find(|mode| !given.value.is_empty() && mode.as_bytes().starts_with(given.value));
    let mode = mode.ok_or_else(|| {
        let text = given.text();
        Stop::usage(format_args!(
            "--stderr mode \"{text}\" is not one of errors, all, or client"
        ))
    })?;
    to(&mut draft.options.stderr, mode.to_owned())
}

fn outbuf(draft: &mut Draft, given: &Given<'_>) -> Result<(), Stop> {
    let mode = match given.value.first().map(u8::to_ascii_lowercase) {
        Some(b'n' | b'u') => b'N',
        Some(b'l') => b'L',
        Some(b'b' | b'f') => b'B',
        _ => {
            return Err(Stop::usage(
                "Invalid --outbuf setting -- specify N, L, or B.",
            ));
        }
    };
    to(&mut draft.options.outbuf, mode)
}

fn chmod(draft: &mut Draft, given: &Given<'_>) -> Result<(), Stop> {
    if !Chmod::default().add(given.value) {
        let text = given.text();
        return Err(Stop::usage(format_args!(
            "Invalid argument passed to --chmod ({text})"
        )));
    }
    draft.options.chmod.push(given.value.to_vec());
    Ok(())
}

fn block_size(draft: &mut Draft, given: &Given<'_>) -> Result<(), Stop> {
    let size = BLOCK_SIZE.parse(given)?;
    draft.options.block_size = u32::try_from(size).ok().filter(|size| *size > 0);
    Ok(())
}

/// Bytes a second, in whole KiB.
fn bwlimit(given: &Given<'_>) -> Result<Option<u64>, Stop> {
    let kib = RATE.parse(given)?.saturating_add(512) / 1024;
    Ok((kib > 0).then_some(kib.min(MAX_KIB) * 1024))
}

fn port(given: &Given<'_>) -> Result<u16, Stop> {
    let number = super::flag::number(given.value);
    let number = number.map_err(|why| {
        let (name, text) = (given.name, given.text());
        Stop::Misread(format!("{name}={text}: {why}"))
    })?;
    valid_port(number)
}

/// A port there can be.
pub(super) fn valid_port(number: i32) -> Result<u16, Stop> {
    u16::try_from(number).map_err(|_| Stop::usage(format_args!("--port={number} is invalid")))
}

fn remote_option(draft: &mut Draft, given: &Given<'_>) -> Result<(), Stop> {
    if !given.value.starts_with(b"-") {
        let text = given.text();
        return Err(Stop::usage(format_args!(
            "Remote option must start with a dash: {text}"
        )));
    }
    draft.options.remote_options.push(os(given.value));
    Ok(())
}

fn sender(draft: &mut Draft) -> Result<(), Stop> {
    if !draft.options.server {
        return Err(Stop::Usage);
    }
    draft.options.sender = true;
    Ok(())
}

fn dparam(draft: &mut DaemonDraft, given: &Given<'_>) -> Result<(), Stop> {
    let text = given.text();
    let Some(at) = given.value.iter().position(|&byte| byte == b'=') else {
        let text = format!("--dparam value is missing an '=': {text}");
        return Err(Stop::Refused(text, 1));
    };
    let name = super::flag::lossy(&given.value[..at]);
    let value = given.value[at + 1..].to_vec();
    draft.options.params.push((name, value));
    Ok(())
}

const NO_BATCHES: &str = "there are no batch files";

/// Why there is no `--iconv`.
pub(super) const NO_CHARSETS: &str = "names are bytes here, in no character set";

const BLOCK_SIZE: Range = Range {
    max: 1 << 17,
    ..Range::ANY
};

const RATE: Range = Range {
    unit: b'k',
    min: 512,
    zero_is_unlimited: true,
    ..Range::ANY
};

/// More than any link carries; what a server is told fits a number of 32 bits.
const MAX_KIB: u64 = i32::MAX as u64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::fs;

    use super::*;

    #[test]
    fn no_spelling_is_of_two_flags() {
        let mut seen = BTreeSet::new();
        for name in FLAGS.iter().flat_map(|flag| flag.names) {
            assert!(seen.insert(*name), "{name}");
        }
        let mut seen = BTreeSet::new();
        for name in DAEMON_FLAGS.iter().flat_map(|flag| flag.names) {
            assert!(seen.insert(*name), "{name}");
        }
    }

    #[test]
    fn the_document_lists_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rsync-options.md");
        if std::env::var_os("RECORD").is_some() {
            fs::write(path, document()).unwrap();
        }
        let written = fs::read_to_string(path).unwrap();
        assert_eq!(written, document(), "RECORD=1 writes it anew");
    }

    fn document() -> String {
        let mut text = "\
# rsync's options in `barge rsync`

Written by a test from the table in `crates/rsync/src/options/table.rs`.

What is refused is refused by name, before anything is transferred: exit code 1 on a client and on a
server that a remote shell started, 4 at a daemon. Without effect are, by their nature: `--debug` (its
words are checked, but there are no lines for them), `--compress-threads`, `--blocking-io` and
`--skip-compress` (with rsync 3.5.0 too). popt's aliases (`~/.popt`) are not read.

## Refused

| option | why |
|---|---|
"
        .to_owned();
        for flag in FLAGS {
            if let Some(reason) = flag.refusal() {
                writeln!(text, "| `{}` | {reason} |", flag.names.join("`, `")).unwrap();
            }
        }
        text += "
`--keep-dirlinks` follows links that stay beneath the root of the transfer, and needs `openat2` of the
kernel; others are errors (exit code 23), as they are with rsync 3.5.0, whose message is another. The
directory behind a link gets the attributes; rsync 3.5.0 gives them to the link, or fails to.

What `--fake-super` keeps of a file can be written by whoever can write the file: send as a super-user
only what you would believe him. What no file can stand for is an error (exit code 23), and the file is
sent as what it is; rsync 3.5.0 ends there (11). The receiving side keeps no attributes that are called
`user.rsync.*` at their source (23): they would be taken for what it keeps itself. rsync 3.5.0 stores
them, and a file's owner can so give it a `security.capability` for the day it is brought back. ACLs are
kept of a new directory with attributes, too; rsync 3.5.0 keeps them when it comes there again.

A client that pulls refuses (4) deletions with `--relative` or `--files-from` where only the server could
say which directories were asked for and which are only on the way: with a list that is on the server
(`--files-from=:FILE`), with `--old-args`, and with a path that begins with `~`. With `--trust-sender` the
server's word counts, as it does with rsync.

Of a directory that is to be deleted, what lies more than 512 levels below it stays, which is an error (23).

A name of a user or group that this host does not know leaves the number as it is, as with rsync. One that
cannot be looked up, because the data cannot be read, does so too, but is an error (23); in `--usermap`
and `--groupmap` it ends the run before anything is transferred (1).

A server takes no filter options: rules come from its client, over the connection. A daemon's client
may not name files of the daemon's machine (`--exclude-from`, `--include-from`, `--password-file`,
`--early-input`, `--log-file`, `--log-file-format`), and not `--copy-devices` and `--write-devices`
unless the module says `refuse options = !copy-devices` or `!write-devices`.

## Honoured

";
        list(&mut text, FLAGS);
        text += "\n## Honoured with `--daemon`\n\n";
        list(&mut text, DAEMON_FLAGS);
        text
    }

    fn list<D>(text: &mut String, flags: &[Flag<D>]) {
        for flag in flags.iter().filter(|flag| flag.refusal().is_none()) {
            let value = flag
                .value
                .map_or_else(String::new, |value| format!("={value}"));
            let help = match flag.help {
                "" => String::new(),
                help => format!(": {}", help.replace('\n', "; ")),
            };
            let names = flag.names.join("`, `");
            writeln!(text, "* `{names}{value}`{help}").unwrap();
        }
    }
}
