//! The 32-bit rolling sum.
//!
//! Over the bytes `x[0..n]`, taken as -128 to 127: `s1` is the sum of `x[i]`, `s2` the sum of
//! `(n - i) * x[i]`, both modulo 2^16; the sum is `s2 << 16 | s1`. Source: "The rsync algorithm",
//! TR-CS-96-05, section 3; the sign: the rsync protocol as recorded between two stock 3.5.0 peers.

/// Columns summed side by side: enough for the compiler to fill vector registers.
const LANES: usize = 32;

/// The rolling sum of a window that slides over data.
#[derive(Clone, Copy, Debug)]
pub struct Rolling {
    // Both are kept modulo 2^32 and cut to 16 bits when the sum is read.
    s1: u32,
    s2: u32,
    len: u32,
}

impl Rolling {
    /// Sums a first window of less than 4 GiB.
    pub fn new(window: &[u8]) -> Self {
        let (rows, rest) = window.as_chunks::<LANES>();
        let (mut s1, mut s2) = sum_rows(rows);
        for &byte in rest {
            s1 = s1.wrapping_add(signed(byte));
            s2 = s2.wrapping_add(s1);
        }
        let len = window.len() as u32;
        Self { s1, s2, len }
    }

    /// Slides the window by one byte.
    #[inline]
    pub fn roll(&mut self, leaving: u8, entering: u8) {
        let leaving = signed(leaving);
        self.s1 = self.s1.wrapping_add(signed(entering)).wrapping_sub(leaving);
        self.s2 = self
            .s2
            .wrapping_add(self.s1)
            .wrapping_sub(self.len.wrapping_mul(leaving));
    }

    /// The sum of the window.
    #[inline]
    pub fn value(&self) -> u32 {
        self.s2 << 16 | self.s1 & 0xffff
    }
}

/// The rolling sum of one block.
pub fn weak(block: &[u8]) -> u32 {
    Rolling::new(block).value()
}

fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()) as u32
}

/// `s1` and `s2`, modulo 2^16, of rows that follow each other.
///
/// In each column, `sums` adds up the bytes and `sums_of_sums` weighs the byte of row `r` of `R`
/// with `R - r`. A byte in column `c` weighs `LANES * (R - r) - c` in `s2`. Bytes are taken as 0 to
/// 255 first, 128 too much: less work than to extend their sign.
fn sum_rows(rows: &[[u8; LANES]]) -> (u32, u32) {
    let mut sums = [0_u16; LANES];
    let mut sums_of_sums = [0_u16; LANES];
    for row in rows {
        for column in 0..LANES {
            sums[column] = sums[column].wrapping_add(u16::from(row[column] ^ 0x80));
            sums_of_sums[column] = sums_of_sums[column].wrapping_add(sums[column]);
        }
    }
    let n = rows.len() as u32;
    let too_much = n.wrapping_mul(128);
    let too_much_in_sums = n.wrapping_mul(n.wrapping_add(1)).wrapping_mul(64);
    let (mut s1, mut s2) = (0_u32, 0_u32);
    for column in 0..LANES {
        let sum = u32::from(sums[column]).wrapping_sub(too_much);
        let sum_of_sums = u32::from(sums_of_sums[column]).wrapping_sub(too_much_in_sums);
        s1 = s1.wrapping_add(sum);
        s2 = s2.wrapping_add(sum_of_sums.wrapping_mul(LANES as u32));
        s2 = s2.wrapping_sub(sum.wrapping_mul(column as u32));
    }
    (s1, s2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, byte by byte.
    fn defined(block: &[u8]) -> u32 {
        let (mut s1, mut s2) = (0_i64, 0_i64);
        for (i, &byte) in block.iter().enumerate() {
            s1 += i64::from(byte as i8);
            s2 += (block.len() - i) as i64 * i64::from(byte as i8);
        }
        (s2.rem_euclid(65536) << 16 | s1.rem_euclid(65536)) as u32
    }

    #[test]
    fn weak_sum_of_known_bytes_is_that_of_stock_peers() {
        let counted: Vec<u8> = (0..700_u32).map(|n| n as u8).collect();
        assert_eq!(weak(b""), 0);
        assert_eq!(weak(&[1, 2, 3]), 10 << 16 | 6);
        assert_eq!(weak(b"hello world\n"), 0x1e66_0466);
        assert_eq!(weak(&counted), 0x58d6_07aa);
        assert_eq!(weak(&[255]), 0xffff_ffff);
        assert_eq!(weak(&[128; 70_000]), defined(&[128; 70_000]));
        assert_eq!(weak(&[255; 70_000]), defined(&[255; 70_000]));
    }

    proptest! {
        #[test]
        fn weak_sum_agrees_with_its_definition(block: Vec<u8>) {
            prop_assert_eq!(weak(&block), defined(&block));
        }

        #[test]
        fn rolled_sum_equals_the_sum_of_the_window(data: Vec<u8>, len in 1_usize..80) {
            prop_assume!(len <= data.len());
            let mut rolling = Rolling::new(&data[..len]);
            for at in 0..data.len() - len {
                prop_assert_eq!(rolling.value(), weak(&data[at..at + len]));
                rolling.roll(data[at], data[at + len]);
            }
        }
    }
}
