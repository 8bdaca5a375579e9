//! Whole migrations, and those that fail.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::compare::{Compare, Field, compare};
use barge_testkit::mount::Mounted;
use barge_testkit::peer::Route;
use barge_testkit::tree::random_file;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::images::Image;
use crate::manifests::{self, Client, Mode, PASSWORD, Pair, ROUTE, SOURCE_ID, TARGET_ID};
use crate::node::{Node, Phase, Pod, said};
use crate::volume;
use crate::watcher::{Watcher, whole};

#[test]
fn privileged_pods_move_a_volume_whichever_end_is_ours() {
    move_volumes(Mode::Privileged);
}

#[test]
fn pods_of_root_move_a_volume_whichever_end_is_ours() {
    move_volumes(Mode::Root);
}

#[test]
fn restricted_pods_move_a_volume_whichever_end_is_ours() {
    move_volumes(Mode::Restricted);
}

#[test]
fn pod_fails_with_the_code_that_tells_why() {
    let Some(stage) = Stage::new() else { return };
    let stock = [Image::Stock, Image::Stock];
    for ends in ENDS.into_iter().chain([stock]) {
        expect_failure(
            ends,
            &wrong_password(&stage, ends),
            &[5],
            "auth failed on module",
        );
        expect_failure(
            ends,
            &full_target(&stage, ends),
            &[11],
            "No space left on device",
        );
        // An end before a greeting, or a reset while it is awaited, or one while it connects: what is
        // seen of it is the kernel's choice.
        expect_failure(ends, &dead_route(&stage, ends), &[5, 10, 12], "");
    }
}

#[test]
fn pod_ends_whoever_ends_its_rsync() {
    let Some(stage) = Stage::new() else { return };
    let ends = [Image::Ours, Image::Ours];
    for (signal, code) in [(Signal::SIGTERM, 20), (Signal::SIGKILL, 128 + 9)] {
        let ended = interrupted(&stage, ends, signal);
        let reason = if signal == Signal::SIGTERM {
            "SIGTERM"
        } else {
            ""
        };
        expect_failure(ends, &ended, &[code], reason);
    }
}

/// Whose image the source's pod runs, and whose the target's.
type Ends = [Image; 2];

const ENDS: [Ends; 3] = [
    [Image::Ours, Image::Ours],
    [Image::Ours, Image::Stock],
    [Image::Stock, Image::Ours],
];

/// How a pod at the source ended.
#[derive(Debug)]
struct Outcome {
    phase: Phase,
    log: String,
    message: String,
    seen: Watcher,
}

impl Outcome {
    /// Waits for the end of a client's pod, and watches it.
    fn of(pod: &Pod<'_>) -> Self {
        let file = pod.log_file("rsync").unwrap();
        let mut seen = Watcher::default();
        let phase = pod.wait(LIMIT, || seen.look(&read(&file)));
        let log = whole(&read(&file));
        let tunnel = || whole(&read(&pod.log_file("stunnel").unwrap()));
        let phase = phase.unwrap_or_else(|error| panic!("{error}: {log}\n{}", tunnel()));
        let message = pod.termination_message("rsync").unwrap();
        Self {
            phase,
            log,
            message,
            seen,
        }
    }
}

/// A log as it is now.
fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()
}

/// A node with both images and the run's certificate.
struct Stage {
    node: Node,
    pair: Pair,
}

impl Stage {
    /// `None`, and why, where this machine cannot run containers.
    fn new() -> Option<Self> {
        match Self::build() {
            Ok(stage) => Some(stage),
            Err(error) => {
                assert!(
                    std::env::var_os("MTC").is_none_or(|value| value != "required"),
                    "{error}"
                );
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn build() -> io::Result<Self> {
        if !geteuid().is_root() {
            return Err(io::Error::other("needs root"));
        }
        let node = Node::new()?;
        for image in [Image::Ours, Image::Stock] {
            image.make(&node)?;
        }
        let place = node.place().dir("pair")?;
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(&place)
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"]);
        openssl.args([
            "-days",
            "3650",
            "-set_serial",
            "2020",
            "-keyout",
            "tls.key",
            "-out",
            "tls.crt",
        ]);
        said(openssl.args(["-subj", SUBJECT]))?;
        let pair = Pair::read(&place)?;
        let stage = Self { node, pair };
        stage.try_out()?;
        Ok(stage)
    }

    /// A container that does nothing.
    fn try_out(&self) -> io::Result<()> {
        let image = Image::Stock.name();
        self.node.podman(&[
            "run",
            "--rm",
            "--network",
            &self.node.network_name(),
            image,
            "/bin/bash",
            "-c",
            "exit 0",
        ])?;
        Ok(())
    }

    fn server(&self, mode: Mode, image: Image, claim: &Path) -> Pod<'_> {
        let manifest = manifests::server(mode, image.name(), &self.pair);
        self.node.play(&manifest, claim).unwrap()
    }

    /// Runs a client to its end.
    fn run(&self, mode: Mode, image: Image, claim: &Path, client: &Client<'_>) -> Outcome {
        Outcome::of(&self.client(mode, image, claim, client))
    }

    fn client(&self, mode: Mode, image: Image, claim: &Path, client: &Client<'_>) -> Pod<'_> {
        let manifest = client.manifest(mode, image.name(), &self.pair);
        self.node.play(&manifest, claim).unwrap()
    }

    /// HAProxy where the pods look for the route.
    fn route(&self, server: SocketAddr) -> Route {
        let at = (self.node.gateway(), 443).into();
        Route::listen(at, &[(ROUTE, server)]).unwrap()
    }

    /// Two folders for claims.
    fn claims(&self) -> Claims {
        let make = |name: &str| {
            let path = self.node.place().join(name);
            // What an earlier migration of the test has left.
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            path
        };
        Claims {
            source: make("source"),
            target: make("target"),
        }
    }
}

struct Claims {
    source: PathBuf,
    target: PathBuf,
}

fn move_volumes(mode: Mode) {
    let Some(stage) = Stage::new() else { return };
    for ends in ENDS {
        move_volume(&stage, mode, ends);
    }
}

/// A first run into an empty volume, then a second one after the application has worked.
fn move_volume(stage: &Stage, mode: Mode, ends: Ends) {
    let owner = if mode.is_root() { 0 } else { SOURCE_ID };
    let claims = stage.claims();
    volume::fill(&claims.source, owner).unwrap();
    let server = stage.server(mode, ends[1], &claims.target);
    let _route = stage.route(server.wait_for(6443).unwrap());
    expect_confined(&server, mode);

    let limit = Some(8192);
    let first = Client {
        name: "rsync-first",
        password: PASSWORD,
        limit,
    };
    let first = stage.run(mode, ends[0], &claims.source, &first);
    let server_log = || whole(&read(&server.log_file("rsync").unwrap()));
    assert_eq!(
        first.phase,
        Phase::Succeeded,
        "{ends:?} {mode:?}\n{first:#?}\n{}",
        server_log()
    );
    expect_progress(&first);
    expect_same(&claims, mode, ends[1], &first);

    volume::work(&claims.source, owner).unwrap();
    let second = Client {
        name: "rsync-second",
        password: PASSWORD,
        limit: None,
    };
    let second = stage.run(mode, ends[0], &claims.source, &second);
    assert_eq!(
        second.phase,
        Phase::Succeeded,
        "{ends:?} {mode:?}\n{second:#?}\n{}",
        server_log()
    );
    expect_same(&claims, mode, ends[1], &second);
}

/// The container is as confined as its manifest says; else the test would show nothing.
fn expect_confined(pod: &Pod<'_>, mode: Mode) {
    let pid = pod.pid("rsync").unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> String {
        let mut lines = status.lines();
        let found = lines
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        found
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let bounding = u64::from_str_radix(&field("CapBnd:"), 16).unwrap();
    match mode {
        Mode::Restricted => {
            assert_eq!(field("Uid:"), TARGET_ID.to_string());
            assert_eq!(
                (bounding, field("NoNewPrivs:").as_str()),
                (0, "1"),
                "{status}"
            );
        }
        Mode::Root | Mode::Privileged => {
            assert_eq!(field("Uid:"), "0");
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
            let root = mounts
                .lines()
                .find(|line| line.split(' ').nth(4) == Some("/"))
                .unwrap();
            assert!(root.split(' ').nth(5).unwrap().starts_with("ro"), "{root}");
            // Who is privileged has them all, whatever is dropped.
            let has = bounding & CAP_MKNOD != 0;
            assert_eq!(has, mode == Mode::Privileged, "{status}");
        }
    }
}

/// What the controller shows a person: figures that rise. 100 it says itself when the pod has succeeded.
fn expect_progress(run: &Outcome) {
    assert!(run.seen.rises(), "{run:#?}");
    assert!(run.seen.percentages.len() > 2, "{run:#?}");
    assert!(!run.seen.rates.is_empty(), "{run:#?}");
}

#[track_caller]
fn expect_same(claims: &Claims, mode: Mode, server: Image, run: &Outcome) {
    let mut how = Compare {
        skip: vec!["lost+found".into()],
        ..Compare::default()
    };
    if !mode.is_root() {
        how.without.push(Field::Owner);
    }
    let mut found = compare(&claims.source, &claims.target, &how).unwrap();
    if mode != Mode::Privileged && server == Image::Stock {
        // Without chroot rsync's daemon makes the targets of links relative to its module.
        let dangling = claims.target.join("names/dangling");
        assert_eq!(fs::read_link(dangling).unwrap(), Path::new("nowhere"));
        found.retain(|one| one.path != Path::new("names/dangling") || one.field != Field::Target);
    }
    if !mode.is_root() {
        // `--omit-dir-times`
        found.retain(|one| one.field != Field::Mtime || !claims.source.join(&one.path).is_dir());
        let table = fs::metadata(claims.target.join("db/table")).unwrap();
        assert_eq!((table.uid(), table.gid()), (TARGET_ID, TARGET_ID));
    }
    assert!(found.is_empty(), "{found:#?}\n{}", run.log);
    assert!(!claims.target.join("lost+found").exists());
}

/// The client has failed with one of `codes`, and its pod's log tells why; where the image is ours, so does
/// the pod's status.
#[track_caller]
fn expect_failure(ends: Ends, run: &Outcome, codes: &[i64], reason: &str) {
    let Phase::Failed(ended) = &run.phase else {
        panic!("{ends:?} {run:#?}");
    };
    assert!(codes.contains(&ended["rsync"]), "{ends:?} {run:#?}");
    assert_eq!(ended["stunnel"], 0, "{ends:?} {run:#?}");
    assert!(run.log.contains(reason), "{ends:?} {run:#?}");
    if ends[0] == Image::Ours {
        assert!(run.message.contains(reason), "{ends:?} {run:#?}");
        let told = format!("(code {})", ended["rsync"]);
        let is_told = run.message.contains(&told) || ended["rsync"] > 128;
        assert!(is_told, "{ends:?} {run:#?}");
    }
}

fn wrong_password(stage: &Stage, ends: Ends) -> Outcome {
    let claims = stage.claims();
    fs::write(claims.source.join("file"), "content").unwrap();
    let server = stage.server(Mode::Root, ends[1], &claims.target);
    let _route = stage.route(server.wait_for(6443).unwrap());
    let client = Client {
        name: "rsync-wrong",
        password: "wrong",
        limit: None,
    };
    let outcome = stage.run(Mode::Root, ends[0], &claims.source, &client);
    assert_eq!(fs::read_dir(&claims.target).unwrap().count(), 0);
    outcome
}

fn full_target(stage: &Stage, ends: Ends) -> Outcome {
    let claims = stage.claims();
    random_file(&claims.source.join("file"), 8 << 20, 3).unwrap();
    fs::remove_dir(&claims.target).unwrap();
    let _small = Mounted::tmpfs(&claims.target, "size=2m").unwrap();
    let server = stage.server(Mode::Root, ends[1], &claims.target);
    let _route = stage.route(server.wait_for(6443).unwrap());
    let client = Client {
        name: "rsync-full",
        password: PASSWORD,
        limit: None,
    };
    let outcome = stage.run(Mode::Root, ends[0], &claims.source, &client);
    drop(server);
    outcome
}

/// Nobody listens where the route was.
fn dead_route(stage: &Stage, ends: Ends) -> Outcome {
    let claims = stage.claims();
    fs::write(claims.source.join("file"), "content").unwrap();
    let _server = stage.server(Mode::Root, ends[1], &claims.target);
    let client = Client {
        name: "rsync-dead",
        password: PASSWORD,
        limit: None,
    };
    stage.run(Mode::Root, ends[0], &claims.source, &client)
}

/// The client's rsync gets a signal amid its run.
fn interrupted(stage: &Stage, ends: Ends, signal: Signal) -> Outcome {
    let claims = stage.claims();
    random_file(&claims.source.join("file"), 8 << 20, 4).unwrap();
    let server = stage.server(Mode::Root, ends[1], &claims.target);
    let _route = stage.route(server.wait_for(6443).unwrap());
    let client = Client {
        name: "rsync-ended",
        password: PASSWORD,
        limit: Some(256),
    };
    let pod = stage.client(Mode::Root, ends[0], &claims.source, &client);
    let log = pod.log_file("rsync").unwrap();
    let deadline = Instant::now() + LIMIT;
    while !read(&log).contains("  0:00:") {
        assert!(Instant::now() < deadline, "{}", read(&log));
        thread::sleep(Duration::from_millis(20));
    }
    // A child of the shell that the container began with.
    let shell = pod.pid("rsync").unwrap();
    let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    kill(Pid::from_raw(children.trim().parse().unwrap()), signal).unwrap();
    Outcome::of(&pod)
}

const SUBJECT: &str = "/CN=openshift.io/C=US/ST=NC/L=RDU/O=Migration Engineering/OU=Engineering";
const CAP_MKNOD: u64 = 1 << 27;
const LIMIT: Duration = Duration::from_secs(100);
