//! Writes content: whole small files, and the pieces of large ones.

use std::sync::Arc;

use barge_delta::strong;
use barge_fs::Staged;
use barge_native::{Content, Ending, FileRef, ProtocolError, Record, Unsent};
use barge_types::{Kind, Outcome};

use super::Receiver;
use super::file::{Basis, TargetFile, Trouble, Work, Writing};
use super::segment::OpenSegment;
use crate::bridge::Credit;

/// A file that has been asked for, and where it goes.
type Wanted = (Arc<OpenSegment>, u16, Arc<TargetFile>);

impl Receiver {
    /// Queues what has arrived; `credit` goes back when it is written.
    pub(super) fn content(
        self: &Arc<Self>,
        content: Content,
        credit: Credit,
    ) -> Result<(), ProtocolError> {
        let file = match &content {
            Content::Bundle(_) => return self.bundle(content, credit),
            Content::Literal { file, .. }
            | Content::Copy { file, .. }
            | Content::Hole { file, .. }
            | Content::RangeEnd { file, .. }
            | Content::Unsent { file, .. } => *file,
            _ => return Err(ProtocolError::Order("a message")),
        };
        if let Some((segment, index, target)) = self.wanted(file)? {
            let receiver = Arc::clone(self);
            let strand = Arc::clone(&target.strand);
            strand.run(&self.pool, move || {
                receiver.piece(&segment, index, &target, content);
                drop(credit);
            });
        }
        Ok(())
    }

    fn bundle(self: &Arc<Self>, content: Content, credit: Credit) -> Result<(), ProtocolError> {
        let Content::Bundle(records) = content else {
            return Ok(());
        };
        let mut wanted = Vec::with_capacity(records.len());
        for record in records {
            if let Some(target) = self.wanted(record.file)? {
                wanted.push((target, record));
            }
        }
        let receiver = Arc::clone(self);
        self.pool.run(move || {
            for (target, record) in wanted {
                receiver.record(&target, &record);
            }
            drop(credit);
        });
        Ok(())
    }

    /// The file content is for. Content of a file that has ended is still on its way when one of
    /// several ranges fails: it is dropped.
    fn wanted(&self, file: FileRef) -> Result<Option<Wanted>, ProtocolError> {
        let state = self.state();
        match state.segments.get(&file.segment) {
            Some(segment) => {
                let target = segment.wanted(file.index);
                Ok(target.map(|target| (Arc::clone(segment), file.index, target)))
            }
            None if state.inbox.has_had(file.segment) => Ok(None),
            None => Err(ProtocolError::Order("content")),
        }
    }

    /// Writes a whole small file.
    fn record(self: &Arc<Self>, (segment, index, target): &Wanted, record: &Record) {
        if self.is_over() {
            return;
        }
        let Work::Waiting(basis) = target.take_work() else {
            return self.protocol_error(ProtocolError::Order("a file"));
        };
        let Kind::File { size } = segment.items[usize::from(*index)].entry.kind else {
            return self.protocol_error(ProtocolError::Invalid("content of no file"));
        };
        if record.bytes.len() as u64 != size {
            return self.protocol_error(ProtocolError::Invalid("a length"));
        }
        let ending = if strong(self.seed, &record.bytes) == record.digest {
            match self.write_whole(segment, *index, basis, record) {
                Ok(staged) => self.commit(segment, *index, target, staged),
                Err(error) => self.failed(error),
            }
        } else {
            Ending::Redo
        };
        self.end_file(segment, *index, target, ending);
    }

    fn write_whole(
        &self,
        segment: &OpenSegment,
        index: u16,
        basis: Basis,
        record: &Record,
    ) -> Result<Staged, barge_fs::Error> {
        let ready = segment
            .ready
            .get()
            .expect("content is asked for once its directory is open");
        let staged = match basis {
            Basis::InPlace(staged) => {
                staged.set_len(record.bytes.len() as u64)?;
                staged
            }
            _ => ready
                .dir
                .stage(&segment.items[usize::from(index)].entry.name)?,
        };
        staged.write_at(&record.bytes, 0)?;
        Ok(staged)
    }

    /// Takes one piece of a large file.
    fn piece(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        target: &TargetFile,
        content: Content,
    ) {
        if self.is_over() {
            return;
        }
        if let Content::Unsent { why, .. } = content {
            return self.unsent(segment, index, target, why);
        }
        match self.take_piece(segment, index, target, content) {
            Ok(false) => {}
            Ok(true) => self.complete(segment, index, target),
            Err(Trouble::Protocol(error)) => self.protocol_error(error),
            Err(Trouble::Disagreement) => self.give_up(segment, index, target, Ending::Redo),
            Err(Trouble::Fs(error)) => {
                let ending = self.failed(error);
                self.give_up(segment, index, target, ending);
            }
        }
    }

    /// Returns whether the file is complete.
    fn take_piece(
        &self,
        segment: &OpenSegment,
        index: u16,
        target: &TargetFile,
        content: Content,
    ) -> Result<bool, Trouble> {
        let mut work = target.work();
        if matches!(*work, Work::Waiting(_)) {
            let Work::Waiting(basis) = std::mem::replace(&mut *work, Work::Over) else {
                return Ok(false);
            };
            *work = Work::Writing(Box::new(self.begin(segment, index, basis)?));
        }
        let Work::Writing(writing) = &mut *work else {
            return Ok(false);
        };
        match content {
            Content::Literal { range, bytes, .. } => writing.literal(range, &bytes)?,
            Content::Copy {
                range, offset, len, ..
            } => writing.copy(range, offset, len)?,
            Content::Hole { range, len, .. } => writing.hole(range, len)?,
            Content::RangeEnd { range, digest, .. } => return writing.end_range(range, digest),
            _ => {}
        }
        Ok(false)
    }

    fn begin(
        &self,
        segment: &OpenSegment,
        index: u16,
        basis: Basis,
    ) -> Result<Writing, barge_fs::Error> {
        let entry = &segment.items[usize::from(index)].entry;
        let size = match entry.kind {
            Kind::File { size } => size,
            _ => 0,
        };
        let ready = segment
            .ready
            .get()
            .expect("content is asked for once its directory is open");
        Writing::begin(&ready.dir, &entry.name, size, basis, self.seed)
    }

    fn complete(self: &Arc<Self>, segment: &Arc<OpenSegment>, index: u16, target: &TargetFile) {
        let Work::Writing(writing) = target.take_work() else {
            return;
        };
        self.state().tally.bytes_matched += writing.matched;
        let ending = self.commit(segment, index, target, writing.staged);
        self.end_file(segment, index, target, ending);
    }

    fn commit(
        &self,
        segment: &OpenSegment,
        index: u16,
        target: &TargetFile,
        staged: Staged,
    ) -> Ending {
        let ready = segment
            .ready
            .get()
            .expect("content is asked for once its directory is open");
        let meta = &segment.items[usize::from(index)].entry.meta;
        let name = &segment.items[usize::from(index)].entry.name;
        if let Some(stat) = &target.in_the_way
            && let Err(ending) = self.make_way(ready, &segment.path(index), name, stat)
        {
            return ending;
        }
        let new = !target.existed;
        let has_attributes = ready.inherits_acl || self.order.inplace;
        match staged.commit(&ready.dir, meta, &self.keep, has_attributes, new) {
            Ok((_, applied)) if new => self.settled(&applied, Outcome::Created),
            Ok((_, applied)) => self.settled(&applied, Outcome::Updated(target.changes)),
            Err(error) => self.not_made(error, new),
        }
    }

    fn unsent(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        target: &TargetFile,
        why: Unsent,
    ) {
        let ending = match why {
            Unsent::Changed => Ending::Redo,
            Unsent::Failed(failure) => Ending::Outcome(Outcome::Failed(failure)),
        };
        self.give_up(segment, index, target, ending);
    }

    /// Ends a file without its content; what was written of it is removed.
    fn give_up(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        target: &TargetFile,
        ending: Ending,
    ) {
        if let Work::Over = target.take_work() {
            // It has ended, unless opening it failed: then nothing else will end it.
            if segment.wanted(index).is_none() {
                return;
            }
        }
        self.end_file(segment, index, target, ending);
    }

    pub(super) fn end_file(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        target: &TargetFile,
        ending: Ending,
    ) {
        self.end_entry(segment, index, ending);
        self.let_go(target);
    }
}
