//! Runs in rsync's language that are cut or killed: under a real name there is the old file or the new one.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::compare::{Compare, Field, assert_same};
use barge_testkit::faulty::{Cutter, Faults, Harm};
use barge_testkit::mover::program;
use barge_testkit::peer::{Ended, Running, free_addr};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;
use nix::sys::signal::Signal;

use crate::stamped::Stamp;
use crate::{dir, is_temporary, temporaries, walk};

/// Who asks whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Push,
    Pull,
}

/// A source, a target, and a daemon at the far one of the two.
struct Lane {
    _place: Scratch,
    way: Way,
    source: PathBuf,
    target: PathBuf,
    addr: SocketAddr,
    daemon: Running,
}

impl Lane {
    fn start(way: Way) -> Self {
        let place = Scratch::new().unwrap();
        let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
        let module = if way == Way::Push { &target } else { &source };
        let (conf, addr) = (place.join("rsyncd.conf"), free_addr().unwrap());
        let text = format!(
            "use chroot = no\nuid = 0\ngid = 0\n[m]\npath = {}\nread only = no\n",
            module.display()
        );
        std::fs::write(&conf, text).unwrap();
        let mut daemon = rsync();
        daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        daemon.arg(format!("--port={}", addr.port()));
        daemon.arg(format!("--config={}", conf.display()));
        let daemon = Running::start(&mut daemon).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "{}", daemon.stderr());
            thread::sleep(Duration::from_millis(5));
        }
        Self {
            _place: place,
            way,
            source,
            target,
            addr,
            daemon,
        }
    }

    fn client(&self, addr: SocketAddr, options: &[&str]) -> Command {
        let mut command = rsync();
        let here = |path: &Path| format!("{}/", path.display());
        let there = format!("rsync://{addr}/m/");
        command.args(["-a", "--delete"]).args(options);
        match self.way {
            Way::Push => command.args([here(&self.source), there]),
            Way::Pull => command.args([there, here(&self.target)]),
        };
        command
    }

    fn run(&self, addr: SocketAddr, options: &[&str]) -> Ended {
        let running = Running::start(&mut self.client(addr, options)).unwrap();
        running.wait(Duration::from_secs(60)).unwrap()
    }

    /// Every file of the target is whole, and of no later generation than the source's.
    #[track_caller]
    fn holds_whole_files(&self, generation: u64, what: &str) {
        for file in walk(&self.target) {
            // Of delayed updates, which are no real names either.
            let is_held = file.components().any(|part| part.as_os_str() == ".~tmp~");
            if is_held || is_temporary(&file) {
                continue;
            }
            let stamp = Stamp::read(&file).expect(what).expect(what);
            assert!(stamp.generation <= generation, "{stamp:?} {what}");
        }
    }

    /// A run that nothing happens to, then equal trees.
    #[track_caller]
    fn completes(&self, options: &[&str], what: &str) {
        let ended = self.run(self.addr, options);
        assert_eq!(ended.code, Some(0), "{what}: {}", ended.stderr);
        let mut how = Compare::default();
        how.without.extend([Field::Xattrs, Field::Acl]);
        assert_same(&self.source, &self.target, &how);
    }

    /// Writes all files of the source anew: small ones and one of 2.4 MB.
    fn write_generation(&self, generation: u64) {
        // rsync compares whole seconds.
        let age = |path: &Path| tree::set_mtime(path, 1_700_000_000 + generation as i64, 0);
        for file in 0..31 {
            let blocks = if file < 30 { 1 + file % 9 } else { 600 };
            let dir = dir(&self.source, &format!("d{}", file % 5));
            let stamp = Stamp {
                file,
                generation,
                blocks,
            };
            let path = dir.join(file.to_string());
            stamp.write(&path).unwrap();
            age(&path).and(age(&dir)).unwrap();
        }
        age(&self.source).unwrap();
    }
}

fn rsync() -> Command {
    let mut command = Command::new(program().unwrap());
    command.arg("rsync");
    command
}

#[test]
fn connection_cut_after_any_number_of_bytes_leaves_old_files_or_new_ones() {
    for way in [Way::Push, Way::Pull] {
        for options in [&[][..], &["--delay-updates"], &["--no-inc-recursive", "-z"]] {
            let mut lane = Lane::start(way);
            let mut every = 40;
            let mut generation = 0;
            let mut cut = true;
            while cut {
                lane.write_generation(generation);
                let faults = Faults {
                    harm: Harm::Cut,
                    every,
                    limit: 1,
                    delay: Duration::ZERO,
                };
                let cutter = Cutter::start(lane.addr, faults).unwrap();
                let ended = lane.run(cutter.addr(), options);
                cut = cutter.harmed() > 0;
                let what = format!("{way:?} {options:?} after {every}: {}", ended.stderr);
                // A cut may come when all has been said.
                assert!(cut || ended.code == Some(0), "{what}");
                assert!(ended.code.is_some_and(|code| code <= 35), "{what}");
                assert!(!ended.stderr.contains("panicked"), "{what}");
                assert_eq!(temporaries(&lane.target), Vec::<PathBuf>::new(), "{what}");
                lane.holds_whole_files(generation, &what);
                assert!(lane.daemon.is_running(), "{what}");
                every += every / 2;
                generation += 1;
            }
            assert!(generation > 10, "{way:?} {options:?}: {generation} cuts");
            lane.completes(options, "after all cuts");
        }
    }
}

#[test]
fn receiving_side_killed_at_any_moment_leaves_old_files_or_new_ones() {
    for way in [Way::Push, Way::Pull] {
        let mut lane = Lane::start(way);
        let options = ["--bwlimit=3000", "--whole-file"];
        for round in 0..8 {
            lane.write_generation(round);
            let mut client = Running::start(&mut lane.client(lane.addr, &options)).unwrap();
            thread::sleep(Duration::from_millis(30 + 97 * (round * 5 % 8)));
            // A daemon's connections are served by processes of their own, which hear of it.
            client.signal(Signal::SIGKILL);
            drop(client);
            thread::sleep(Duration::from_millis(100));
            lane.holds_whole_files(round, &format!("{way:?} killed in round {round}"));
            assert!(lane.daemon.is_running(), "{way:?} {round}");
        }
        // Only a process could have removed them that was killed: nobody knows whose they are.
        for left in temporaries(&lane.target) {
            std::fs::remove_file(left).unwrap();
        }
        lane.completes(&[], "after all kills");
    }
}
