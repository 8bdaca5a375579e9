//! Asks for a file as differences from what the target has: signs the basis.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};

use barge_delta::{BlockLen, BlockSum};
use barge_native::{Content, Control, FileRef, MAX_SIGNATURE_BLOCKS, MAX_SUMS};

use super::Receiver;
use super::file::{Basis, TargetFile, Work};
use super::segment::OpenSegment;
use crate::bridge::Closed;

/// Files in hand at a time: each holds its basis open.
const MAX_IN_HAND: usize = 256;

/// Files that are compared with a basis, their block sums, and files that wait until there are
/// less.
#[derive(Debug, Default)]
pub(super) struct SignatureBudget {
    files: usize,
    blocks: u32,
    waiting: VecDeque<Pending>,
}

/// Where a basis comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// The file's older content.
    Old,
    /// What a killed run left of it.
    Leftover,
    /// The file itself, which is written into.
    InPlace,
}

/// A file to compare with a basis of `basis_len` bytes.
#[derive(Debug)]
struct Pending {
    segment: Arc<OpenSegment>,
    index: u16,
    file: Arc<TargetFile>,
    origin: Origin,
    basis_len: u64,
    block_len: BlockLen,
    /// 0 when there is nothing to compare with, or too much.
    blocks: u32,
}

impl SignatureBudget {
    /// Takes a file in hand, or lets it wait.
    fn admit(&mut self, pending: Pending) -> Option<Pending> {
        self.waiting.push_back(pending);
        self.next()
    }

    /// Takes the file in hand that has waited longest, if it can be.
    fn next(&mut self) -> Option<Pending> {
        let blocks = self.waiting.front()?.blocks;
        let fits = self.blocks.saturating_add(blocks) <= MAX_SIGNATURE_BLOCKS;
        if self.files > 0 && (self.files == MAX_IN_HAND || !fits) {
            return None;
        }
        let pending = self.waiting.pop_front()?;
        self.files += 1;
        self.blocks += blocks;
        pending.file.take_in_hand(blocks);
        Some(pending)
    }
}

impl Receiver {
    /// Asks for a file's content as differences from a basis, when its turn has come.
    pub(super) fn sign(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        file: TargetFile,
        origin: Origin,
        basis_len: u64,
    ) {
        let block_len = BlockLen::for_basis(basis_len);
        let blocks = match self.order.whole_file {
            true => 0,
            false => block_len.blocks(basis_len).unwrap_or(0),
        };
        let file = segment.want(index, file);
        let segment = Arc::clone(segment);
        let pending = Pending {
            segment,
            index,
            file,
            origin,
            basis_len,
            block_len,
            blocks,
        };
        let admitted = self.budget().admit(pending);
        if let Some(pending) = admitted {
            self.take_in_hand(pending);
        }
    }

    /// A file has ended: its basis is closed, and the sender has dropped its block sums.
    pub(super) fn let_go(self: &Arc<Self>, file: &TargetFile) {
        let Some(blocks) = file.let_go() else { return };
        {
            let mut budget = self.budget();
            budget.files -= 1;
            budget.blocks -= blocks;
        }
        loop {
            let next = self.budget().next();
            let Some(pending) = next else { return };
            self.take_in_hand(pending);
        }
    }

    fn take_in_hand(self: &Arc<Self>, pending: Pending) {
        let receiver = Arc::clone(self);
        self.pool.run(move || receiver.compare_with_basis(&pending));
    }

    fn compare_with_basis(self: &Arc<Self>, pending: &Pending) {
        if self.is_over() {
            return;
        }
        let whole = match self.open_basis(pending) {
            Ok(basis) => {
                let whole = pending.blocks == 0 || matches!(basis, Basis::None);
                pending.file.use_basis(basis);
                whole
            }
            Err(error) => {
                let ending = self.failed(error);
                return self.end_file(&pending.segment, pending.index, &pending.file, ending);
            }
        };
        if whole {
            let (segment, indexes) = (pending.segment.id, vec![pending.index]);
            return self.send_control(Control::Want { segment, indexes }.encode());
        }
        // Closed: the run is over, and nobody asks for the file any more.
        let _ = self.send_signature(pending);
    }

    /// Opens the basis; none when it is gone, or ours to replace without having read it.
    fn open_basis(&self, pending: &Pending) -> Result<Basis, barge_fs::Error> {
        let ready = pending
            .segment
            .ready
            .get()
            .expect("a file is compared in an open directory");
        let name = &pending.segment.items[usize::from(pending.index)].entry.name;
        match pending.origin {
            Origin::Old => Ok(ready.dir.open_file(name).map_or(Basis::None, Basis::Old)),
            Origin::Leftover => Ok(ready
                .dir
                .stage_resume(name)?
                .map_or(Basis::None, Basis::InPlace)),
            Origin::InPlace => ready.dir.open_in_place(name).map(Basis::InPlace),
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
