//! `--fuzzy`: a file of another name as the basis of one that is not there.
//!
//! Source: rsync(1), «--fuzzy», and what rsync 3.5.0 tells with `--debug=fuzzy2` of the names it
//! meets.

use barge_fs::{Dir, SourceFile, StatKind, is_own_temporary};
use barge_rsync::wire::iflags::Basis;
use barge_types::{Name, RelPath, Timestamp};
use bytes::Bytes;

use super::generator::{At, Generator};

/// The files beside those that are asked for: of one directory and, where they count too, of its
/// namesakes in the alternate directories.
#[derive(Debug, Default)]
pub(super) struct Similar {
    of: Option<RelPath>,
    places: Vec<Place>,
}

/// Files that may be a basis.
#[derive(Debug)]
struct Place {
    basis: Basis,
    dir: Dir,
    /// In the order of their names.
    files: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    name: Name,
    size: u64,
    mtime: Timestamp,
}

/// What a file is rebuilt from.
pub(super) struct SimilarFile {
    pub(super) basis: Basis,
    pub(super) name: Bytes,
    pub(super) file: SourceFile,
}

impl Similar {
    /// A file of the current directory is about to be replaced: it is no basis any more.
    pub(super) fn forget(&mut self, dir: &RelPath, name: &Name) {
        if self.of.as_ref() != Some(dir) {
            return;
        }
        let place = self
            .places
            .iter_mut()
            .find(|place| place.basis == Basis::Fuzzy);
        if let Some(place) = place
            && let Ok(at) = place.files.binary_search_by(|file| file.name.cmp(name))
        {
            place.files.remove(at);
        }
    }
}

impl Generator {
    /// The file that a new one is most likely much like.
    pub(super) fn similar(&mut self, at: &At<'_>, name: &Name) -> Option<SimilarFile> {
        let options = &self.side.options;
        if options.fuzzy == 0 || options.dry_run || self.side.is_whole_file() {
            return None;
        }
        self.look_around();
        let rules = &self.side.attributes.rules;
        let is_same = |file: &Candidate| {
            file.size == at.entry.len && !rules.times_differ(file.mtime, at.entry.mtime)
        };
        let (place, file) = choose(&self.similar.places, name.as_bytes(), is_same)?;
        Some(SimilarFile {
            basis: place.basis,
            name: Bytes::copy_from_slice(file.name.as_bytes()),
            file: place.dir.open_file(&file.name).ok()?,
        })
    }

    /// Lists the current directory, and its namesakes, unless that was done before.
    fn look_around(&mut self) {
        let path = self.target_dir().path.clone();
        if self.similar.of.as_ref() == Some(&path) {
            return;
        }
        // What is in a new directory came from the sender.
        let is_fresh = self.target_dir().is_fresh();
        let mut places: Vec<_> = self
            .dir()
            .filter(|_| !is_fresh)
            .map(|dir| (Basis::Fuzzy, dir.clone()))
            .into_iter()
            .collect();
        if self.side.options.fuzzy > 1 {
            let namesakes = self.namesakes.of(self.side.alternates(), &path);
            places.extend(
                namesakes
                    .into_iter()
                    .map(|(number, dir)| (Basis::FuzzyDirectory(number), dir)),
            );
        }
        let hidden = self.side.hidden();
        let hides = |basis: Basis, name: &Name| {
            let path = path.join(name);
            match basis {
                Basis::FuzzyDirectory(number) => {
                    let named = &self.side.options.basis_dirs[usize::from(number)];
                    self.side.hides_beside(named, path.as_bytes(), false)
                }
                _ => hidden.takes(path.as_bytes(), false),
            }
        };
        let place = |(basis, dir): (Basis, Dir)| Place {
            basis,
            files: candidates(&dir, &|name| hides(basis, name)),
            dir,
        };
        self.similar = Similar {
            places: places.into_iter().map(place).collect(),
            of: Some(path),
        };
    }
}

/// The files of a directory that have content, without those that are to be left alone.
fn candidates(dir: &Dir, hides: &dyn Fn(&Name) -> bool) -> Vec<Candidate> {
    let listed = dir.names().into_iter().flatten().flatten();
    let names = listed
        .map(|listed| listed.name)
        .filter(|name| !is_own_temporary(name) && !hides(name));
    let candidate = |name: Name| {
        let stat = dir.find(&name).ok().flatten()?;
        (stat.kind == StatKind::File && stat.size > 0).then_some(Candidate {
            name,
            size: stat.size,
            mtime: stat.mtime,
        })
    };
    let mut files: Vec<_> = names.take(MOST).filter_map(candidate).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// The first file that `is_same` says to have the length and time of the one looked for, else the
/// last of those whose names are nearest to `name`.
fn choose<'p>(
    places: &'p [Place],
    name: &[u8],
    is_same: impl Fn(&Candidate) -> bool,
) -> Option<(&'p Place, &'p Candidate)> {
    let all = || {
        places
            .iter()
            .flat_map(|place| place.files.iter().map(move |file| (place, file)))
    };
    if let Some(same) = all().find(|(_, file)| is_same(file)) {
        return Some(same);
    }
    let (mut nearest, mut chosen) = (FARTHEST, None);
    for (place, file) in all() {
        if let Some(far) = distance(name, file.name.as_bytes(), nearest) {
            (nearest, chosen) = (far, Some((place, file)));
        }
    }
    chosen
}

/// How far two names are from each other: what is behind their last points counts ten times more.
/// `None` when that is more than `most`.
fn distance(a: &[u8], b: &[u8], most: u64) -> Option<u64> {
    if a.len().abs_diff(b.len()) as u64 * CHANGE > most {
        return None;
    }
    let far = edits(a, b) + 10 * edits(suffix(a), suffix(b));
    (far <= most).then_some(far)
}

/// What it costs to make one name of the other. A changed byte costs [`CHANGE`] and the difference;
/// a further one the same and its value, at the beginning of a name [`CHANGE`] alone.
fn edits(a: &[u8], b: &[u8]) -> u64 {
    if a.is_empty() || b.is_empty() {
        return [a, b].concat().iter().map(|&byte| further(byte)).sum();
    }
    let mut row: Vec<u64> = (0..=b.len() as u64).map(|n| n * CHANGE).collect();
    for &ours in a {
        let mut before = row[0];
        row[0] += CHANGE;
        for (at, &theirs) in b.iter().enumerate() {
            let (above, left) = (row[at + 1], row[at]);
            let one_further = match above <= left {
                true => above + further(ours),
                false => left + further(theirs),
            };
            let changed = match ours == theirs {
                true => before,
                false => before + CHANGE + u64::from(ours.abs_diff(theirs)),
            };
            row[at + 1] = changed.min(one_further);
            before = above;
        }
    }
    row[b.len()]
}

fn further(byte: u8) -> u64 {
    CHANGE + u64::from(byte)
}

/// What a name ends in, with its point: not what makes a backup of it, nor a number behind another
/// suffix. Points at its beginning begin none.
fn suffix(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|&byte| byte != b'.');
    let name = &name[start.unwrap_or(name.len())..];
    let mut rest = BACKUPS
        .iter()
        .find_map(|ending| name.strip_suffix(*ending))
        .unwrap_or(name);
    let mut last = &b""[..];
    while let Some(point) = rest.iter().rposition(|&byte| byte == b'.') {
        let (before, suffix) = rest.split_at(point);
        let is_number = suffix.len() > 1 && suffix[1..].iter().all(u8::is_ascii_digit);
        if !is_number {
            return suffix;
        }
        (rest, last) = (before, suffix);
    }
    last
}

/// Endings of backups.
const BACKUPS: [&[u8]; 5] = [b".~1~", b"~", b".bak", b".old", b".orig"];

/// What a change of one byte costs at least.
const CHANGE: u64 = 1 << 16;

/// Names that are farther from each other have nothing to do with each other.
const FARTHEST: u64 = 25 * CHANGE;

/// Names in a directory that are looked at: the time that comparing takes grows with them for each
/// file that is asked for.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// As `rsync --debug=fuzzy2` of 3.5.0 tells it, with one candidate at a time.
    #[test]
    fn names_are_as_far_from_each_other_as_for_rsync() {
        for (name, candidate, whole, rest) in [
            ("report-2024.txt", "xreport-2024.txt", 1, 0),
            ("report-2024.txt", "repor-2024.txt", 1, 116),
            ("report-2024.txt", "report-2025.txt", 1, 1),
            ("report-2024.txt", "report-2024.txu", 11, 11),
            ("report-2024.txt", "report.txt", 5, 245),
            ("report-2024.txt", "a.txt", 11, 45),
            ("report-2024.txt", "report-2024.txt~", 1, 126),
            ("report-2024.txt", "report-2024.txt.old", 4, 365),
            ("report-2024.txt", "report-2024.txt.orig", 5, 479),
            ("report-2024.txt", "report-2024.txt.1", 2, 95),
            ("report-2024.txt", "report-2024.txt.new", 34, 656),
            ("report-2024.txt", "report-2024.txt.gz", 33, 1581),
            ("report-2024.txt", "report-2024.bak", 43, 4030),
            ("report-2024.txt", ".hidden", 55, 4184),
            ("..b.x.y.z", "2bt.txt~", 38, 2585),
        ] {
            let far = distance(name.as_bytes(), candidate.as_bytes(), u64::MAX);
            assert_eq!(far, Some(whole * CHANGE + rest), "{name} {candidate}");
        }
    }

    #[test]
    fn names_that_are_too_far_are_not_compared() {
        let name = "report-2024.txt";
        for (longer, chosen) in [(24, true), (25, false), (26, false)] {
            let candidate = format!("report-2024{}.txt", "x".repeat(longer));
            let far = distance(name.as_bytes(), candidate.as_bytes(), FARTHEST);
            assert_eq!(far.is_some(), chosen, "{longer}");
        }
    }

    /// As the distances of 3.5.0 show it.
    #[test]
    fn suffixes_are_told_from_backups_and_numbers() {
        for (name, is) in [
            ("x", ""),
            ("x.1", ".1"),
            ("x.1.2", ".1"),
            ("x.txt.1.2.3", ".txt"),
            ("x.bak", ""),
            ("x.~1~", ""),
            ("x.txt~", ".txt"),
            ("x.txt~~", ".txt~"),
            ("x.txt.~1~", ".txt"),
            ("x.txt.~12~", ".~12"),
            ("x.txt.old.bak", ".old"),
            ("x.txt.1.bak", ".txt"),
            ("x.txt.bak.1", ".bak"),
            ("x.txt.1a", ".1a"),
            ("x.txt.BAK", ".BAK"),
            ("x..", "."),
            (".x", ""),
            ("..x.gz", ".gz"),
            (".bak.1", ".1"),
            ("~", ""),
        ] {
            assert_eq!(suffix(name.as_bytes()), is.as_bytes(), "{name}");
        }
    }
}
