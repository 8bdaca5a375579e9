//! Asks for a file as differences from what the target has: signs the basis.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};

use barge_delta::{BlockLen, BlockSum};
use barge_native::{Content, Control, FileRef, MAX_SIGNATURE_BLOCKS, MAX_SUMS};
use barge_types::Changes;

use super::Receiver;
use super::file::{Basis, TargetFile, Work};
use super::segment::OpenSegment;
use crate::bridge::Closed;

/// Block sums under way, of which the sender holds all, and files that wait until there are less.
#[derive(Debug, Default)]
pub(super) struct SignatureBudget {
    blocks: u32,
    waiting: VecDeque<Pending>,
}

/// A file to sign.
#[derive(Debug)]
struct Pending {
    segment: Arc<OpenSegment>,
    index: u16,
    file: Arc<TargetFile>,
    basis_len: u64,
    block_len: BlockLen,
}

impl SignatureBudget {
    fn admits(&self, blocks: u32) -> bool {
        self.blocks == 0 || self.blocks.saturating_add(blocks) <= MAX_SIGNATURE_BLOCKS
    }

    /// The file that has waited longest, if it can be signed now.
    fn next(&mut self) -> Option<Pending> {
        let blocks = self.waiting.front()?.file.blocks;
        if self.admits(blocks) {
            self.waiting.pop_front()
        } else {
            None
        }
    }
}

impl Receiver {
    /// Asks for the entry's content as differences from `basis`.
    pub(super) fn sign(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        existed: bool,
        changes: Changes,
        basis: Basis,
    ) {
        let basis_len = match &basis {
            Basis::None => Ok(0),
            Basis::Old(file) => file.stat().map(|stat| stat.size),
            Basis::InPlace(staged) => staged.size(),
        };
        let basis_len = basis_len.unwrap_or(0);
        let block_len = BlockLen::for_basis(basis_len);
        let blocks = block_len.blocks(basis_len).unwrap_or(0);
        let file = segment.want(index, TargetFile::new(existed, changes, basis, blocks));
        if blocks == 0 {
            // Nothing to compare with, or too much to sign.
            let segment = segment.id;
            return self.send_control(
                Control::Want {
                    segment,
                    indexes: vec![index],
                }
                .encode(),
            );
        }
        let segment = Arc::clone(segment);
        self.sign_in_turn(Pending {
            segment,
            index,
            file,
            basis_len,
            block_len,
        });
    }

    fn sign_in_turn(self: &Arc<Self>, pending: Pending) {
        {
            let mut budget = self.budget();
            if !budget.admits(pending.file.blocks) {
                budget.waiting.push_back(pending);
                return;
            }
            budget.blocks += pending.file.blocks;
        }
        let receiver = Arc::clone(self);
        self.pool.run(move || {
            // Closed: the run is over, and nobody asks for the file any more.
            let _ = receiver.send_signature(&pending);
        });
    }

    /// A file has ended: the sender has dropped its block sums.
    pub(super) fn signature_ended(self: &Arc<Self>, blocks: u32) {
        self.budget().blocks -= blocks;
        while let Some(pending) = self.budget().next() {
            self.sign_in_turn(pending);
        }
    }

    fn budget(&self) -> MutexGuard<'_, SignatureBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_signature(&self, pending: &Pending) -> Result<(), Closed> {
        let file = FileRef {
            segment: pending.segment.id,
            index: pending.index,
        };
        let work = pending.file.work();
        let Work::Waiting(basis) = &*work else {
            return Ok(());
        };
        let stream = &self.streams[0];
        stream.send(&Content::Signature {
            file,
            basis_len: pending.basis_len,
            block_len: pending.block_len.get(),
            in_place: matches!(basis, Basis::InPlace(_)),
        })?;
        // A basis that cannot be read, or not to its end, gives less to compare with; nothing else.
        let mut failed = Ok(());
        let _ = self.block_sums(basis, pending, &mut |first, sums| {
            failed = stream.send(&Content::Sums { file, first, sums });
            failed.is_ok()
        });
        failed?;
        stream.send(&Content::SignatureEnd { file })
    }

    /// Sums the basis's blocks, those in holes left out; stops when `emit` returns false.
    fn block_sums(
        &self,
        basis: &Basis,
        pending: &Pending,
        emit: &mut dyn FnMut(u32, Vec<BlockSum>) -> bool,
    ) -> Result<(), barge_fs::Error> {
        let block = u64::from(pending.block_len.get());
        let mut buffer = vec![0; pending.block_len.bytes() * (READ_SIZE / block as usize).max(1)];
        let mut at = 0;
        while let Some(run) = basis.next_data(at, pending.basis_len)? {
            at = run.start / block * block;
            while at < run.end {
                let read = basis.read_at(&mut buffer, at)?;
                let read = read.min((pending.basis_len - at) as usize);
                let sum = |block| BlockSum::new(self.seed, block);
                let sums: Vec<_> = buffer[..read].chunks(block as usize).map(sum).collect();
                let first = (at / block) as u32;
                for (n, part) in sums.chunks(MAX_SUMS).enumerate() {
                    if !emit(first + (n * MAX_SUMS) as u32, part.to_vec()) {
                        return Ok(());
                    }
                }
                at += buffer.len() as u64;
                if read < buffer.len() {
                    return Ok(());
                }
            }
            at = at.min(pending.basis_len);
        }
        Ok(())
    }
}

impl Basis {
    fn next_data(
        &self,
        from: u64,
        end: u64,
    ) -> Result<Option<std::ops::Range<u64>>, barge_fs::Error> {
        match self {
            Self::None => Ok(None),
            Self::Old(file) => file.next_data(from, end),
            Self::InPlace(staged) => staged.next_data(from, end),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, barge_fs::Error> {
        match self {
            Self::None => Ok(0),
            Self::Old(file) => file.read_at(buffer, offset),
            Self::InPlace(staged) => staged.read_at(buffer, offset),
        }
    }
}

const READ_SIZE: usize = 256 << 10;
