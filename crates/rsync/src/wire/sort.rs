//! The order of a list, on which both ends must agree: indexes are positions in it.
//!
//! In every directory, what is no directory comes first, by name; then come the directories, by
//! name with a slash behind it, each followed by what is in it. `.` precedes everything. Source:
//! the rsync protocol as recorded between two stock 3.5.0 peers.

use std::cmp::Ordering;
use std::sync::Arc;

use super::entry::{FileEntry, WirePath};

/// The order of two entries of a list.
pub fn compare(a: &FileEntry, b: &FileEntry) -> Ordering {
    compare_paths(&a.path, a.is_dir(), &b.path, b.is_dir())
}

/// The order of two paths, each with whether it is a directory's.
pub(super) fn compare_paths(
    a: &WirePath,
    a_is_dir: bool,
    b: &WirePath,
    b_is_dir: bool,
) -> Ordering {
    if is_same_dir(a.dir(), b.dir()) {
        return compare_parts(part(a, a_is_dir), part(b, b_is_dir)).unwrap_or(Ordering::Equal);
    }
    let (mut a, mut b) = (parts(a, a_is_dir), parts(b, b_is_dir));
    loop {
        let (a, b) = (a.next().unwrap_or(Part::End), b.next().unwrap_or(Part::End));
        if let Some(order) = compare_parts(a, b) {
            return order;
        }
    }
}

/// One name of a path, in the order of kinds: the path has ended, it names something that is no
/// directory, it names or leads through a directory.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part<'a> {
    End,
    Item(&'a [u8]),
    Dir(&'a [u8]),
}

fn is_same_dir(a: Option<&Arc<[u8]>>, b: Option<&Arc<[u8]>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}

fn parts(path: &WirePath, is_dir: bool) -> impl Iterator<Item = Part<'_>> {
    let dirs = path.dir().map(|dir| dir.split(|&byte| byte == b'/'));
    let dirs = dirs.into_iter().flatten().map(Part::Dir);
    dirs.chain([part(path, is_dir)])
}

/// A path's last name.
fn part(path: &WirePath, is_dir: bool) -> Part<'_> {
    match (path.is_root(), is_dir) {
        (true, _) => Part::End,
        (false, true) => Part::Dir(path.base()),
        (false, false) => Part::Item(path.base()),
    }
}

/// The order that two names decide; `None` when the names behind them do.
fn compare_parts(a: Part<'_>, b: Part<'_>) -> Option<Ordering> {
    match (a, b) {
        (Part::Dir(a), Part::Dir(b)) => compare_dirs(a, b),
        (Part::Dir(_), _) => Some(Ordering::Greater),
        (_, Part::Dir(_)) => Some(Ordering::Less),
        (Part::Item(a), Part::Item(b)) => Some(a.cmp(b)),
        (Part::Item(_), Part::End) => Some(Ordering::Greater),
        (Part::End, Part::Item(_)) => Some(Ordering::Less),
        (Part::End, Part::End) => Some(Ordering::Equal),
    }
}

/// The order of two names as if each had a slash behind it; `None` when they are equal.
fn compare_dirs(a: &[u8], b: &[u8]) -> Option<Ordering> {
    let common = a.len().min(b.len());
    let next = |name: &[u8]| name.get(common).copied().unwrap_or(b'/');
    let order = a[..common].cmp(&b[..common]);
    let order = order.then_with(|| next(a).cmp(&next(b)));
    (order != Ordering::Equal).then_some(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry((path, is_dir): (&str, bool)) -> FileEntry {
        let mode = if is_dir { 0o040_755 } else { 0o100_644 };
        FileEntry::new(WirePath::new(path.as_bytes()), mode)
    }

    /// Directories end in a slash.
    fn entries(paths: &[&str]) -> Vec<FileEntry> {
        let split = |path: &&str| match path.strip_suffix('/') {
            Some(dir) => entry((dir, true)),
            None => entry((path, path.ends_with('.'))),
        };
        paths.iter().map(split).collect()
    }

    #[test]
    fn lists_are_in_the_order_of_the_protocol() {
        for sorted in [
            &["./", "a.txt", "b", "a-b/", "a-b/x", "a.d/", "a/", "a/z"][..],
            &[
                "./", "z", "a/", "a/z", "a/b/", "a/b/z", "a/b/a/", "a/c/", "b/",
            ],
            &["a", "a/", "a/x"],
            &["sub/a", "sub/b", "sub/c/"],
            &["x/y/z", "x/y/a/", "x0/"],
            &["b", "/etc/", "/etc/x", "/usr/", "a/"],
        ] {
            let sorted = entries(sorted);
            for (i, a) in sorted.iter().enumerate() {
                for (j, b) in sorted.iter().enumerate() {
                    assert_eq!(compare(a, b), i.cmp(&j), "{:?} {:?}", a.path, b.path);
                }
            }
        }
    }

    /// The rule as the protocol's description states it, byte by byte with two classes.
    fn reference(a: &FileEntry, b: &FileEntry) -> Ordering {
        let key = |entry: &FileEntry| -> Vec<u16> {
            if entry.path.is_root() {
                return vec![0];
            }
            let path = entry.path.to_vec();
            let names: Vec<_> = path.split(|&byte| byte == b'/').collect();
            let mut key = Vec::new();
            for (i, name) in names.iter().enumerate() {
                let is_item = i + 1 == names.len() && !entry.is_dir();
                key.push(if is_item { 1 } else { 2 });
                key.extend(name.iter().map(|&byte| u16::from(byte) + 1));
                if !is_item {
                    key.push(u16::from(b'/') + 1);
                }
            }
            key
        };
        key(a).cmp(&key(b))
    }

    proptest! {
        #[test]
        fn order_is_that_of_keys_with_a_class_before_each_name(
            a in "[ab.0-]{1,3}(/[ab.0-]{1,2}){0,3}", a_is_dir: bool,
            b in "[ab.0-]{1,3}(/[ab.0-]{1,2}){0,3}", b_is_dir: bool,
        ) {
            let (a, b) = (entry((&a, a_is_dir)), entry((&b, b_is_dir)));
            prop_assert_eq!(compare(&a, &b), reference(&a, &b));
        }
    }
}
