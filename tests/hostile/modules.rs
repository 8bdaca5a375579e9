//! What a module hides, approached by every other way: nothing hidden is read, written, replaced or removed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use barge_testkit::peer::{Ended, Running};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;

use crate::peer::Daemon;

/// A module with a hidden file, a hidden directory, and a name that is hidden wherever it stands; and a source
/// with the same names.
struct Stage {
    place: Scratch,
    module: PathBuf,
    source: PathBuf,
    daemon: Daemon,
}

/// What is hidden of the module.
const HIDDEN: [&str; 4] = ["secret", "sdir/f", "sdir/deep/g", "pub/hidden1"];

impl Stage {
    fn new() -> Self {
        let place = Scratch::new().unwrap();
        let (module, source) = (place.dir("module").unwrap(), place.dir("source").unwrap());
        for (root, content) in [(&module, "topsecret"), (&source, "brought in")] {
            for dir in ["sdir/deep", "pub"] {
                fs::create_dir_all(root.join(dir)).unwrap();
            }
            for name in HIDDEN {
                fs::write(root.join(name), content).unwrap();
                tree::set_mtime(&root.join(name), 1_600_000_000, 0).unwrap();
            }
            fs::write(root.join("sec"), format!("{content}, not")).unwrap();
            fs::write(root.join("pub/open"), content.len().to_string()).unwrap();
        }
        fs::write(source.join("pub/f"), "123456789").unwrap();
        fs::write(source.join("pub/secret"), "123456789").unwrap();
        let daemon = Daemon::start(
            place.path(),
            &module,
            "exclude = /secret /sdir hidden*\nignore errors = yes",
        );
        Self {
            place,
            module,
            source,
            daemon,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("rsync://{}/m/{path}", self.daemon.addr())
    }

    fn run(&self, args: &[&str], from: &str, to: &str) -> Ended {
        let mut rsync = Command::new("rsync");
        rsync.arg("--timeout=20").args(args).args([from, to]);
        let running = Running::start(&mut rsync).unwrap();
        running.wait(Duration::from_secs(40)).unwrap()
    }

    /// Pushes what is at `from` in the source.
    fn push(&self, args: &[&str], from: &str, to: &str) -> Ended {
        let from = format!("{}/{from}", self.source.display());
        self.run(args, &from, &self.url(to))
    }

    #[track_caller]
    fn keeps(&self, what: &str) {
        for name in HIDDEN {
            let content = fs::read_to_string(self.module.join(name));
            assert_eq!(content.ok().as_deref(), Some("topsecret"), "{what}: {name}");
        }
        let beside = fs::read_dir(self.module.join("sdir")).unwrap().count();
        assert_eq!(beside, 2, "{what}: something was put beside what is hidden");
        for dir in ["pulled", "pulled again"] {
            let _ = fs::remove_dir_all(self.place.join(dir));
        }
        let ended = self.pull(&["-r"], "", "pulled");
        assert_eq!(ended.code, Some(0), "{what}: {}", ended.stderr);
        self.shows_nothing("pulled", what);
    }

    fn pull(&self, args: &[&str], path: &str, into: &str) -> Ended {
        let into = format!("{}/", self.place.join(into).display());
        self.run(args, &self.url(path), &into)
    }

    #[track_caller]
    fn shows_nothing(&self, pulled: &str, what: &str) {
        let mut grep = Command::new("grep");
        grep.args(["-rlx", "topsecret"])
            .arg(self.place.join(pulled));
        let found = grep.output().unwrap().stdout;
        assert!(found.is_empty(), "{what}: {}", found.escape_ascii());
    }
}

#[test]
fn nothing_hidden_is_written_or_removed_by_what_is_pushed() {
    for args in [
        &["-a"][..],
        &["-a", "--inplace"],
        &["-a", "--append"],
        &["-a", "--no-inc-recursive"],
        &["-a", "--delete"],
        &["-a", "--delete-before"],
        &["-a", "--delete-after"],
        &["-a", "--delete-delay", "--delete-excluded"],
        &["-a", "--delay-updates"],
        &["-a", "--partial-dir=.part"],
        &["-aH", "--existing"],
        &["-aI", "--backup", "--suffix=ret"],
        &["-aI", "-y", "--no-whole-file"],
        &["-rd", "--force"],
        &["-an"],
    ] {
        let stage = Stage::new();
        let ended = stage.push(args, "", "");
        let what = format!("{args:?}: {}", ended.stderr);
        assert_eq!(ended.code, Some(23), "{what}");
        for words in [
            "ERROR: daemon refused to receive file \"secret\"",
            "ERROR: daemon refused to receive directory \"sdir\"\n*** Skipping any contents",
        ] {
            assert!(ended.stderr.contains(words), "{what}");
        }
        stage.keeps(&what);
        if !args.contains(&"-an") && !args.contains(&"--append") {
            let open = fs::read(stage.module.join("pub/open")).unwrap();
            assert_eq!(open, b"10", "{what}");
        }
    }
}

#[test]
fn no_destination_leads_to_what_is_hidden() {
    for (args, from, to) in [
        (&["-r"][..], "sec", "secret"),
        (&["-r"], "sec", "sdir/"),
        (&["-r"], "sec", "sdir"),
        (&["-r"], "sec", "sdir/f"),
        (&["-r"], "sec", "pub/../sdir/f"),
        (&["-r"], "sec", "sdir/deep/"),
        (&["-r"], "pub/", "sdir/"),
        (&["-r", "--mkpath"], "sec", "sdir/a/b/"),
        (&["-r", "--mkpath"], "sec", "pub/hidden2/b/"),
        (&["-r"], "sec", "pub/hidden1"),
    ] {
        let stage = Stage::new();
        let ended = stage.push(args, from, to);
        let what = format!("{args:?} {from} {to}: {}", ended.stderr);
        assert_eq!(ended.code, Some(3), "{what}");
        assert!(
            ended
                .stderr
                .contains("ERROR: daemon has excluded destination"),
            "{what}"
        );
        stage.keeps(&what);
        assert!(!stage.module.join("pub/hidden2").exists(), "{what}");
    }
}

#[test]
fn options_that_name_directories_lead_to_nothing_hidden() {
    for (args, code) in [
        (&["--temp-dir=/sdir"][..], 4),
        (&["--temp-dir=../sdir/deep"], 4),
        (&["-b", "--backup-dir=/sdir"], 4),
        (&["-b", "--backup-dir=../sdir/new"], 4),
        (&["--partial-dir=/sdir"], 1),
        (&["--partial-dir=hidden2"], 1),
        (&["--link-dest=/sdir"], 1),
        (&["--link-dest=../sdir/deep"], 1),
        (&["--copy-dest=/sdir"], 1),
        (&["--compare-dest=/sdir"], 1),
        (&["--files-from=:/secret"], 4),
        (&["--files-from=:/pub/../sdir/./f"], 4),
    ] {
        let stage = Stage::new();
        let args = [args, &["-rtI"]].concat();
        let ended = stage.push(&args, "pub/", "pub/");
        let what = format!("{args:?}: {}", ended.stderr);
        assert_eq!(ended.code, Some(code), "{what}");
        let words = "Your options have been rejected by the server.";
        assert!(ended.stderr.contains(words), "{what}");
        stage.keeps(&what);
    }
}

/// The directory that is named is open to all, and what is asked of it is hidden.
#[test]
fn hidden_files_of_open_directories_are_no_basis_and_no_place_for_backups() {
    for args in [
        &["--link-dest=/"][..],
        &["--copy-dest=/"],
        &["--compare-dest=/"],
        &["-y", "-y", "--copy-dest=/", "--no-whole-file"],
    ] {
        let stage = Stage::new();
        // As long as what is hidden.
        fs::write(stage.source.join("pub/secret"), "123456789").unwrap();
        let args = [args, &["-rt", "--size-only"]].concat();
        let ended = stage.push(&args, "pub/", "new/");
        let what = format!("{args:?}: {}", ended.stderr);
        let came = fs::read(stage.module.join("new/secret")).unwrap();
        assert_eq!(came, b"123456789", "{what}");
        stage.keeps(&what);
    }
    // An older `secret` in a place of its own would be put over the hidden one.
    let stage = Stage::new();
    fs::create_dir(stage.module.join("new")).unwrap();
    fs::write(stage.module.join("new/secret"), "old").unwrap();
    let ended = stage.push(&["-rtI", "-b", "--backup-dir=/"], "pub/secret", "new/");
    stage.keeps(&format!("{ended:?}"));
    assert_eq!(ended.code, Some(23), "{ended:?}");
}

#[test]
fn nothing_hidden_is_sent() {
    let stage = Stage::new();
    let names = stage.place.join("names");
    fs::write(
        &names,
        "secret\nsdir/f\n./sdir/../secret\nsdir/./deep/g\npub/hidden1\n",
    )
    .unwrap();
    let names = format!("--files-from={}", names.display());
    for (n, (args, path)) in [
        (&["-r"][..], ""),
        (&["-r"], "secret"),
        (&["-r"], "sdir/"),
        (&["-r"], "sdir/deep/"),
        (&["-r"], "pub/../secret"),
        (&["-rR"], "sdir/deep/./g"),
        (&["-r"], "s*"),
        (&["-r"], "sdir/*"),
        (&["-r"], "pub/hid*"),
        (&["-rc"], "pub/"),
        (&["-r", &names], ""),
        (&["-r", "--files-from=:/secret"], ""),
        (&["-r", "--files-from=:sdir/f"], ""),
        (&["-r", "--include=*"], ""),
        (&["-r", "-f", "+ hidden*", "-f", "R *"], ""),
        (&["-r", "-f", ": /secret"], ""),
        (&["-r", "-f", "dir-merge,-p sdir/f"], ""),
        (&["-r", "--remove-source-files"], ""),
    ]
    .into_iter()
    .enumerate()
    {
        let into = format!("pulled {n}");
        let ended = stage.pull(args, path, &into);
        let what = format!("{args:?} {path}: {}", ended.stderr);
        assert!(!ended.stderr.contains("topsecret"), "{what}");
        stage.shows_nothing(&into, &what);
    }
    stage.keeps("pulls");
}
