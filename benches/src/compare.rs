//! Whether the target holds what the source holds: read in full, outside of what is timed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Compares kinds, modes, sizes, the times of files, and every byte.
///
/// Times of directories are left out: the pair is told to omit them.
///
/// # Errors
///
/// Names the first path that differs, and in what.
pub(crate) fn same_tree(source: &Path, target: &Path) -> Result<()> {
    let (a, b) = (fs::symlink_metadata(source)?, fs::symlink_metadata(target)?);
    let at = || target.display();
    ensure!(
        a.mode() == b.mode(),
        "{}: mode {:o}, not {:o}",
        at(),
        b.mode(),
        a.mode()
    );
    if a.is_dir() {
        let names = names(source)?;
        ensure!(names == self::names(target)?, "{}: other names", at());
        return names
            .iter()
            .try_for_each(|name| same_tree(&source.join(name), &target.join(name)));
    }
    ensure!(
        a.len() == b.len(),
        "{}: {} bytes, not {}",
        at(),
        b.len(),
        a.len()
    );
    ensure!(a.modified()? == b.modified()?, "{}: another time", at());
    ensure!(same_content(source, target)?, "{}: other content", at());
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Compares two files of one length.
fn same_content(a: &Path, b: &Path) -> Result<bool> {
    let open = |path| Ok::<_, anyhow::Error>(BufReader::with_capacity(READ, File::open(path)?));
    let (mut a, mut b) = (open(a)?, open(b)?);
    loop {
        let (x, y) = (a.fill_buf()?, b.fill_buf()?);
        let len = x.len().min(y.len());
        if len == 0 {
            return Ok(x.len() == y.len());
        }
        if x[..len] != y[..len] {
            return Ok(false);
        }
        a.consume(len);
        b.consume(len);
    }
}

const READ: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_of_any_kind_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for root in [&a, &b] {
            fs::create_dir(root).unwrap();
            crate::data::write_file(&root.join("f"), 10_000, crate::data::Version::Old).unwrap();
        }
        same_tree(&a, &b).unwrap();
        let file = b.join("f");
        let keep = fs::metadata(&file).unwrap().modified().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[9_999] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert!(
            same_tree(&a, &b)
                .unwrap_err()
                .to_string()
                .contains("another time")
        );
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(keep)
            .unwrap();
        assert!(
            same_tree(&a, &b)
                .unwrap_err()
                .to_string()
                .contains("other content")
        );
        fs::write(b.join("more"), "").unwrap();
        assert!(
            same_tree(&a, &b)
                .unwrap_err()
                .to_string()
                .contains("other names")
        );
    }
}
