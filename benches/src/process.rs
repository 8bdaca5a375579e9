//! The processes of one run: started, watched, ended and accounted for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// How a process comes to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// By itself, and its exit code must be 0.
    Itself,
    /// By this signal, when it has no children left; with any exit code.
    Signal(Signal),
}

/// What one process and the children it waited for have used.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// What it was there for.
    pub(crate) role: &'static str,
    /// Time on a processor, user and system.
    pub(crate) cpu: Duration,
    /// Most memory resident at once (`VmHWM` of proc(5)) in KiB, of each process.
    pub(crate) peaks: Vec<u64>,
}

/// A process of the run; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    role: &'static str,
    ending: Ending,
    child: Child,
    log: PathBuf,
    peaks: BTreeMap<i32, u64>,
}

impl Process {
    /// Starts it with all it says going to `DIR/ROLE.log`.
    ///
    /// # Errors
    ///
    /// The program is not there, or `dir` cannot be written.
    pub(crate) fn start(
        role: &'static str,
        ending: Ending,
        command: &mut Command,
        dir: &Path,
    ) -> Result<Self> {
        let log = dir.join(format!("{}.log", role.replace(' ', "-")));
        // Appending: programs told to log to /dev/stdout open the file a second time.
        let out = File::options().create(true).append(true).open(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let program = command.get_program().display().to_string();
        let child = spawn(command).with_context(|| {
            format!("{program} does not start (`make setup` installs the peers)")
        })?;
        Ok(Self {
            role,
            ending,
            child,
            log,
            peaks: BTreeMap::new(),
        })
    }

    /// Waits until somebody listens on this TCP port of the machine.
    ///
    /// Reads proc(5) instead of connecting: a probe would be a connection to be counted.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.poll(START_LIMIT, |_| Ok(is_listening(port)?.then_some(())))
    }

    /// Waits for a line with `words` in its log and returns what follows them.
    pub(crate) fn wait_for_words(&mut self, words: &str) -> Result<String> {
        self.poll(START_LIMIT, |this| {
            let log = fs::read_to_string(&this.log)?;
            // Without its newline the line may not be whole yet.
            let lines = log
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let rest = lines.filter_map(|line| line.split_once(words)).next();
            Ok(rest.map(|(_, rest)| rest.trim().to_owned()))
        })
    }

    /// Waits for the end, looking at the memory of this process and of `others` meanwhile; returns
    /// the time since `start`.
    pub(crate) fn watch(&mut self, others: &mut [Self], start: Instant) -> Result<Duration> {
        let (done, ended) = mpsc::channel();
        let pid = self.pid();
        thread::spawn(move || {
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            // The receiver is gone when the run was given up.
            let _ = done.send(start.elapsed());
        });
        loop {
            match ended.recv_timeout(SAMPLE_EVERY) {
                Ok(wall) => return Ok(wall),
                Err(RecvTimeoutError::Disconnected) => bail!("the waiting thread ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.sample();
            others.iter_mut().for_each(Self::sample);
            check_not_ended()?;
            ensure!(
                start.elapsed() < RUN_LIMIT,
                "{} runs longer than {RUN_LIMIT:?}",
                self.role
            );
        }
    }

    /// Ends it, each in its way, and returns what it has used.
    ///
    /// # Errors
    ///
    /// It does not end, or with another exit code than it must.
    pub(crate) fn finish(mut self) -> Result<Usage> {
        if let Ending::Signal(signal) = self.ending {
            self.poll(END_LIMIT, |this| {
                Ok(descendants(this.pid()).is_empty().then_some(()))
            })?;
            self.sample();
            kill(self.pid(), signal)?;
        }
        self.wait_for_end()?;
        let before = cpu_of_children()?;
        let status = self.child.wait()?;
        let cpu = cpu_of_children()? - before;
        self.check(status)?;
        let peaks = self.peaks.values().copied().collect();
        Ok(Usage {
            role: self.role,
            cpu,
            peaks,
        })
    }

    /// Waits for the end but leaves the exit status there.
    fn wait_for_end(&self) -> Result<()> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        let start = Instant::now();
        while waitid(Id::Pid(self.pid()), flags)? == WaitStatus::StillAlive {
            ensure!(start.elapsed() < END_LIMIT, "{} does not end", self.role);
            check_not_ended()?;
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        match self.ending {
            Ending::Itself if !status.success() => bail!("{} failed: {status}", self.role),
            Ending::Signal(_) if status.core_dumped() => bail!("{} crashed", self.role),
            _ => Ok(()),
        }
    }

    /// Asks until there is an answer; the process must live as long.
    fn poll<T>(
        &mut self,
        limit: Duration,
        mut ask: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask(self)? {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended too early: {status}", self.role);
            }
            ensure!(
                start.elapsed() < limit,
                "{} is not ready after {limit:?}",
                self.role
            );
            check_not_ended()?;
            thread::sleep(POLL_EVERY);
        }
    }

    /// Notes the memory peaks of the process and its descendants.
    fn sample(&mut self) {
        let pid = self.pid();
        for pid in std::iter::once(pid).chain(descendants(pid)) {
            // None: it has ended, and its last sample stands.
            if let Some(kib) = peak_memory(pid) {
                self.peaks.insert(pid.as_raw(), kib);
            }
        }
    }

    /// What it has said.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid_t is an i32"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail after `finish`, when there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes SIGINT and SIGTERM end the program by way of its errors, so that the data goes too.
pub(crate) fn end_on_signal() -> Result<()> {
    let signals = ending_signals();
    signals.thread_block()?;
    thread::spawn(move || {
        let _ = signals.wait();
        ENDED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Spawns with the signals of [`end_on_signal`] unblocked: a child inherits what is blocked
/// (signal(7)), and one that never sees SIGTERM never ends.
fn spawn(command: &mut Command) -> Result<Child> {
    let signals = ending_signals();
    signals.thread_unblock()?;
    let child = command.spawn();
    signals.thread_block()?;
    Ok(child?)
}

fn ending_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// # Errors
///
/// A signal has asked for the end.
pub(crate) fn check_not_ended() -> Result<()> {
    ensure!(!ENDED.load(Ordering::Relaxed), "ended by a signal");
    Ok(())
}

/// A TCP port of the loopback interface that nobody uses.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// Runs a command to its end.
///
/// # Errors
///
/// What it said, when its exit code is not 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("{program} does not start"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(anyhow!(
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// What all children that were waited for have used, theirs included: getrusage(2).
fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .iter()
        .sum::<i64>();
    Ok(Duration::from_micros(
        micros.try_into().context("a negative time")?,
    ))
}

/// Children, their children, and so on: proc(5), `/proc/PID/task/TID/children`.
fn descendants(pid: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = list
        .split_whitespace()
        .filter_map(|word| word.parse().ok().map(Pid::from_raw));
    children
        .flat_map(|child| std::iter::once(child).chain(descendants(child)))
        .collect()
}

/// `VmHWM` in KiB, or none when the process has ended.
fn peak_memory(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a socket of either family is in state LISTEN (0A) on this port.
fn is_listening(port: u16) -> Result<bool> {
    let suffix = format!(":{port:04X}");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let sockets = fs::read_to_string(table).unwrap_or_default();
        let found = sockets.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&suffix)) && words.nth(1) == Some("0A")
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

static ENDED: AtomicBool = AtomicBool::new(false);
/// Between two looks at the memory of all processes: 0.2 ms of work each.
const SAMPLE_EVERY: Duration = Duration::from_millis(25);
const POLL_EVERY: Duration = Duration::from_millis(5);
const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(60);
/// Far above any run that says something; a hung one must not stay.
const RUN_LIMIT: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_charged_for_itself_and_the_children_it_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("sh -c '{busy}'; echo ready now; sleep 0.2; true"),
        ]);
        let start = Instant::now();
        let mut shell = Process::start("shell", Ending::Itself, &mut shell, dir.path()).unwrap();
        assert_eq!(shell.wait_for_words("ready").unwrap(), "now");
        let wall = shell.watch(&mut [], start).unwrap();
        let usage = shell.finish().unwrap();
        assert!(wall >= Duration::from_millis(200), "{wall:?}");
        assert!(usage.cpu >= Duration::from_millis(10), "{usage:?}");
        assert!(usage.peaks[0] > 100, "{usage:?}");
    }

    #[test]
    fn process_that_must_end_well_and_does_not_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("false");
        let process = Process::start("false", Ending::Itself, &mut command, dir.path()).unwrap();
        assert!(process.finish().is_err());
    }

    #[test]
    fn listening_port_is_seen_without_a_connection() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listening(port).unwrap());
        drop(listener);
        assert!(!is_listening(port).unwrap());
    }
}
