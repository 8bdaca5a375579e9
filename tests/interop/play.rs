//! Plays the cases of one role and compares.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use barge_testkit::compare::{Compare, Field, compare};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree::set_mtime;
use nix::unistd::geteuid;

use crate::cases::{GROUPS, Group, Order, Target};
use crate::known::Known;
use crate::roles::{Cast, Ended, Player, Role, Run, stock_version};
use crate::text::{
    difference, exit_code, masked, shows_progress, sorted, voices, wire_bytes, without_empty_lines,
};
use crate::trees;

/// Plays all cases of a role.
///
/// # Panics
///
/// When one differs that is not known to, or one is known to and does not.
pub(crate) fn play(role: Role) {
    match stock_version() {
        Some(version) if version.starts_with("3.5.") => {}
        other => return eprintln!("skipped: needs rsync 3.5, found {other:?}"),
    }
    let only = std::env::var("INTEROP_ONLY").ok();
    let known = Known::read();
    let stage = Stage::new(role);
    let mut cases = Vec::new();
    for (n, group) in GROUPS.iter().enumerate() {
        let needs_root = group.nobody || group.chroot && role.is_daemon();
        let possible = group.roles.have(role) && (geteuid().is_root() || !needs_root);
        let dialects = dialects(n + role as usize).into_iter().filter(|_| possible);
        cases.extend(dialects.map(|dialect| Case {
            group,
            role,
            dialect,
            stage: &stage,
        }));
    }
    cases.retain(|case| only.as_ref().is_none_or(|only| case.name().contains(only)));
    let verdicts = Mutex::new(Verdicts::default());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        // Most of a run is waiting: rsync's processes sleep before they end.
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for (end, differences) in case.judge() {
                        let name = format!("{}/{end}", case.name());
                        verdicts.lock().unwrap().add(&known, name, differences);
                    }
                }
            });
        }
    });
    stage.expect_untouched();
    verdicts
        .into_inner()
        .unwrap()
        .conclude(role, only.is_some());
}

/// What the two ends agree to speak.
#[derive(Clone, Copy)]
struct Dialect {
    protocol: u8,
    incremental: bool,
}

/// One dialect for each case, or all.
fn dialects(n: usize) -> Vec<Dialect> {
    let both = |protocol| {
        [true, false].map(|incremental| Dialect {
            protocol,
            incremental,
        })
    };
    let all: Vec<_> = [30, 31, 32].into_iter().flat_map(both).collect();
    match std::env::var("INTEROP").as_deref() {
        Ok("all") => all,
        _ => vec![all[n % all.len()]],
    }
}

/// What all cases of a role read.
struct Stage {
    scratch: Scratch,
}

impl Stage {
    fn new(role: Role) -> Self {
        let scratch = Scratch::new().unwrap();
        for place in ["stage", "pristine"] {
            let place = scratch.dir(place).unwrap();
            source_of(role, &place.join("source"));
            if geteuid().is_root() {
                let secrets = place.join("secrets");
                trees::unreadable(&secrets).unwrap();
                trees::give(&secrets, NOBODY).unwrap();
            }
            set_mtime(&place, 1_000_000_000, 0).unwrap();
        }
        Self { scratch }
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("stage")
    }

    fn expect_untouched(&self) {
        let pristine = self.scratch.join("pristine");
        barge_testkit::compare::assert_same(&pristine, &self.path(), &Compare::default());
    }
}

/// The source of a role. Stock's daemon changes the targets of links that leave its module, where it has
/// not changed its root; ours never does, and has a test of its own.
fn source_of(role: Role, root: &Path) {
    trees::source(root, role != Role::PushDaemon).unwrap();
}

struct Case<'a> {
    group: &'a Group,
    role: Role,
    dialect: Dialect,
    stage: &'a Stage,
}

/// One run: where it took place, and how it ended.
struct Played {
    scratch: Scratch,
    ended: Ended,
}

impl Case<'_> {
    fn name(&self) -> String {
        let Dialect {
            protocol,
            incremental,
        } = self.dialect;
        let lists = if incremental { "inc" } else { "flat" };
        format!(
            "{}/{}/{protocol}/{lists}",
            self.group.name,
            self.role.name()
        )
    }

    /// What differs from two stock rsyncs, with ours at each end.
    fn judge(&self) -> Vec<(&'static str, Vec<String>)> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // Stamps of files come from a clock that is a tick late.
        let began = since.as_secs() as i64 - 1;
        let stock = self.play(Player::Stock, Player::Stock);
        let mut ends = vec![("client", Player::Ours, Player::Stock)];
        if self.role != Role::Local {
            ends.push(("server", Player::Stock, Player::Ours));
        }
        let judged = ends.into_iter().map(|(end, client, server)| {
            let ours = self.play(client, server);
            (end, self.differences(&stock, &ours, began))
        });
        judged.collect()
    }

    fn play(&self, client: Player, server: Player) -> Played {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.path();
        let stage = if self.group.changes_source {
            let stage = scratch.dir("stage").unwrap();
            source_of(self.role, &stage.join("source"));
            stage
        } else {
            self.stage.path()
        };
        self.prepare(folder, &stage);
        let run = Run {
            cast: Cast { client, server },
            role: self.role,
            folder,
            stage: &stage,
            options: self.options(),
            from: match self.group.nobody {
                true => &["secrets/"],
                false => self.group.from,
            },
            to: self.group.to,
            nobody: self.group.nobody,
            chroot: self.group.chroot,
        };
        let ended = run.play().unwrap();
        Played { scratch, ended }
    }

    fn prepare(&self, folder: &Path, stage: &Path) {
        let (target, source) = (folder.join("target"), stage.join("source"));
        match self.group.target {
            Target::Absent => {}
            Target::Empty => fs::create_dir(&target).unwrap(),
            Target::Old => trees::old_target(&target, &source).unwrap(),
            Target::Same => source_of(self.role, &target),
        }
        trees::alternative(&folder.join("alternative"), &source).unwrap();
        fs::create_dir(folder.join("temporary")).unwrap();
        for (name, content) in [
            ("rules", "# a comment\n*.o\n- core\n/sub/dir\n\n+ /new\n"),
            (
                "names",
                "delta\nsub/dir/one\ndeep\n# no comment\nempty/\n./link\nnowhere\n",
            ),
            ("names0", "delta\0sub/dir/one\0deep\0"),
        ] {
            fs::write(folder.join(name), content).unwrap();
        }
        if self.group.nobody {
            trees::give(folder, NOBODY).unwrap();
        }
    }

    fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = self.group.options.iter().map(OsString::from).collect();
        options.push(format!("--protocol={}", self.dialect.protocol).into());
        if !self.dialect.incremental {
            options.push("--no-inc-recursive".into());
        }
        options
    }

    fn differences(&self, stock: &Played, ours: &Played, began: i64) -> Vec<String> {
        let mut found = Vec::new();
        let [a, b] = [stock, ours].map(|played| exit_code(played.ended.code, &played.ended.stderr));
        if a != b {
            found.push(format!("exit code: {a} | {b}"));
        }
        let text = |played: &Played, text: &[u8]| masked(text, played.scratch.path());
        let (a, b) = (
            text(stock, &stock.ended.stdout),
            text(ours, &ours.ended.stdout),
        );
        let is_free = match self.group.order {
            Order::Kept => false,
            Order::KeptByPush => !self.role.is_push(),
            Order::Free => true,
        };
        if is_free {
            found.extend(named("stdout", difference(&sorted(&a), &sorted(&b))));
        } else {
            let touched = match (self.group.order, self.group.target) {
                (Order::KeptByPush, Target::Old) => trees::TOUCHED,
                _ => &[],
            };
            found.extend(spoken("stdout", (&a, &b), touched));
        }
        let errors = [stock, ours].map(|played| text(played, &played.ended.stderr));
        let [a, b] = errors.each_ref().map(|errors| match shows_progress(&a) {
            true => without_empty_lines(sorted(errors)),
            false => sorted(errors),
        });
        found.extend(named("stderr", difference(&a, &b)));
        if let Some(a) = stock.ended.logs.get("client.log") {
            let nothing = Vec::new();
            let b = ours.ended.logs.get("client.log").unwrap_or(&nothing);
            let (a, b) = (text(stock, a), text(ours, b));
            found.extend(spoken("client.log", (&a, &b), &[]));
        }
        let wire = [&stock.ended.stdout, &ours.ended.stdout].map(|text| wire_bytes(text));
        if let [Some(a), Some(b)] = wire
            && a.iter().zip(b).any(|(a, b)| b > a + a / 5 + 400)
        {
            found.push(format!("bytes sent and received: {a:?} | {b:?}"));
        }
        found.extend(self.trees(stock, ours, began));
        found
    }

    /// Everything below the runs' folders, but what the harness itself keeps there.
    fn trees(&self, stock: &Played, ours: &Played, began: i64) -> Vec<String> {
        let how = Compare {
            without: vec![Field::Holes],
            skip: ["client.log", "daemon.log", "rsyncd.conf", "shell"]
                .map(PathBuf::from)
                .into(),
            recent: Some(began),
        };
        let found = compare(stock.scratch.path(), ours.scratch.path(), &how);
        match found {
            Ok(found) => found.iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("the trees cannot be compared: {error}")],
        }
    }
}

fn spoken(what: &str, (stock, ours): (&[u8], &[u8]), touched: &[&str]) -> Vec<String> {
    let ours = voices(ours, touched);
    let pairs = voices(stock, touched).into_iter().zip(ours);
    let found = pairs.flat_map(|(a, b)| difference(&a, &b));
    named(what, found.collect())
}

fn named(what: &str, lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| format!("{what}, {line}"))
        .collect()
}

#[derive(Default)]
struct Verdicts {
    played: usize,
    failed: Vec<String>,
    /// Entries of the list of known differences: cases that differ, and that do not.
    known: BTreeMap<String, [Vec<String>; 2]>,
}

impl Verdicts {
    fn add(&mut self, known: &Known, name: String, differences: Vec<String>) {
        self.played += 1;
        if let Some(entry) = known.entry(&name) {
            let seen = self.known.entry(entry.to_owned()).or_default();
            seen[usize::from(differences.is_empty())].push(name);
        } else if !differences.is_empty() {
            let lines = differences
                .iter()
                .take(SHOWN)
                .map(|line| format!("    {line}\n"));
            self.failed
                .push(format!("{name}\n{}", lines.collect::<String>()));
        }
    }

    fn conclude(self, role: Role, verbose: bool) {
        let mut failed = self.failed;
        failed.sort();
        for (entry, [_, passed]) in &self.known {
            for case in passed {
                failed.push(format!(
                    "{case}\n    does not differ, though known to: {entry}\n"
                ));
            }
        }
        if let Some(report) = std::env::var_os("INTEROP_REPORT") {
            let file = Path::new(&report).join(format!("{}.txt", role.name()));
            fs::write(file, failed.concat()).unwrap();
        }
        if verbose {
            eprintln!("{} cases", self.played);
        }
        let count = failed.len();
        assert!(
            failed.is_empty(),
            "{count} of {} cases:\n{}",
            self.played,
            failed.concat()
        );
    }
}

/// Lines of a failure that are shown.
const SHOWN: usize = 30;

/// The ordinary user of [`Group::nobody`].
const NOBODY: u32 = 65_534;
