//! Directories that become symbolic links under our feet, at the side that writes and at the side that reads:
//! whatever comes of the transfer, nothing outside is touched, and nothing outside is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::mover::program;
use barge_testkit::peer::Running;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};

use crate::peer::Daemon;

/// A tree that is raced for, and one beside it that looks the same and is not to be seen or touched.
struct Arena {
    place: Scratch,
    inside: PathBuf,
    outside: PathBuf,
    source: PathBuf,
}

/// Directories of the tree that are flipped, each with its like outside.
const FLIPPED: [&str; 5] = ["d", "d/e", "bak", "bak/d", "d/.part"];

impl Arena {
    fn new() -> Self {
        let place = Scratch::new().unwrap();
        let dir = |name| place.dir(name).unwrap();
        let (inside, outside, source) = (dir("module"), dir("outside"), dir("source"));
        for root in [&inside, &outside, &source] {
            for flipped in FLIPPED {
                fs::create_dir_all(root.join(flipped)).unwrap();
            }
            for file in 0..12 {
                for dir in ["d", "d/e", "bak/d"] {
                    let path = root.join(dir).join(format!("f{file}"));
                    let is_like = *root != outside || file % 2 == 0;
                    write(&path, if is_like { "seen" } else { "hidden" }, file % 2);
                }
            }
        }
        fs::remove_dir_all(source.join("bak")).unwrap();
        fs::remove_dir_all(source.join("d/.part")).unwrap();
        for dir in FLIPPED {
            write(&outside.join(dir).join("only outside"), "hidden", 0);
            write(&outside.join(dir).join("f3"), "hidden", 1);
            write(&outside.join(dir).join("f4"), "seen", 0);
        }
        Self {
            place,
            inside,
            outside,
            source,
        }
    }

    /// Runs what `command` makes again and again while `flipped` directories turn into links to those outside
    /// and back.
    ///
    /// # Panics
    ///
    /// When anything outside has changed, a run does not end, or a program breaks.
    fn race(&self, what: &str, flipped: &[&str], mut command: impl FnMut(usize) -> Command) {
        let before = state(&self.outside);
        let (stop, flips) = (AtomicBool::new(false), AtomicUsize::new(0));
        let deadline = Instant::now() + LONG_ENOUGH;
        let mut runs = 0;
        thread::scope(|scope| {
            for (n, name) in flipped.iter().enumerate() {
                let spare = self.place.join(format!("spare {n}"));
                let (link, stop, flips) = (self.outside.join(name), &stop, &flips);
                scope.spawn(move || flip(&self.inside, name, &link, &spare, stop, flips));
            }
            let racing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                while Instant::now() < deadline {
                    let ended = Running::start(&mut command(runs)).unwrap();
                    let ended = ended.wait(Duration::from_secs(60)).unwrap();
                    assert!(ended.code.is_some(), "{what}: {ended:?}");
                    assert!(!ended.stderr.contains("panicked"), "{what}: {ended:?}");
                    runs += 1;
                }
            }));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = racing {
                std::panic::resume_unwind(panic);
            }
        });
        assert!(
            flips.load(Ordering::Relaxed) > 20,
            "{what}: there was no race"
        );
        let after = state(&self.outside);
        let changed: Vec<_> = after
            .iter()
            .filter(|(path, state)| before.get(*path) != Some(state))
            .collect();
        assert_eq!(before.len(), after.len(), "{what}: {changed:?}");
        assert!(changed.is_empty(), "{what}: {changed:?}");
    }

    /// Writes other content to the source, so that there is something to do.
    fn change(&self, round: usize) {
        for file in 0..12 {
            for dir in ["d", "d/e"] {
                let path = self.source.join(dir).join(format!("f{file}"));
                write(&path, "seen", (file + round) as u8 % 3);
            }
        }
    }

    /// Whether anything of what was copied to `target` is from outside.
    fn shows_hidden(target: &Path) -> Option<PathBuf> {
        let mut found = None;
        walk(target, &mut |path, is_file| {
            let is_hidden = path.ends_with("only outside")
                || is_file && fs::read(path).is_ok_and(|content| content.starts_with(b"hidden"));
            if is_hidden {
                found = Some(path.to_owned());
            }
        });
        found
    }
}

/// A file of a size that is told by its first word and `age`, and of its time.
fn write(path: &Path, word: &str, age: u8) {
    let content = word.repeat(3000 + usize::from(age) * 500);
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    tree::set_mtime(path, 1_600_000_000 + i64::from(age), 0).unwrap();
}

/// Exchanges a directory below `root` with a link to `link`, and back, until told to stop; `spare` is where
/// the other is. What is above it is flipped too: it must not lead outside either.
fn flip(
    root: &Path,
    path: &str,
    link: &Path,
    spare: &Path,
    stop: &AtomicBool,
    flips: &AtomicUsize,
) {
    let root = fs::File::open(root).unwrap();
    let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut pause = 0;
    while !stop.load(Ordering::Relaxed) {
        pause = (pause * 7 + 131) % 1500;
        remove(spare);
        symlink(link, spare).unwrap();
        // It need not be there, or what is above it may be a link just now.
        if let Ok(above) = openat2(&root, above, how) {
            let exchange =
                || renameat2(&above, name, AT_FDCWD, spare, RenameFlags::RENAME_EXCHANGE);
            if exchange().is_ok() {
                thread::sleep(Duration::from_micros(pause));
                let _ = exchange();
                flips.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_micros(pause));
    }
    remove(spare);
}

/// Removes whatever it is. Who still holds a directory may write into it meanwhile.
fn remove(path: &Path) {
    loop {
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        if removed.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return;
        }
    }
}

/// What no look at a file changes and every touch does: number, links, time of change.
type State = (u64, u64, i64, i64);

fn state(root: &Path) -> BTreeMap<PathBuf, State> {
    let mut found = BTreeMap::new();
    walk(root, &mut |path, _| {
        let meta = fs::symlink_metadata(path).unwrap();
        let state = (meta.ino(), meta.nlink(), meta.ctime(), meta.ctime_nsec());
        found.insert(path.to_owned(), state);
    });
    found
}

/// Everything below, without following a link; whether it is a file.
fn walk(root: &Path, seen: &mut dyn FnMut(&Path, bool)) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        seen(&path, kind.is_file());
        if kind.is_dir() {
            walk(&path, seen);
        }
    }
}

/// Our program, or the one that the environment names.
fn ours() -> Command {
    match std::env::var_os("BARGE_ATTACK") {
        Some(program) => Command::new(program),
        None => {
            let mut command = Command::new(program().unwrap());
            command.arg("rsync");
            command
        }
    }
}

fn slashed(path: &Path) -> String {
    format!("{}/", path.display())
}

/// What a receiving side may be told to do with names: each uses another way to a file.
const WAYS_TO_WRITE: [&[&str]; 7] = [
    &[],
    &["--delete"],
    &["--inplace"],
    &["--backup", "--backup-dir=bak", "--delete"],
    &["--partial-dir=.part", "--delay-updates"],
    &["--link-dest=bak", "--temp-dir=bak"],
    &["-AX", "--chmod=u+x", "--delete-after", "-y"],
];

#[test]
fn links_swapped_in_where_a_daemon_writes_lead_it_nowhere() {
    let arena = Arena::new();
    let daemon = Daemon::start(arena.place.path(), &arena.inside, "");
    let url = format!("rsync://{}/m/", daemon.addr());
    for options in WAYS_TO_WRITE {
        arena.race(&format!("{options:?}"), &FLIPPED, |round| {
            arena.change(round);
            let mut rsync = Command::new("rsync");
            rsync.args(["-aH", "--timeout=20"]).args(options);
            rsync.args([slashed(&arena.source), url.clone()]);
            rsync
        });
    }
    assert!(daemon.serves(arena.place.path()));
}

#[test]
fn links_swapped_in_where_a_client_writes_lead_it_nowhere() {
    let arena = Arena::new();
    // A directory that an option names is the user's word at a client, as the target itself is.
    let flipped: Vec<_> = FLIPPED.into_iter().filter(|name| *name != "bak").collect();
    for options in WAYS_TO_WRITE {
        arena.race(&format!("{options:?}"), &flipped, |round| {
            arena.change(round);
            let mut rsync = ours();
            rsync.args(["-aH", "--timeout=20"]).args(options);
            rsync.args([slashed(&arena.source), slashed(&arena.inside)]);
            rsync
        });
    }
}

#[test]
fn links_swapped_in_where_a_daemon_reads_show_nothing() {
    let arena = Arena::new();
    let daemon = Daemon::start(arena.place.path(), &arena.inside, "");
    for (n, options) in [&["--no-links"][..], &["-L"], &["-k"], &["-R", "-c"]]
        .into_iter()
        .enumerate()
    {
        let target = |round: usize| arena.place.join(format!("target {n} {round}"));
        let mut last = 0;
        arena.race(&format!("{options:?}"), &FLIPPED, |round| {
            last = round;
            let mut rsync = Command::new("rsync");
            rsync.args(["-aHAX", "--timeout=20"]).args(options);
            let url = format!("rsync://{}/m/", daemon.addr());
            rsync.args([url, slashed(&target(round))]);
            rsync
        });
        for round in 0..=last {
            let shown = Arena::shows_hidden(&target(round));
            assert_eq!(shown, None, "{options:?}");
        }
    }
    assert!(daemon.serves(arena.place.path()));
}

#[test]
fn links_swapped_in_where_sources_are_removed_lead_nowhere() {
    let arena = Arena::new();
    for root in [&arena.inside, &arena.outside] {
        for file in 0..3000 {
            write(&root.join("d/e").join(format!("many {file}")), "seen", 0);
        }
    }
    let daemon = Daemon::start(arena.place.path(), &arena.inside, "");
    let target = arena.place.join("target");
    arena.race("--remove-source-files", &FLIPPED, |_| {
        let mut rsync = Command::new("rsync");
        rsync.args(["-a", "--no-links", "--remove-source-files"]);
        let url = format!("rsync://{}/m/", daemon.addr());
        rsync.args([url, slashed(&target)]);
        rsync
    });
    assert_eq!(Arena::shows_hidden(&target), None);
}

#[test]
fn links_swapped_in_where_a_client_reads_show_nothing() {
    let arena = Arena::new();
    for (n, options) in [&["--no-links"][..], &["-R"]].into_iter().enumerate() {
        let target = |round: usize| arena.place.join(format!("target {n} {round}"));
        let mut last = 0;
        arena.race(&format!("{options:?}"), &FLIPPED, |round| {
            last = round;
            let mut rsync = ours();
            rsync.args(["-aHAX", "--timeout=20"]).args(options);
            rsync.args([slashed(&arena.inside), slashed(&target(round))]);
            rsync
        });
        for round in 0..=last {
            let shown = Arena::shows_hidden(&target(round));
            assert_eq!(shown, None, "{options:?}");
        }
    }
}

/// How long each race is run.
const LONG_ENOUGH: Duration = Duration::from_millis(800);
