//! The arguments with which a client starts its server.
//!
//! Source: recordings of what rsync 3.5.0 hands to a remote shell, and to a daemon.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::draft::has_escape;
use super::{Delete, FilesFrom, Options};
use crate::session::setup::is_incremental_fine;

/// How a client's arguments reach the server, which decides what is quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Words of a remote shell: what its shell would act upon gets a backslash.
    Shell,
    /// A daemon's connection: as they are, except that a backslash in an option's value makes the
    /// arguments secluded, because daemons differ in what they make of one.
    Daemon,
}

/// The arguments for the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerArgs {
    /// The vector, beginning with `--server`.
    pub first: Vec<OsString>,
    /// With secluded arguments: the list that is sent over the stream, beginning with `rsync`.
    pub secluded: Option<Vec<OsString>>,
}

/// The arguments with which a client starts its server. `options.sender` says whether the client
/// sends; `paths` are those of the far side, for a daemon with the module's name in front.
pub fn server_args(options: &Options, paths: &[OsString], transport: Transport) -> ServerArgs {
    let long = Long::of(options);
    let needs_seclusion =
        transport == Transport::Daemon && long.args.iter().any(|arg| arg.contains(&b'\\'));
    let secluded = options.secluded_args || needs_seclusion;
    let mut first = vec![b"--server".to_vec()];
    if !options.sender {
        first.push(b"--sender".to_vec());
    }
    first.push(letters(options, secluded));
    let escape = match (transport, secluded) {
        (Transport::Shell, false) => options.old_args,
        _ => NOTHING_ESCAPED,
    };
    let long = long.args.into_iter().map(|arg| match escape {
        NOTHING_ESCAPED => arg,
        _ => escaped(&arg, false),
    });
    let paths = paths.iter().map(|path| match escape {
        0 => escaped(&plain_path(path), true),
        _ => plain_path(path),
    });
    let rest = long.chain([b".".to_vec()]).chain(paths);
    if secluded {
        let rest = [b"rsync".to_vec()].into_iter().chain(rest);
        return ServerArgs {
            first: to_os(first),
            secluded: Some(to_os(rest)),
        };
    }
    first.extend(rest);
    ServerArgs {
        first: to_os(first),
        secluded: None,
    }
}

/// The bundle of short flags.
fn letters(options: &Options, secluded: bool) -> Vec<u8> {
    let pushes = options.sender;
    let typed = &options.typed;
    let deletes = options.delete != Delete::No;
    let lists_dirs = !options.recursive
        && (typed.dirs == Some(true) || options.dirs && (options.list_only || pushes && deletes));
    let leaves_dir_times = options.omit_dir_times && !backs_up_in_place(options);
    let fuzzy = if options.basis_dirs.is_empty() { 1 } else { 2 };
    let incremental = is_incremental_fine(options, !pushes);
    let counts = [
        ("s", u8::from(secluded)),
        ("v", options.verbose.min(9)),
        ("q", options.quiet.into()),
        ("b", options.backup.into()),
        ("u", options.update.into()),
        ("n", options.dry_run.into()),
        ("l", options.links.into()),
        ("d", lists_dirs.into()),
        ("K", (pushes && options.keep_dirlinks).into()),
        ("m", (pushes && options.prune_empty_dirs).into()),
        ("O", (pushes && leaves_dir_times).into()),
        ("J", (pushes && options.omit_link_times).into()),
        ("y", if pushes { options.fuzzy.min(fuzzy) } else { 0 }),
        ("L", (!pushes && options.copy_links).into()),
        ("k", (!pushes && options.copy_dirlinks).into()),
        ("W", (options.whole_file == Some(true)).into()),
        ("H", typed.hard_links.max(options.hard_links.into())),
        ("o", options.owner.into()),
        ("g", options.group.into()),
        ("D", options.devices.into()),
        ("t", options.times.into()),
        ("U", options.atimes),
        ("p", options.perms.into()),
        (
            "E",
            (pushes && options.executability && !options.perms).into(),
        ),
        ("A", options.acls.into()),
        ("X", options.xattrs),
        ("r", options.recursive.into()),
        ("c", options.checksum.into()),
        ("C", options.cvs_exclude.into()),
        ("I", options.ignore_times.into()),
        ("R", options.relative.into()),
        ("x", options.one_file_system),
        ("S", options.sparse.into()),
        ("z", typed.compress_letter.into()),
        ("e.", 1),
        ("i", incremental.into()),
        ("LsfxCIvu", 1),
    ];
    let letters = counts.map(|(letter, count)| letter.repeat(count.into()));
    format!("-{}", letters.concat()).into_bytes()
}

/// The long options, and short ones that take a value.
#[derive(Debug, Default)]
struct Long {
    args: Vec<Vec<u8>>,
}

impl Long {
    fn of(options: &Options) -> Self {
        let mut long = Self::default();
        long.beginning(options);
        if options.sender {
            long.for_receiver(options);
        } else {
            long.for_sender(options);
        }
        long.middle(options);
        if options.sender {
            long.for_receiver_at_the_end(options);
        }
        long.end(options);
        long.args.extend(
            options
                .remote_options
                .iter()
                .map(|option| option.as_bytes().to_vec()),
        );
        long
    }

    fn beginning(&mut self, options: &Options) {
        let typed = &options.typed;
        self.flag(typed.list_only, "--list-only");
        let deletes = options.delete != Delete::No;
        self.flag(options.sender && deletes && options.dirs, "--no-r");
        self.number("--compress-level", options.compress_level);
        self.flag(options.devices && !options.specials, "--no-specials");
        self.flag(!options.devices && options.specials, "--specials");
        if options.sender {
            self.log_format(options);
        }
        match options.stderr.as_deref() {
            Some("all") => self.flag(true, "--msgs2stderr"),
            Some("client") => self.flag(true, "--no-msgs2stderr"),
            _ => {}
        }
        if let Some(size) = options.block_size {
            self.args.push(format!("-B{size}").into_bytes());
        }
        self.number(
            "--timeout",
            (options.timeout > 0).then_some(options.timeout),
        );
        self.number("--bwlimit", options.bwlimit.map(|bytes| bytes / 1024));
        self.two("--backup-dir", options.backup_dir.as_deref());
        self.value("--suffix", Some(&options.suffix).filter(|_| typed.suffix));
        self.value("--checksum-choice", typed.checksum_choice.as_ref());
        match typed.compress.as_deref() {
            Some(b"zlibx") => self.flag(true, "--new-compress"),
            Some(b"zlib") => self.flag(true, "--old-compress"),
            _ => self.value("--compress-choice", typed.compress.as_ref()),
        }
    }

    /// What the server is to print of each file.
    fn log_format(&mut self, options: &Options) {
        let Some(format) = &options.out_format else {
            return;
        };
        let told = match options.itemize {
            2 => "%i%I",
            1 => "%i",
            _ if has_escape(format, b'o') => "%o",
            _ if options.verbose == 0 => "X",
            _ => return,
        };
        self.args.push(format!("--log-format={told}").into_bytes());
    }

    fn for_receiver(&mut self, options: &Options) {
        let typed = &options.typed;
        // Older servers take 0 for no limit.
        let most = options.max_delete.map(|most| match most {
            0 => -1,
            most => i64::try_from(most).unwrap_or(i64::MAX),
        });
        self.number("--max-delete", most);
        self.number("--min-size", options.min_size);
        self.number("--max-size", options.max_size);
        match options.delete {
            Delete::Before => self.flag(true, "--delete-before"),
            Delete::Delay => self.flag(true, "--delete-delay"),
            Delete::After => self.flag(true, "--delete-after"),
            Delete::During if typed.delete_timing => self.flag(true, "--delete-during"),
            Delete::During => self.flag(!options.delete_excluded, "--delete"),
            Delete::No => {}
        }
        self.flag(options.delete_excluded, "--delete-excluded");
        self.flag(options.force, "--force");
        self.flag(options.as_super == Some(true), "--super");
        self.flag(options.size_only, "--size-only");
        self.flag(options.stats, "--stats");
    }

    fn for_sender(&mut self, options: &Options) {
        self.value("--skip-compress", options.skip_compress.as_ref());
    }

    fn middle(&mut self, options: &Options) {
        let typed = &options.typed;
        let pushes = options.sender;
        self.value("--max-alloc", typed.max_alloc.as_ref());
        self.flag(options.delete_missing_args, "--delete-missing-args");
        self.flag(
            !pushes && options.ignore_missing_args,
            "--ignore-missing-args",
        );
        if pushes && typed.modify_window {
            let name = match options.modify_window {
                0.. => "--modify-window=",
                _ => "-@",
            };
            let arg = format!("{name}{}", options.modify_window);
            self.args.push(arg.into_bytes());
        }
        self.number("--checksum-seed", options.checksum_seed);
        if pushes {
            let dir = options.partial_dir.as_deref();
            self.two("--partial-dir", dir.filter(|_| typed.partial_dir));
            self.flag(options.delay_updates, "--delay-updates");
            let held = options.inplace || options.partial_dir.is_some();
            self.flag(options.partial && !held, "--partial");
        }
        self.flag(options.ignore_errors, "--ignore-errors");
        self.flag(options.copy_unsafe_links, "--copy-unsafe-links");
        self.flag(options.safe_links, "--safe-links");
        self.flag(options.numeric_ids, "--numeric-ids");
    }

    fn for_receiver_at_the_end(&mut self, options: &Options) {
        self.value("--usermap", options.usermap.as_ref());
        self.value("--groupmap", options.groupmap.as_ref());
        self.flag(options.ignore_existing, "--ignore-existing");
        self.flag(options.existing, "--existing");
        self.two("--temp-dir", options.temp_dir.as_deref());
        self.flag(options.fsync, "--fsync");
        for dir in &options.basis_dirs {
            self.two(options.basis_kind.option(), Some(dir));
        }
    }

    fn end(&mut self, options: &Options) {
        let typed = &options.typed;
        let pushes = options.sender;
        let words = typed.info.for_server(!pushes);
        self.value("--info", words.map(String::into_bytes).as_ref());
        self.flag(options.append > 0, "--append");
        self.flag(options.append > 1, "--append");
        let in_place = options.inplace && options.append == 0;
        self.flag(in_place, "--inplace");
        let delta = options.whole_file == Some(false);
        self.flag(pushes && in_place && options.sparse && delta, "--no-W");
        self.files_from(options);
        self.flag(
            options.relative && !options.implied_dirs,
            "--no-implied-dirs",
        );
        self.flag(pushes && options.write_devices, "--write-devices");
        let name = match typed.remove_sent_files {
            true => "--remove-sent-files",
            false => "--remove-source-files",
        };
        self.flag(options.remove_source_files, name);
        self.flag(!pushes && options.copy_devices, "--copy-devices");
        self.flag(pushes && options.preallocate, "--preallocate");
        self.flag(options.open_noatime && options.atimes < 2, "--open-noatime");
        self.flag(pushes && options.mkpath, "--mkpath");
    }

    fn files_from(&mut self, options: &Options) {
        match &options.files_from {
            Some(FilesFrom::Remote(path)) => {
                self.two("--files-from", Some(path));
                self.flag(options.from0, "--from0");
            }
            Some(_) if !options.sender => {
                self.flag(true, "--files-from=-");
                self.flag(true, "--from0");
            }
            _ => return,
        }
        self.flag(!options.relative, "--no-relative");
    }

    fn flag(&mut self, is_set: bool, name: &str) {
        if is_set {
            self.args.push(name.as_bytes().to_vec());
        }
    }

    fn number(&mut self, name: &str, number: Option<impl std::fmt::Display>) {
        if let Some(number) = number {
            self.args.push(format!("{name}={number}").into_bytes());
        }
    }

    fn value(&mut self, name: &str, value: Option<&Vec<u8>>) {
        if let Some(value) = value {
            self.args.push([name.as_bytes(), b"=", value].concat());
        }
    }

    fn two(&mut self, name: &str, value: Option<&OsStr>) {
        if let Some(value) = value {
            self.args.push(name.as_bytes().to_vec());
            self.args.push(value.as_bytes().to_vec());
        }
    }
}

/// Whether backups lie beside what replaced them, which leaves times of directories alone.
fn backs_up_in_place(options: &Options) -> bool {
    options.backup && options.backup_dir.is_none()
}

/// A path that no option can be taken for, and that is not empty.
fn plain_path(path: &OsStr) -> Vec<u8> {
    match path.as_bytes() {
        b"" => b".".to_vec(),
        path @ [b'-', ..] => [b"./", path].concat(),
        path => path.to_vec(),
    }
}

/// An argument with a backslash before each byte that a shell acts upon. Wildcards of a path are
/// the server's to expand, unless they have a backslash already.
fn escaped(arg: &[u8], is_path: bool) -> Vec<u8> {
    let is_wildcard = |byte: Option<&u8>| byte.is_some_and(|byte| b"*?[]".contains(byte));
    let mut escaped = Vec::with_capacity(arg.len());
    for (at, &byte) in arg.iter().enumerate() {
        let acts = match byte {
            b'*' | b'?' | b'[' | b']' => !is_path,
            b'\\' => !(is_path && is_wildcard(arg.get(at + 1))),
            byte => SHELL_ACTS_UPON.contains(&byte),
        };
        if acts {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

fn to_os(args: impl IntoIterator<Item = Vec<u8>>) -> Vec<OsString> {
    args.into_iter().map(OsString::from_vec).collect()
}

const SHELL_ACTS_UPON: &[u8] = b"\t\n\r !\"#$&'();<>`{|}";

/// `--old-args` twice.
const NOTHING_ESCAPED: u8 = 2;
