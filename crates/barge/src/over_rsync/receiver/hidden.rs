//! What a module's own rules hide from its clients: nothing is written, replaced, removed or taken as
//! a basis there, by whichever name a client comes to it.
//!
//! Source: rsyncd.conf(5), «exclude», and rsync 3.5.0 as it behaves. Where that lets a client by a
//! directory that is hidden, to what is below it, this does not.

use std::ffi::OsStr;

use barge_rsync::wire::entry::FileEntry;

use super::generator::Generator;
use super::side::Side;
use crate::filter::RuleSide;
use crate::over_rsync::agreed::Base;
use crate::over_rsync::{Failure, Level};

/// The names of one tree in a module.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    base: Base,
    /// The tree's path in the module.
    tree: Vec<u8>,
}

impl Hidden {
    /// Of the tree at `tree`, as the module's root has it.
    pub(super) fn new(base: &Base, tree: Vec<u8>) -> Self {
        let base = base.clone();
        Self { base, tree }
    }

    /// Whether a path below the tree is hidden, or a directory it leads through.
    pub(super) fn takes(&self, path: &[u8], is_dir: bool) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        match &*self.tree {
            b"." | b"" => hides(&self.base, path, is_dir),
            tree => hides(&self.base, &[tree, b"/", path].concat(), is_dir),
        }
    }
}

/// Whether a path in the module is hidden, or a directory it leads through.
pub(super) fn hides(base: &Base, path: &[u8], is_dir: bool) -> bool {
    match base {
        Base::Module(module) if !module.rules.is_empty() => {
            module.rules.refuses(path, is_dir, RuleSide::Receiving)
        }
        _ => false,
    }
}

impl Side {
    /// What is hidden below the root of the transfer.
    pub(super) fn hidden(&self) -> Hidden {
        Hidden::new(&self.base, self.target().below(b"."))
    }

    /// Whether there is anything hidden at all.
    fn hides_some(&self) -> bool {
        matches!(&self.base, Base::Module(module) if !module.rules.is_empty())
    }

    /// Whether a path below a directory that an option names is hidden.
    pub(super) fn hides_beside(&self, named: &OsStr, path: &[u8], is_dir: bool) -> bool {
        self.hides_some()
            && Hidden::new(&self.base, self.target().below_named(named)).takes(path, is_dir)
    }

    /// Refuses options that name directories which are hidden: from the root of the transfer, or, as
    /// rsync takes them, from that of the module.
    pub(super) fn check_named(&self) -> Result<(), Failure> {
        if !self.hides_some() {
            return Ok(());
        }
        let options = &self.options;
        let rejected = "Your options have been rejected by the server.";
        let from_top = Hidden::new(&self.base, b".".to_vec());
        for named in options.temp_dir.iter().chain(&options.backup_dir) {
            let bytes = named.as_encoded_bytes();
            if self.hides_beside(named, b"", true) || from_top.takes(bytes, true) {
                return Err(Failure::fatal(4, format!("rsync: {rejected}")));
            }
        }
        for named in options.partial_dir.iter().chain(&options.basis_dirs) {
            if self.hides_beside(named, b"", true) {
                return Err(Failure::fatal(1, rejected));
            }
        }
        Ok(())
    }
}

impl Generator {
    /// Whether an entry is hidden here, or where its content would be kept if the run broke off. The
    /// client is told.
    pub(super) fn refuses(&mut self, entry: &FileEntry) -> bool {
        if !self.side.hides_some() {
            return false;
        }
        let hidden = self.side.hidden();
        let path = match &self.side.target().local {
            Some(local) => local.as_bytes().to_vec(),
            None => entry.path.to_vec(),
        };
        if !hidden.takes(&path, entry.is_dir()) && !self.keeps_parts_in_hidden(entry, &hidden) {
            return false;
        }
        let noun = if entry.is_dir() { "directory" } else { "file" };
        let line = format!("ERROR: daemon refused to receive {noun} \"");
        let line = [line.as_bytes(), &path, b"\"\n"].concat();
        self.side.run.say(Level::FileError, line);
        if entry.is_dir() {
            self.skip_failed(entry);
        }
        true
    }

    fn keeps_parts_in_hidden(&self, entry: &FileEntry, hidden: &Hidden) -> bool {
        let named = self.side.options.partial_dir.as_ref();
        let named = named.map(|named| named.as_encoded_bytes());
        let Some(named) = named.filter(|named| !entry.is_dir() && !named.starts_with(b"/")) else {
            return false;
        };
        let dir = entry.path.dir().map_or(&b"."[..], |dir| dir);
        hidden.takes(&[dir, b"/", named].concat(), true)
    }
}
