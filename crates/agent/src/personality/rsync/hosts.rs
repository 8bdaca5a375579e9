//! Which hosts may use a module: `hosts allow` and `hosts deny`.
//!
//! Source: rsyncd.conf(5), and rsync 3.5.0 as it behaves.

use std::net::{IpAddr, ToSocketAddrs};

use barge::over_rsync::wild;

/// The host at the other end.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// `None` where it is no host at all: a pipe, a remote shell.
    pub(super) address: Option<IpAddr>,
    /// Its name; `UNKNOWN` where it has none, [`UNDETERMINED`] where it was not looked up.
    pub(super) name: String,
}

impl Visitor {
    /// As logs name it: `host (address)`.
    pub(super) fn shown(&self) -> String {
        match self.address {
            Some(address) => format!("{} ({address})", self.name),
            None => format!("{} (0.0.0.0)", self.name),
        }
    }
}

/// The lists of a module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lists<'a> {
    /// `hosts allow`.
    pub(super) allow: Option<&'a str>,
    /// `hosts deny`.
    pub(super) deny: Option<&'a str>,
    /// Names in them are looked up.
    pub(super) resolves: bool,
}

impl Lists<'_> {
    /// Whether a host may use the module: it is in `allow`, or in none of both, or there is only `deny`
    /// and it is not there. A host whose name is not determined gets the one by which it was found.
    /// `tell` gets lines for the log.
    pub(super) fn admit(&self, visitor: &mut Visitor, tell: &mut dyn FnMut(&str)) -> bool {
        let mut fits = |list: &str, unclear| {
            list.split([',', ' ', '\t'])
                .filter(|token| !token.is_empty())
                .any(|token| match fits(token, visitor, self.resolves) {
                    Fit::Unclear(why) => {
                        why.iter().for_each(|why| tell(why));
                        unclear
                    }
                    fit => fit == Fit::Yes,
                })
        };
        let allowed = self.allow.map(|list| fits(list, false));
        match (allowed, self.deny) {
            (Some(true), _) => true,
            // Who may be meant is denied rather than let in.
            (_, Some(deny)) => !fits(deny, true),
            (Some(false), None) => false,
            (None, None) => true,
        }
    }
}

/// Whether a host is one that a word of a list means.
#[derive(Debug, Eq, PartialEq)]
enum Fit {
    Yes,
    No,
    /// The word cannot be looked up, or says nothing: why, for the log.
    Unclear(Option<String>),
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

fn fits(token: &str, visitor: &mut Visitor, resolves: bool) -> Fit {
    if token.starts_with('@') {
        // There are no netgroups where this runs.
        return Fit::Unclear(None);
    }
    let name = visitor.name.to_ascii_lowercase();
    if wild(token.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
        return Fit::Yes;
    }
    let Some(address) = visitor.address else {
        return Fit::No;
    };
    if let Some(fit) = fits_address(token, address) {
        return fit;
    }
    let is_pattern = token.contains(['*', '?', '[']);
    if is_pattern || !resolves {
        return Fit::No;
    }
    let Ok(mut found) = (token, 0).to_socket_addrs() else {
        return Fit::Unclear(None);
    };
    let is_it = found.any(|found| plain(found.ip()) == plain(address));
    if is_it && visitor.name == UNDETERMINED {
        token.clone_into(&mut visitor.name);
    }
    is_it.into()
}

/// Whether an address, alone or with a mask, takes `address`; `None` where the token is a name.
fn fits_address(token: &str, address: IpAddr) -> Option<Fit> {
    let (net, mask) = match token.split_once('/') {
        Some((net, mask)) => (net, Some(mask)),
        None => (token, None),
    };
    let net = net.split('%').next().unwrap_or_default();
    let net: IpAddr = net.parse().ok()?;
    let (net, address) = (plain(net), plain(address));
    if net.is_ipv4() != address.is_ipv4() {
        return Some(Fit::No);
    }
    let (net, address, width) = match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            (u128::from(net.to_bits()), u128::from(address.to_bits()), 32)
        }
        (net, address) => (bits(net), bits(address), 128),
    };
    let mask = match mask {
        None => Some(mask_of(width, width)),
        Some(mask) => parse_mask(mask, width),
    };
    Some(match mask {
        Some(mask) => (net & mask == address & mask).into(),
        None => Fit::Unclear(Some(format!("malformed mask in {token}"))),
    })
}

/// A number of bits, or an address whose bits they are.
fn parse_mask(mask: &str, width: u32) -> Option<u128> {
    if let Ok(ones) = mask.parse::<u32>() {
        return (ones <= width).then(|| mask_of(ones, width));
    }
    match mask.split('%').next()?.parse::<IpAddr>().ok()? {
        IpAddr::V4(mask) if width == 32 => Some(u128::from(mask.to_bits())),
        IpAddr::V6(mask) if width == 128 => Some(mask.to_bits()),
        _ => None,
    }
}

fn mask_of(ones: u32, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    all & !all.checked_shr(ones).unwrap_or(0)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An IPv4 address that came over IPv6 is one of IPv4.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The name of a host that was not looked up.
pub(super) const UNDETERMINED: &str = "UNDETERMINED";

#[cfg(test)]
mod tests {
    use super::*;

    /// Of this host: whether it is let in, and what is told.
    fn admits(allow: Option<&str>, deny: Option<&str>, resolves: bool) -> (bool, Vec<String>) {
        let mut told = Vec::new();
        let lists = Lists {
            allow,
            deny,
            resolves,
        };
        let mut here = visitor("127.0.0.1", "localhost");
        let admits = lists.admit(&mut here, &mut |line| told.push(line.to_owned()));
        (admits, told)
    }

    fn visitor(address: &str, name: &str) -> Visitor {
        Visitor {
            address: Some(address.parse().unwrap()),
            name: name.to_owned(),
        }
    }

    #[test]
    fn addresses_masks_and_names_fit_as_rsyncd_conf_says() {
        for (token, address, name, expected) in [
            ("10.0.0.1", "10.0.0.1", "h", true),
            ("10.0.0.1", "10.0.0.2", "h", false),
            ("10.0.0.0/8", "10.9.9.9", "h", true),
            ("10.0.0.0/8", "11.0.0.1", "h", false),
            ("10.0.0.0/255.255.0.0", "10.0.9.9", "h", true),
            ("10.0.0.0/255.255.0.0", "10.1.9.9", "h", false),
            ("0.0.0.0/0", "1.2.3.4", "h", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "h", true),
            ("fe80::/10", "fe80::1", "h", true),
            ("fe80::1%link1", "fe80::1", "h", true),
            ("2001:db8::/ffff:ffff::", "2001:db8::9", "h", true),
            ("2001:db8::/32", "10.0.0.1", "h", false),
            ("*.example.org", "10.0.0.1", "a.Example.org", true),
            ("*.example.org", "10.0.0.1", "example.com", false),
            ("*", "10.0.0.1", "UNKNOWN", true),
            ("host", "10.0.0.1", "HOST", true),
        ] {
            let fit = fits(token, &mut visitor(address, name), false);
            assert_eq!(fit, Fit::from(expected), "{token} {address}");
        }
    }

    #[test]
    fn allow_comes_before_deny_and_the_rest_is_let_in_by_deny_alone() {
        let admits = |allow, deny| admits(allow, deny, false).0;
        assert!(admits(None, None));
        assert!(admits(Some("127.0.0.1"), Some("*")));
        assert!(!admits(Some("10.0.0.1"), None));
        assert!(!admits(Some("10.0.0.1"), Some("127.0.0.0/8")));
        assert!(admits(Some("10.0.0.1"), Some("10.0.0.2")));
        assert!(!admits(None, Some("10.0.0.1, 127.0.0.1")));
    }

    #[test]
    fn what_cannot_be_looked_up_is_denied_and_not_let_in() {
        let nobody = Some("name.invalid");
        assert!(!admits(nobody, None, true).0);
        assert!(!admits(None, nobody, true).0);
        assert!(!admits(None, Some("@group"), true).0);
        assert!(admits(Some("localhost"), None, true).0);
    }

    #[test]
    fn mask_that_is_none_denies_and_lets_nobody_in_and_is_told() {
        for mask in ["33", "x", "255.255.x", "::", "8/9"] {
            let list = format!("127.0.0.0/{mask}");
            let told = vec![format!("malformed mask in {list}")];
            assert_eq!(admits(Some(&list), None, true), (false, told.clone()));
            assert_eq!(admits(None, Some(&list), true), (false, told));
        }
    }

    #[test]
    fn who_has_no_address_fits_by_name_alone() {
        let mut pipe = Visitor {
            address: None,
            name: "UNKNOWN".to_owned(),
        };
        assert_eq!(fits("10.0.0.0/8", &mut pipe, true), Fit::No);
        assert_eq!(fits("UNKNOWN", &mut pipe, true), Fit::Yes);
        assert_eq!(pipe.shown(), "UNKNOWN (0.0.0.0)");
    }
}
