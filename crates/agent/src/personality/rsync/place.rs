//! Where a path argument leads: here, through a remote shell, or to a daemon.
//!
//! Source: rsync(1), «GENERAL», «ADVANCED USAGE», and rsync 3.5.0 as it behaves.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::failed::Failed;

/// One path argument.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// On this machine.
    Here(OsString),
    /// `[USER@]HOST:PATH`.
    Shell {
        /// Whom the remote shell logs in, and where.
        host: Host,
        path: OsString,
    },
    /// `[USER@]HOST::MODULE[/PATH]`, `rsync://[USER@]HOST[:PORT]/[MODULE[/PATH]]`.
    Daemon {
        host: Host,
        port: Option<u16>,
        /// The module and what is below it; empty for the list of modules.
        path: OsString,
    },
}

/// A machine, and who is meant there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Host {
    pub(super) user: Option<OsString>,
    /// Without the brackets of an IPv6 address; empty where it is that of the argument before.
    pub(super) name: OsString,
}

impl Place {
    /// Reads an argument.
    ///
    /// # Errors
    ///
    /// An `rsync://` with a port that is none.
    pub(super) fn parse(arg: &OsStr) -> Result<Self, Failed> {
        let bytes = arg.as_bytes();
        if let Some(rest) = strip_scheme(bytes) {
            return Self::parse_url(rest);
        }
        let Some((host, rest)) = split_host(bytes) else {
            return Ok(Self::Here(arg.to_owned()));
        };
        let host = Host::parse(host);
        Ok(match rest.strip_prefix(b":") {
            Some(path) => Self::Daemon {
                host,
                port: None,
                path: path_of(path),
            },
            None => Self::Shell {
                host,
                path: path_of(rest),
            },
        })
    }

    fn parse_url(rest: &[u8]) -> Result<Self, Failed> {
        let slash = rest.iter().position(|&byte| byte == b'/');
        let (authority, path) = rest.split_at(slash.unwrap_or(rest.len()));
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let (host, port) = match host_end(authority) {
            Some(end) => (&authority[..end], &authority[end + 1..]),
            None => (authority, &b""[..]),
        };
        let port = match port {
            b"" => None,
            digits => Some(
                std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| digits.parse().ok())
                    .ok_or_else(|| Failed::usage("Invalid port number in rsync:// URL"))?,
            ),
        };
        Ok(Self::Daemon {
            host: Host::parse(host),
            port,
            path: path_of(path),
        })
    }

    /// Whether it is on another machine.
    pub(super) fn is_remote(&self) -> bool {
        !matches!(self, Self::Here(_))
    }
}

impl Host {
    fn parse(text: &[u8]) -> Self {
        let at = text.iter().rposition(|&byte| byte == b'@');
        let (user, name) = match at {
            Some(at) => (Some(path_of(&text[..at])), &text[at + 1..]),
            None => (None, text),
        };
        let bare = name
            .strip_prefix(b"[")
            .and_then(|name| name.strip_suffix(b"]"));
        Self {
            user,
            name: path_of(bare.unwrap_or(name)),
        }
    }
}

/// What the arguments of a client come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Journey {
    /// All of it happens on this machine; the last path is the destination.
    Here {
        sources: Vec<PathBuf>,
        destination: Option<PathBuf>,
    },
    /// From here to another machine.
    Push { sources: Vec<PathBuf>, to: Remote },
    /// From another machine to here; to nowhere when it only lists.
    Pull {
        from: Remote,
        destination: Option<PathBuf>,
    },
}

/// The other machine, and the paths meant there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Remote {
    pub(super) host: Host,
    pub(super) way: Way,
    /// Of a daemon: each with the module before it, as the argument gave it; one that named none is a
    /// path in the first one's module.
    pub(super) paths: Vec<OsString>,
}

/// How the other machine is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Shell,
    Daemon { port: Option<u16> },
}

impl Journey {
    /// Reads the arguments of a client: sources, then the destination, which may be left out.
    ///
    /// # Errors
    ///
    /// Two machines, in the words of rsync.
    pub(super) fn parse(args: &[OsString]) -> Result<Self, Failed> {
        let places = args
            .iter()
            .map(|arg| Place::parse(arg))
            .collect::<Result<Vec<_>, _>>()?;
        let (last, sources) = match &*places {
            [] => return Err(Failed::usage("")),
            [only] => (None, std::slice::from_ref(only)),
            [sources @ .., last] => (Some(last), sources),
        };
        match (sources[0].is_remote(), last.filter(|last| last.is_remote())) {
            (true, Some(_)) => Err(Failed::usage(
                "The source and destination cannot both be remote.",
            )),
            (true, None) => Ok(Self::Pull {
                from: Remote::of_sources(sources)?,
                destination: last.map(here).transpose()?,
            }),
            (false, Some(to)) => Ok(Self::Push {
                sources: all_here(sources)?,
                to: Remote::of(to)?,
            }),
            (false, None) => Ok(Self::Here {
                sources: all_here(sources)?,
                destination: last.map(here).transpose()?,
            }),
        }
    }
}

impl Remote {
    fn of(place: &Place) -> Result<Self, Failed> {
        match place.clone() {
            Place::Here(_) => Err(mixed()),
            Place::Shell { host, path } => Ok(Self {
                host,
                way: Way::Shell,
                paths: vec![path],
            }),
            Place::Daemon { host, port, path } => Ok(Self {
                host,
                way: Way::Daemon { port },
                paths: vec![path],
            }),
        }
    }

    /// Later sources are on the machine of the first, whether they name it again or not.
    fn of_sources(sources: &[Place]) -> Result<Self, Failed> {
        let mut all = Self::of(&sources[0])?;
        for source in &sources[1..] {
            let next = Self::of(source)?;
            let same_kind = matches!(
                (all.way, next.way),
                (Way::Shell, Way::Shell) | (Way::Daemon { .. }, Way::Daemon { .. })
            );
            let same_host = next.host.name.is_empty() || next.host.name == all.host.name;
            if !same_kind || !same_host {
                return Err(mixed());
            }
            all.paths.extend(next.paths);
        }
        Ok(all)
    }
}

fn mixed() -> Failed {
    Failed::usage("All source args must come from the same machine.")
}

fn here(place: &Place) -> Result<PathBuf, Failed> {
    match place {
        Place::Here(path) => Ok(path.into()),
        _ => Err(Failed::usage(
            "Unexpected remote arg: it is among local ones",
        )),
    }
}

fn all_here(places: &[Place]) -> Result<Vec<PathBuf>, Failed> {
    places.iter().map(here).collect()
}

/// What follows `rsync://`, in any case.
fn strip_scheme(arg: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = arg.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// The host before a colon and what follows it; `None` where a slash comes first, or nothing does.
fn split_host(arg: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = host_end(arg)?;
    Some((&arg[..end], &arg[end + 1..]))
}

/// Where the colon behind a host is; the colons of an address in brackets are none.
fn host_end(text: &[u8]) -> Option<usize> {
    let user = text
        .iter()
        .position(|&byte| byte == b'@')
        .map_or(0, |at| at + 1);
    let skipped = match text[user..].starts_with(b"[") {
        true => user + text[user..].iter().position(|&byte| byte == b']')?,
        false => 0,
    };
    let end = text[skipped..].iter().position(|&byte| byte == b':')?;
    let host = &text[..skipped + end];
    (!host.contains(&b'/')).then_some(skipped + end)
}

fn path_of(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

const SCHEME: &[u8] = b"rsync://";

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        let (user, name) = match text.split_once('@') {
            Some((user, name)) => (Some(user.into()), name),
            None => (None, text),
        };
        Host {
            user,
            name: name.into(),
        }
    }

    #[test]
    fn arguments_lead_where_rsync_says() {
        let here = |path: &str| Place::Here(path.into());
        let shell = |at: &str, path: &str| Place::Shell {
            host: host(at),
            path: path.into(),
        };
        let daemon = |at: &str, port, path: &str| Place::Daemon {
            host: host(at),
            port,
            path: path.into(),
        };
        for (arg, place) in [
            ("a", here("a")),
            ("a/b:c", here("a/b:c")),
            ("./b:c", here("./b:c")),
            ("/b:c", here("/b:c")),
            ("h:p", shell("h", "p")),
            ("h:", shell("h", "")),
            ("u@h:a:b", shell("u@h", "a:b")),
            (":p", shell("", "p")),
            ("[::1]:p", shell("::1", "p")),
            ("u@[fe80::1%eth0]:p", shell("u@fe80::1%eth0", "p")),
            ("h::", daemon("h", None, "")),
            ("h::m/p", daemon("h", None, "m/p")),
            ("::m/p", daemon("", None, "m/p")),
            ("u@[::1]::m", daemon("u@::1", None, "m")),
            ("rsync://h", daemon("h", None, "")),
            ("rsync://h/", daemon("h", None, "")),
            ("RSYNC://u@h:99/m/p", daemon("u@h", Some(99), "m/p")),
            ("rsync://[::1]:99/m", daemon("::1", Some(99), "m")),
            ("rsync://[::1]/m", daemon("::1", None, "m")),
            ("rsync://h/m/a:b", daemon("h", None, "m/a:b")),
        ] {
            assert_eq!(Place::parse(arg.as_ref()).unwrap(), place, "{arg}");
        }
        assert!(Place::parse("rsync://h:x/m".as_ref()).is_err());
        assert!(Place::parse("rsync://h:99999/m".as_ref()).is_err());
    }

    fn journey(args: &[&str]) -> Result<Journey, Failed> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Journey::parse(&args)
    }

    /// The texts are those of rsync 3.5.0.
    #[test]
    fn two_machines_are_refused() {
        for (args, text) in [
            (
                &["h:a", "o:b"][..],
                "The source and destination cannot both be remote.",
            ),
            (
                &["rsync://h/a/", "h:b"],
                "The source and destination cannot both be remote.",
            ),
            (
                &["h:a", "o:b", "out"],
                "All source args must come from the same machine.",
            ),
            (
                &["h:a", "b", "out"],
                "All source args must come from the same machine.",
            ),
            (
                &["h:a", "::b", "out"],
                "All source args must come from the same machine.",
            ),
        ] {
            let failed = journey(args).unwrap_err();
            assert_eq!((failed.code, &*failed.text), (1, text), "{args:?}");
        }
        assert!(journey(&["a", "h:b", "c"]).is_err());
        assert!(journey(&[]).is_err());
    }

    #[test]
    fn later_sources_are_on_the_first_one_s_machine() {
        let pull = journey(&["h::m/a", "::b", "h::m/c", "out"]).unwrap();
        let from = Remote {
            host: host("h"),
            way: Way::Daemon { port: None },
            paths: vec!["m/a".into(), "b".into(), "m/c".into()],
        };
        let destination = Some("out".into());
        assert_eq!(pull, Journey::Pull { from, destination });
    }
}
