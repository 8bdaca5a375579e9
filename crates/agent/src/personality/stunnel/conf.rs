//! The grammar of a stunnel.conf: services, and what they are to do.
//!
//! Source: stunnel(8) of version 5.68, and the words that program has for what it does not take.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_net::Versions;

/// All of a configuration file.
#[derive(Debug)]
pub(super) struct Conf {
    pub(super) global: Global,
    pub(super) services: Vec<Service>,
}

/// What concerns the whole process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Global {
    pub(super) foreground: Foreground,
    pub(super) pid: Option<PathBuf>,
    pub(super) output: Option<PathBuf>,
    /// What is in the log file goes.
    pub(super) overwrite: bool,
    pub(super) syslog: bool,
    pub(super) level: Level,
}

/// Whether the process stays with who started it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Foreground {
    /// It goes to the background.
    No,
    /// It stays, and logs to standard error as well.
    Yes,
    /// It stays.
    Quiet,
}

/// How much is logged: syslog's levels, 0 to 7.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Level(pub(super) u8);

/// One section: a tunnel.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) level: Level,
    /// TLS is on the side that is connected to.
    pub(super) client: bool,
    pub(super) accept: Option<Address>,
    pub(super) connect: Vec<Address>,
    pub(super) round_robin: bool,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) ca_path: Option<PathBuf>,
    pub(super) verify: Verify,
    pub(super) hosts: Vec<String>,
    min: Tls,
    max: Tls,
    /// The name to ask for; an empty one is not sent.
    pub(super) sni: Option<String>,
    protocol: Option<String>,
    pub(super) proxy: Proxy,
    pub(super) timeouts: Timeouts,
    pub(super) options: SocketOptions,
    /// An error ends a connection by a reset.
    pub(super) reset: bool,
}

/// What is asked of a peer's certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Verify {
    pub(super) request: bool,
    pub(super) require: bool,
    pub(super) chain: bool,
    pub(super) peer: bool,
}

/// The far end of a tunnel through an HTTP proxy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Proxy {
    pub(super) host: Option<Address>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timeouts {
    /// For data that is expected: a handshake, a proxy's answer.
    pub(super) busy: Duration,
    /// For the second end of a connection to close after the first.
    pub(super) close: Duration,
    pub(super) connect: Duration,
    /// Without any data.
    pub(super) idle: Duration,
}

/// Options of the sockets that are accepted (`l`) and connected (`r`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct SocketOptions {
    pub(super) local: SocketOption,
    pub(super) remote: SocketOption,
}

/// What can be set on a socket. By default both are on, as `barge serve` has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SocketOption {
    pub(super) nodelay: bool,
    pub(super) keepalive: bool,
}

impl Default for SocketOption {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: true,
        }
    }
}

/// A host, where one is named, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) host: Option<String>,
    pub(super) port: u16,
}

impl Address {
    fn parse(text: &str) -> Result<Self, Problem> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (Some(host), port),
            None => (None, text),
        };
        let bare = |host: &str| {
            let bare = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            bare.unwrap_or(host).to_owned()
        };
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self {
                host: host.map(bare),
                port,
            }),
            _ => Err(Problem::new(
                "An address is a port, or HOST:PORT, with a port of 1 to 65535",
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, "{}", self.port),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Tls {
    /// The oldest there is.
    Oldest,
    V12,
    V13,
}

/// What is wrong with a configuration.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum ConfError {
    /// A line that is not taken.
    Line {
        file: PathBuf,
        number: usize,
        line: String,
        problem: String,
    },
    /// Options that do not go together.
    Service { name: String, problem: String },
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line {
                file,
                number,
                line,
                problem,
            } => write!(f, "{}:{number}: \"{line}\": {problem}", file.display()),
            Self::Service { name, problem } => write!(f, "Service [{name}]: {problem}"),
        }
    }
}

/// What is wrong with one option.
#[derive(Debug)]
struct Problem(String);

impl Problem {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Conf {
    /// Reads the text of `file`.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, ConfError> {
        let mut conf = Self {
            global: Global::default(),
            services: Vec::new(),
        };
        // What services have unless they say otherwise: options before the first of them.
        let mut defaults = Service::named("");
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end_matches(['\r', '\n']);
            conf.line(&mut defaults, line)
                .map_err(|Problem(problem)| ConfError::Line {
                    file: file.to_owned(),
                    number,
                    line: line.to_owned(),
                    problem,
                })?;
        }
        conf.services.iter().try_for_each(Service::check)?;
        if conf.services.is_empty() {
            return Err(ConfError::Service {
                name: String::new(),
                problem: "barge needs a service: a [NAME] with accept and connect".to_owned(),
            });
        }
        Ok(conf)
    }

    fn line(&mut self, defaults: &mut Service, line: &str) -> Result<(), Problem> {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let name = name.to_owned();
            self.services.push(Service {
                name,
                ..defaults.clone()
            });
            return Ok(());
        }
        let (key, value) = line.split_once('=').ok_or(Problem::new("No '=' found"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if let Some((_, reason)) = REFUSED.iter().find(|(name, _)| *name == key) {
            return Err(Problem(format!("barge does not support this: {reason}")));
        }
        let is_global = self.services.is_empty();
        if is_global && self.global.set(&key, value)? {
            defaults.level = self.global.level;
            return Ok(());
        }
        match self
            .services
            .last_mut()
            .unwrap_or(defaults)
            .set(&key, value)?
        {
            true => Ok(()),
            false => Err(Problem::new("Specified option name is not valid here")),
        }
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            foreground: Foreground::No,
            pid: None,
            output: None,
            overwrite: false,
            syslog: true,
            level: Level(5),
        }
    }
}

impl Global {
    /// Sets an option; false when it is none of these.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, Problem> {
        let path = || (!value.is_empty()).then(|| PathBuf::from(value));
        match key {
            "foreground" => self.foreground = foreground(value)?,
            "pid" => self.pid = path(),
            "output" => self.output = path(),
            "log" => {
                self.overwrite = match value {
                    "append" => false,
                    "overwrite" => true,
                    _ => {
                        return Err(Problem::new(
                            "The argument needs to be either 'append' or 'overwrite'",
                        ));
                    }
                }
            }
            "syslog" => self.syslog = yes(value)?,
            "debug" => self.level = level(value)?,
            // There is nothing here that they could change.
            "rndbytes" | "rndfile" | "rndoverwrite" | "service" => {}
            "fips" => return only_no(value, "there is no FIPS mode here"),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Service {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            level: Level(5),
            client: false,
            accept: None,
            connect: Vec::new(),
            round_robin: false,
            cert: None,
            key: None,
            ca_file: None,
            ca_path: None,
            verify: Verify::default(),
            hosts: Vec::new(),
            min: Tls::Oldest,
            max: Tls::V13,
            sni: None,
            protocol: None,
            proxy: Proxy::default(),
            timeouts: Timeouts {
                busy: Duration::from_secs(300),
                close: Duration::from_secs(60),
                connect: Duration::from_secs(10),
                idle: Duration::from_secs(43200),
            },
            options: SocketOptions::default(),
            reset: true,
        }
    }

    /// Sets an option; false when there is none of this name.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, Problem> {
        let path = || Some(PathBuf::from(value));
        match key {
            "accept" => self.accept = Some(Address::parse(value)?),
            "connect" => self.connect.push(Address::parse(value)?),
            "client" => self.client = yes(value)?,
            "cert" => self.cert = path(),
            "key" => self.key = path(),
            "cafile" => self.ca_file = path(),
            "capath" => self.ca_path = path(),
            "verify" => self.verify = verify(value)?,
            "verifychain" => self.verify.set(|verify| &mut verify.chain, yes(value)?),
            "verifypeer" => self.verify.set(|verify| &mut verify.peer, yes(value)?),
            "requirecert" => self.verify.set(|verify| &mut verify.require, yes(value)?),
            "checkhost" | "checkip" => self.hosts.push(value.to_owned()),
            "sslversion" => (self.min, self.max) = one_version(value)?,
            "sslversionmin" => self.min = tls(value, Tls::Oldest)?,
            "sslversionmax" => self.max = tls(value, Tls::V13)?,
            "options" => self.forbid(value)?,
            "sni" => self.sni = Some(value.to_owned()),
            "debug" => self.level = level(value)?,
            "socket" => self.options.set(value)?,
            "reset" => self.reset = yes(value)?,
            "failover" => {
                self.round_robin = match value {
                    "rr" => true,
                    "prio" => false,
                    _ => {
                        return Err(Problem::new(
                            "The argument needs to be either 'rr' or 'prio'",
                        ));
                    }
                }
            }
            // Names are looked up at every connection.
            "delay" => drop(yes(value)?),
            _ => {
                return Ok(self.set_protocol(key, value)?
                    || self.set_time(key, value)?
                    || moot(key, value)?);
            }
        }
        Ok(true)
    }

    fn set_protocol(&mut self, key: &str, value: &str) -> Result<bool, Problem> {
        match key {
            "protocol" => self.protocol = Some(value.to_owned()),
            "protocolhost" => self.proxy.host = Some(Address::parse(value)?),
            "protocolusername" => self.proxy.username = Some(value.to_owned()),
            "protocolpassword" => self.proxy.password = Some(value.to_owned()),
            "protocolauthentication" if value.eq_ignore_ascii_case("basic") => {}
            "protocolauthentication" => {
                return Err(Problem::new(
                    "barge supports the authentication 'basic' only",
                ));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_time(&mut self, key: &str, value: &str) -> Result<bool, Problem> {
        let (time, word) = match key {
            "timeoutbusy" => (&mut self.timeouts.busy, "busy"),
            "timeoutclose" => (&mut self.timeouts.close, "close"),
            "timeoutconnect" => (&mut self.timeouts.connect, "connect"),
            "timeoutidle" => (&mut self.timeouts.idle, "idle"),
            _ => return Ok(false),
        };
        let secs: u32 = value
            .parse()
            .map_err(|_| Problem(format!("Illegal {word} timeout")))?;
        *time = Duration::from_secs(secs.into());
        Ok(true)
    }

    /// Takes one of OpenSSL's options: the versions it forbids.
    fn forbid(&mut self, value: &str) -> Result<(), Problem> {
        match value {
            "NO_TLSv1.2" => self.min = self.min.max(Tls::V13),
            "NO_TLSv1.3" => self.max = self.max.min(Tls::V12),
            // What they forbid is not spoken here.
            "NO_SSLv2"
            | "NO_SSLv3"
            | "NO_TLSv1"
            | "NO_TLSv1.1"
            | "NO_COMPRESSION"
            | "NO_RENEGOTIATION"
            | "NO_TICKET"
            | "SINGLE_DH_USE"
            | "SINGLE_ECDH_USE"
            | "CIPHER_SERVER_PREFERENCE" => {}
            _ => {
                return Err(Problem::new(
                    "Illegal TLS option, or one that barge does not support",
                ));
            }
        }
        Ok(())
    }

    /// Which versions may be spoken; `None` when that is none.
    pub(super) fn versions(&self) -> Option<Versions> {
        match (self.min, self.max) {
            (Tls::Oldest | Tls::V12, Tls::V13) => Some(Versions::Both),
            (Tls::Oldest | Tls::V12, Tls::V12) => Some(Versions::Tls12),
            (Tls::V13, Tls::V13) => Some(Versions::Tls13),
            _ => None,
        }
    }

    /// Whether the connection goes through an HTTP proxy.
    pub(super) fn by_proxy(&self) -> bool {
        self.protocol.is_some()
    }

    /// Whether all there is goes together.
    fn check(&self) -> Result<(), ConfError> {
        let fails = |problem: &str| {
            Err(ConfError::Service {
                name: self.name.clone(),
                problem: problem.to_owned(),
            })
        };
        let verifies = self.verify.chain || self.verify.peer;
        if !self.client && self.cert.is_none() {
            return fails("TLS server needs a certificate");
        }
        if self.versions().is_none() {
            return fails("Invalid protocol version range");
        }
        if verifies && self.ca_file.is_none() && self.ca_path.is_none() {
            return fails("Either \"CAfile\" or \"CApath\" has to be configured");
        }
        if !self.hosts.is_empty() && !verifies {
            return fails("Either \"verifyChain\" or \"verifyPeer\" has to be enabled");
        }
        if self.accept.is_none() || self.connect.is_empty() {
            return fails("Each service must define two endpoints");
        }
        if self.sni.is_some() && !self.client {
            return fails("barge supports \"sni\" in client mode only");
        }
        match self.protocol.as_deref() {
            None => Ok(()),
            Some("connect") if !self.client => fails("Protocol not supported in server mode"),
            Some("connect") if self.proxy.host.is_none() => {
                fails("\"protocolHost\" has to be configured: what the proxy is to connect to")
            }
            Some("connect") => Ok(()),
            Some(_) => fails("Protocol not supported"),
        }
    }
}

impl Verify {
    fn set(&mut self, which: impl Fn(&mut Self) -> &mut bool, to: bool) {
        *which(self) = to;
        // «Both verifyChain = yes and verifyPeer = yes imply requireCert = yes» (stunnel(8)).
        self.require |= self.chain || self.peer;
        self.request |= self.require;
    }
}

impl SocketOptions {
    fn set(&mut self, value: &str) -> Result<(), Problem> {
        let illegal = || Problem::new("Illegal socket option, or one that barge does not support");
        let (which, option) = value.split_once(':').ok_or_else(illegal)?;
        let (option, value) = option.split_once('=').ok_or_else(illegal)?;
        let value = match value.trim() {
            "1" | "yes" => true,
            "0" | "no" => false,
            _ => return Err(illegal()),
        };
        let socket = match which.trim() {
            "l" => &mut self.local,
            "r" => &mut self.remote,
            // Addresses are taken over from connections that linger, always.
            "a" if option.trim() == "SO_REUSEADDR" && value => return Ok(()),
            _ => return Err(illegal()),
        };
        match option.trim() {
            "TCP_NODELAY" => socket.nodelay = value,
            "SO_KEEPALIVE" => socket.keepalive = value,
            _ => return Err(illegal()),
        }
        Ok(())
    }
}

fn yes(value: &str) -> Result<bool, Problem> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Problem::new(
            "The argument needs to be either 'yes' or 'no'",
        )),
    }
}

fn only_no(value: &str, reason: &str) -> Result<bool, Problem> {
    match yes(value)? {
        false => Ok(true),
        true => Err(Problem(format!("barge does not support this: {reason}"))),
    }
}

fn foreground(value: &str) -> Result<Foreground, Problem> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Ok(Foreground::Yes),
        "quiet" => Ok(Foreground::Quiet),
        "no" => Ok(Foreground::No),
        _ => Err(Problem::new(
            "The argument needs to be either 'yes', 'quiet' or 'no'",
        )),
    }
}

/// A level, perhaps with a facility before it, by name or number.
fn level(value: &str) -> Result<Level, Problem> {
    let (_, name) = value.rsplit_once('.').unwrap_or(("", value));
    let name = name.to_ascii_lowercase();
    let named = LEVELS.iter().position(|level| *level == name);
    let number = named
        .and_then(|at| u8::try_from(at).ok())
        .or(name.parse().ok());
    match number {
        Some(number) if number <= 7 => Ok(Level(number)),
        _ => Err(Problem::new("Illegal debug level")),
    }
}

const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// The levels that stand for several options (stunnel(8), «verify»).
fn verify(value: &str) -> Result<Verify, Problem> {
    let verify = |require, chain, peer| Verify {
        request: true,
        require,
        chain,
        peer,
    };
    match value {
        "0" => Ok(verify(false, false, false)),
        "1" => Ok(verify(false, true, false)),
        "2" => Ok(verify(true, true, false)),
        "3" => Ok(verify(true, true, true)),
        "4" => Ok(verify(true, false, true)),
        _ => Err(Problem::new("Bad verify level")),
    }
}

fn tls(value: &str, all: Tls) -> Result<Tls, Problem> {
    match value {
        "all" => Ok(all),
        "TLSv1.2" => Ok(Tls::V12),
        "TLSv1.3" => Ok(Tls::V13),
        "SSLv3" | "TLSv1" | "TLSv1.1" => Ok(Tls::Oldest),
        _ => Err(Problem::new("Invalid protocol version")),
    }
}

fn one_version(value: &str) -> Result<(Tls, Tls), Problem> {
    match value {
        "all" => Ok((Tls::Oldest, Tls::V13)),
        value => match tls(value, Tls::V13)? {
            Tls::Oldest => Err(Problem::new("barge speaks TLSv1.2 and TLSv1.3 only")),
            version => Ok((version, version)),
        },
    }
}

/// Options that have nothing to change here; false when `key` is none.
fn moot(key: &str, value: &str) -> Result<bool, Problem> {
    match key {
        // Sessions are never resumed, and renegotiation does not exist.
        "sessioncachesize"
        | "sessioncachetimeout"
        | "sessionresume"
        | "renegotiation"
        | "stack" => Ok(true),
        "logid" if value == "sequential" => Ok(true),
        // What is weaker than its level 2 is not spoken.
        "securitylevel" if matches!(value, "0" | "1" | "2") => Ok(true),
        "libwrap" => only_no(value, "use a network policy"),
        "retry" | "pty" => only_no(value, "it is of use with \"exec\" only"),
        "ocspaia" | "ocspnonce" => only_no(value, "there is no OCSP here"),
        _ => Ok(false),
    }
}

/// What is known and refused, in lower case, and why.
const REFUSED: &[(&str, &str)] = &[
    ("caengine", "there are no engines here"),
    ("checkemail", "use checkHost"),
    ("chroot", "run it in a container"),
    (
        "ciphers",
        "suites are chosen by the TLS library, and it has no PSK: use certificates",
    ),
    ("ciphersuites", "suites are chosen by the TLS library"),
    (
        "compression",
        "compression inside TLS leaks what it compresses",
    ),
    ("config", "there is no OpenSSL here"),
    (
        "crlfile",
        "revocation lists are not looked at: use new keys for each run",
    ),
    (
        "crlpath",
        "revocation lists are not looked at: use new keys for each run",
    ),
    ("curve", "curves are chosen by the TLS library"),
    ("curves", "curves are chosen by the TLS library"),
    ("egd", "the kernel's random numbers are used"),
    ("engine", "there are no engines here"),
    ("enginectrl", "there are no engines here"),
    ("enginedefault", "there are no engines here"),
    ("engineid", "there are no engines here"),
    ("enginenum", "there are no engines here"),
    ("exec", "it starts no program"),
    ("execargs", "it starts no program"),
    ("ident", "use certificates"),
    ("include", "write all into one file"),
    ("local", "the kernel chooses the address"),
    ("ocsp", "there is no OCSP here"),
    ("ocspflag", "there is no OCSP here"),
    ("protocoldomain", "NTLM is not spoken"),
    ("protocolheader", "headers of one's own are not sent"),
    (
        "pskidentity",
        "the TLS library has no PSK: use certificates",
    ),
    ("psksecrets", "the TLS library has no PSK: use certificates"),
    ("redirect", "a client that is not trusted is let nowhere"),
    ("sessiond", "sessions are never resumed"),
    ("setgid", "run it as the user it is to be"),
    ("setuid", "run it as the user it is to be"),
    ("ticketkeysecret", "sessions are never resumed"),
    ("ticketmacsecret", "sessions are never resumed"),
    ("transparent", "the kernel chooses the address"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Conf, String> {
        Conf::parse(Path::new("c.conf"), text).map_err(|error| error.to_string())
    }

    /// As the Migration Toolkit for Containers writes it at the source.
    const CLIENT: &str = "\n pid =\n sslVersion = TLSv1.2\n client = yes\n syslog = no\n \
        output = /dev/stdout\n [rsync]\n debug = 7\n accept = 6443\n \
        cert = /etc/stunnel/certs/tls.crt\n key = /etc/stunnel/certs/tls.key\n \
        connect = dvm-ns.apps.example.com:443\n";

    /// The same at the target.
    const SERVER: &str = "foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\n\
        socket = r:TCP_NODELAY=1\ndebug = 7\nsslVersion = TLSv1.2\n[rsync]\naccept = 6443\n\
        connect = 2222\nkey = /etc/stunnel/certs/tls.key\ncert = /etc/stunnel/certs/tls.crt\n\
        TIMEOUTclose = 0\n";

    #[test]
    fn both_ends_of_a_migration_are_understood() {
        let Conf { global, services } = parsed(CLIENT).unwrap();
        assert_eq!(global.foreground, Foreground::No);
        assert_eq!((global.pid, global.syslog), (None, false));
        let [service] = &services[..] else {
            panic!("{services:?}")
        };
        assert!(service.client);
        assert_eq!((service.name.as_str(), service.level), ("rsync", Level(7)));
        assert_eq!(service.versions(), Some(Versions::Tls12));
        assert_eq!(
            service.connect[0].to_string(),
            "dvm-ns.apps.example.com:443"
        );

        let Conf { global, services } = parsed(SERVER).unwrap();
        assert_eq!(global.foreground, Foreground::Yes);
        let [service] = &services[..] else {
            panic!("{services:?}")
        };
        assert!(!service.client);
        assert_eq!(service.timeouts.close, Duration::ZERO);
        assert_eq!(
            service.connect,
            [Address {
                host: None,
                port: 2222
            }]
        );
    }

    #[test]
    fn proxy_is_understood() {
        let text = "[rsync]\nclient = yes\naccept = 6443\nprotocol = connect\n\
            connect = proxy:3128\nprotocolHost = dvm.example.com:443\nprotocolUsername = user\n\
            protocolPassword = a=b\n";
        let conf = parsed(text).unwrap();
        let service = &conf.services[0];
        assert!(service.by_proxy());
        assert_eq!(service.proxy.password.as_deref(), Some("a=b"));
    }

    #[test]
    fn options_before_the_first_service_hold_for_all_and_names_have_no_case() {
        let text = "Verify = 2\nCAFILE = /ca\n[a]\nclient=YES\naccept=1\nconnect=2\n\
            [b]\nclient=yes\naccept=1\nconnect=2\nverifyPeer = yes\n; said\n# said\n";
        let conf = parsed(text).unwrap();
        let verify = |service: &Service| service.verify;
        assert!(verify(&conf.services[0]).chain && !verify(&conf.services[0]).peer);
        assert!(verify(&conf.services[1]).chain && verify(&conf.services[1]).peer);
    }

    /// In the words of stunnel 5.68, which was given the same files (and knows engines).
    #[test]
    fn what_stunnel_does_not_take_is_not_taken_in_its_words() {
        let server = "[a]\naccept = 1\nconnect = 2\ncert = /c\n";
        for (more, said) in [
            ("hello", "c.conf:5: \"hello\": No '=' found"),
            ("[a", "c.conf:5: \"[a\": No '=' found"),
            (
                "bogus = 1",
                "c.conf:5: \"bogus = 1\": Specified option name is not valid here",
            ),
            (
                " pid = x",
                "c.conf:5: \" pid = x\": Specified option name is not valid here",
            ),
            ("verify = 9", "c.conf:5: \"verify = 9\": Bad verify level"),
            (
                "verifyChain = maybe",
                "c.conf:5: \"verifyChain = maybe\": The argument needs to be either 'yes' or 'no'",
            ),
            (
                "sslVersion = TLSv9",
                "c.conf:5: \"sslVersion = TLSv9\": Invalid protocol version",
            ),
            (
                "TIMEOUTidle = x",
                "c.conf:5: \"TIMEOUTidle = x\": Illegal idle timeout",
            ),
            ("debug = 9", "c.conf:5: \"debug = 9\": Illegal debug level"),
            (
                "failover = x",
                "c.conf:5: \"failover = x\": The argument needs to be either 'rr' or 'prio'",
            ),
            (
                "verify = 2",
                "Service [a]: Either \"CAfile\" or \"CApath\" has to be configured",
            ),
            (
                "sslVersionMin = TLSv1.3\nsslVersionMax = TLSv1.2",
                "Service [a]: Invalid protocol version range",
            ),
            ("protocol = blah", "Service [a]: Protocol not supported"),
            (
                "checkHost = a",
                "Service [a]: Either \"verifyChain\" or \"verifyPeer\" has to be enabled",
            ),
        ] {
            let error = parsed(&format!("{server}{more}\n")).unwrap_err();
            assert_eq!(error, said, "{more}");
        }
        let error = parsed("foreground = maybe\n").unwrap_err();
        let said = "c.conf:1: \"foreground = maybe\": The argument needs to be either 'yes', 'quiet' or 'no'";
        assert_eq!(error, said);
        let error = parsed("[a]\naccept = 1\nconnect = 2\n").unwrap_err();
        assert_eq!(error, "Service [a]: TLS server needs a certificate");
        let error = parsed("[a]\nclient = yes\nconnect = 2\n").unwrap_err();
        assert_eq!(error, "Service [a]: Each service must define two endpoints");
    }

    #[test]
    fn what_barge_lacks_is_refused_by_name_with_the_reason() {
        for line in [
            "ciphers = PSK",
            "PSKsecrets = /s",
            "exec = /bin/sh",
            "libwrap = yes",
            "fips = yes",
        ] {
            let error = parsed(&format!("{line}\n[a]\n")).unwrap_err();
            assert!(error.contains("barge does not support this: "), "{error}");
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn address_is_a_port_or_a_host_with_one() {
        let parse = |text| {
            Address::parse(text)
                .map(|address| (address.host, address.port))
                .ok()
        };
        assert_eq!(parse("6443"), Some((None, 6443)));
        assert_eq!(parse("host:443"), Some((Some("host".to_owned()), 443)));
        assert_eq!(parse(":::443"), Some((Some("::".to_owned()), 443)));
        assert_eq!(parse("[::1]:443"), Some((Some("::1".to_owned()), 443)));
        for text in ["", "0", "99999", "host:", "host", "/run/socket", "-1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
