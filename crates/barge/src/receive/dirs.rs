//! The target's directories while they are being filled.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use barge_fs::{Dir, Root, Stat};
use barge_native::ProtocolError;
use barge_types::{Failure, Meta, Mode, Name, RelPath, Timestamp, Xattr};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::remembered::{Room, Share};
use super::segment::OpenSegment;

/// A directory from its entry in the list until everything in it is through.
#[derive(Debug)]
pub(super) struct TargetDir {
    pub(super) path: RelPath,
    /// The root, and directories opened again for redos, have none.
    pub(super) parent: Option<Arc<Self>>,
    /// What it is to look like; `None` for one opened again, whose times are put back.
    pub(super) meta: Option<Meta>,
    /// Of what is remembered of it.
    pub(super) share: Share,
    state: Mutex<DirState>,
    /// Names that were there before the run.
    existing: OnceLock<Result<Existing, barge_fs::Error>>,
}

#[derive(Debug)]
struct DirState {
    stage: Stage,
    /// Segments that came before the directory was made.
    parked: Vec<Arc<OpenSegment>>,
    /// Segments and directories in it that are not through, and one for its last segment while
    /// that has not arrived.
    unfinished: u64,
    /// Its listing is complete and free of errors.
    clean: bool,
    /// Hashes of the names that the source has; kept when others are to be deleted.
    seen: HashSet<u64>,
    open: Weak<ReadyDir>,
    before: Option<Before>,
}

/// What a directory was like before entries were made in it, and before it was opened to its owner
/// for that.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) mode: Mode,
    pub(super) mtime: Timestamp,
    /// Its attributes, where they may have changed since: an ACL follows the mode.
    pub(super) xattrs: Option<Vec<Xattr>>,
}

impl Before {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.mode,
            mtime: stat.mtime,
            xattrs: None,
        }
    }
}

/// How far a directory is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Its parent's segment has not been worked on.
    Unmade,
    /// It is there.
    Ready {
        /// It was made in this run.
        fresh: bool,
    },
    /// In a dry run: it would have been made.
    Pretended,
    /// It cannot be used.
    Failed(Failure),
}

/// An open directory of the target, with what must be known to make entries in it.
#[derive(Debug)]
pub(super) struct ReadyDir {
    pub(super) dir: Dir,
    /// New entries get an ACL from it.
    pub(super) inherits_acl: bool,
    /// What it was before the run.
    pub(super) before: Before,
}

/// Names that were there before the run.
#[derive(Debug, Default)]
pub(super) struct Existing {
    hashes: HashSet<u64>,
    /// Temporary files of a run that was killed.
    pub(super) leftovers: Vec<Name>,
}

/// What a directory needs next.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Due {
    /// Segments that can be worked on.
    pub(super) segments: Vec<Arc<OpenSegment>>,
    /// Everything in it is through.
    pub(super) finish: bool,
}

impl TargetDir {
    /// The root of the volume, which is there.
    pub(super) fn root(meta: Meta, room: &Arc<Room>) -> Result<Arc<Self>, ProtocolError> {
        let stage = Stage::Ready { fresh: false };
        Self::new(RelPath::root(), None, Some(meta), stage, room)
    }

    /// A directory named in a segment of `parent`.
    pub(super) fn child(
        parent: &Arc<Self>,
        name: &Name,
        meta: Meta,
        room: &Arc<Room>,
    ) -> Result<Arc<Self>, ProtocolError> {
        let (path, above) = (parent.path.join(name), Some(Arc::clone(parent)));
        let child = Self::new(path, above, Some(meta), Stage::Unmade, room)?;
        parent.lock().unfinished += 1;
        Ok(child)
    }

    /// A directory that was through, and holds entries that are listed again.
    pub(super) fn reopened(path: RelPath, room: &Arc<Room>) -> Result<Arc<Self>, ProtocolError> {
        Self::new(path, None, None, Stage::Unmade, room)
    }

    fn new(
        path: RelPath,
        parent: Option<Arc<Self>>,
        meta: Option<Meta>,
        stage: Stage,
        room: &Arc<Room>,
    ) -> Result<Arc<Self>, ProtocolError> {
        let share = room.of_dir(&path, meta.as_ref())?;
        let state = DirState {
            stage,
            parked: Vec::new(),
            unfinished: 1,
            clean: false,
            seen: HashSet::new(),
            open: Weak::new(),
            before: None,
        };
        let (state, existing) = (Mutex::new(state), OnceLock::new());
        Ok(Arc::new(Self {
            path,
            parent,
            meta,
            share,
            state,
            existing,
        }))
    }

    /// Takes a segment as it arrives; `seen` are the hashes of its names where they are needed.
    pub(super) fn admit(
        &self,
        segment: &Arc<OpenSegment>,
        seen: impl Iterator<Item = u64>,
        last: bool,
        clean: bool,
    ) -> Due {
        let mut state = self.lock();
        state.seen.extend(seen);
        if !last {
            state.unfinished += 1;
        }
        state.clean |= last && clean;
        if matches!(state.stage, Stage::Unmade) {
            state.parked.push(Arc::clone(segment));
            return Due::default();
        }
        Due {
            segments: vec![Arc::clone(segment)],
            finish: false,
        }
    }

    /// The directory is there, or cannot be: what was parked may go on.
    pub(super) fn made(&self, stage: Stage) -> Due {
        let mut state = self.lock();
        state.stage = stage;
        Due {
            segments: std::mem::take(&mut state.parked),
            finish: false,
        }
    }

    /// A segment or a directory in it is through.
    pub(super) fn part_finished(&self) -> Due {
        let mut state = self.lock();
        state.unfinished -= 1;
        Due {
            segments: Vec::new(),
            finish: state.unfinished == 0,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.lock().stage.clone()
    }

    /// Whether names that the source does not have may be deleted.
    pub(super) fn is_clean(&self) -> bool {
        self.lock().clean
    }

    /// Whether the source has the name of this hash.
    pub(super) fn has_seen(&self, hash: u64) -> bool {
        self.lock().seen.contains(&hash)
    }

    /// Opens it, or shares the handle of others who have it open.
    pub(super) fn open(&self, root: &Root) -> Result<Arc<ReadyDir>, barge_fs::Error> {
        if let Some(open) = self.lock().open.upgrade() {
            return Ok(open);
        }
        let dir = root.dir(&self.path)?;
        let stat = dir.stat_self()?;
        if self.meta.is_none() {
            // Opened again, with its last mode: what was made in it once can be made once more.
            dir.make_writable(&stat)?;
        }
        let inherits_acl = dir.has_default_acl()?;
        let mut state = self.lock();
        // What it was like before the run: later openings find it changed.
        let before = state
            .before
            .get_or_insert_with(|| Before::of(&stat))
            .clone();
        let open = Arc::new(ReadyDir {
            dir,
            inherits_acl,
            before,
        });
        state.open = Arc::downgrade(&open);
        Ok(open)
    }

    /// Notes what it was like before it was opened to its owner.
    pub(super) fn was(&self, before: Before) {
        self.lock().before = Some(before);
    }

    /// The names that were there before the run; read once, when first asked for.
    ///
    /// A name is compared exactly, so that on a target that folds case a second spelling is
    /// found out instead of overwriting the first.
    pub(super) fn existing(
        &self,
        ready: &ReadyDir,
        seed: u64,
    ) -> Result<&Existing, barge_fs::Error> {
        self.existing
            .get_or_init(|| Existing::read(&ready.dir, seed))
            .as_ref()
            .map_err(|error| *error)
    }

    /// Temporary files of a killed run that were found in it.
    pub(super) fn leftovers(&self) -> &[Name] {
        match self.existing.get() {
            Some(Ok(existing)) => &existing.leftovers,
            _ => &[],
        }
    }

    fn lock(&self) -> MutexGuard<'_, DirState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Existing {
    fn read(dir: &Dir, seed: u64) -> Result<Self, barge_fs::Error> {
        let mut existing = Self::default();
        for listed in dir.names()? {
            let name = listed?.name;
            existing.hashes.insert(name_hash(&name, seed));
            if barge_fs::is_own_temporary(&name) {
                existing.leftovers.push(name);
            }
        }
        Ok(existing)
    }

    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.hashes.contains(&hash)
    }
}

/// A name's place in the sets above. Seeded, so that nobody can choose names that collide; should
/// two do so by chance, a name is looked up in vain, or one that should go stays.
pub(super) fn name_hash(name: &Name, seed: u64) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), seed)
}
