//! Paths from the root of the file system or module: names joined by slashes, none at the ends.

/// Takes dots and needless slashes away; `..` at the root stays there. The text alone counts.
pub(super) fn normal(path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => normal.truncate(parent(&normal).len()),
            name => push(&mut normal, name),
        }
    }
    normal
}

/// The path that `text` names when it is said in the directory `dir`.
pub(super) fn resolved(dir: &[u8], text: &[u8]) -> Vec<u8> {
    match text.starts_with(b"/") {
        true => normal(text),
        false => normal(&[dir, b"/", text].concat()),
    }
}

pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The path of a directory's parent; the root is its own.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// All directories that `path` is in, the root first.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let top = (!path.is_empty()).then_some(&path[..0]);
    let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
    top.into_iter().chain(slashes.map(|(at, _)| &path[..at]))
}

/// `path` as it is seen from `dir`: empty for `dir` itself, `None` for what is not in it.
pub(super) fn below<'p>(path: &'p [u8], dir: &[u8]) -> Option<&'p [u8]> {
    match path.strip_prefix(dir)? {
        rest if dir.is_empty() || rest.is_empty() => Some(rest),
        rest => rest.strip_prefix(b"/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_loses_what_names_nothing() {
        for (given, path) in [
            ("", ""),
            ("/", ""),
            ("/a/b", "a/b"),
            ("//a/./b//", "a/b"),
            ("/a/../b", "b"),
            ("/../../a", "a"),
            ("/a/b/../../..", ""),
        ] {
            assert_eq!(normal(given.as_bytes()), path.as_bytes(), "{given}");
        }
        assert_eq!(resolved(b"a/b", b"../c"), b"a/c");
        assert_eq!(resolved(b"a/b", b"/c"), b"c");
        assert_eq!(resolved(b"", b"c"), b"c");
    }

    #[test]
    fn path_is_below_its_parents_only() {
        let all: Vec<_> = parents(b"a/bc/d").collect();
        assert_eq!(all, [&b""[..], b"a", b"a/bc"]);
        assert_eq!(parents(b"").count(), 0);
        assert_eq!(below(b"a/bc", b"a"), Some(&b"bc"[..]));
        assert_eq!(below(b"a/bc", b""), Some(&b"a/bc"[..]));
        assert_eq!(below(b"a/bc", b"a/bc"), Some(&b""[..]));
        assert_eq!(below(b"a/bc", b"a/b"), None);
        assert_eq!(below(b"a", b"a/b"), None);
        assert_eq!(parent(b"a"), b"");
    }
}
