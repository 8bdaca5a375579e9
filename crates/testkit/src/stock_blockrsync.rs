//! What a stock blockrsync says and does, for tests: it is not to be had, so this is written from the
//! description of its wire format alone (`mtc-contract.md`, 6.3), over whole images in memory.
//!
//! Two things are not what they are in reality: it does not compress unless asked to, and its digest of
//! digests takes them in one fixed order of the many that a stock one may take.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A stock blockrsync with a block size.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// In bytes.
    pub block: usize,
}

impl Stock {
    /// The 32 bytes it says first.
    pub fn greeting(&self, image: &[u8]) -> [u8; 32] {
        let mut all = blake3::Hasher::new();
        for (_, hash) in self.hashes(image).iter().rev() {
            all.update(hash);
        }
        all.finalize().into()
    }

    /// A target's list, not framed.
    pub fn list(&self, image: &[u8]) -> Vec<u8> {
        let hashes = self.hashes(image);
        let mut list = Vec::new();
        list.extend((self.block as i64).to_le_bytes());
        list.extend((hashes.len() as i64).to_le_bytes());
        for (offset, hash) in hashes {
            list.extend(offset.to_le_bytes());
            list.extend(hash);
        }
        list
    }

    /// What a source says to a list, not framed: nothing when there is no difference.
    pub fn changes(&self, image: &[u8], list: &[u8]) -> Vec<u8> {
        let theirs: Vec<(i64, &[u8])> = list[16..]
            .chunks(40)
            .map(|item| (number(item), &item[8..]))
            .collect();
        let mut changes = (image.len() as i64).to_le_bytes().to_vec();
        let mut differs = false;
        for (offset, hash) in self.hashes(image) {
            if theirs.contains(&(offset, &hash[..])) {
                continue;
            }
            differs = true;
            let from = offset as usize;
            let data = &image[from..image.len().min(from + self.block)];
            changes.extend(offset.to_le_bytes());
            if data.iter().all(|&byte| byte == 0) {
                changes.push(0);
            } else {
                changes.push(1);
                changes.extend(data);
            }
        }
        match differs {
            true => changes,
            false => Vec::new(),
        }
    }

    /// What a target makes of the changes, when its image is a file.
    pub fn apply(&self, image: &mut Vec<u8>, mut changes: &[u8]) {
        if changes.is_empty() {
            return;
        }
        let size = number(changes) as usize;
        image.resize(size, 0);
        changes = &changes[8..];
        while !changes.is_empty() {
            let from = number(changes) as usize;
            let to = size.min(from + self.block);
            let is_data = changes[8] == 1;
            changes = &changes[9..];
            if is_data {
                image[from..to].copy_from_slice(&changes[..to - from]);
                changes = &changes[to - from..];
            } else {
                image[from..to].fill(0);
            }
        }
    }

    /// Plays the source.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn source(&self, mut line: &TcpStream, image: &[u8]) -> io::Result<()> {
        let ours = self.greeting(image);
        line.write_all(&ours)?;
        let mut theirs = [0; 32];
        line.read_exact(&mut theirs)?;
        if theirs == ours {
            return Ok(());
        }
        let mut framed_list = Vec::new();
        let list = loop {
            let mut piece = [0; 4096];
            let read = line.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            framed_list.extend(&piece[..read]);
            let list = unframed(&framed_list);
            if list.len() >= 16 && list.len() == 16 + number(&list[8..]) as usize * 40 {
                break list;
            }
        };
        let changes = self.changes(image, &list);
        if !changes.is_empty() {
            line.write_all(&framed(&changes))?;
        }
        line.shutdown(Shutdown::Both)
    }

    /// Plays the target of a file, and gives what it holds then.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn target(&self, mut line: &TcpStream, mut image: Vec<u8>) -> io::Result<Vec<u8>> {
        let ours = self.greeting(&image);
        line.write_all(&ours)?;
        let mut theirs = [0; 32];
        line.read_exact(&mut theirs)?;
        if theirs != ours {
            line.write_all(&framed(&self.list(&image)))?;
            let mut said = Vec::new();
            line.read_to_end(&mut said)?;
            self.apply(&mut image, &unframed(&said));
        }
        line.shutdown(Shutdown::Both)?;
        Ok(image)
    }

    /// Offset and digest of every block: zeros, also a short block of them, as a whole block of zeros.
    fn hashes(&self, image: &[u8]) -> Vec<(i64, [u8; 32])> {
        let zeros = blake3::hash(&vec![0; self.block]);
        let blocks = image.chunks(self.block).enumerate();
        let hash = |data: &[u8]| match data.iter().all(|&byte| byte == 0) {
            true => zeros,
            false => blake3::hash(data),
        };
        blocks
            .map(|(at, data)| ((at * self.block) as i64, hash(data).into()))
            .collect()
    }
}

/// Snappy's framing around content, in chunks of 64 KiB that are not compressed.
pub fn framed(content: &[u8]) -> Vec<u8> {
    let mut out = IDENTIFIER.to_vec();
    for piece in content.chunks(1 << 16) {
        out.extend(chunk(1, piece, piece));
    }
    out
}

/// The same, compressed.
pub fn framed_small(content: &[u8]) -> Vec<u8> {
    let mut out = IDENTIFIER.to_vec();
    for piece in content.chunks(1 << 16) {
        let small = snap::raw::Encoder::new().compress_vec(piece);
        out.extend(chunk(0, &small.expect("64 KiB can be compressed"), piece));
    }
    out
}

/// The content of all whole chunks.
///
/// # Panics
///
/// When it is damaged.
pub fn unframed(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while bytes.len() >= 4 {
        let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], 0]) as usize;
        if bytes.len() < 4 + len {
            break;
        }
        let body = &bytes[4..4 + len];
        let content = match bytes[0] {
            0xff => {
                assert_eq!(body, &IDENTIFIER[4..]);
                Vec::new()
            }
            0 => snap::raw::Decoder::new()
                .decompress_vec(&body[4..])
                .expect("a chunk is compressed as it should be"),
            1 => body[4..].to_vec(),
            other => panic!("a chunk of type {other}"),
        };
        if bytes[0] != 0xff {
            assert_eq!(body[..4], masked_crc(&content).to_le_bytes());
        }
        out.extend(content);
        bytes = &bytes[4 + len..];
    }
    out
}

const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

fn chunk(kind: u8, body: &[u8], content: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 4).to_le_bytes();
    let mut out = vec![kind, len[0], len[1], len[2]];
    out.extend(masked_crc(content).to_le_bytes());
    out.extend(body);
    out
}

/// CRC-32C (Castagnoli), masked as the framing format says.
fn masked_crc(content: &[u8]) -> u32 {
    let crc = !content.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn number(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes[..8].try_into().expect("there are eight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C of 32 zeros is in RFC 3720, B.4: aa 36 91 8a on the wire.
    #[test]
    fn checksum_is_crc_32c() {
        let expected = 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(&[0; 32]), expected);
    }

    #[test]
    fn two_of_them_make_a_target_equal() {
        let stock = Stock { block: 4096 };
        let source: Vec<u8> = (0..20_000u32).map(|at| (at / 5000) as u8).collect();
        let mut target = vec![7; 9000];
        let list = stock.list(&target);
        let changes = stock.changes(&source, &list);
        assert_eq!(unframed(&framed(&changes)), changes);
        assert_eq!(unframed(&framed_small(&changes)), changes);
        stock.apply(&mut target, &changes);
        assert_eq!(target, source);
        assert!(stock.changes(&source, &stock.list(&target)).is_empty());
    }
}
