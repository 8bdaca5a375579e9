//! Regular files: whether their content is wanted, and from what it is rebuilt.

use std::sync::Arc;

use barge_delta::WholeDigest;
use barge_fs::{Dir, SourceFile, Stat, StatKind};
use barge_rsync::session::setup::CompatFlags;
use barge_rsync::wire::iflags::{Basis, ItemFlags};
use barge_rsync::wire::sums::SumHead;
use barge_types::Name;

use super::attributes::Resolved;
use super::generator::{Ask, At, Generator};
use super::requests::{How, Transfer};
use super::side::Side;
use super::texts::Who;
use super::walk::{Found, Step};
use crate::over_rsync::Failure;

impl Generator {
    pub(super) fn file(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
    ) -> Result<Step, Failure> {
        if self.is_skipped_file(at, stat.as_ref()) {
            return Ok(Step::Nothing);
        }
        let stat = match stat {
            Some(stat) if stat.kind != StatKind::File => match self.make_way(at, name, &stat)? {
                true => None,
                false => return Ok(Step::Nothing),
            },
            stat => stat,
        };
        if let Some(step) = self.use_alternate(at, name, stat.is_some())? {
            return Ok(step);
        }
        let Some(stat) = stat else {
            return self.ask_for_new(at, name);
        };
        let (Some(found), Some(dir)) = (self.look(at, name, stat), self.dir()) else {
            return Ok(Step::Nothing);
        };
        if self.is_same_content(at, dir, name, &found.stat) {
            return self.same(at, name, &found);
        }
        match self.side.options.append {
            0 => self.ask_for_changed(at, name, &found),
            // Not even its attributes are looked at.
            _ if found.stat.size >= at.entry.len => Ok(Step::Nothing),
            _ => self.ask_for_rest(at, name, &found),
        }
    }

    /// Whether the user wants a file left alone for its size or age.
    fn is_skipped_file(&self, at: &At<'_>, stat: Option<&Stat>) -> bool {
        let rules = &self.side.attributes.rules;
        let len = at.entry.len;
        let why: &[u8] = if rules.max_size.is_some_and(|max| len > max) {
            b" is over max-size"
        } else if rules.min_size.is_some_and(|min| len < min) {
            b" is under min-size"
        } else if self.side.options.update && stat.is_some_and(|stat| self.is_newer(at, stat)) {
            b" is newer"
        } else {
            return false;
        };
        self.tell_skip(&[&at.entry.path.to_vec(), why]);
        true
    }

    fn is_newer(&self, at: &At<'_>, stat: &Stat) -> bool {
        let rules = &self.side.attributes.rules;
        stat.kind == StatKind::File && rules.is_newer(stat.mtime, at.entry.mtime)
    }

    /// Whether a file that is there has the content of the source's, as far as is looked.
    pub(super) fn is_same_content(&self, at: &At<'_>, dir: &Dir, name: &Name, stat: &Stat) -> bool {
        let rules = &self.side.attributes.rules;
        if !rules.checksum {
            return rules.looks_same(at.entry, stat);
        }
        if stat.size != at.entry.len {
            return false;
        }
        let Some(checksum) = at.entry.extra().checksum.as_deref() else {
            return false;
        };
        let digest = dir.open_file(name).ok().and_then(|file| self.digest(&file));
        digest.is_some_and(|digest| digest.as_bytes() == checksum)
    }

    /// The digest of a whole file; `None` when it cannot be read.
    fn digest(&self, file: &SourceFile) -> Option<barge_delta::DigestBytes> {
        let mut digest = WholeDigest::new(self.side.run.setup.list_checksum);
        let mut buffer = vec![0; READ];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut buffer, at).ok()?;
            digest.update(&buffer[..read]);
            at += read as u64;
            self.side.run.activity.progress();
            if read < buffer.len() {
                return Some(digest.finish());
            }
        }
    }

    fn ask_for_new(&mut self, at: &At<'_>, name: &Name) -> Result<Step, Failure> {
        let resolved = self.side.attributes.resolve(at.entry, None, &[]);
        let flags = self.transfer_flags() | ItemFlags::NEW | resolved.flags;
        if let Some(partial) = self.partial_basis(name) {
            return self.ask_with(at, Ask::new(flags), &resolved, None, Some(partial));
        }
        let Some(similar) = self.similar(at, name) else {
            return self.ask_with(at, Ask::new(flags), &resolved, None, None);
        };
        let mut ask = Ask::new(flags | ItemFlags::NAME_FOLLOWS);
        ask.name = similar.name;
        let basis = (similar.basis, similar.file);
        self.ask_with(at, ask, &resolved, None, Some(basis))
    }

    fn ask_for_changed(
        &mut self,
        at: &At<'_>,
        name: &Name,
        found: &Found,
    ) -> Result<Step, Failure> {
        let (flags, _, resolved) = self.differences(at, found, self.transfer_flags());
        let Ok(backup) = self.back_up_in_place(at, name, &found.stat) else {
            return Ok(Step::Nothing);
        };
        let dir = Arc::clone(self.target_dir());
        self.similar.forget(&dir.path, name);
        let old = || Some((Basis::Destination, self.basis(name)?));
        let basis = backup.or_else(|| self.partial_basis(name)).or_else(old);
        self.ask_with(at, Ask::new(flags), &resolved, Some(found.stat), basis)
    }

    /// Asks for what is behind the beginning of a file that is there.
    fn ask_for_rest(&mut self, at: &At<'_>, name: &Name, found: &Found) -> Result<Step, Failure> {
        let (flags, _, resolved) = self.differences(at, found, self.transfer_flags());
        if self.back_up_in_place(at, name, &found.stat).is_err() {
            return Ok(Step::Nothing);
        }
        let (len, setup) = (found.stat.size, &self.side.run.setup);
        let block_len = self.side.options.block_size;
        let transfer = Transfer {
            head: SumHead::for_basis(len, block_len, setup.checksum, false),
            dir: Arc::clone(self.target_dir()),
            existing: Some(found.stat),
            again: false,
            refused: false,
            how: How::Append(len),
        };
        self.ask(at, Ask::new(flags), &resolved, transfer, None)
    }

    /// Asks for a file that is rebuilt from a basis, where there is one.
    fn ask_with(
        &mut self,
        at: &At<'_>,
        mut ask: Ask,
        resolved: &Resolved,
        existing: Option<Stat>,
        basis: Option<(Basis, SourceFile)>,
    ) -> Result<Step, Failure> {
        let (kind, basis) = basis.unzip();
        ask.basis = kind.unwrap_or_default();
        let compat = self.side.run.setup.compat;
        let how = match ask.basis {
            Basis::Partial if compat.has(CompatFlags::INPLACE_PARTIAL_DIR) => How::Partial,
            _ => self.how(existing.as_ref()),
        };
        let transfer = Transfer {
            head: self.head(basis.as_ref(), false),
            dir: Arc::clone(self.target_dir()),
            existing,
            again: false,
            refused: false,
            how,
        };
        self.ask(at, ask, resolved, transfer, basis)
    }

    /// Copies a file that will be written into to its backup, which is its basis then.
    fn back_up_in_place(
        &self,
        at: &At<'_>,
        name: &Name,
        stat: &Stat,
    ) -> Result<Option<(Basis, SourceFile)>, ()> {
        let options = &self.side.options;
        let (Some(backup), Some(dir)) = (self.side.backup(), self.dir()) else {
            return Ok(None);
        };
        if !options.inplace || options.dry_run || stat.kind != StatKind::File {
            return Ok(None);
        }
        let path = Side::path_of(self.target_dir(), name);
        let copied = backup
            .copy(&self.side.run, dir, &path, name, stat)
            .and_then(|()| backup.open(dir, &path, name));
        match copied {
            Ok(_) if self.side.is_whole_file() => Ok(None),
            Ok(file) => Ok(Some((Basis::Backup, file))),
            Err(error) => {
                self.side
                    .failed(Who::Generator, "backup of", at.entry, &error);
                Err(())
            }
        }
    }

    /// What an earlier run left of a file. It is removed when files are asked for whole.
    fn partial_basis(&self, name: &Name) -> Option<(Basis, SourceFile)> {
        if self.side.options.partial_dir.is_none() || self.side.options.dry_run {
            return None;
        }
        let dir = self.dir()?;
        let partial = self.side.partial_dir(dir, false).ok()??;
        let file = partial.open_file(name).ok()?;
        if self.side.is_whole_file() {
            // It will not be asked for again.
            let _ = partial.unlink(name);
            self.side.leave_partial_dir(dir);
            return None;
        }
        Some((Basis::Partial, file))
    }

    pub(super) fn transfer_flags(&self) -> ItemFlags {
        match self.side.options.checksum {
            true => ItemFlags::TRANSFER | ItemFlags::CHANGE,
            false => ItemFlags::TRANSFER,
        }
    }

    /// Asks once more for a file that did not verify.
    pub(super) fn once_more(&mut self, at: &At<'_>) -> Result<(), Failure> {
        let found = match self.go_to(at.entry) {
            true => self.look_up(at),
            false => None,
        };
        let Some((name, stat)) = found else {
            self.settle(at);
            return self.ended(at, Step::Nothing, true);
        };
        let stat = stat.filter(|stat| stat.kind == StatKind::File);
        let basis = stat.and_then(|_| self.basis(&name));
        let transfer = Transfer {
            head: self.head(basis.as_ref(), true),
            dir: Arc::clone(self.target_dir()),
            existing: stat,
            again: true,
            refused: false,
            how: self.how(stat.as_ref()),
        };
        let found = stat.and_then(|stat| self.look(at, &name, stat));
        let (flags, resolved) = match &found {
            Some(found) => {
                let (flags, _, resolved) = self.differences(at, found, self.transfer_flags());
                (flags, resolved)
            }
            None => {
                let resolved = self.side.attributes.resolve(at.entry, None, &[]);
                let new = self.transfer_flags() | ItemFlags::NEW;
                (new | resolved.flags, resolved)
            }
        };
        self.ask(at, Ask::new(flags), &resolved, transfer, basis)?;
        Ok(())
    }

    /// Into what a file's content is to be written.
    pub(super) fn how(&self, have: Option<&Stat>) -> How {
        match have {
            _ if !self.side.options.inplace => How::Beside,
            Some(stat) if stat.kind != StatKind::File => How::Device,
            _ => How::InPlace,
        }
    }

    /// Opens what a file's blocks may be taken from.
    fn basis(&self, name: &Name) -> Option<SourceFile> {
        if self.side.is_whole_file() || self.side.options.dry_run {
            return None;
        }
        self.dir()?.open_file(name).ok()
    }

    pub(super) fn head(&self, basis: Option<&SourceFile>, redo: bool) -> SumHead {
        // With --append the sender takes every head but a later one for that of a file which is to be
        // gone on with, and no sums follow it.
        let basis = basis.filter(|_| redo || self.side.options.append == 0);
        let Some(stat) = basis.and_then(|basis| basis.stat().ok()) else {
            return SumHead::NONE;
        };
        let block_len = self.side.options.block_size;
        SumHead::for_basis(stat.size, block_len, self.side.run.setup.checksum, redo)
    }
}

/// Bytes that are read at once.
const READ: usize = 256 << 10;
