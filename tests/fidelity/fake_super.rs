//! A daemon's module with `fake super = yes`: what it keeps of a tree, and what comes back of it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mover;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree::{self, set_mtime};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::is_root;

#[test]
fn everything_comes_back_from_a_store_of_an_ordinary_user() {
    if !is_root() {
        return;
    }
    for (keeper, giver) in [
        (Whose::Ours, Whose::Ours),
        (Whose::Ours, Whose::Stock),
        (Whose::Stock, Whose::Ours),
    ] {
        for user in [ROOT, NOBODY] {
            let place = Place::new(user);
            let source = place.join("source");
            tree::awkward(&source, true).unwrap();
            // Paths that are too long for rsync, and holes, which are for other tests.
            for name in ["deep", "sparse"] {
                fs::remove_dir_all(source.join(name)).unwrap();
            }
            set_mtime(&source, 1_000_000_000, 0).unwrap();
            place
                .push(Whose::Stock, keeper, "-aHAX", "source/", "")
                .succeeds();
            // Stock keeps the ACLs of some directories when it comes again; then there is nothing
            // to do.
            place
                .push(Whose::Stock, keeper, "-aHAX", "source/", "")
                .succeeds();
            let again = place.push(Whose::Ours, keeper, "-aHAXi", "source/", "");
            assert_eq!(again.succeeds(), "", "{keeper:?} as {user}");
            if user == NOBODY {
                expect_all_of(&place.join("store"), NOBODY);
            }
            let pull = "-aHAX --numeric-ids";
            place.pull(Whose::Stock, giver, pull, "back/").succeeds();
            let how = Compare {
                skip: vec![PathBuf::from(tree::STAYS)],
                ..Compare::default()
            };
            assert_same(&source, &place.join("back"), &how);
        }
    }
}

#[test]
fn store_changes_as_that_of_stock_does() {
    if !is_root() {
        return;
    }
    let runs: &[(&str, &str, &str)] = &[
        ("-aHXi", "source/", "first/"),
        ("-aHXii", "source/", "first/"),
        ("-aHX --link-dest=/first", "source/", "linked/"),
        ("-aHX --copy-dest=/first", "source/", "copied/"),
        ("-aHX --compare-dest=/first", "source/", "compared/"),
        ("-aHXi --backup --suffix=.old", "changed/", "first/"),
        ("-aHXi --backup --backup-dir=/old", "changed/", "copied/"),
        ("-aHXi --delete", "changed/", "linked/"),
        ("-aXi --inplace --no-W", "source/", "linked/"),
    ];
    for user in [ROOT, NOBODY] {
        let stores = [Whose::Stock, Whose::Ours].map(|keeper| {
            let place = Place::new(user);
            specials(&place.join("source"));
            changed(&place.join("changed"));
            let said: Vec<_> = runs
                .iter()
                .map(|(options, from, to)| {
                    let run = place.push(Whose::Stock, keeper, options, from, to);
                    let mut said: Vec<_> = run.succeeds().lines().map(str::to_owned).collect();
                    // Two processes write them.
                    said.sort_unstable();
                    (*options, said)
                })
                .collect();
            (place, said)
        });
        let [(stock, stock_said), (ours, ours_said)] = &stores;
        assert_eq!(ours_said, stock_said, "as {user}");
        let how = Compare {
            recent: Some(1_600_000_000),
            ..Compare::default()
        };
        assert_same(&stock.join("store"), &ours.join("store"), &how);
    }
}

/// Stock writes what happens to be in its memory there.
#[test]
fn owner_that_is_not_asked_for_stays_with_its_file() {
    if !is_root() {
        return;
    }
    let place = Place::new(NOBODY);
    specials(&place.join("source"));
    changed(&place.join("changed"));
    let file = place.join("store/set-id");
    let push = |options: &str, from: &str| {
        place
            .push(Whose::Stock, Whose::Ours, options, from, "")
            .succeeds();
        let kept = xattr::get(&file, "user.rsync.%stat").unwrap().unwrap();
        String::from_utf8(kept).unwrap()
    };
    assert_eq!(push("-a", "source/"), "106755 0,0 1234:4321");
    assert_eq!(push("-rp --inplace", "changed/"), "104711 0,0 1234:4321");
    assert_eq!(push("-r --inplace", "source/"), "104711 0,0 1234:4321");
    // Another file.
    assert_eq!(push("-r", "changed/"), "104711 0,0 65534:65534");
}

#[test]
fn no_peer_says_what_is_kept() {
    for user in [ROOT, NOBODY].into_iter().filter(|_| is_root()) {
        let place = Place::new(user);
        let source = place.join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "content").unwrap();
        let forged = [
            ("user.rsync.%stat", "104777 0,0 0:0"),
            ("user.rsync.%aacl", "forged"),
            ("user.rsync.security.capability", "forged"),
            ("user.rsync.trusted.t", "forged"),
            ("user.rsync.anything", "forged"),
        ];
        for (name, value) in forged {
            xattr::set(source.join("file"), name, value.as_bytes()).unwrap();
        }
        xattr::set(source.join("file"), "user.u", b"u").unwrap();
        for options in ["-rX", "-rXX", "-rX -M--super", "-rXX -M--no-super"] {
            let run = place.push(Whose::Stock, Whose::Ours, options, "source/", "");
            assert_eq!(run.code, Some(23), "{options}");
            let kept = attributes(&place.join("store/file"));
            let names: Vec<_> = kept.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, ["user.u"], "{options}");
        }
    }
}

#[test]
fn client_switches_nothing_on_or_off_at_a_daemon() {
    if !is_root() {
        return;
    }
    let place = Place::new(ROOT);
    specials(&place.join("source"));
    for options in ["-a", "-a -M--super", "-a -M--no-super"] {
        place
            .push(Whose::Stock, Whose::Ours, options, "source/device", "")
            .succeeds();
        let stat = fs::symlink_metadata(place.join("store/device")).unwrap();
        assert!(stat.is_file(), "{options}");
    }
    let module = place.join("plain");
    fs::create_dir(&module).unwrap();
    let run = place.rsync(
        Whose::Stock,
        Whose::Ours,
        "-a -M--fake-super",
        &["source/device", "host::plain/"],
    );
    run.succeeds();
    assert_ne!(
        fs::symlink_metadata(module.join("device")).unwrap().rdev(),
        0
    );
    fs::copy(place.join("store/device"), module.join("kept")).unwrap();
    xattr::set(module.join("kept"), "user.rsync.%stat", b"20644 1,3 0:0").unwrap();
    let run = place.rsync(
        Whose::Stock,
        Whose::Ours,
        "-a -M--fake-super",
        &["host::plain/", "back/"],
    );
    run.succeeds();
    assert!(
        fs::symlink_metadata(place.join("back/kept"))
            .unwrap()
            .is_file()
    );
}

#[test]
fn what_no_file_can_stand_for_is_told_and_sent_as_what_it_is() {
    if !is_root() {
        return;
    }
    let place = Place::new(ROOT);
    let store = place.join("store");
    for (name, kept) in [
        ("directory", "40755 0,0 5:7"),
        ("garbage", "104755"),
        ("link", "120777 0,0 5:7"),
        ("nothing", "0 0,0 5:7"),
    ] {
        fs::write(store.join(name), "").unwrap();
        xattr::set(store.join(name), "user.rsync.%stat", kept.as_bytes()).unwrap();
    }
    let run = place.pull(Whose::Stock, Whose::Ours, "-a", "back/");
    assert_eq!(run.code, Some(23));
    for name in ["directory", "garbage", "nothing"] {
        let line = format!("Corrupt user.rsync.%stat xattr attached to \"{name}\" (in m)");
        assert!(run.err.contains(&line), "{}", run.err);
        let stat = fs::symlink_metadata(place.join("back").join(name)).unwrap();
        assert!(stat.is_file() && stat.uid() == 0, "{name}");
    }
    // There is no target in it.
    assert!(run.err.contains("link"), "{}", run.err);
    assert!(fs::symlink_metadata(place.join("back/link")).is_err());
}

/// Which program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    Ours,
    Stock,
}

impl Whose {
    /// As a shell calls it.
    fn call(self) -> String {
        match self {
            Self::Ours => format!("{} rsync", mover::program().unwrap().display()),
            Self::Stock => "rsync".to_owned(),
        }
    }
}

const ROOT: u32 = 0;
const NOBODY: u32 = 65534;

/// A daemon's configuration with the module `m` at `store`, written as a user, and the rest of a test.
struct Place {
    scratch: Scratch,
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    #[track_caller]
    fn succeeds(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.err);
        &self.out
    }
}

impl Place {
    fn new(user: u32) -> Self {
        let place = Self {
            scratch: Scratch::new().unwrap(),
        };
        let at = place.scratch.path().display();
        fs::set_permissions(place.scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.join("store")).unwrap();
        lchown(place.join("store"), Some(user), Some(user)).unwrap();
        let conf = format!(
            "use chroot = no\nuid = {user}\ngid = {user}\nread only = no\n[m]\npath = {at}/store\n\
             fake super = yes\n[plain]\npath = {at}/plain\n"
        );
        fs::write(place.join("conf"), conf).unwrap();
        place
    }

    fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn push(&self, client: Whose, daemon: Whose, options: &str, from: &str, to: &str) -> Run {
        self.rsync(client, daemon, options, &[from, &format!("host::m/{to}")])
    }

    fn pull(&self, client: Whose, daemon: Whose, options: &str, to: &str) -> Run {
        self.rsync(client, daemon, options, &["host::m/", to])
    }

    /// A client that starts its daemon.
    fn rsync(&self, client: Whose, daemon: Whose, options: &str, paths: &[&str]) -> Run {
        let conf = self.join("conf");
        let connects = format!("{} --daemon --config={}", daemon.call(), conf.display());
        let call = format!("{} {options}", client.call());
        let mut words = call.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(paths);
        command.env("RSYNC_CONNECT_PROG", connects);
        let ended = command.current_dir(self.scratch.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Run {
            code: ended.status.code(),
            out: text(ended.stdout),
            err: text(ended.stderr),
        }
    }
}

/// Something of every kind, with modes and owners that a file in a store does not get.
fn specials(at: &Path) {
    fs::create_dir_all(at.join("directory")).unwrap();
    for (name, mode) in [
        ("file", 0o644),
        ("set-id", 0o6755),
        ("read-only", 0o444),
        ("nobody's", 0o000),
        ("directory/within", 0o640),
    ] {
        fs::write(at.join(name), name.repeat(100)).unwrap();
        fs::set_permissions(at.join(name), Permissions::from_mode(mode)).unwrap();
    }
    xattr::set(at.join("file"), "user.u", b"u").unwrap();
    xattr::set(at.join("file"), "trusted.t", &[b't'; 100]).unwrap();
    symlink("file", at.join("link")).unwrap();
    node(&at.join("device"), SFlag::S_IFCHR, 3);
    node(&at.join("block"), SFlag::S_IFBLK, 4);
    node(&at.join("pipe"), SFlag::S_IFIFO, 0);
    node(&at.join("socket"), SFlag::S_IFSOCK, 0);
    for (name, other) in [
        ("file", "name"),
        ("device", "device-name"),
        ("link", "link-name"),
    ] {
        fs::hard_link(at.join(name), at.join(other)).unwrap();
    }
    lchown(at.join("link"), Some(5), Some(7)).unwrap();
    lchown(at.join("set-id"), Some(1234), Some(4321)).unwrap();
    fs::set_permissions(at.join("set-id"), Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(at.join("directory"), Permissions::from_mode(0o3555)).unwrap();
    age(at);
}

/// The same some time later.
fn changed(at: &Path) {
    specials(at);
    for name in [
        "device",
        "device-name",
        "pipe",
        "link",
        "link-name",
        "directory/within",
    ] {
        fs::remove_file(at.join(name)).unwrap();
    }
    node(&at.join("device"), SFlag::S_IFCHR, 5);
    symlink("elsewhere", at.join("link")).unwrap();
    fs::write(at.join("pipe"), "no pipe").unwrap();
    fs::write(at.join("set-id"), "other content").unwrap();
    fs::set_permissions(at.join("set-id"), Permissions::from_mode(0o4711)).unwrap();
    lchown(at.join("socket"), Some(9), None).unwrap();
    fs::set_permissions(at.join("directory"), Permissions::from_mode(0o700)).unwrap();
    age(at);
}

fn node(at: &Path, kind: SFlag, minor: u64) {
    mknod(at, kind, Mode::from_bits_truncate(0o640), makedev(1, minor)).unwrap();
}

/// Gives everything in a directory one time; what differs in content differs in size, too.
fn age(at: &Path) {
    for entry in fs::read_dir(at).unwrap() {
        set_mtime(&entry.unwrap().path(), 1_000_000_000, 0).unwrap();
    }
    set_mtime(at, 1_000_000_000, 0).unwrap();
}

fn attributes(at: &Path) -> Vec<(String, Vec<u8>)> {
    let names = xattr::list(at).unwrap();
    let value = |name: &OsStr| xattr::get(at, name).unwrap().unwrap();
    let mut all: Vec<_> = names
        .map(|name| (name.to_string_lossy().into_owned(), value(&name)))
        .collect();
    all.sort();
    all
}

/// A store holds files and directories of its user, without rights for anybody.
fn expect_all_of(at: &Path, user: u32) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        let path_text = path.display();
        assert!(stat.is_dir() || stat.is_file(), "{path_text}");
        assert_eq!((stat.uid(), stat.gid()), (user, user), "{path_text}");
        assert_eq!(stat.mode() & 0o7000, 0, "{path_text}");
        if stat.is_dir() {
            expect_all_of(&path, user);
        }
    }
}
