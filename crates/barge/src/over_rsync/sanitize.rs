//! Paths that a peer names in options, cut down to what is below a module. Source: rsyncd.conf(5), «use
//! chroot», and rsync 3.5.0 as it behaves.

/// A relative path without what climbs above where it begins.
pub(crate) fn sanitized(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for part in path.split_inclusive(|&byte| byte == b'/') {
        match part {
            b"/" | b"." | b"./" => {}
            b".." | b"../" => {
                out.pop();
                let slash = out.iter().rposition(|&byte| byte == b'/');
                out.truncate(slash.map_or(0, |slash| slash + 1));
            }
            part => out.extend_from_slice(part),
        }
    }
    if out.is_empty() {
        out.push(b'.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_down_as_by_rsync() {
        // What rsync 3.5.0 made of the targets of links, as a daemon without chroot.
        for (path, made) in [
            ("/etc/hostname", "etc/hostname"),
            ("../outside", "outside"),
            ("../../outside", "outside"),
            ("../../../x", "x"),
            ("a/../b", "b"),
            ("a/../../b", "b"),
            ("./a", "a"),
            ("a//b", "a/b"),
            ("..", "."),
            ("../", "."),
            ("/", "."),
            ("a/b/..", "a/"),
            ("a/b/../..", "."),
            ("../a/../../b", "b"),
            ("./../x", "x"),
            ("//a//", "a/"),
            ("a/./b/", "a/b/"),
            ("../..", "."),
            ("d/../../../z", "z"),
            ("a/", "a/"),
            (".", "."),
        ] {
            let got = sanitized(path.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), made, "{path}");
        }
    }
}
