//! Records conversations between a stock rsync client and a stock daemon, for
//! `crates/rsync/tests/golden`.
//!
//! `cargo run -p barge-testkit --example record_rsync -- FOLDER [NAME…]` writes one file for each
//! conversation, or for those that are named: its command line, the exit code, and what each side
//! said. Needs root, for devices, owners and `trusted` attributes. A recording is never edited.

#![allow(clippy::print_stdout, reason = "it tells what it made")]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::record::{Recording, record};
use barge_testkit::tree::set_mtime;

fn main() -> io::Result<()> {
    let mut args = std::env::args();
    let folder = PathBuf::from(args.nth(1).expect("a folder to write to"));
    let named: Vec<_> = args.collect();
    for conversation in CONVERSATIONS {
        let name = conversation.name;
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            let recording = conversation.hold()?;
            println!("{name}: {:?}", recording.code);
            write(&recording, &folder.join(name).with_extension("golden"))?;
        }
    }
    Ok(())
}

/// Who has what, and what is said about it.
struct Conversation {
    name: &'static str,
    /// Behind `rsync --checksum-seed=1`; `{daemon}` is the daemon's address.
    args: &'static str,
    /// Further lines of the module's configuration.
    config: &'static str,
    /// Makes `local`, the client's, and `module`, the daemon's.
    make: fn(&Path) -> io::Result<()>,
}

const WRITABLE: &str = "read only = no\nuid = 0\ngid = 0";
const AS_NOBODY: &str = "uid = nobody\ngid = nogroup";

const CONVERSATIONS: &[Conversation] = &[
    Conversation {
        name: "push",
        args: "-av local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| small(&at.join("local")),
    },
    Conversation {
        name: "push-whole-list",
        args: "-av --no-inc-recursive local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| small(&at.join("local")),
    },
    Conversation {
        name: "push-30",
        args: "-av --protocol=30 local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| small(&at.join("local")),
    },
    Conversation {
        name: "push-31",
        args: "-av --protocol=31 --no-inc-recursive local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| small(&at.join("local")),
    },
    Conversation {
        name: "push-everything",
        args: "-aHAXii --delete local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("local"), &at.join("module")),
    },
    Conversation {
        name: "pull-everything",
        args: "-aHAXii --delete --stats --exclude=*.tmp {daemon}/m/ local/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("module"), &at.join("local")),
    },
    Conversation {
        name: "push-everything-whole-list",
        args: "-aHAXU --delete-after --no-inc-recursive -B64 local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("local"), &at.join("module")),
    },
    Conversation {
        name: "pull-everything-whole-list",
        args: "-aHAXU --delete-before -B64 --checksum-choice=md5 {daemon}/m/ local/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("module"), &at.join("local")),
    },
    Conversation {
        name: "pull-everything-30",
        args: "-aHAX --protocol=30 --delete-delay {daemon}/m/ local/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("module"), &at.join("local")),
    },
    Conversation {
        name: "push-everything-30-whole-list",
        args: "-aHAX --protocol=30 --no-inc-recursive --delete --delay-updates local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("local"), &at.join("module")),
    },
    Conversation {
        name: "pull-delayed-late",
        args: "-a --delay-updates --delete-delay -B64 {daemon}/m/ local/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("module"), &at.join("local")),
    },
    Conversation {
        name: "push-numeric-checksum",
        args: "-ac --numeric-ids -B64 --delete-excluded --filter=P_kept* local/ {daemon}/m/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("local"), &at.join("module")),
    },
    Conversation {
        name: "push-redo",
        args: "-t -B512 --no-whole-file local/f {daemon}/m/",
        config: WRITABLE,
        make: redo,
    },
    Conversation {
        name: "pull-redo",
        args: "-rt -B512 {daemon}/m/ local/",
        config: WRITABLE,
        make: redo_reversed,
    },
    Conversation {
        name: "pull-dry-run",
        args: "-anX --delete -i {daemon}/m/ local/",
        config: WRITABLE,
        make: |at| both_sides(&at.join("module"), &at.join("local")),
    },
    Conversation {
        name: "pull-listing",
        args: "--list-only {daemon}/m/",
        config: WRITABLE,
        make: |at| small(&at.join("module")),
    },
    Conversation {
        name: "pull-nothing",
        args: "-a {daemon}/m/absent local/",
        config: WRITABLE,
        make: |at| small(&at.join("module")),
    },
    Conversation {
        name: "pull-unreadable",
        args: "-a {daemon}/m/ local/",
        config: AS_NOBODY,
        make: unreadable,
    },
    Conversation {
        name: "push-relative",
        args: "-aR --delete ./local/./a/b/f ./local/./a/c local/./d {daemon}/m/",
        config: WRITABLE,
        make: nested,
    },
    Conversation {
        name: "push-relative-excluded",
        args: "-aR --no-implied-dirs --exclude=/local --exclude=/a local/a/b local/./a/c {daemon}/m/",
        config: WRITABLE,
        make: nested,
    },
    Conversation {
        name: "push-absolute",
        args: "-aR --no-inc-recursive {here}/local/a/b/f {here}/local/d {daemon}/m/",
        config: WRITABLE,
        make: nested,
    },
    Conversation {
        name: "push-duplicates",
        args: "-a local/a local/again/a local/again/ {daemon}/m/",
        config: WRITABLE,
        make: nested,
    },
    Conversation {
        name: "push-files-from",
        args: "-a --files-from=names local {daemon}/m/",
        config: WRITABLE,
        make: nested,
    },
    Conversation {
        name: "pull-files-from",
        args: "-a --files-from=names {daemon}/m/ local/",
        config: WRITABLE,
        make: nested_reversed,
    },
    Conversation {
        name: "pull-files-from-30",
        args: "-a --protocol=30 --files-from=names {daemon}/m/ local/",
        config: WRITABLE,
        make: nested_reversed,
    },
    Conversation {
        name: "push-missing",
        args: "-aX --delete-missing-args local/absent local/d {daemon}/m/",
        config: WRITABLE,
        make: nested,
    },
    Conversation {
        name: "push-append",
        args: "-a --append -B64 local/ {daemon}/m/",
        config: WRITABLE,
        make: shorter,
    },
    Conversation {
        name: "push-bases",
        args: "-a --fuzzy --link-dest=../other -B64 local/ {daemon}/m/to/",
        config: WRITABLE,
        make: bases,
    },
    Conversation {
        name: "push-removing",
        args: "-a --remove-source-files --timeout=60 local/ {daemon}/m/",
        config: "read only = no\nuid = 0\ngid = 0\ntimeout = 50",
        make: |at| small(&at.join("local")),
    },
    Conversation {
        name: "push-epoch",
        args: "-dt local/old {daemon}/m/",
        config: WRITABLE,
        make: epoch,
    },
];

impl Conversation {
    fn hold(&self) -> io::Result<Recording> {
        // Not in memory: a file system with all kinds of attributes. Its path crosses the wire.
        let at = Path::new("/tmp/recorded");
        fs::create_dir(at)?;
        let recording = self.hold_in(at);
        fs::remove_dir_all(at)?;
        recording
    }

    fn hold_in(&self, at: &Path) -> io::Result<Recording> {
        for side in ["local", "module"] {
            fs::create_dir(at.join(side))?;
        }
        (self.make)(at)?;
        let words = self.args.split(' ').map(|word| word.replace('_', " "));
        let mut args = vec!["--checksum-seed=1".to_owned()];
        args.extend(words);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        record(at, &args, self.config)
    }
}

fn write(recording: &Recording, path: &Path) -> io::Result<()> {
    let Recording {
        command,
        code,
        client,
        server,
    } = recording;
    let code = code.map_or("none".to_owned(), |code| code.to_string());
    let (client_len, server_len) = (client.len(), server.len());
    let mut file = fs::File::create(path)?;
    write!(
        file,
        "{command}\nexit {code}\nclient {client_len}\nserver {server_len}\n"
    )?;
    file.write_all(client)?;
    file.write_all(server)
}

fn small(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("sub/empty"))?;
    fs::write(root.join("a.txt"), "hello, barge\n")?;
    fs::write(root.join("sub/b.bin"), [b'x'; 100])?;
    symlink("a.txt", root.join("link"))?;
    settle(root)
}

/// A source with everything, and a target with some of it, and more.
fn both_sides(source: &Path, target: &Path) -> io::Result<()> {
    everything(source)?;
    fs::write(target.join("delta"), text(0, 600))?;
    fs::write(target.join("same"), "not changed\n")?;
    fs::write(target.join("mode"), "only the mode\n")?;
    fs::create_dir_all(target.join("old/below"))?;
    fs::write(target.join("old/z"), "z")?;
    symlink("z", target.join("old/link"))?;
    fs::write(target.join("gone"), "gone")?;
    fs::write(target.join("kept by rule"), "kept")?;
    settle(target)?;
    fs::set_permissions(target.join("mode"), PermissionsExt::from_mode(0o600))?;
    for name in ["same", "mode"] {
        for root in [source, target] {
            set_mtime(&root.join(name), 1_500_000_000, 0)?;
        }
    }
    Ok(())
}

fn everything(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("d1/e"))?;
    fs::create_dir(root.join("d2"))?;
    fs::create_dir(root.join("empty"))?;
    fs::write(root.join("f1"), "linked three times\n")?;
    fs::hard_link(root.join("f1"), root.join("f2"))?;
    fs::hard_link(root.join("f1"), root.join("d1/f3"))?;
    fs::write(root.join("d1/g"), "linked twice\n")?;
    fs::hard_link(root.join("d1/g"), root.join("d1/e/h"))?;
    fs::write(root.join("same"), "not changed\n")?;
    fs::write(root.join("mode"), "only the mode\n")?;
    fs::write(root.join("not.tmp"), "excluded where a rule says so")?;
    let delta = [text(0, 192), b"something new".to_vec(), text(3, 408)].concat();
    fs::write(root.join("delta"), delta)?;
    symlink("../f1", root.join("d2/ln"))?;
    run(
        root,
        "mkfifo d1/fifo; mknod d2/null c 1 3; mknod d2/big b 259 70000",
    )?;
    run(
        root,
        "mknod d2/zero c 1 5; mknod d2/one c 1 1; ln d2/one d2/two",
    )?;
    std::os::unix::net::UnixListener::bind(root.join("d2/sock"))?;
    lchown(root.join("d2/ln"), Some(9999), Some(8888))?;
    lchown(root.join("d1/g"), Some(1), Some(1))?;
    lchown(root.join("d1/fifo"), Some(4321), Some(2))?;
    run(
        root,
        "setfacl -m u:2:rwx,g:8888:rx f1; setfacl -d -m u:2:rwx d1; setfacl -m g:1:rw delta",
    )?;
    run(
        root,
        "setfattr -n user.short -v abc f1; setfattr -n trusted.t -v x d2",
    )?;
    let (long, other) = ("l".repeat(100), "o".repeat(40));
    run(
        root,
        &format!("setfattr -n user.long -v {long} d2 d1/g delta"),
    )?;
    run(
        root,
        &format!("setfattr -n user.other -v {other} same delta"),
    )?;
    settle(root)?;
    set_mtime(&root.join("d1/g"), -5, 250_000_000)
}

/// A file whose one block is taken for another by its two sums.
fn redo(at: &Path) -> io::Result<()> {
    let (block, twin) = twins();
    fs::write(at.join("module/f"), block)?;
    fs::write(at.join("local/f"), twin)?;
    settle(&at.join("local"))
}

fn redo_reversed(at: &Path) -> io::Result<()> {
    let (block, twin) = twins();
    fs::write(at.join("local/f"), block)?;
    for name in ["e", "f", "g"] {
        fs::write(at.join("module").join(name), &twin)?;
    }
    settle(&at.join("module"))
}

/// Two blocks with one weak sum, and the same first two bytes of XXH128 with seed 1: found by trying.
fn twins() -> (Vec<u8>, Vec<u8>) {
    let block = vec![b'm'; 512];
    let mut twin = block.clone();
    // Adding 1, -2, 1 changes neither the sum of the bytes nor that of the sums.
    for bit in (0..20).filter(|bit| TWIN & 1 << bit != 0) {
        let at = &mut twin[bit * 3..][..3];
        at[0] += 1;
        at[1] -= 2;
        at[2] += 1;
    }
    (block, twin)
}

const TWIN: u32 = 0x19009;

fn unreadable(at: &Path) -> io::Result<()> {
    let root = at.join("module");
    small(&root)?;
    for (name, mode) in [("shut", 0o600), ("sub/shut too", 0o600)] {
        fs::write(root.join(name), "nobody may read this\n")?;
        fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode))?;
    }
    fs::create_dir(root.join("sub/closed"))?;
    fs::set_permissions(root.join("sub/closed"), PermissionsExt::from_mode(0o700))?;
    settle(&root)
}

fn nested(at: &Path) -> io::Result<()> {
    nested_in(&at.join("local"), at)
}

fn nested_reversed(at: &Path) -> io::Result<()> {
    nested_in(&at.join("module"), at)
}

fn nested_in(root: &Path, at: &Path) -> io::Result<()> {
    for dir in ["a/b", "a/c", "d/e", "again/a/b"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for file in [
        "a/b/f",
        "a/c/g",
        "a/x",
        "d/e/h",
        "again/a/b/f",
        "again/a/y",
        "again/d",
    ] {
        fs::write(root.join(file), file)?;
    }
    fs::write(at.join("names"), "a/b/f\nd\n\na/c/\n./a/x\nabsent\n")?;
    settle(root)
}

fn shorter(at: &Path) -> io::Result<()> {
    fs::write(at.join("local/f"), text(0, 500))?;
    fs::write(at.join("module/f"), text(0, 300))?;
    fs::write(at.join("local/new"), text(1, 50))?;
    settle(&at.join("local"))
}

fn bases(at: &Path) -> io::Result<()> {
    for dir in ["module/to", "module/other"] {
        fs::create_dir(at.join(dir))?;
    }
    for (file, from, len) in [
        ("local/report-2.txt", 0, 400),
        ("module/to/report-1.txt", 1, 400),
        ("local/same", 5, 100),
        ("module/other/same", 5, 100),
        ("local/changed", 7, 300),
        ("module/other/changed", 8, 300),
    ] {
        fs::write(at.join(file), text(from, len))?;
    }
    settle(&at.join("local"))?;
    settle(&at.join("module"))?;
    for side in ["local", "module/other"] {
        set_mtime(&at.join(side).join("same"), 1_500_000_000, 0)?;
    }
    Ok(())
}

fn epoch(at: &Path) -> io::Result<()> {
    let old = at.join("local/old");
    fs::write(&old, "from the beginning\n")?;
    set_mtime(&old, 0, 0)
}

/// Lines that differ, from the one numbered `from` on.
fn text(from: u32, len: usize) -> Vec<u8> {
    let lines =
        (from..).flat_map(|n| format!("{:>7} line {n}\n", n * n * 7919 % 9973).into_bytes());
    lines.take(len).collect()
}

fn run(at: &Path, script: &str) -> io::Result<()> {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(at)
        .status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| io::Error::other(script.to_owned()))
}

/// Gives everything a time that does not depend on the clock.
fn settle(root: &Path) -> io::Result<()> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    for (n, path) in paths.iter().rev().enumerate() {
        let n = n as i64;
        let nanos = if n % 3 == 0 { 0 } else { n * 1_000_003 };
        set_mtime(path, 1_600_000_000 + n / 2 * 1000, nanos)?;
    }
    Ok(())
}

/// Parents before what is in them.
fn walk(path: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    paths.push(path.to_owned());
    if path.symlink_metadata()?.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        below.sort_by_key(fs::DirEntry::file_name);
        for entry in below {
            walk(&entry.path(), paths)?;
        }
    }
    Ok(())
}
