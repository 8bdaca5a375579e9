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

/// Puts entries in order; equal ones stay as they are.
pub(super) fn sort(entries: &mut [FileEntry]) {
    let dir = entries.first().and_then(|first| first.path.dir().cloned());
    let is_in_dir = |entry: &FileEntry| is_same_dir(entry.path.dir(), dir.as_ref());
    let are_in_dir = entries.iter().all(is_in_dir);
    let key = |(at, entry): (usize, &FileEntry)| (beginning(entry, are_in_dir), at);
    let mut order: Vec<_> = entries.iter().enumerate().map(key).collect();
    order.sort_unstable_by(|(a, a_at), (b, b_at)| {
        let order = a.cmp(b);
        let order = order.then_with(|| compare(&entries[*a_at], &entries[*b_at]));
        order.then(a_at.cmp(b_at))
    });
    permute(entries, order.into_iter().map(|(_, at)| at).collect());
}

/// The beginning of a string of bytes whose order is that of the entries: a path with a byte in
/// front of each name that says what it is of, and a slash behind each directory. What begins
/// alike is compared in full. Without the directory where all entries are in the same.
fn beginning(entry: &FileEntry, without_dir: bool) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut room = bytes.iter_mut();
    let mut put = |part: &[u8]| {
        // The part first: a zip that ends takes one more of what it asks first.
        let pairs = part.iter().zip(room.by_ref());
        pairs.for_each(|(part, byte)| *byte = *part);
    };
    let mut put_part = |part| match part {
        Part::End => (),
        Part::Item(name) => [&[1], name].into_iter().for_each(&mut put),
        Part::Dir(name) => [&[2], name, b"/"].into_iter().for_each(&mut put),
    };
    match without_dir {
        true => put_part(part(&entry.path, entry.is_dir())),
        false => parts(&entry.path, entry.is_dir()).for_each(put_part),
    }
    bytes
}

/// Puts at each place what is at the place that `from` has there.
fn permute(entries: &mut [FileEntry], mut from: Vec<usize>) {
    for start in 0..from.len() {
        let mut at = start;
        while from[at] != start {
            let next = from[at];
            entries.swap(at, next);
            from[at] = at;
            at = next;
        }
        from[at] = at;
    }
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

    #[test]
    fn beginnings_are_in_the_order_of_what_begins_so() {
        for (begins, without_dir, bytes) in [
            (("a", true), true, &b"\x02a/"[..]),
            (("d/a-b", false), false, b"\x02d/\x01a-b"),
            (("d/a-b", false), true, b"\x01a-b"),
            ((".", true), false, b""),
            (("0123456789abcdefg", true), false, b"\x020123456789abcde"),
        ] {
            let beginning = beginning(&entry(begins), without_dir);
            assert_eq!(beginning[..bytes.len()], *bytes, "{begins:?}");
            assert!(beginning[bytes.len()..].iter().all(|&byte| byte == 0));
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
        fn sorting_puts_entries_in_order_and_leaves_equal_ones(
            names in prop::collection::vec(("[ab.0-]{1,20}|(d/)?d/[ab]{1,2}", any::<bool>()), 0..40),
            in_one_dir: bool,
        ) {
            let path = |name: &str| match in_one_dir {
                true => format!("one/{}", name.replace('/', "-")),
                false => name.to_owned(),
            };
            let mut sorted: Vec<_> = names.iter().map(|(name, is_dir)| entry((&path(name), *is_dir))).collect();
            (0..).zip(&mut sorted).for_each(|(at, entry)| entry.tag = at);
            let mut expected = sorted.clone();
            expected.sort_by(compare);
            sort(&mut sorted);
            prop_assert_eq!(sorted, expected);
        }

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
