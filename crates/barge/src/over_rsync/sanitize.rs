//! Targets of symbolic links, cut down to what is below a module. Source: rsync(1) and rsyncd.conf(5),
//! and rsync 3.5.0 as it behaves.

/// The target that a link `depth` directories below the root of the transfer gets where links must not
/// lead out of it: no slash in front, and no more `..` than it is deep.
pub(crate) fn sanitized(target: &[u8], depth: usize) -> Vec<u8> {
    let (mut out, mut climbs, mut kept) = (Vec::with_capacity(target.len()), depth, 0);
    for part in target.split_inclusive(|&byte| byte == b'/') {
        match part {
            b"/" | b"." | b"./" => {}
            b".." | b"../" if out.len() > kept => {
                out.pop();
                let slash = out[kept..].iter().rposition(|&byte| byte == b'/');
                out.truncate(slash.map_or(kept, |slash| kept + slash + 1));
            }
            b".." | b"../" if climbs > 0 => {
                climbs -= 1;
                out.extend_from_slice(part);
                kept = out.len();
            }
            b".." | b"../" => {}
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
    fn links_are_cut_down_as_by_rsync() {
        // What rsync 3.5.0 made, as a daemon without chroot, of links in its target, in `d` and in `d/e`.
        for (target, made) in [
            ("/etc/hostname", ["etc/hostname"; 3]),
            ("../outside", ["outside", "../outside", "../outside"]),
            ("../../outside", ["outside", "../outside", "../../outside"]),
            ("../../../x", ["x", "../x", "../../x"]),
            ("a/../b", ["b"; 3]),
            ("a/../../b", ["b", "../b", "../b"]),
            ("./a", ["a"; 3]),
            ("a//b", ["a/b"; 3]),
            ("..", [".", "..", ".."]),
            ("../", [".", "../", "../"]),
            ("/", ["."; 3]),
            ("a/b/..", ["a/"; 3]),
            ("a/b/../..", ["."; 3]),
            ("../a/../../b", ["b", "../b", "../../b"]),
            ("./../x", ["x", "../x", "../x"]),
            ("//a//", ["a/"; 3]),
            ("a/./b/", ["a/b/"; 3]),
            ("../..", [".", "../", "../.."]),
            ("d/../../../z", ["z", "../z", "../../z"]),
            ("a/", ["a/"; 3]),
            (".", ["."; 3]),
        ] {
            for (depth, made) in made.into_iter().enumerate() {
                let got = sanitized(target.as_bytes(), depth);
                assert_eq!(String::from_utf8(got).unwrap(), made, "{target} {depth}");
            }
        }
    }
}
