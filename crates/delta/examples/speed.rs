//! Prints how fast one thread signs and searches 256 MiB, and 4 GiB's worth of index; then the same as
//! rsync has it, by each checksum.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement reads the clock and prints"
)]

use std::hint::black_box;
use std::time::Instant;

use barge_delta::{
    BlockLen, BlockSum, Checksum, Digest, Index, Op, Search, Seed, Signature, StrongSum, weak,
};

const SEED: Seed = Seed::new(42);
const LEN: usize = 256 << 20;
/// Bytes fed at once, as a file is read.
const CHUNK: usize = 256 << 10;

fn main() {
    let block_len = BlockLen::new(4096).unwrap();
    let (basis, other) = (random(1), random(2));
    let sums = timed("signature", || sign(&basis, block_len));
    timed("weak sums alone", || basis.chunks(4096).map(weak).max());
    timed("digest", || {
        let mut digest = Digest::new(SEED);
        basis.chunks(CHUNK).for_each(|chunk| digest.update(chunk));
        digest.finish()
    });
    let index = index(&sums, block_len);

    search("unchanged", &index, &basis);
    search("all new", &index, &other);
    search(
        "a byte inserted at the front",
        &index,
        &[&[0], &basis[..]].concat(),
    );
    let mut rewritten = basis.clone();
    for block in (0..LEN / 4096).step_by(100) {
        let at = block * 4096;
        rewritten[at..at + 4096].copy_from_slice(&other[at..at + 4096]);
    }
    search("one block in 100 rewritten", &index, &rewritten);

    let many: Vec<_> = (0..16)
        .flat_map(|n| sign(&random(16 + n), block_len))
        .collect();
    let index = self::index(&many, block_len);
    search("all new, 2^20 blocks", &index, &other);
    drop(index);

    for checksum in &Checksum::ALL[..6] {
        let name = checksum.name();
        let short = StrongSum::new(*checksum, 42, true, 3).unwrap();
        let sums = timed(&format!("signature, {name}"), || {
            let blocks = basis.chunks(16384);
            blocks
                .map(|block| BlockSum::new(short, block))
                .collect::<Vec<_>>()
        });
        let length = BlockLen::new(16384).unwrap();
        let mut signature = Signature::new(LEN as u64, length, short).unwrap();
        signature.push(0, &sums).unwrap();
        let index = signature.build();
        search(&format!("unchanged, {name}"), &index, &basis);
        search(&format!("all new, {name}"), &index, &other);
    }
}

fn random(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = vec![0; LEN];
    for word in bytes.as_chunks_mut::<8>().0 {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = (z ^ z >> 31).to_le_bytes();
    }
    bytes
}

fn sign(basis: &[u8], block_len: BlockLen) -> Vec<BlockSum> {
    basis
        .chunks(block_len.bytes())
        .map(|block| BlockSum::new(SEED, block))
        .collect()
}

fn index(sums: &[BlockSum], block_len: BlockLen) -> Index {
    let mut signature = Signature::new(
        sums.len() as u64 * u64::from(block_len.get()),
        block_len,
        SEED,
    )
    .unwrap();
    signature.push(0, sums).unwrap();
    let begun = Instant::now();
    let index = signature.build();
    println!(
        "{:32} {:8.1} ms",
        format!("index of {} blocks", sums.len()),
        begun.elapsed().as_secs_f64() * 1e3
    );
    index
}

fn search(what: &str, index: &Index, new: &[u8]) {
    let (mut literal, mut ops) = (0, 0);
    timed(what, || {
        let mut count = |op: Op<'_>| {
            ops += 1;
            if let Op::Literal(bytes) = op {
                literal += bytes.len();
            }
        };
        let mut search = Search::new(index, 0);
        new.chunks(CHUNK)
            .for_each(|chunk| search.feed(chunk, &mut count));
        search.finish(&mut count);
    });
    println!("{:32} {ops:8} operations, {literal} bytes literal", "");
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = black_box(work());
    println!(
        "{what:32} {:8.2} GB/s",
        LEN as f64 / begun.elapsed().as_secs_f64() / 1e9
    );
    done
}
