//! The conversation of two blockrsyncs, and what two of ours add to it, as machines without I/O.
//!
//! # Parties
//!
//! The **source** has a block device or a raw image and connects; the **target** has the one that is to
//! become equal, and listens. Both see it as a row of blocks ([`Grid`]) of a size they must have in
//! common. Neither trusts the other further than its part needs: every number is checked before it
//! is used.
//!
//! # The conversation
//!
//! | # | from | form | fields |
//! |---|---|---|---|
//! | 1 | both, not waiting for the other | raw | 32 bytes ([`Greeting`]): a stock blockrsync's digest of its digests, which is equal when both have the same |
//! | 2 | target | framed | block size `i64`, count `i64`, count × (offset `i64`, BLAKE3 of the block, 32 bytes), offsets ascending |
//! | 3 | source | framed | size `i64`, then for each block that differs, offsets ascending: offset `i64`, type `u8` (0 hole, 1 data), data |
//! | 4 | source | | the end of the stream |
//!
//! *Framed* is snappy's framing format ([`framing`]), numbers are little-endian. Data is as long as a
//! block; the last block of the source may be shorter. A block of zeros, also a short one, has the
//! digest of a whole block of zeros. A source with no difference to tell says nothing after its
//! greeting.
//!
//! # Between two of ours
//!
//! A greeting of ours is 16 bytes that no digest begins with, our version and how long its side's blocks
//! are together. A stock blockrsync takes it for a digest that is not its own and goes on. Where
//! both greet like that,
//!
//! * the target says a [`Verdict`] before its list, *ready* or *refused*, and one at the end, *done* or
//!   *refused*: raw, 16 bytes each, *refused* followed by a length `u16` and a text, *done* by the
//!   digest of what it received;
//! * the source always says its size, and after its last block offset −1, type 2 and 32 bytes: the BLAKE3
//!   of the list it read and of what it said, up to these ([`Transcript`]). Without it the stream was cut;
//! * the source answers *done* with one byte, [`FAREWELL`], so that the target knows that it is known.
//!
//! Who only carries the conversation can tell from the target's bytes that it is done ([`Overheard`]).
//!
//! # Limits
//!
//! Blocks are [`BlockSize::MAX`] at most; a chunk of the framing is what snappy allows, 64 KiB of
//! content; a refusal has [`MAX_TEXT`] bytes. Nothing is kept of a list but where it is.

mod block;
mod changes;
mod error;
pub mod framing;
mod greeting;
mod list;
mod overheard;
mod transcript;
mod verdict;

pub use block::{BlockHash, BlockSize, Digester, Grid, Whole, is_zero};
pub use changes::{Change, ChangesDecoder, ChangesEncoder, Farewell};
pub use error::WireError;
pub use greeting::{GREETING_LEN, Greeting};
pub use list::{ListDecoder, ListEncoder, ListItem};
pub use overheard::Overheard;
pub use transcript::Transcript;
pub use verdict::{FAREWELL, MAX_TEXT, Verdict};
