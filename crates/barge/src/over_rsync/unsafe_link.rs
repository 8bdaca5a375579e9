//! Which symbolic links lead out of a transfer. Source: rsync(1), «SYMBOLIC LINKS», and rsync 3.5.0
//! as it behaves.

/// Whether the target of the link at `path` (below the transfer's root) leads out of the transfer,
/// or cannot be told to stay inside: it is absolute or empty, climbs higher than the link lies
/// deep, or climbs anywhere but at its beginning, where a link on its way could mislead.
pub(crate) fn leads_out(target: &[u8], path: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' || target.ends_with(b"/..") {
        return true;
    }
    let (mut rest, mut climbed) = (target, 0);
    while let Some(after) = rest.strip_prefix(b"../") {
        let slashes = after.iter().take_while(|&&byte| byte == b'/').count();
        rest = &after[slashes..];
        climbed += 1;
    }
    if rest == b".." {
        climbed += 1;
    }
    let depth = path.iter().filter(|&&byte| byte == b'/').count();
    rest.windows(4).any(|part| part == b"/../") || climbed > depth
}

#[cfg(test)]
mod tests {
    use super::leads_out;

    #[test]
    fn links_are_judged_as_by_rsync() {
        // What rsync 3.5.0 said with --safe-links of links in `s` and `s/d`.
        for (target, in_s, in_s_d) in [
            ("x/../y", true, true),
            ("../s2", false, false),
            ("../../t", true, false),
            ("d/../../x", true, true),
            ("../d/..", true, true),
            ("d/..", true, true),
            ("../..", true, true),
            (".", false, false),
            ("./", false, false),
            ("d//../x", true, true),
            ("/abs", true, true),
            ("..", false, false),
            ("../", false, false),
            ("./../x", true, true),
            ("..//x", false, false),
            ("..//../x", true, false),
            ("../..//", true, false),
            (".././x", false, false),
            ("../../", true, false),
            ("..a", false, false),
            ("../..a", false, false),
            ("...", false, false),
            ("", true, true),
        ] {
            let of = |path: &[u8]| leads_out(target.as_bytes(), path);
            assert_eq!((of(b"s/l"), of(b"s/d/l")), (in_s, in_s_d), "{target}");
        }
        assert!(leads_out(b"../s2", b"l") && leads_out(b"..", b"l"));
    }
}
