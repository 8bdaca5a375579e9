//! Data made from numbers: the same bytes, names and times every time.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::process::check_not_ended;

/// The unit in which a large file is rewritten.
pub(crate) const BLOCK: u64 = 4096;

/// Which bytes a file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    /// The bytes before.
    Old,
    /// The same with one block in a hundred rewritten, at random places.
    New,
    /// Bytes nobody reads again.
    Warm,
}

/// A sequence that looks random and compresses to nothing: `SplitMix64` (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `bytes` from the sequence.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Whether [`Version::New`] holds other bytes in this block than [`Version::Old`].
fn is_rewritten(block: u64) -> bool {
    seeded(block, 2).next().is_multiple_of(100)
}

/// One sequence for each pair of numbers.
fn seeded(number: u64, kind: u64) -> Random {
    let mut random = Random::new(number ^ (kind << 48));
    Random::new(random.next())
}

/// Writes a file of `len` bytes, some hundred MiB a second at least, and dates it by its version.
pub(crate) fn write_file(path: &Path, len: u64, version: Version) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < len {
        check_not_ended()?;
        let size = (len - at).min(CHUNK as u64);
        let bytes = &mut chunk[..size as usize];
        fill_blocks(bytes, at / BLOCK, version);
        file.write_all(bytes)
            .with_context(|| format!("write {}", path.display()))?;
        at += size;
    }
    set_mtime(&file, if version == Version::New { 86_400 } else { 0 })
}

fn fill_blocks(bytes: &mut [u8], first: u64, version: Version) {
    if version == Version::Warm {
        return bytes.fill(0xa5);
    }
    for (block, bytes) in (first..).zip(bytes.chunks_mut(BLOCK as usize)) {
        let kind = u64::from(version == Version::New && is_rewritten(block));
        seeded(block, kind).fill(bytes);
    }
}

/// Makes `count` files of 0 to 16 KiB, a hundred to a directory; each has a date of its own.
pub(crate) fn make_small_files(root: &Path, count: u64) -> Result<()> {
    fs::create_dir(root)?;
    let mut bytes = vec![0; SMALL_MAX as usize];
    for first in (0..count).step_by(A_DIRECTORY as usize) {
        check_not_ended()?;
        let dir = root.join(format!("directory-{:05}", first / A_DIRECTORY));
        fs::create_dir(&dir)?;
        for number in first..count.min(first + A_DIRECTORY) {
            let mut random = seeded(number, 3);
            let len = random.next() % (SMALL_MAX + 1);
            let content = &mut bytes[..len as usize];
            random.fill(content);
            let mut file = File::create(dir.join(format!("file-{number:07}")))?;
            file.write_all(content)?;
            set_mtime(&file, number)?;
        }
        set_mtime(&File::open(&dir)?, first)?;
    }
    set_mtime(&File::open(root)?, 0)
}

/// Dates a file some seconds and nanoseconds after 2024 began.
fn set_mtime(file: &File, seconds: u64) -> Result<()> {
    let since_1970 = Duration::new(1_704_067_200 + seconds, 123_456_789);
    let time = SystemTime::UNIX_EPOCH + since_1970;
    Ok(file.set_times(FileTimes::new().set_modified(time))?)
}

/// Bytes written at once: whole blocks.
const CHUNK: usize = 1 << 20;
/// The largest of the small files.
pub(crate) const SMALL_MAX: u64 = 16 << 10;
/// Small files in one directory.
const A_DIRECTORY: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_version_differs_from_the_old_in_about_one_block_of_a_hundred() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        write_file(&old, 3000 * BLOCK, Version::Old).unwrap();
        write_file(&new, 3000 * BLOCK, Version::New).unwrap();
        let (old, new) = (fs::read(old).unwrap(), fs::read(new).unwrap());
        let block = BLOCK as usize;
        let changed = old
            .chunks(block)
            .zip(new.chunks(block))
            .filter(|(a, b)| a != b)
            .count();
        assert!((15..=60).contains(&changed), "{changed} of 3000 blocks");
    }

    #[test]
    fn small_files_are_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        make_small_files(&a, 150).unwrap();
        make_small_files(&b, 150).unwrap();
        assert_eq!(fs::read_dir(&a).unwrap().count(), 2);
        crate::compare::same_tree(&a, &b).unwrap();
    }
}
