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
    /// Its name; `UNKNOWN` where it has none, `UNDETERMINED` where it was not looked up.
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

/// Whether a host may use a module: it is in `allow`, or in none of both, or there is only `deny` and
/// it is not there. `resolves` is whether names in the lists are looked up.
pub(super) fn admits(
    visitor: &Visitor,
    allow: Option<&str>,
    deny: Option<&str>,
    resolves: bool,
) -> bool {
    let allowed = allow.map(|list| fits_any(list, visitor, resolves, false));
    match (allowed, deny) {
        (Some(true), _) => true,
        // What cannot be looked up is denied rather than let in.
        (_, Some(deny)) => !fits_any(deny, visitor, resolves, true),
        (Some(false), None) => false,
        (None, None) => true,
    }
}

/// `unresolved` is what a name stands for that cannot be looked up.
fn fits_any(list: &str, visitor: &Visitor, resolves: bool, unresolved: bool) -> bool {
    list.split([',', ' ', '\t'])
        .filter(|token| !token.is_empty())
        .any(|token| fits(token, visitor, resolves, unresolved))
}

fn fits(token: &str, visitor: &Visitor, resolves: bool, unresolved: bool) -> bool {
    if token.starts_with('@') {
        // There are no netgroups where this runs: to know nothing denies.
        return unresolved;
    }
    let name = visitor.name.to_ascii_lowercase();
    if wild(token.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
        return true;
    }
    let Some(address) = visitor.address else {
        return false;
    };
    if let Some(fits) = fits_address(token, address) {
        return fits;
    }
    let is_pattern = token.contains(['*', '?', '[']);
    if is_pattern || !resolves {
        return false;
    }
    match (token, 0).to_socket_addrs() {
        Ok(mut found) => found.any(|found| plain(found.ip()) == plain(address)),
        Err(_) => unresolved,
    }
}

/// Whether an address, alone or with a mask, takes `address`; `None` where the token is a name.
fn fits_address(token: &str, address: IpAddr) -> Option<bool> {
    let (net, mask) = match token.split_once('/') {
        Some((net, mask)) => (net, Some(mask)),
        None => (token, None),
    };
    let net = net.split('%').next().unwrap_or_default();
    let net: IpAddr = net.parse().ok()?;
    let (net, address) = (plain(net), plain(address));
    if net.is_ipv4() != address.is_ipv4() {
        return Some(false);
    }
    let (net, address, width) = match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            (u128::from(net.to_bits()), u128::from(address.to_bits()), 32)
        }
        (net, address) => (bits(net), bits(address), 128),
    };
    let mask = match mask {
        None => mask_of(width, width),
        Some(mask) => parse_mask(mask, width)?,
    };
    Some(net & mask == address & mask)
}

/// A number of bits, or an address whose bits they are; a mask that is none takes nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

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
            ("10.0.0.0/33", "10.0.0.0", "h", false),
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
            let visitor = visitor(address, name);
            assert_eq!(
                fits(token, &visitor, false, false),
                expected,
                "{token} {address}"
            );
        }
    }

    #[test]
    fn allow_comes_before_deny_and_the_rest_is_let_in_by_deny_alone() {
        let here = visitor("127.0.0.1", "localhost");
        let admits = |allow, deny| admits(&here, allow, deny, false);
        assert!(admits(None, None));
        assert!(admits(Some("127.0.0.1"), Some("*")));
        assert!(!admits(Some("10.0.0.1"), None));
        assert!(!admits(Some("10.0.0.1"), Some("127.0.0.0/8")));
        assert!(admits(Some("10.0.0.1"), Some("10.0.0.2")));
        assert!(!admits(None, Some("10.0.0.1, 127.0.0.1")));
    }

    #[test]
    fn what_cannot_be_looked_up_is_denied_and_not_let_in() {
        let here = visitor("127.0.0.1", "localhost");
        let nobody = Some("name.invalid");
        assert!(!admits(&here, nobody, None, true));
        assert!(!admits(&here, None, nobody, true));
        assert!(!admits(&here, None, Some("@group"), true));
        assert!(admits(&here, Some("localhost"), None, true));
    }

    #[test]
    fn who_has_no_address_fits_by_name_alone() {
        let pipe = Visitor {
            address: None,
            name: "UNKNOWN".to_owned(),
        };
        assert!(!admits(&pipe, Some("10.0.0.0/8"), None, true));
        assert!(admits(&pipe, Some("UNKNOWN"), None, true));
        assert_eq!(pipe.shown(), "UNKNOWN (0.0.0.0)");
    }
}
