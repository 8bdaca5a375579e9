//! What a daemon's connection finds around it: hosts, limits, passwords, places, logs.
//!
//! Source: rsyncd.conf(5), and rsync 3.5.0 as it behaves.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge::over_rsync::options::Options;
use barge::over_rsync::session::auth::Digest;
use barge::over_rsync::{
    DaemonRules, Gate, LeastDigest, Listener, Module, RuleList, RuleSources, Settled, UserRules,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Group, Uid, User, chdir, geteuid, getgrouplist, setgid, setgroups, setuid};

use super::failed::reason;
use super::hosts::{Lists, Visitor};
use super::output::{Log, Logging, RunLog, Visit, ending};
use super::read_operand;
use super::rsyncd_conf::{Config, Section};
use super::server::Unlogged;

/// The world around one connection.
pub(super) struct Door {
    config: Config,
    visitor: Visitor,
    log: Option<Log>,
    /// Of the module, once it is chosen.
    visit: Option<Visit>,
    /// `--log-file-format`.
    log_format: Option<Vec<u8>>,
    /// Holds a share of the module's connections.
    share: Option<File>,
    /// What is told of the run, once there is one.
    run: Option<Arc<RunLog>>,
}

impl Door {
    pub(super) fn new(
        config: Config,
        visitor: Visitor,
        log: Option<Log>,
        log_format: Option<Vec<u8>>,
    ) -> Self {
        Self {
            config,
            visitor,
            log,
            visit: None,
            log_format,
            share: None,
            run: None,
        }
    }

    /// The modules, in the order of the file.
    pub(super) fn modules(&self) -> Vec<Module> {
        let modules = self.config.modules.iter();
        modules
            .map(|(name, section)| module(name, section))
            .collect()
    }

    /// The log of the run, if there was one.
    pub(super) fn run_log(&self) -> Option<&RunLog> {
        self.run.as_deref()
    }

    fn section(&self, module: &Module) -> Section {
        self.config
            .module(&module.name)
            .cloned()
            .unwrap_or_default()
    }

    /// A text in which the connection's own variables are put in as well. One whose value could lead
    /// elsewhere is put in nowhere.
    fn text(&self, section: &Section, name: &str, module: &str, user: &str) -> Option<String> {
        section.text_with(name, |variable| match variable {
            "RSYNC_MODULE_NAME" => Some(module.to_owned()),
            "RSYNC_USER_NAME" => {
                let is_plain = !user.starts_with('.') && !user.contains(['/', '\0', '\n']);
                is_plain.then(|| user.to_owned())
            }
            "RSYNC_HOST_NAME" => Some(self.visitor.name.clone()),
            "RSYNC_HOST_ADDR" => self.visitor.address.map(|address| address.to_string()),
            variable => std::env::var(variable).ok(),
        })
    }

    /// Takes one of `limit` places in the lock file; whether there was one.
    fn take_place(&mut self, path: &Path, limit: i64) -> io::Result<bool> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        for place in 0..limit {
            let lock = libc::flock {
                l_type: libc::F_WRLCK as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: place * PLACE_LEN,
                l_len: PLACE_LEN,
                l_pid: 0,
            };
            if fcntl(&file, FcntlArg::F_SETLK(&lock)).is_ok() {
                self.share = Some(file);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks whether the module's directory is there, and says what is to be seen from it.
    fn go(&mut self, path: &str, section: &Section) -> Result<(PathBuf, Confined), String> {
        let split = path.contains("/./");
        let whole = path.replace("/./", "/");
        chdir(&*whole).map_err(|errno| self.no_place("chdir", &whole, errno))?;
        let default = split || geteuid().is_root();
        let confined = match (section.choice("use chroot").unwrap_or(default), split) {
            (false, _) => Confined::No,
            (true, true) => Confined::Inner,
            (true, false) => Confined::Root,
        };
        Ok((whole.into(), confined))
    }

    fn no_place(&mut self, call: &str, path: &str, errno: nix::errno::Errno) -> String {
        self.log(&format!(
            "rsync: [Receiver] {call} {path} failed: {}",
            reason(&errno.into())
        ));
        format!("{call} failed")
    }

    fn rules(&self, section: &Section, module: &str, user: &str) -> Result<RuleList, String> {
        let text = |name| self.text(section, name, module, user).unwrap_or_default();
        let (filter, include, exclude) = (text("filter"), text("include"), text("exclude"));
        let (include_from, exclude_from) = (text("include from"), text("exclude from"));
        let file = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
        let (include_from, exclude_from) = (file(&include_from), file(&exclude_from));
        let rules = DaemonRules {
            filter: filter.as_bytes(),
            include_from: include_from.as_deref(),
            include: include.as_bytes(),
            exclude_from: exclude_from.as_deref(),
            exclude: exclude.as_bytes(),
        };
        let mut sources = RuleSources {
            read: &mut read_operand,
            cvsignore: None,
            cvsignore_variable: None,
        };
        RuleList::of_daemon(&rules, &mut sources).map_err(|error| {
            let is_missing = error.exit_code == MISSING;
            let head = if is_missing { "rsync: [Receiver] " } else { "" };
            let end = ending::line(error.exit_code, "Receiver");
            format!("{head}{}\n{end}", error.text)
        })
    }
}

/// What a client is to see of the machine's files.
///
/// No process of ours calls `chroot(2)`: every path is resolved beneath the module's open directory
/// and through no symbolic link, whatever the configuration says, and attributes are set through
/// `/proc`, which a new root would hide. `use chroot` decides what depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Confined {
    /// All of them.
    No,
    /// Those of the module, and some around it.
    Inner,
    /// Those of the module.
    Root,
}

impl Gate for Door {
    fn admits(&mut self, module: &Module) -> bool {
        let section = self.section(module);
        let (allow, deny) = (section.text("hosts allow"), section.text("hosts deny"));
        let lists = Lists {
            allow: allow.as_deref(),
            deny: deny.as_deref(),
            resolves: section.is_on("forward lookup", true),
        };
        let log = self.log.as_ref();
        lists.admit(&mut self.visitor, &mut |line| {
            log.inspect(|log| log.write(line.as_bytes()));
        })
    }

    fn renamed(&self) -> Option<String> {
        Some(self.visitor.shown())
    }

    fn enter(&mut self, module: &Module) -> Result<(), String> {
        let section = self.section(module);
        if let Some(name) = section.unsupported().next() {
            self.log(&format!(
                "module {}: \"{name}\" is not supported",
                module.name
            ));
            return Err("daemon security issue -- contact admin".to_owned());
        }
        let limit = section.number("max connections");
        if limit == 0 {
            return Ok(());
        }
        let path = section.text("lock file");
        let path = PathBuf::from(path.unwrap_or_else(|| "/var/run/rsyncd.lock".to_owned()));
        match self.take_place(&path, limit) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "max connections ({limit}) reached -- try again later"
            )),
            Err(error) => {
                let path = path.display();
                self.log(&format!(
                    "failed to open lock file {path}: {}",
                    reason(&error)
                ));
                Err("failed to open lock file".to_owned())
            }
        }
    }

    fn groups(&mut self, user: &str) -> Result<Vec<String>, String> {
        let Some(user) = known(User::from_name(user))? else {
            return Ok(Vec::new());
        };
        let groups = groups_of(&user).ok_or("cannot tell the groups")?;
        let names = groups
            .into_iter()
            .map(|gid| known(Group::from_gid(gid)))
            .filter_map(Result::transpose);
        names.map(|group| Ok(group?.name)).collect()
    }

    fn passwords(
        &mut self,
        module: &Module,
        user: &str,
        group: Option<&str>,
    ) -> Result<Vec<Vec<u8>>, String> {
        let section = self.section(module);
        let path = section.text("secrets file").ok_or("no secrets file")?;
        let strict = section.is_on("strict modes", true);
        let text = secrets(Path::new(&path), strict).map_err(|why| match why {
            NoSecrets::Missing => "no secrets file",
            NoSecrets::Unfit(why) => {
                self.log(&why);
                "ignoring secrets file"
            }
        })?;
        let found = passwords_in(&text, user, group);
        match found.is_empty() {
            true => Err("missing secret for user".to_owned()),
            false => Ok(found),
        }
    }

    fn settle(&mut self, module: &mut Module, user: &str) -> Result<Settled, String> {
        let (name, section) = (module.name.clone(), self.section(module));
        let path = self.text(&section, "path", &name, user);
        let path = path.filter(|path| path.starts_with('/'));
        let path = path.ok_or("no path setting.")?;
        let identity = Identity::of(&section, |parameter| {
            self.text(&section, parameter, &name, user)
        });
        let identity = identity.inspect_err(|why| {
            if let Some(what) = why.strip_prefix("invalid ") {
                self.log(&format!("Invalid {what}"));
            }
        })?;
        let rules = self.rules(&section, &name, user).map_err(|why| {
            why.lines().for_each(|line| self.log(line));
            "daemon security issue -- contact admin".to_owned()
        })?;
        if let (Some(path), true) = (section.text("log file"), self.log.is_some()) {
            self.log = Log::open(Path::new(&path)).ok().or(self.log.take());
        }
        let (root, confined) = self.go(&path, &section)?;
        module.numeric_ids = section
            .choice("numeric ids")
            .unwrap_or(confined != Confined::No);
        let munges = section.choice("munge symlinks");
        module.munges_links = munges.unwrap_or(confined != Confined::Root && path != "/");
        module.sanitizes_paths = confined != Confined::Root;
        if module.munges_links && Path::new("/rsyncd-munged").is_dir() {
            self.log("Symlink munging is unsafe when a /rsyncd-munged/ directory exists.");
            return Err("daemon security issue -- contact admin".to_owned());
        }
        identity.take()?;
        self.visit = Some(Visit {
            address: self.visitor.address,
            host: self.visitor.name.clone(),
            module: name,
            path: path.into(),
            user: user.to_owned(),
        });
        Ok(Settled {
            root,
            rules,
            seal: None,
        })
    }

    fn listener(&mut self, options: &Options) -> Arc<dyn Listener> {
        let Some(log) = self.log.clone() else {
            return Arc::new(Unlogged);
        };
        let visit = self.visit.clone();
        let module = visit.as_ref().map_or("", |visit| &*visit.module);
        let section = self.config.module(module).cloned().unwrap_or_default();
        let format = match &self.log_format {
            Some(format) => Some(format.clone()),
            None if section.is_on("transfer logging", false) && !options.dry_run => Some(
                section
                    .text_with("log format", |_| None)
                    .unwrap_or_else(|| DEFAULT_FORMAT.to_owned())
                    .into_bytes(),
            ),
            None => None,
        };
        let run = Arc::new(RunLog::new(
            log,
            Logging::of_daemon(options, format.as_deref(), visit),
        ));
        self.run = Some(Arc::clone(&run));
        run
    }

    fn log(&mut self, line: &str) {
        if let Some(log) = &self.log {
            log.write(line.as_bytes());
        }
    }
}

/// A module as its section says.
fn module(name: &str, section: &Section) -> Module {
    let bytes = |parameter| section.text(parameter).map(String::into_bytes);
    let mut module = Module::new(name);
    module.comment = bytes("comment").unwrap_or_default();
    module.listed = section.is_on("list", true);
    module.users = section
        .text("auth users")
        .map(|list| UserRules::parse(&list));
    module.least_digest = section.text("auth digest").map(|name| {
        Digest::named(name.as_bytes()).map_or(LeastDigest::Unknown, LeastDigest::Known)
    });
    module.read_only = section.is_on("read only", true);
    module.write_only = section.is_on("write only", false);
    module.timeout = u32::try_from(section.number("timeout")).unwrap_or(0);
    module.max_verbosity = match section.text("max verbosity") {
        None => 1,
        Some(_) => u8::try_from(section.number("max verbosity")).unwrap_or(0),
    };
    module.refuse_options = bytes("refuse options").unwrap_or_default();
    module.fake_super = section.is_on("fake super", false);
    module.ignores_errors = section.is_on("ignore errors", false);
    module.ignores_nonreadable = section.is_on("ignore nonreadable", false);
    module.incoming_chmod = bytes("incoming chmod");
    module.outgoing_chmod = bytes("outgoing chmod");
    module.temp_dir = bytes("temp dir");
    module.compresses_nothing = section
        .text("dont compress")
        .is_some_and(|list| list.split_whitespace().any(|word| word == "*"));
    module.open_noatime = section.choice("open noatime");
    module
}

/// Who serves a module.
struct Identity {
    user: Option<Uid>,
    /// The first is the group, the others are supplementary.
    groups: Vec<Gid>,
}

impl Identity {
    /// What `uid` and `gid` say. An ordinary user stays what it is.
    fn of(section: &Section, text: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let is_root = geteuid().is_root();
        let given = |name: &str| section.text(name).and(text(name));
        let user = match given("uid") {
            Some(name) => Some(uid(&name).ok_or_else(|| format!("invalid uid {name}"))?),
            None if is_root => Some(uid("nobody").unwrap_or(Uid::from_raw(NOBODY))),
            None => None,
        };
        let groups = match given("gid") {
            Some(list) => gids(&list, user)?,
            None if is_root => vec![
                gid("nobody")
                    .or(gid("nogroup"))
                    .unwrap_or(Gid::from_raw(NOBODY)),
            ],
            None => Vec::new(),
        };
        Ok(Self { user, groups })
    }

    /// Becomes it, for good.
    fn take(&self) -> Result<(), String> {
        if let [group, others @ ..] = &*self.groups {
            let is_other = *group != nix::unistd::getegid();
            if geteuid().is_root() || is_other {
                setgid(*group).map_err(|_| "setgid failed")?;
            }
            if geteuid().is_root() {
                let all: Vec<Gid> = [*group].iter().chain(others).copied().collect();
                setgroups(&all).map_err(|_| "setgroups failed")?;
            }
        }
        match self.user {
            Some(user) if user != geteuid() => {
                setuid(user).map_err(|_| "setuid failed")?;
                // Else our own handles in `/proc` would be root's.
                set_dumpable(true).map_err(|_| "setuid failed".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What the system knows of a user or group. Some errors say only that it knows nobody
/// (`getpwnam(3)`).
fn known<T>(found: nix::Result<Option<T>>) -> Result<Option<T>, String> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => found.map_err(|errno| format!("cannot look up who is who: {}", errno.desc())),
    }
}

fn uid(name: &str) -> Option<Uid> {
    match User::from_name(name) {
        Ok(Some(user)) => Some(user.uid),
        _ => name.parse().ok().map(Uid::from_raw),
    }
}

fn gid(name: &str) -> Option<Gid> {
    match Group::from_name(name) {
        Ok(Some(group)) => Some(group.gid),
        _ => name.parse().ok().map(Gid::from_raw),
    }
}

/// A list of groups; `*` in front stands for those of the user.
fn gids(list: &str, user: Option<Uid>) -> Result<Vec<Gid>, String> {
    let words: Vec<&str> = match list.trim_start().strip_prefix(',') {
        Some(list) => list.split(',').map(str::trim).collect(),
        None => list.split([',', ' ', '\t']).collect(),
    };
    let mut gids = Vec::new();
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        if word == "*" && gids.is_empty() {
            let user = User::from_uid(user.unwrap_or_else(geteuid)).ok().flatten();
            let user = user.ok_or("invalid gid setting.")?;
            gids.push(user.gid);
            let others = groups_of(&user).ok_or("invalid gid setting.")?;
            gids.extend(others.into_iter().filter(|&gid| gid != user.gid));
        } else {
            gids.push(gid(word).ok_or_else(|| format!("invalid gid {word}"))?);
        }
    }
    match gids.is_empty() {
        true => Err("invalid gid setting.".to_owned()),
        false => Ok(gids),
    }
}

fn groups_of(user: &User) -> Option<Vec<Gid>> {
    let name = CString::new(user.name.as_bytes()).ok()?;
    getgrouplist(&name, user.gid).ok()
}

/// Why there are no secrets.
#[derive(Debug)]
enum NoSecrets {
    Missing,
    /// For the log.
    Unfit(String),
}

/// A secrets file, whose modes keep it secret.
fn secrets(path: &Path, strict: bool) -> Result<Vec<u8>, NoSecrets> {
    let unfit = |why: &str| Err(NoSecrets::Unfit(why.to_owned()));
    let failed = |error: io::Error| NoSecrets::Unfit(reason(&error));
    let mut file = File::open(path).map_err(|_| NoSecrets::Missing)?;
    let meta = file.metadata().map_err(failed)?;
    if strict && meta.mode() & 0o006 != 0 {
        return unfit("secrets file must not be other-accessible (see strict modes option)");
    }
    if strict && geteuid().is_root() && meta.uid() != 0 {
        return unfit("secrets file must be owned by root when running as root (see strict modes)");
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut file, &mut text).map_err(failed)?;
    Ok(text)
}

/// The passwords of a user, and those of a group.
fn passwords_in(text: &[u8], user: &str, group: Option<&str>) -> Vec<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let entries = lines
        .filter(|line| !line.starts_with(b"#"))
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        });
    let group = group.map(|group| format!("@{group}"));
    let is_wanted = |name: &[u8]| {
        let is_user = name == user.as_bytes() && !name.starts_with(b"@");
        is_user || group.as_ref().is_some_and(|group| name == group.as_bytes())
    };
    entries
        .filter(|(name, password)| is_wanted(name) && !password.is_empty())
        .map(|(_, password)| password.to_vec())
        .collect()
}

/// rsyncd.conf(5), `log format`.
const DEFAULT_FORMAT: &str = "%o %h [%a] %m (%u) %f %l";

/// Bytes of the lock file that stand for one connection.
const PLACE_LEN: i64 = 4;

/// The exit code of rules whose file cannot be read.
const MISSING: u8 = 11;

/// Where the system knows no `nobody`.
const NOBODY: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn passwords_are_found_by_user_and_by_group() {
        let text = b"# c:x\nalice:s3cret\r\n@staff:shared:1\nbob:\nalice:second\n@alice:no\n";
        let found = |user, group| {
            let found = passwords_in(text, user, group);
            found
                .into_iter()
                .map(|p| String::from_utf8(p).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("alice", None), ["s3cret", "second"]);
        assert_eq!(
            found("alice", Some("staff")),
            ["s3cret", "shared:1", "second"]
        );
        assert!(found("bob", None).is_empty());
        assert!(found("@staff", None).is_empty());
        assert!(found("# c", None).is_empty());
    }

    #[test]
    fn secrets_that_others_can_read_are_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), mode).unwrap();
        };
        mode(0o644);
        assert!(secrets(file.path(), true).is_err());
        assert!(secrets(file.path(), false).is_ok());
        mode(0o640);
        assert!(secrets(file.path(), true).is_ok());
        assert!(secrets(Path::new("/nonexistent"), true).is_err());
    }

    #[test]
    fn groups_are_names_or_numbers() {
        let root = Gid::from_raw(0);
        assert_eq!(
            gids("root, 7 root", None),
            Ok(vec![root, Gid::from_raw(7), root])
        );
        assert_eq!(gids("nope nope", None), Err("invalid gid nope".to_owned()));
        assert_eq!(gids(" ", None), Err("invalid gid setting.".to_owned()));
        assert_eq!(gids("*", Some(Uid::from_raw(0))).unwrap()[0], root);
    }
}
