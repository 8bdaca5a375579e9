//! Options as they are read, and what they come to when all are read.
//!
//! Source: rsync(1), and what rsync 3.5.0 makes of combinations.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::algorithm::{CHECKSUMS, COMPRESSIONS, known};
use super::command::Environment;
use super::flag::{Given, Stop, lossy, unsupported};
use super::size::Range;
use super::table::NO_CHARSETS;
use super::words::AskedInfo;
use super::{BasisKind, Compress, Delete, FilesFrom, FilterOption, Info, Options, Typed};

/// What has been read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// What needs no resolving.
    pub(super) options: Options,
    pub(super) recursion: Recursion,
    pub(super) dirs: Option<bool>,
    pub(super) old_dirs: bool,
    /// There is no destination.
    pub(super) is_list_implied: bool,
    pub(super) relative: Option<bool>,
    pub(super) files_from: Option<Vec<u8>>,
    pub(super) deletes: Deletes,
    pub(super) max_delete: Option<i32>,
    pub(super) backup: bool,
    pub(super) backup_dir: Option<OsString>,
    pub(super) suffix: Option<Vec<u8>>,
    pub(super) partial_dir: Option<OsString>,
    /// How often `-z` was given.
    pub(super) compress: u8,
    pub(super) compress_choice: Option<Vec<u8>>,
    pub(super) checksum_choice: Option<Vec<u8>>,
    pub(super) max_alloc: Option<Vec<u8>>,
    /// What set the two maps: `--chown`, or the option of each.
    pub(super) usermap_by: Option<&'static str>,
    pub(super) groupmap_by: Option<&'static str>,
    pub(super) itemize: u8,
    pub(super) stats: bool,
    pub(super) asked_info: AskedInfo,
    pub(super) merge_files: u8,
    pub(super) secluded_args: Option<bool>,
    pub(super) old_args: Option<u8>,
    pub(super) protocol: Option<i32>,
    pub(super) use_qsort: bool,
    pub(super) rsh: Option<Vec<u8>>,
    pub(super) no_iconv: bool,
    pub(super) hard_links: u8,
    /// How often `-V` was given.
    pub(super) version: u8,
    pub(super) typed: Typed,
}

/// Whether directories are descended into, and who wants it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Recursion {
    #[default]
    Off,
    /// `-a`, which gives way to `--files-from`.
    Archive,
    /// `-r`.
    Asked,
}

/// The deletions that were asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deletes {
    pub(super) some_time: bool,
    pub(super) before: bool,
    pub(super) during: bool,
    pub(super) delay: bool,
    pub(super) after: bool,
    pub(super) excluded: bool,
}

impl Draft {
    /// A `-a`, which leaves recursion to `--files-from`.
    pub(super) fn archive(&mut self) {
        if self.recursion == Recursion::Off {
            self.recursion = Recursion::Archive;
        }
        let options = &mut self.options;
        options.links = true;
        options.perms = true;
        options.times = true;
        options.group = true;
        options.owner = true;
        options.devices = true;
        options.specials = true;
    }

    /// A `-F`: the first for merge files, the second to leave those out.
    pub(super) fn merge_files(&mut self) {
        let rule: &[u8] = match self.merge_files {
            0 => b": /.rsync-filter",
            1 => b"- .rsync-filter",
            _ => return,
        };
        self.merge_files += 1;
        self.options.filters.push(FilterOption::Rule(rule.to_vec()));
    }

    /// A directory of `--link-dest` or its kin.
    pub(super) fn basis_dir(&mut self, kind: BasisKind, given: &Given<'_>) -> Result<(), Stop> {
        let options = &mut self.options;
        if !options.basis_dirs.is_empty() && options.basis_kind != kind {
            return Err(Stop::usage(format_args!(
                "ERROR: the {} option conflicts with the {} option",
                kind.option(),
                options.basis_kind.option()
            )));
        }
        if options.basis_dirs.len() == MAX_BASIS_DIRS {
            return Err(Stop::usage(format_args!(
                "ERROR: at most {MAX_BASIS_DIRS} {} args may be specified",
                kind.option()
            )));
        }
        options.basis_kind = kind;
        options.basis_dirs.push(os(given.value));
        Ok(())
    }

    /// A `--usermap`, or the user of a `--chown`.
    pub(super) fn usermap(&mut self, by: &'static str, map: Vec<u8>) -> Result<(), Stop> {
        map_once(&mut self.usermap_by, by, "--usermap", "user")?;
        self.options.owner = true;
        self.options.usermap = Some(map);
        Ok(())
    }

    /// A `--groupmap`, or the group of a `--chown`.
    pub(super) fn groupmap(&mut self, by: &'static str, map: Vec<u8>) -> Result<(), Stop> {
        map_once(&mut self.groupmap_by, by, "--groupmap", "group")?;
        self.options.group = true;
        self.options.groupmap = Some(map);
        Ok(())
    }

    /// A `--chown`.
    pub(super) fn chown(&mut self, given: &Given<'_>) -> Result<(), Stop> {
        let colon = given.value.iter().position(|&byte| byte == b':');
        let (user, group) = match colon {
            Some(at) => (&given.value[..at], &given.value[at + 1..]),
            None => (given.value, &b""[..]),
        };
        if !user.is_empty() {
            self.usermap("--chown", [b"*:", user].concat())?;
        }
        if !group.is_empty() {
            self.groupmap("--chown", [b"*:", group].concat())?;
        }
        Ok(())
    }

    /// A deletion that leaves the time to the receiving side.
    pub(super) fn is_plain_delete(&self) -> bool {
        let asked = self.deletes;
        let timed = asked.before || asked.during || asked.delay || asked.after;
        (asked.some_time || asked.excluded) && !timed
    }

    /// What all of it comes to. On a refusal, which is the first of several, everything else is
    /// resolved nevertheless.
    pub(super) fn resolve(&mut self, environment: &Environment) -> Result<(), Stop> {
        self.resolve_walk();
        let results = [
            self.resolve_protocol(),
            self.resolve_max_alloc(environment),
            self.resolve_algorithms(),
            self.resolve_args(environment),
            self.resolve_deletes(),
            self.resolve_backup(),
            self.resolve_writing(environment),
            self.refuse_iconv(environment),
            self.refuse_fake_attributes(),
        ];
        // It was said what this side may do.
        self.options.fake_super &= self.options.as_super.is_none();
        self.resolve_output();
        self.resolve_rsh();
        self.options.typed = self.typed.clone();
        results.into_iter().collect()
    }

    fn resolve_protocol(&mut self) -> Result<(), Stop> {
        let Some(protocol) = self.protocol else {
            return Ok(());
        };
        let complain = |bound: &str| {
            let text = format!("--protocol must be no {bound} on the Client.");
            Stop::Refused(text, 2)
        };
        self.options.protocol = match u8::try_from(protocol) {
            Ok(protocol @ 30..=32) => Some(protocol),
            Ok(0..30) | Err(_) if protocol < 30 => return Err(complain("less than 30")),
            _ => return Err(complain("more than 32")),
        };
        Ok(())
    }

    fn resolve_max_alloc(&mut self, environment: &Environment) -> Result<(), Stop> {
        let of_environment = environment.max_alloc.as_ref().map(|size| size.as_bytes());
        let text = match &self.max_alloc {
            Some(text) => text.clone(),
            None => match of_environment {
                Some(text) if !text.is_empty() => text.to_vec(),
                _ => return Ok(()),
            },
        };
        let given = Given {
            name: "--max-alloc",
            value: &text,
        };
        let default = self.options.max_alloc;
        self.options.max_alloc = match MAX_ALLOC.parse(&given)? {
            0 => u64::MAX,
            size => size,
        };
        self.typed.max_alloc = (self.options.max_alloc != default).then_some(text);
        Ok(())
    }

    fn resolve_algorithms(&mut self) -> Result<(), Stop> {
        let options = &mut self.options;
        if let Some(text) = &self.checksum_choice {
            options.checksum_choice = checksum_choice(text)?;
            self.typed.checksum_choice = options.checksum_choice.as_ref().map(|_| text.clone());
        }
        if let Some((transfer, list)) = &options.checksum_choice {
            if options.checksum && list == "none" {
                let text = "Invalid checksum-choice for --checksum: none (0)".to_owned();
                return Err(Stop::Refused(text, 4));
            }
            if transfer == "none" {
                options.whole_file = Some(true);
            }
        }
        self.resolve_compress()
    }

    fn resolve_compress(&mut self) -> Result<(), Stop> {
        let choice = match &self.compress_choice {
            Some(name) if !name.eq_ignore_ascii_case(b"auto") => {
                Some(known(&COMPRESSIONS, name, "compress")?)
            }
            _ => None,
        };
        // Twice -z is how the kind without matched data was asked for before it had a name.
        let choice = match choice {
            None if self.compress > 1 => Some("zlibx"),
            choice => choice,
        };
        let options = &mut self.options;
        self.typed.compress = match choice {
            Some("zlib" | "zlibx") | None => choice.map(|name| name.as_bytes().to_vec()),
            Some(_) => self.compress_choice.clone(),
        };
        self.typed.compress_letter = match choice {
            Some(name) => name == "zlib",
            None => self.compress > 0,
        };
        options.compress = match choice {
            Some("none") => Compress::Off,
            Some("zlib" | "zlibx") if options.compress_level == Some(0) => Compress::Off,
            Some(name) => Compress::Chosen(name.to_owned()),
            None if self.compress > 0 || options.compress_level.is_some() => Compress::Negotiated,
            None => Compress::Off,
        };
        Ok(())
    }

    fn resolve_args(&mut self, environment: &Environment) -> Result<(), Stop> {
        if self.secluded_args == Some(true) && self.old_args.is_some_and(|level| level > 0) {
            return Err(Stop::usage("--secluded-args conflicts with --old-args."));
        }
        let options = &mut self.options;
        if options.server {
            options.secluded_args = self.secluded_args == Some(true);
            return Ok(());
        }
        let old = self.old_args.or_else(|| match self.secluded_args {
            Some(true) => None,
            _ => level(environment.old_args.as_deref()),
        });
        options.old_args = old.unwrap_or(0).min(2);
        let by_environment = || level(environment.protect_args.as_deref()).unwrap_or(0) > 0;
        options.secluded_args = match self.secluded_args {
            Some(secluded) => secluded,
            None => options.old_args == 0 && by_environment(),
        };
        Ok(())
    }

    fn resolve_walk(&mut self) {
        let options = &mut self.options;
        if let Some(text) = &self.files_from {
            let (host, path) = split_host(text);
            options.files_from = Some(match host {
                _ if options.server && path == b"-" => FilesFrom::Wire,
                Some(_) if !options.server => FilesFrom::Remote(os(path)),
                _ => FilesFrom::Local(PathBuf::from(os(text))),
            });
            options.files_from_host = host.filter(|host| !host.is_empty()).map(os);
            self.relative = self.relative.or(Some(true));
            if self.recursion == Recursion::Archive {
                self.recursion = Recursion::Off;
            }
        }
        options.relative = self.relative.unwrap_or(false);
        options.hard_links = self.hard_links > 0;
        self.typed.hard_links = self.hard_links;
        if std::mem::take(&mut self.old_dirs) {
            self.recursion = Recursion::Asked;
            options
                .filters
                .push(FilterOption::Exclude(b"/*/*".to_vec()));
        }
        options.recursive = self.recursion != Recursion::Off;
        self.typed.dirs = self.dirs;
        self.typed.list_only = options.list_only && !self.is_list_implied;
        let implied = options.files_from.is_some() || options.list_only;
        options.dirs = !options.recursive && self.dirs.unwrap_or(implied);
        options.inc_recursive &= !self.use_qsort;
    }

    fn resolve_deletes(&mut self) -> Result<(), Stop> {
        let asked = self.deletes;
        let timings = [asked.before, asked.during || asked.delay, asked.after];
        if timings.iter().filter(|asked| **asked).count() > 1 {
            return Err(Stop::usage(
                "You may not combine multiple --delete-WHEN options.",
            ));
        }
        self.typed.delete_timing = timings.contains(&true);
        let options = &mut self.options;
        options.delete_excluded = asked.excluded;
        options.delete = match asked {
            Deletes { before: true, .. } => Delete::Before,
            Deletes { delay: true, .. } => Delete::Delay,
            Deletes { during: true, .. } => Delete::During,
            Deletes { after: true, .. } => Delete::After,
            Deletes {
                some_time: true, ..
            }
            | Deletes { excluded: true, .. } => Delete::During,
            _ => Delete::No,
        };
        if options.delete != Delete::No && !options.recursive && !options.dirs {
            return Err(Stop::usage(
                "--delete does not work without --recursive (-r) or --dirs (-d).",
            ));
        }
        options.max_delete = self.max_delete.map(|most| u64::try_from(most).unwrap_or(0));
        if options.delete_missing_args {
            options.ignore_missing_args = false;
        }
        Ok(())
    }

    fn resolve_writing(&mut self, environment: &Environment) -> Result<(), Stop> {
        let options = &mut self.options;
        if options.append > 0 {
            if options.whole_file == Some(true) {
                return Err(Stop::usage("--append cannot be used with --whole-file"));
            }
            options.inplace = true;
        }
        options.inplace |= options.write_devices;
        if options.delay_updates && self.partial_dir.is_none() {
            options.partial_dir = Some(HOLDING_DIR.into());
        }
        if options.inplace {
            let name = if options.append > 0 {
                "--append"
            } else {
                "--inplace"
            };
            let conflict = match (options.delay_updates, &self.partial_dir) {
                (true, _) => Some("--delay-updates"),
                (false, Some(_)) => Some("--partial-dir"),
                (false, None) => None,
            };
            if let Some(conflict) = conflict {
                return Err(Stop::usage(format_args!(
                    "{name} cannot be used with {conflict}"
                )));
            }
            options.partial = true;
            return Ok(());
        }
        let dir = match &self.partial_dir {
            None if options.partial && !options.delay_updates => environment.partial_dir.clone(),
            dir => dir.clone(),
        };
        if let Some(dir) = dir {
            self.typed.partial_dir = true;
            // A directory that is the file's own is no directory of its own.
            options.partial_dir = Some(clean(&dir)).filter(|dir| !dir.is_empty());
        }
        options.partial |= options.partial_dir.is_some() || self.typed.partial_dir;
        Ok(())
    }

    fn resolve_backup(&mut self) -> Result<(), Stop> {
        let options = &mut self.options;
        options.backup = self.backup || self.backup_dir.is_some();
        let default: &[u8] = if self.backup_dir.is_some() { b"" } else { b"~" };
        options.suffix = self.suffix.clone().unwrap_or_else(|| default.to_vec());
        // A directory that is the destination is none of its own.
        options.backup_dir = self.backup_dir.clone().filter(|dir| !clean(dir).is_empty());
        self.typed.suffix = options.suffix != default;
        if options.suffix.contains(&b'/') {
            return Err(Stop::usage(format_args!(
                "--suffix cannot contain slashes: {}",
                lossy(&options.suffix)
            )));
        }
        if options.suffix.is_empty() && options.backup_dir.is_none() {
            let unless = match &self.backup_dir {
                Some(_) => "when --backup-dir is the same as the dest dir",
                None => "without a --backup-dir",
            };
            return Err(Stop::usage(format_args!(
                "--suffix cannot be empty {unless}"
            )));
        }
        options.omit_dir_times |= options.backup && options.backup_dir.is_none();
        Ok(())
    }

    fn resolve_output(&mut self) {
        let options = &mut self.options;
        if options.out_format.is_none() && self.itemize > 0 {
            options.out_format = Some(b"%i %n%L".to_vec());
        }
        let mut implied = Info::default();
        if options.progress {
            implied.flist = 2;
            implied.name = 1;
            implied.progress = 1;
        }
        if self.stats {
            implied.stats = if options.verbose > 1 { 3 } else { 2 };
        }
        implied.name |= u8::from(options.out_format.is_some());
        options.stats = self.stats;
        options.info = self.asked_info.resolve(options.verbose, implied);
        if options.out_format.is_none() && options.info.name > 0 && !options.server {
            options.out_format = Some(b"%n%L".to_vec());
        }
        options.itemize = match &options.out_format {
            Some(format) if has_escape(format, b'i') => {
                let all = if options.server {
                    has_escape(format, b'I')
                } else {
                    self.itemize > 1
                };
                1 + u8::from(all)
            }
            _ => 0,
        };
        if options.log_file.is_some() && options.log_file_format.is_none() {
            options.log_file_format = Some(b"%i %n%L".to_vec());
        }
        self.typed.info = self.asked_info;
    }

    fn refuse_fake_attributes(&self) -> Result<(), Stop> {
        match self.options.fake_super && self.options.xattrs > 1 {
            true => Err(Stop::usage("--fake-super conflicts with -XX")),
            false => Ok(()),
        }
    }

    fn refuse_iconv(&self, environment: &Environment) -> Result<(), Stop> {
        let wanted = environment
            .iconv
            .as_ref()
            .is_some_and(|spec| !spec.is_empty() && spec != "-");
        if wanted && !self.no_iconv && !self.options.server {
            return Err(unsupported("--iconv (RSYNC_ICONV)", NO_CHARSETS));
        }
        Ok(())
    }

    /// `-e` is a remote shell on a client; a server's says what its client understands.
    fn resolve_rsh(&mut self) {
        let given = self.rsh.clone();
        if !self.options.server {
            self.options.rsh = given.map(OsString::from_vec);
            return;
        }
        let text = given.unwrap_or_default();
        let letters = text
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.');
        self.options.capabilities = letters.map_or_else(Vec::new, |at| text[at..].to_vec());
    }
}

/// Whether a format has an escape `%letter`, with or without a width.
pub(super) fn has_escape(format: &[u8], letter: u8) -> bool {
    let mut rest = format;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        rest = &rest[at + 1..];
        let width = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\'' | b'-' | b'0'..=b'9'))
            .count();
        match rest.get(width) {
            Some(&found) if found == letter => return true,
            Some(_) => rest = &rest[width + 1..],
            None => return false,
        }
    }
    false
}

fn map_once(
    set_by: &mut Option<&'static str>,
    by: &'static str,
    option: &str,
    kind: &str,
) -> Result<(), Stop> {
    match *set_by {
        None => {
            *set_by = Some(by);
            Ok(())
        }
        Some(before) if before != by => Err(Stop::usage(format_args!(
            "{by} conflicts with prior {before}."
        ))),
        Some("--chown") => Err(Stop::usage(format_args!(
            "You can only specify a {kind}-affecting --chown once."
        ))),
        Some(_) => Err(Stop::usage(format_args!(
            "You can only specify {option} once."
        ))),
    }
}

/// The choice, each name as it is agreed upon; `None` for `auto`.
fn checksum_choice(text: &[u8]) -> Result<Option<(String, String)>, Stop> {
    // In a pair, nothing is negotiated: `auto` is what peers without negotiation use.
    let one = |name: &[u8]| match name.eq_ignore_ascii_case(b"auto") {
        true => Ok("md5"),
        false => known(&CHECKSUMS, name, "checksum"),
    };
    match text.iter().position(|&byte| byte == b',') {
        Some(at) if at > 0 => {
            let (transfer, list) = (one(&text[..at])?, one(&text[at + 1..])?);
            Ok(Some((transfer.to_owned(), list.to_owned())))
        }
        _ if text.eq_ignore_ascii_case(b"auto") => Ok(None),
        _ => {
            let both = one(text)?.to_owned();
            Ok(Some((both.clone(), both)))
        }
    }
}

/// `HOST:PATH`, `:PATH`, or a path alone: a colon behind a slash is one of the path's.
fn split_host(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match text.iter().position(|byte| matches!(byte, b':' | b'/')) {
        Some(at) if text[at] == b':' => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    }
}

/// A directory without slashes at its end and without `.` components.
fn clean(dir: &OsStr) -> OsString {
    let bytes = dir.as_bytes();
    let parts: Vec<&[u8]> = bytes
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    let root: &[u8] = if bytes.starts_with(b"/") { b"/" } else { b"" };
    OsString::from_vec([root, &parts.join(&b'/')].concat())
}

/// A level that an environment variable holds.
fn level(value: Option<&OsStr>) -> Option<u8> {
    let digits = value?
        .as_bytes()
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let mut level = None;
    for digit in digits {
        let before = level.unwrap_or(0_u8);
        level = Some(before.saturating_mul(10).saturating_add(digit - b'0'));
    }
    level
}

pub(super) fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

const MAX_BASIS_DIRS: usize = 20;

/// Where `--delay-updates` holds files back.
const HOLDING_DIR: &str = ".~tmp~";

const MAX_ALLOC: Range = Range {
    min: 1 << 20,
    zero_is_unlimited: true,
    ..Range::ANY
};
