//! Tunnels, ours beside the installed stunnel at the other end.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::scratch::Scratch;

/// Which program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    Ours,
    Stock,
}

use Whose::{Ours, Stock};

impl Whose {
    fn stunnel(self) -> Command {
        match self {
            Stock => Command::new("stunnel"),
            Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_barge"));
                command.arg("stunnel");
                command
            }
        }
    }
}

/// A tunnel that runs, and its log.
struct Tunnel {
    child: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Tunnel {
    /// Starts a service with these options, and waits until it listens.
    fn start(whose: Whose, folder: &Path, options: &str, pin: Option<&str>) -> Self {
        let port = free_port();
        let log = folder.join(format!("log {port}"));
        let conf = folder.join(format!("conf {port}"));
        let text = format!(
            "foreground = quiet\npid =\nsyslog = no\ndebug = 6\noutput = {}\n[t]\naccept = 127.0.0.1:{port}\n{options}",
            log.display()
        );
        fs::write(&conf, text).unwrap();
        let mut command = whose.stunnel();
        command
            .arg(&conf)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command.envs(pin.map(|pin| ("BARGE_STUNNEL_PIN", pin)));
        let mut tunnel = Self {
            child: command.spawn().unwrap(),
            port,
            log,
        };
        tunnel.expect_listening();
        tunnel
    }

    /// Without connecting, which would be a connection for the far end too.
    fn expect_listening(&mut self) {
        let wanted = format!(":{:04X} 00000000:0000 0A", self.port);
        let until = Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .contains(&wanted)
        {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.said());
            assert!(Instant::now() < until, "{}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log has it.
    fn says(&self, part: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.said().contains(part) {
            assert!(
                Instant::now() < until,
                "{part:?} is not in\n{}",
                self.said()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A plain server that reads each connection to its end, tells what came, and answers with the same
/// backwards; an error is told in its place.
fn far_end() -> (u16, Receiver<io::Result<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, hear) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, tell) = (connection.unwrap(), tell.clone());
            thread::spawn(move || {
                let mut came = Vec::new();
                let read = connection.read_to_end(&mut came);
                let mut answer = came.clone();
                answer.reverse();
                // Who was let in may be gone.
                let _ = connection.write_all(&answer);
                let _ = tell.send(read.map(|_| came));
            });
        }
    });
    (port, hear)
}

/// Sends bytes and the end through a tunnel, and takes what comes back.
fn ask(port: u16, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut near = TcpStream::connect(("127.0.0.1", port))?;
    near.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut writer = near.try_clone()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // The tunnel may refuse; reading tells.
            let _ = writer.write_all(bytes);
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut answer = Vec::new();
        near.read_to_end(&mut answer)?;
        Ok(answer)
    })
}

fn noise(len: u32) -> Vec<u8> {
    (0..len)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .collect()
}

/// Runs openssl in a folder.
fn openssl(folder: &Path, args: &str) -> Output {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(args.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Two authorities `ca` and `other`, each with a leaf for localhost signed by it, and the pair
/// `same` that is its own authority, as the Migration Toolkit for Containers makes it.
fn keys(folder: &Path) {
    for ca in ["ca", "other"] {
        openssl(
            folder,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.crt -days 2 -subj /CN={ca}"
            ),
        );
        fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
        openssl(
            folder,
            &format!(
                "req -newkey rsa:2048 -nodes -keyout {ca}-leaf.key -out {ca}-leaf.csr -subj /CN=leaf"
            ),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {ca}-leaf.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -out {ca}-leaf.crt -days 2 -extfile names"
            ),
        );
    }
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout same.key -out same.crt -days 2 -subj /CN=openshift.io",
    );
}

fn shows(folder: &Path, pair: &str) -> String {
    let at = folder.join(pair);
    format!("cert = {0}.crt\nkey = {0}.key\n", at.display())
}

fn trusts(folder: &Path, ca: &str) -> String {
    format!("CAfile = {}.crt\n", folder.join(ca).display())
}

#[test]
fn bytes_arrive_both_ways_whoever_is_at_the_ends() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let bytes = noise(2_000_000);
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    for (client, server) in [(Ours, Stock), (Stock, Ours), (Ours, Ours)] {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let (target, came) = far_end();
            let shown = shows(at, "same");
            let options = format!("connect = 127.0.0.1:{target}\nsslVersion = {version}\n{shown}");
            let server = Tunnel::start(server, at, &options, None);
            let options = format!(
                "client = yes\nconnect = localhost:{}\nsslVersion = {version}\n{shown}",
                server.port
            );
            let client = Tunnel::start(client, at, &options, None);
            assert!(
                ask(client.port, &bytes).unwrap() == reversed,
                "{}",
                client.said()
            );
            assert!(came.recv().unwrap().unwrap() == bytes);
            client.says(&format!("{version} ciphersuite"));
            client.says(&format!("{} byte(s) sent to TLS", bytes.len()));
            // A probe: nothing comes, nothing goes.
            assert_eq!(ask(client.port, b"").unwrap(), b"");
        }
    }
}

#[test]
fn peer_is_verified_as_the_options_say() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    // What the server shows, what the client asks for, and whether they come together.
    for (shown, wants, passes) in [
        ("ca-leaf", "verify = 2\nca", true),
        ("ca-leaf", "verifyChain = yes\nca", true),
        (
            "ca-leaf",
            "verifyChain = yes\ncheckHost = localhost\nca",
            true,
        ),
        (
            "ca-leaf",
            "verifyChain = yes\ncheckHost = elsewhere\nca",
            false,
        ),
        ("other-leaf", "verify = 2\nca", false),
        ("other-leaf", "verify = 0\nca", true),
        ("other-leaf", "verify = 1\nca", false),
        ("same", "verify = 2\nsame", true),
        ("same", "verify = 3\nsame", true),
        ("same", "verifyPeer = yes\nsame", true),
        ("ca-leaf", "verify = 4\nca-leaf", true),
        ("other-leaf", "verify = 4\nca-leaf", false),
        ("ca-leaf", "verify = 3\nca", false),
    ] {
        let (options, ca) = wants.rsplit_once('\n').unwrap();
        for client in [Stock, Ours] {
            let (target, _came) = far_end();
            let server = format!("connect = 127.0.0.1:{target}\n{}", shows(at, shown));
            let server = Tunnel::start(Ours, at, &server, None);
            let options = format!(
                "client = yes\nconnect = localhost:{}\n{options}\n{}",
                server.port,
                trusts(at, ca)
            );
            let client_end = Tunnel::start(client, at, &options, None);
            let passed = ask(client_end.port, b"abc").is_ok_and(|answer| answer == b"cba");
            assert_eq!(
                passed,
                passes,
                "{client:?} {shown} {wants}\n{}",
                client_end.said()
            );
        }
    }
}

#[test]
fn client_is_verified_as_the_options_say() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    for (shown, wants, passes) in [
        (Some("ca-leaf"), "verify = 2\nca", true),
        (Some("other-leaf"), "verify = 2\nca", false),
        (None, "verify = 2\nca", false),
        (None, "verify = 1\nca", true),
        (Some("other-leaf"), "verify = 1\nca", false),
        (Some("same"), "verify = 4\nsame", true),
        (Some("ca-leaf"), "verify = 4\nsame", false),
        (None, "verify = 0\nca", true),
    ] {
        let (options, ca) = wants.rsplit_once('\n').unwrap();
        for server in [Stock, Ours] {
            let (target, came) = far_end();
            let text = format!(
                "connect = 127.0.0.1:{target}\n{options}\n{}{}",
                shows(at, "ca-leaf"),
                trusts(at, ca)
            );
            let server_end = Tunnel::start(server, at, &text, None);
            let shown = shown.map(|shown| shows(at, shown)).unwrap_or_default();
            let options = format!(
                "client = yes\nconnect = localhost:{}\n{shown}",
                server_end.port
            );
            let client = Tunnel::start(Ours, at, &options, None);
            let passed = ask(client.port, b"abc").is_ok_and(|answer| answer == b"cba");
            assert_eq!(
                passed,
                passes,
                "{server:?} {shown} {wants}\n{}",
                server_end.said()
            );
            assert_eq!(
                came.try_recv().is_ok(),
                passes,
                "nothing reaches the target unverified"
            );
        }
    }
}

#[test]
fn certificate_that_both_hold_is_looked_for() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let run = |server: &str, client: &str, pin| {
        let (target, _came) = far_end();
        let options = format!("connect = 127.0.0.1:{target}\n{}", shows(at, server));
        let server = Tunnel::start(Ours, at, &options, pin);
        let options = format!(
            "client = yes\nconnect = localhost:{}\n{}",
            server.port,
            shows(at, client)
        );
        let client = Tunnel::start(Ours, at, &options, pin);
        let passed = ask(client.port, b"abc").is_ok_and(|answer| answer == b"cba");
        (passed, server.said() + &client.said())
    };
    let (holds, other) = (
        "the peer holds the same certificate",
        "the peer is not verified",
    );
    let (passed, said) = run("same", "same", None);
    assert!(passed && said.matches(holds).count() == 2, "{said}");
    let (passed, said) = run("same", "ca-leaf", None);
    assert!(passed && said.matches(other).count() == 2, "{said}");
    let (passed, said) = run("same", "same", Some("require"));
    assert!(passed && said.matches(holds).count() == 2, "{said}");
    let (passed, said) = run("same", "ca-leaf", Some("require"));
    assert!(!passed, "{said}");
    let (passed, said) = run("same", "ca-leaf", Some("off"));
    assert!(
        passed && !said.contains(holds) && !said.contains(other),
        "{said}"
    );
}

#[test]
fn end_that_was_not_announced_is_a_reset() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let (target, came) = far_end();
    let server = Tunnel::start(
        Ours,
        at,
        &format!("connect = 127.0.0.1:{target}\n{}", shows(at, "same")),
        None,
    );
    // A client that is killed amid its bytes: no close_notify comes.
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-connect",
            &format!("127.0.0.1:{}", server.port),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    client
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"half of")
        .unwrap();
    server.says("s_connect: connected");
    thread::sleep(Duration::from_millis(200));
    client.kill().unwrap();
    client.wait().unwrap();
    let error = came
        .recv_timeout(Duration::from_secs(20))
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    server.says("Connection reset: ");
}

#[test]
fn target_that_is_not_there_is_a_reset_for_who_came() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let nobody = format!("connect = 127.0.0.1:{}\n", free_port());
    for whose in [Ours, Stock] {
        let client = Tunnel::start(whose, at, &format!("client = yes\n{nobody}"), None);
        let mut near = TcpStream::connect(("127.0.0.1", client.port)).unwrap();
        let error = near.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        client.says("Connection reset: 0 byte(s) sent to TLS, 0 byte(s) sent to socket");
    }
    for whose in [Ours, Stock] {
        let options = format!("{nobody}{}", shows(at, "same"));
        let server = Tunnel::start(whose, at, &options, None);
        let options = format!("client = yes\nconnect = localhost:{}\n", server.port);
        let client = Tunnel::start(Ours, at, &options, None);
        let mut near = TcpStream::connect(("127.0.0.1", client.port)).unwrap();
        let error = near.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        server.says("Connection reset: 0 byte(s) sent to TLS, 0 byte(s) sent to socket");
    }
}

#[test]
fn next_target_is_tried_when_the_first_is_not_there() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let (target, _came) = far_end();
    let options = format!(
        "connect = 127.0.0.1:{}\nconnect = 127.0.0.1:{target}\n{}",
        free_port(),
        shows(at, "same")
    );
    let server = Tunnel::start(Ours, at, &options, None);
    let client = Tunnel::start(
        Stock,
        at,
        &format!("client = yes\nconnect = localhost:{}\n", server.port),
        None,
    );
    assert_eq!(ask(client.port, b"abc").unwrap(), b"cba");
}

/// An HTTP proxy for one connection, which tells the head of the request.
fn proxy(answer: &'static str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, hear) = mpsc::channel();
    thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(near.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        tell.send(head).unwrap();
        (&near).write_all(answer.as_bytes()).unwrap();
        let far = TcpStream::connect(target).unwrap();
        let (mut from_far, mut to_near) = (far.try_clone().unwrap(), near);
        thread::spawn(move || io::copy(&mut from_far, &mut to_near));
        let _ = io::copy(&mut reader, &mut &far);
        let _ = far.shutdown(Shutdown::Write);
    });
    (port, hear)
}

#[test]
fn tunnel_leads_through_an_http_proxy() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let (target, _came) = far_end();
    let server = Tunnel::start(
        Stock,
        at,
        &format!("connect = 127.0.0.1:{target}\n{}", shows(at, "same")),
        None,
    );
    for (answer, passes) in [
        (
            "HTTP/1.1 200 Connection established\r\nVia: me\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", false),
    ] {
        let (port, asked) = proxy(answer);
        let options = format!(
            "client = yes\nprotocol = connect\nconnect = 127.0.0.1:{port}\nprotocolHost = localhost:{}\n\
             protocolUsername = user\nprotocolPassword = pass\n",
            server.port
        );
        let client = Tunnel::start(Ours, at, &options, None);
        let passed = ask(client.port, b"abc").is_ok_and(|answer| answer == b"cba");
        assert_eq!(passed, passes, "{}", client.said());
        let head = asked.recv().unwrap();
        assert!(
            head.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port)),
            "{head}"
        );
        assert!(
            head.contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n"),
            "{head}"
        );
        if !passes {
            client.says("the proxy answers «HTTP/1.1 407 Proxy Authentication Required»");
        }
    }
}

#[test]
fn it_goes_to_the_background_and_leaves_its_number() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    let (target, _came) = far_end();
    let (port, pid) = (free_port(), at.join("pid"));
    let text = format!(
        "pid = {}\nsyslog = no\noutput = /dev/stdout\n[t]\nclient = yes\naccept = 127.0.0.1:{port}\nconnect = {target}\n",
        pid.display()
    );
    fs::write(at.join("conf"), text).unwrap();
    let log = fs::File::create(at.join("log")).unwrap();
    let status = Ours
        .stunnel()
        .arg(at.join("conf"))
        .stdin(Stdio::null())
        .stdout(log)
        .status();
    assert!(status.unwrap().success());
    let until = Instant::now() + Duration::from_secs(10);
    let number = loop {
        match fs::read_to_string(&pid) {
            Ok(number) if number.ends_with('\n') => break number.trim().parse::<i32>().unwrap(),
            _ => assert!(Instant::now() < until, "no pid file"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let number = nix::unistd::Pid::from_raw(number);
    nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGTERM).unwrap();
    while pid.exists() {
        assert!(Instant::now() < until, "the pid file stays");
        thread::sleep(Duration::from_millis(10));
    }
    let said = fs::read_to_string(at.join("log")).unwrap();
    assert!(
        said.contains("Received SIGTERM; terminating"),
        "it goes on logging: {said}"
    );
}

#[test]
fn what_cannot_be_used_is_named_and_ends_with_1() {
    let scratch = Scratch::new().unwrap();
    let at = scratch.path();
    keys(at);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    let server = |options: String| {
        format!(
            "foreground = quiet\nsyslog = no\n[t]\naccept = 127.0.0.1:{taken}\nconnect = 9\n{options}"
        )
    };
    let of_two = format!("cert = {0}/ca.crt\nkey = {0}/other.key\n", at.display());
    for (text, part) in [
        (
            server("ciphers = PSK\n".to_owned()),
            "barge does not support this: ",
        ),
        (
            server("nonsense = 1\n".to_owned()),
            "Specified option name is not valid here",
        ),
        (
            server("cert = /nowhere/tls.crt\n".to_owned()),
            "/nowhere/tls.crt",
        ),
        (server(of_two), "is not the key of"),
        (server(shows(at, "same")), "Address already in use (98)"),
    ] {
        fs::write(at.join("conf"), text).unwrap();
        let output = Ours
            .stunnel()
            .arg(at.join("conf"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(part), "{part:?} is not in {said}");
        assert!(said.ends_with("[!] Configuration failed\n"), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
    let output = Ours.stunnel().arg("/nowhere.conf").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere.conf: No such file"));
}
