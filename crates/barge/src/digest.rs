//! Digests of whole files.

use barge_delta::{Digest, Seed};
use barge_fs::SourceFile;

/// The digest of a file's bytes, holes read as zeros.
pub(crate) fn file_digest(file: &SourceFile, seed: Seed) -> Result<u128, barge_fs::Error> {
    file.will_read_sequentially();
    let mut digest = Digest::new(seed);
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        let len = file.read_at(&mut buffer, offset)?;
        digest.update(&buffer[..len]);
        offset += len as u64;
        if len < buffer.len() {
            return Ok(digest.finish());
        }
    }
}
