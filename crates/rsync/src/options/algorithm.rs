//! The names of checksums, compressions and digests that this rsync knows.
//!
//! Source: rsync(1) and `rsync --version` of 3.5.0, for the names and their order.

use super::flag::{Stop, lossy};

/// Checksums, in the order in which they are offered.
pub const CHECKSUMS: [&str; 7] = ["xxh128", "xxh3", "xxh64", "md5", "md4", "sha1", "none"];

/// Compressions, in the order in which they are offered.
pub const COMPRESSIONS: [&str; 5] = ["zstd", "lz4", "zlibx", "zlib", "none"];

/// Digests for passwords, best first.
pub const AUTH_DIGESTS: [&str; 5] = ["sha512", "sha256", "sha1", "md5", "md4"];

/// The name, as it is agreed upon, of what a user named.
pub(super) fn known(
    names: &'static [&'static str],
    name: &[u8],
    kind: &str,
) -> Result<&'static str, Stop> {
    let name = if name.eq_ignore_ascii_case(b"xxhash") {
        b"xxh64"
    } else {
        name
    };
    let found = names
        .iter()
        .find(|known| known.as_bytes().eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| {
        let text = format!("unknown {kind} name: {}", lossy(name));
        Stop::Refused(text, 4)
    })
}
