//! Signatures and deltas over byte slices.
//!
//! Who has the old file (the basis) sends a [`Signature`] of it: two sums a block. Who has the new
//! file looks for those blocks in it with a [`Search`], at every offset, and sends what is to be
//! copied and what is new. The method is Tridgell's: "Efficient Algorithms for Sorting and
//! Synchronization", chapter 3, and "The rsync algorithm", TR-CS-96-05.
//!
//! Equal sums are taken for equal content; sums are seeded, not cryptographic. Compare a [`Digest`]
//! of the rebuilt file before it gets its name.
//!
//! ```
//! use barge_delta::{BlockLen, BlockSum, Search, Seed, Signature, patch};
//!
//! let (basis, new) = ([7; 5000], [&b"inserted"[..], &[7; 5000]].concat());
//! let (len, seed) = (BlockLen::for_basis(5000), Seed::new(42)); // a random one in earnest
//! let sums: Vec<_> = basis.chunks(len.bytes()).map(|b| BlockSum::new(seed, b)).collect();
//! let mut signature = Signature::new(5000, len, seed)?;
//! signature.push(0, &sums)?;
//! let index = signature.build();
//!
//! let mut rebuilt = Vec::new();
//! let mut search = Search::new(&index, 0);
//! search.feed(&new, &mut |op| patch::apply(&basis, op, &mut rebuilt).unwrap());
//! search.finish(&mut |op| patch::apply(&basis, op, &mut rebuilt).unwrap());
//! assert_eq!(rebuilt, new);
//! # Ok::<(), barge_delta::SignatureError>(())
//! ```

mod block;
mod checksum;
mod index;
pub mod patch;
mod rolling;
mod search;
mod signature;
mod strong;

pub use block::{BlockLen, BlockSum, MAX_BLOCKS};
pub use checksum::{Checksum, DigestBytes, WholeDigest};
pub use index::Index;
pub use rolling::{Rolling, weak};
pub use search::{Counts, Op, Piece, Search};
pub use signature::{Signature, SignatureError};
pub use strong::{Digest, Seed, StrongSum, strong};
