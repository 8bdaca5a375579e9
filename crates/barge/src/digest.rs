//! Digests of whole files, the same whether zeros are holes or were written.

use barge_delta::{Digest, Seed};
use barge_fs::SourceFile;

/// The digest of a file: of each piece of 64 KiB that is not all zeros its offset and its bytes.
pub(crate) fn file_digest(file: &SourceFile, seed: Seed) -> Result<u128, barge_fs::Error> {
    file.will_read_sequentially();
    let size = file.stat()?.size;
    let mut digest = Digest::new(seed);
    let mut buffer = vec![0; READ_SIZE];
    let mut at = 0;
    while let Some(run) = file.next_data(at, size)? {
        at = run.start / READ_SIZE as u64 * READ_SIZE as u64;
        while at < run.end {
            let len = file.read_at(&mut buffer, at)?;
            for (n, piece) in buffer[..len].chunks(PIECE).enumerate() {
                if piece.iter().any(|&byte| byte != 0) {
                    digest.update(&(at + (n * PIECE) as u64).to_le_bytes());
                    digest.update(piece);
                }
            }
            at += READ_SIZE as u64;
        }
        at = at.min(size);
    }
    Ok(digest.finish())
}

const PIECE: usize = 64 << 10;
const READ_SIZE: usize = 4 * PIECE;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use barge_fs::Root;
    use barge_types::{Name, RelPath};

    use super::*;

    #[test]
    fn digest_is_the_same_for_zeros_that_are_holes_or_were_written() {
        let temp = tempfile::tempdir().expect("a scratch folder");
        let digest = |name: &str, fill: &dyn Fn(&std::fs::File)| {
            let file = std::fs::File::create(temp.path().join(name)).unwrap();
            file.set_len(1_000_000).unwrap();
            fill(&file);
            let dir = Root::open(temp.path())
                .unwrap()
                .dir(&RelPath::root())
                .unwrap();
            let file = dir.open_file(&Name::new(name.as_bytes()).unwrap()).unwrap();
            file_digest(&file, Seed::new(7)).unwrap()
        };
        let data = |file: &std::fs::File| file.write_all_at(b"data", 700_000).unwrap();
        let sparse = digest("sparse", &data);
        let dense = digest("dense", &|file| {
            file.write_all_at(&vec![0; 1_000_000], 0).unwrap();
            data(file);
        });
        let moved = digest("moved", &|file| {
            file.write_all_at(b"data", 600_000).unwrap()
        });
        assert_eq!(sparse, dense);
        assert_ne!(sparse, moved);
    }
}
