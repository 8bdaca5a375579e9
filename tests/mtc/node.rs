//! A node of a cluster: podman with a store, a network and a name service of its own, all gone at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::peer::Running;
use barge_testkit::scratch::Scratch;
use serde_json::{Value, json};

use crate::kubelet::{lay_out, termination_log};
use crate::manifests::{Manifest, ROUTE};
use crate::watcher::tail;

/// The place where pods run.
pub(crate) struct Node {
    place: Scratch,
    number: u32,
}

/// A pod that was started; removed when dropped.
pub(crate) struct Pod<'a> {
    node: &'a Node,
    name: String,
    containers: Vec<String>,
    place: PathBuf,
}

/// How a pod ended, as Kubernetes tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Succeeded,
    /// With the exit code of each container.
    Failed(BTreeMap<String, i64>),
}

impl Node {
    /// A node with a network for pods.
    ///
    /// # Errors
    ///
    /// With what podman said, when this machine cannot run containers.
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let place = Scratch::new()?;
        // Nodes of other tests and of other users of the machine are not met.
        let number = std::process::id() * 8 + COUNT.fetch_add(1, Ordering::Relaxed);
        let node = Self {
            place,
            number: number % (1 << 15),
        };
        let gateway = node.gateway();
        fs::write(
            node.place.join("hosts"),
            format!("127.0.0.1 localhost\n::1 localhost\n{gateway} {ROUTE}\n"),
        )?;
        for (name, text) in node.configuration() {
            fs::write(node.place.join(name), text)?;
        }
        fs::write(
            node.place
                .dir("networks")?
                .join(format!("{}.json", node.network_name())),
            node.network().to_string(),
        )?;
        node.podman(&["info"])?;
        Ok(node)
    }

    /// The machine's address in the pods' network.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        let [_, _, high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(10, 128 | high, low, 1)
    }

    /// Starts a pod whose one claim is the folder `claim`.
    ///
    /// # Errors
    ///
    /// With what podman said.
    pub(crate) fn play(&self, manifest: &Manifest, claim: &Path) -> io::Result<Pod<'_>> {
        let name = manifest.pod["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let place = self.place.dir(&name)?;
        let containers = manifest.pod["spec"]["containers"].as_array();
        let containers = containers.into_iter().flatten();
        let containers = containers
            .filter_map(|c| c["name"].as_str().map(str::to_owned))
            .collect();
        let pod = Pod {
            node: self,
            name,
            containers,
            place,
        };
        let file = pod.place.join("pod.yaml");
        fs::write(&file, lay_out(manifest, claim, &pod.place)?.to_string())?;
        self.podman(&[
            "kube",
            "play",
            "--quiet",
            "--network",
            &self.network_name(),
            &file.to_string_lossy(),
        ])?;
        Ok(pod)
    }

    /// Runs podman, and gives what it printed.
    ///
    /// # Errors
    ///
    /// With what it said, when it failed or is not there.
    pub(crate) fn podman(&self, args: &[&str]) -> io::Result<String> {
        said(self.command().args(args))
    }

    fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        podman
            .env("CONTAINERS_CONF", self.place.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.place.join("storage.conf"));
        podman
    }

    /// A place for a test's own files on the node.
    pub(crate) fn place(&self) -> &Scratch {
        &self.place
    }

    /// Of the pods' network and its bridge. netavark names its chains of iptables by it: one node that ends
    /// would take away the chain that another is about to use.
    pub(crate) fn network_name(&self) -> String {
        format!("mtc{}", self.number)
    }

    /// The pods' network, in the words of netavark: `podman network create` of 4.3 names no bridge, and two
    /// nodes would choose the same.
    fn network(&self) -> Value {
        let gateway = self.gateway();
        json!({
            "name": self.network_name(),
            "id": format!("{:064x}", self.number),
            "driver": "bridge",
            "network_interface": self.network_name(),
            "created": "2026-01-01T00:00:00Z",
            "subnets": [{"subnet": format!("{gateway}/24"), "gateway": gateway}],
            "ipv6_enabled": false,
            "internal": false,
            "dns_enabled": false,
            "ipam_options": {"driver": "host-local"},
        })
    }

    fn configuration(&self) -> [(&'static str, String); 2] {
        let place = self.place.path().display();
        // The limits are for machines whose own are below podman's defaults.
        let containers = format!(
            r#"[containers]
base_hosts_file = "{place}/hosts"
log_driver = "k8s-file"
default_ulimits = ["nofile=10000:10000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_backend = "netavark"
network_config_dir = "{place}/networks"
"#
        );
        let storage = format!(
            r#"[storage]
driver = "overlay"
graphroot = "{place}/storage"
runroot = "{place}/run"
"#
        );
        [("containers.conf", containers), ("storage.conf", storage)]
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What cannot be removed lies in a place for temporary files.
        let _ = self.podman(&["pod", "rm", "--all", "--force", "--time", "0"]);
        let _ = self.podman(&["rmi", "--all", "--force"]);
        let storage = self.place.join("storage/overlay");
        let _ = Command::new("umount").arg("-l").arg(storage).output();
    }
}

impl Pod<'_> {
    /// Waits until every container has ended, and calls `look` all the while.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] after `limit`.
    pub(crate) fn wait(&self, limit: Duration, mut look: impl FnMut()) -> io::Result<Phase> {
        let containers = self.containers.iter().map(|c| format!("{}-{c}", self.name));
        let mut wait = self.node.command();
        let mut wait = Running::start(wait.arg("wait").args(containers))?;
        let deadline = Instant::now() + limit;
        while wait.is_running() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            look();
            thread::sleep(Duration::from_millis(20));
        }
        let mut codes = BTreeMap::new();
        for container in &self.containers {
            let code = self.inspect(container)?["State"]["ExitCode"].as_i64();
            codes.insert(container.clone(), code.unwrap_or(-1));
        }
        Ok(match codes.values().all(|&code| code == 0) {
            true => Phase::Succeeded,
            false => Phase::Failed(codes),
        })
    }

    /// The file with what a container has written, of which a kubelet reads the end.
    pub(crate) fn log_file(&self, container: &str) -> io::Result<PathBuf> {
        let found = self.inspect(container)?;
        let path = found["HostConfig"]["LogConfig"]["Path"].as_str();
        Ok(path.unwrap_or_default().into())
    }

    /// `state.terminated.message`.
    pub(crate) fn termination_message(&self, container: &str) -> io::Result<String> {
        fs::read_to_string(termination_log(&self.place, container))
    }

    /// The process that a container began with, on this machine.
    pub(crate) fn pid(&self, container: &str) -> io::Result<i32> {
        let pid = self.inspect(container)?["State"]["Pid"].as_i64();
        Ok(pid.unwrap_or_default() as i32)
    }

    /// Where it is reached.
    pub(crate) fn address(&self, port: u16) -> io::Result<SocketAddr> {
        let infra = self.node.podman(&[
            "pod",
            "inspect",
            "--format",
            "{{.InfraContainerID}}",
            &self.name,
        ])?;
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = self
            .node
            .podman(&["inspect", "--format", format, infra.trim()])?;
        let address: Ipv4Addr = address.trim().parse().map_err(io::Error::other)?;
        Ok((address, port).into())
    }

    /// Waits until somebody listens.
    pub(crate) fn wait_for(&self, port: u16) -> io::Result<SocketAddr> {
        let address = self.address(port)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                let logs = self
                    .containers
                    .iter()
                    .map(|c| fs::read_to_string(self.log_file(c)?));
                let ends = |log: io::Result<String>| log.map(|log| tail(&log, 10));
                let logs: Vec<_> = logs.map(ends).collect();
                return Err(io::Error::other(format!(
                    "{} does not listen: {logs:#?}",
                    self.name
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(address)
    }

    fn inspect(&self, container: &str) -> io::Result<Value> {
        let name = format!("{}-{container}", self.name);
        let text = self.node.podman(&["container", "inspect", &name])?;
        let all: Value = serde_json::from_str(&text)?;
        Ok(all[0].clone())
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // The node removes what is left.
        let _ = self
            .node
            .podman(&["pod", "rm", "--force", "--time", "0", &self.name]);
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Runs a program, and gives what it printed.
///
/// # Errors
///
/// With what it said, when it failed or is not there.
pub(crate) fn said(command: &mut Command) -> io::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", words.trim())))
}
