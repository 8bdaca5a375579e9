//! HAProxy as the passthrough route: it reads the name in the TLS hello and then carries bytes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::process::{Ending, Process, Usage, free_port};

/// The host name of the route.
pub(crate) const HOST: &str = "volume.barge-bench.test";

/// A running HAProxy.
pub(crate) struct Route {
    /// Where clients connect.
    pub(crate) port: u16,
    process: Process,
}

impl Route {
    /// Starts it before `server`, which may be started later.
    pub(crate) fn start(server: SocketAddr, dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let config = dir.join("haproxy.cfg");
        fs::write(&config, configuration(port, server))?;
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&config);
        // SIGUSR1 ends it when its last connection has ended and been logged.
        let ending = Ending::Signal(Signal::SIGUSR1);
        let mut process = Process::start("HAProxy", ending, &mut command, dir)?;
        process.wait_for_port(port)?;
        Ok(Self { port, process })
    }

    /// Ends it and returns what it has used, and the bytes it carried in both directions.
    pub(crate) fn finish(self) -> Result<(Usage, u64)> {
        let log = self.process.log().to_owned();
        let usage = self.process.finish()?;
        Ok((usage, bytes_carried(&fs::read_to_string(log)?)?))
    }
}

/// Buffers and timeouts are those of an OpenShift router's defaults (openshift/router,
/// `images/router/haproxy/conf/haproxy-config.template`).
fn configuration(port: u16, server: SocketAddr) -> String {
    format!(
        "global
    tune.bufsize 32768
    tune.maxrewrite 8192
    log stdout format raw local0 info

defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 30s
    timeout client-fin 1s
    timeout server 30s
    timeout server-fin 1s
    timeout tunnel 1h

frontend public_ssl
    bind 127.0.0.1:{port}
    log-format \"{MARK} %U %B\"
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend volume if {{ req.ssl_sni -i {HOST} }}

backend volume
    server pod {server}
"
    )
}

/// Adds up what the log says of each connection: bytes from the client, bytes from the server.
fn bytes_carried(log: &str) -> Result<u64> {
    let lines: Vec<_> = log
        .lines()
        .filter_map(|line| line.strip_prefix(MARK))
        .collect();
    ensure!(!lines.is_empty(), "HAProxy logged no connection");
    let counts = lines.iter().flat_map(|line| line.split_whitespace());
    counts
        .map(|count| {
            count
                .parse::<u64>()
                .with_context(|| format!("HAProxy logged {count}"))
        })
        .sum()
}

const MARK: &str = "carried";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_connections_and_both_directions_are_added() {
        let log = "[NOTICE] started\ncarried 100 20\ncarried 7 3\n";
        assert_eq!(bytes_carried(log).unwrap(), 130);
        assert!(bytes_carried("[NOTICE] started\n").is_err());
        assert!(bytes_carried("carried 1 -\n").is_err());
    }
}
