//! Works through a segment: what is there, what has to be made, what has to be asked for.

use std::sync::Arc;

use barge_fs::{Keep, Stat, StatKind, is_own_temporary};
use barge_native::{Control, Ending, Item, LinkGroup, MAX_BUNDLED, Tie};
use barge_types::{Changes, Class, Entry, Failure, Kind, Name, Outcome, RelPath, Side};

use super::Receiver;
use super::dirs::{Before, ReadyDir, Stage, TargetDir, name_hash};
use super::file::TargetFile;
use super::links::{Lead, MadeLeader};
use super::segment::OpenSegment;
use super::signature::Origin;
use crate::plan::{Existing, Plan, differences, plan};

/// Smaller files are sent whole: a signature and an answer cost as much.
const DELTA_MIN: u64 = 64 << 10;

/// How an entry goes on.
enum Step {
    End(Ending),
    /// Its content is to be asked for, whole.
    Want(TargetFile),
    /// Its content comes another way: by signature, or when its leader is there.
    Under,
}

impl Receiver {
    /// Works through `segment`: directories first, so that their own segments can go on.
    pub(super) fn compare(self: &Arc<Self>, segment: &Arc<OpenSegment>) {
        self.streams[0].await_word();
        let ready = match segment.dir.stage() {
            Stage::Failed(failure) => return self.fail_segment(segment, &failure),
            Stage::Pretended => None,
            Stage::Unmade => unreachable!("a segment is parked until its directory is made"),
            Stage::Ready { .. } => match segment.dir.open(&self.root) {
                Ok(ready) => Some(ready),
                Err(error) => {
                    let Ending::Outcome(Outcome::Failed(failure)) = self.failed(error) else {
                        return;
                    };
                    return self.fail_segment(segment, &failure);
                }
            },
        };
        if let Some(ready) = &ready {
            let _ = segment.ready.set(Arc::clone(ready));
        }
        let at = At {
            receiver: self,
            segment,
            ready: ready.as_deref(),
        };
        for (index, child) in &segment.children {
            at.directory(*index, child);
        }
        at.others();
        if segment.gone_through() {
            self.end_segment(segment);
        }
    }

    /// Ends every entry of a segment whose directory cannot be used.
    fn fail_segment(self: &Arc<Self>, segment: &Arc<OpenSegment>, failure: &Failure) {
        for (_, child) in &segment.children {
            let due = child.made(Stage::Failed(failure.clone()));
            self.go_on(due, None);
        }
        for (index, item) in segment.items.iter().enumerate() {
            let ending = match item.entry.kind {
                Kind::Directory => Ending::Later,
                _ => Ending::Outcome(Outcome::Failed(failure.clone())),
            };
            self.end_entry(segment, index as u16, ending);
        }
        if segment.gone_through() {
            self.end_segment(segment);
        }
    }

    /// Links an entry to its leader, which is there.
    pub(super) fn follow(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        leader: &MadeLeader,
    ) {
        let at = At {
            receiver: self,
            segment,
            ready: segment.ready.get().map(AsRef::as_ref),
        };
        let ending = at.link(index, leader);
        self.end_entry(segment, index, ending);
    }

    /// A leader has ended: those that waited for it can be linked, or must find another.
    pub(super) fn lead_or_lose(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        index: u16,
        group: LinkGroup,
        ending: &Ending,
    ) {
        let name = &segment.items[usize::from(index)].entry.name;
        let lost = self.content_is_missing(ending);
        let stat = match segment.ready.get() {
            // Metadata that could not be kept does not make it a worse leader.
            Some(ready) if !lost => ready.dir.find(name).ok().flatten(),
            _ => None,
        };
        let inode = stat.map(|stat| barge_fs::LinkKey {
            dev: stat.dev,
            ino: stat.ino,
        });
        let is_there = !lost && (inode.is_some() || self.order.dry_run);
        let made = is_there.then(|| MadeLeader {
            dir: Arc::clone(&segment.dir),
            name: name.clone(),
            inode,
        });
        let waiting = self.links().resolve(group, made);
        for (segment, index) in waiting {
            let receiver = Arc::clone(self);
            self.pool
                .run(move || receiver.wake_follower(&segment, index, group));
        }
    }

    /// Whether a leader ended without its content under its name.
    fn content_is_missing(&self, ending: &Ending) -> bool {
        match ending {
            Ending::Redo => true,
            Ending::Outcome(Outcome::Failed(failure)) => !METADATA_STEPS.contains(&step(failure)),
            _ => false,
        }
    }

    fn wake_follower(self: &Arc<Self>, segment: &Arc<OpenSegment>, index: u16, group: LinkGroup) {
        let lead = self.links().follow(group, (Arc::clone(segment), index));
        match lead {
            Lead::Wait => {}
            Lead::To(leader) => self.follow(segment, index, &leader),
            Lead::Lost => self.end_entry(segment, index, Ending::Redo),
        }
    }

    /// A failure that no call reported.
    pub(super) fn refusal(op: &'static str, class: Class) -> Ending {
        let failure = Failure {
            side: Side::Target,
            op: op.into(),
            errno: 0,
            class,
        };
        Ending::Outcome(Outcome::Failed(failure))
    }

    /// The outcome of what was applied: a failure when anything could not be kept.
    pub(super) fn settled(&self, applied: &barge_fs::Applied, otherwise: Outcome) -> Ending {
        match applied.failures.first() {
            Some(error) => self.failed(*error),
            None => Ending::Outcome(otherwise),
        }
    }

    /// What a failed creation means: a new name that is there after all is a collision.
    pub(super) fn not_made(&self, error: barge_fs::Error, new: bool) -> Ending {
        if new && error.is_exists() {
            return Self::refusal(COLLISION, Class::Unsupported);
        }
        self.failed(error)
    }

    /// Removes what stands in the way of an entry of another kind.
    pub(super) fn make_way(
        &self,
        ready: &ReadyDir,
        path: &RelPath,
        name: &Name,
        stat: &Stat,
    ) -> Result<(), Ending> {
        if stat.kind != StatKind::Directory {
            return ready.dir.unlink(name).map_err(|error| self.failed(error));
        }
        match ready.dir.remove_dir(name) {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_empty() && self.order.delete => {
                match self.remove_tree(&ready.dir, path, name) {
                    Ok(true) if matches!(ready.dir.find(name), Ok(None)) => Ok(()),
                    Ok(true) => Err(Self::refusal(IN_THE_WAY_EXCLUDED, Class::Unsupported)),
                    Ok(false) => Err(Self::refusal(IN_THE_WAY_LIMIT, Class::Unsupported)),
                    Err(error) => Err(self.failed(error)),
                }
            }
            Err(error) if error.is_not_empty() => {
                Err(Self::refusal(IN_THE_WAY, Class::Unsupported))
            }
            Err(error) => Err(self.failed(error)),
        }
    }
}

const IN_THE_WAY: &str = "a directory with content is in its place (see --delete)";
const IN_THE_WAY_LIMIT: &str = "a directory is in its place, and --max-delete keeps it";
const IN_THE_WAY_EXCLUDED: &str = "a directory with excluded content is in its place";
const COLLISION: &str = "another name is the same to the target (it folds case?)";
const RESERVED: &str = "the name is reserved for barge's temporary files";

/// Steps of [`barge_fs::Dir::apply`] and [`barge_fs::Staged::commit`] that leave the content in
/// place.
const METADATA_STEPS: &[&str] = &[
    "fchown",
    "fchmod",
    "utimensat",
    "verify",
    "setxattr",
    "removexattr",
];

/// The call a failure names, without what follows it.
fn step(failure: &Failure) -> &str {
    failure.op.split(' ').next().unwrap_or_default()
}

/// An entry's place at the target, while its segment is worked through.
struct At<'a> {
    receiver: &'a Arc<Receiver>,
    segment: &'a Arc<OpenSegment>,
    /// `None` in a dry run, where the directory would have been made.
    ready: Option<&'a ReadyDir>,
}

impl At<'_> {
    fn item(&self, index: u16) -> &Item {
        &self.segment.items[usize::from(index)]
    }

    /// Goes through everything but directories, and asks for content.
    fn others(&self) {
        let mut wanted = Vec::new();
        for index in 0..self.segment.items.len() as u16 {
            if self.item(index).entry.kind == Kind::Directory {
                continue;
            }
            let step = if self.receiver.is_over() {
                // Nobody will hear how it ended.
                Step::End(Ending::Redo)
            } else {
                self.entry(index)
            };
            match step {
                Step::End(ending) => self.receiver.end_entry(self.segment, index, ending),
                Step::Want(file) => {
                    self.segment.want(index, file);
                    wanted.push(index);
                }
                Step::Under => {}
            }
        }
        if !wanted.is_empty() {
            let segment = self.segment.id;
            self.receiver.send_control(
                Control::Want {
                    segment,
                    indexes: wanted,
                }
                .encode(),
            );
        }
    }

    fn entry(&self, index: u16) -> Step {
        let item = self.item(index);
        if is_own_temporary(&item.entry.name) {
            return Step::End(Receiver::refusal(RESERVED, Class::Unsupported));
        }
        if let Tie::Follower { group, .. } = item.tie {
            return self.follower(index, group);
        }
        match self.existing(&item.entry.name) {
            Ok(existing) => self.planned(index, existing),
            Err(error) => Step::End(self.receiver.failed(error)),
        }
    }

    /// What the target has under a name. A name that was not in the directory is not looked up.
    fn existing(&self, name: &Name) -> Result<Option<Stat>, barge_fs::Error> {
        let Some(ready) = self.ready else {
            return Ok(None);
        };
        match self.segment.dir.stage() {
            Stage::Ready { fresh: false } if self.segment.dir.meta.is_some() => {
                let seed = self.receiver.seed.get();
                let existing = self.segment.dir.existing(ready, seed)?;
                match existing.may_hold(name_hash(name, seed)) {
                    true => ready.dir.find(name),
                    false => Ok(None),
                }
            }
            Stage::Ready { fresh: true } => Ok(None),
            _ => ready.dir.find(name),
        }
    }

    fn planned(&self, index: u16, existing: Option<Stat>) -> Step {
        let item = self.item(index);
        let order = &self.receiver.order;
        let link_target = match self.link_target(item, existing.as_ref()) {
            Ok(target) => target,
            Err(error) => return Step::End(self.receiver.failed(error)),
        };
        let must_part = order.hard_links
            && existing.is_some_and(|stat| self.receiver.links().must_part(item.tie, &stat));
        let looked_at = existing.as_ref().map(|stat| Existing {
            stat,
            link_target: link_target.as_deref(),
            must_part,
        });
        match plan(&item.entry, looked_at, order.checksum) {
            Plan::Create => self.create(index, None),
            Plan::Replace => self.create(index, existing),
            Plan::Transfer(changes) => self.transfer(index, existing, changes),
            Plan::Compare => self.compare_content(index, existing),
            Plan::Settle => self.settle(index, existing),
        }
    }

    fn link_target(
        &self,
        item: &Item,
        existing: Option<&Stat>,
    ) -> Result<Option<Box<[u8]>>, barge_fs::Error> {
        match (&item.entry.kind, existing, self.ready) {
            (Kind::Symlink { .. }, Some(stat), Some(ready)) if stat.kind == StatKind::Symlink => {
                ready.dir.read_link(&item.entry.name).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Makes what is not there, or in the place of something of another kind.
    fn create(&self, index: u16, existing: Option<Stat>) -> Step {
        let item = self.item(index);
        let made = match existing {
            None => Outcome::Created,
            Some(_) => Outcome::Updated(Changes::CONTENT),
        };
        if let Kind::File { size: 1.. } = item.entry.kind {
            return self.transfer(index, existing, Changes::CONTENT);
        }
        let Some(ready) = self.ready.filter(|_| !self.receiver.order.dry_run) else {
            return Step::End(Ending::Outcome(made));
        };
        if let Some(stat) = existing.filter(|stat| stat.kind == StatKind::Directory)
            && let Err(ending) = self.make_way(ready, index, &stat)
        {
            return Step::End(ending);
        }
        let replaces = existing.is_some_and(|stat| stat.kind != StatKind::Directory);
        Step::End(match self.make(ready, &item.entry, replaces) {
            Ok(applied) => self.receiver.settled(&applied, made),
            Err(error) => self.receiver.not_made(error, !replaces),
        })
    }

    fn make_way(&self, ready: &ReadyDir, index: u16, stat: &Stat) -> Result<(), Ending> {
        let name = &self.item(index).entry.name;
        self.receiver
            .make_way(ready, &self.segment.path(index), name, stat)
    }

    /// Makes an empty file, a symbolic link, a device, a fifo or a socket; in the place of another
    /// non-directory by rename, so that the name always stands for something.
    fn make(
        &self,
        ready: &ReadyDir,
        entry: &Entry,
        replaces: bool,
    ) -> Result<barge_fs::Applied, barge_fs::Error> {
        let keep = &self.receiver.keep;
        let dir = &ready.dir;
        if let Kind::File { .. } = entry.kind {
            let staged = dir.stage(&entry.name)?;
            let (_, applied) =
                staged.commit(dir, &entry.meta, keep, ready.inherits_acl, !replaces)?;
            return Ok(applied);
        }
        let temporary = barge_fs::temporary_name(&entry.name);
        let name = if replaces { &temporary } else { &entry.name };
        let made = match &entry.kind {
            Kind::Symlink { target } => dir.make_symlink(name, target),
            kind => dir.make_node(name, kind),
        };
        if replaces && made.is_err_and(|error| error.is_exists()) {
            // A killed run left it.
            dir.unlink(name)?;
            return self.make(ready, entry, replaces);
        }
        made?;
        let stat = dir.stat(name)?;
        let applied = dir.apply(
            name,
            &stat,
            &entry.meta,
            &entry.kind,
            keep,
            ready.inherits_acl,
        );
        if replaces {
            dir.rename(name, &entry.name)?;
        }
        Ok(applied)
    }

    /// Asks for a file's content.
    fn transfer(&self, index: u16, existing: Option<Stat>, changes: Changes) -> Step {
        let item = self.item(index);
        let Kind::File { size } = item.entry.kind else {
            return Step::End(Receiver::refusal("content of no file", Class::Unsupported));
        };
        let existed = existing.is_some();
        if self.receiver.order.dry_run {
            let outcome = if existed {
                Outcome::Updated(changes)
            } else {
                Outcome::Created
            };
            return Step::End(Ending::Outcome(outcome));
        }
        let Some(ready) = self.ready else {
            return Step::End(Receiver::refusal("no directory", Class::Vanished));
        };
        let in_the_way = existing.filter(|stat| stat.kind == StatKind::Directory);
        if size == 0 {
            return Step::End(self.transfer_nothing(ready, index, existed, in_the_way, changes));
        }
        if in_the_way.is_some()
            && let Err(ending) = self.may_make_way(ready, &item.entry.name)
        {
            return Step::End(ending);
        }
        let file = TargetFile::new(existed, changes, in_the_way);
        let old = existing.filter(|stat| stat.kind == StatKind::File);
        match self.origin(ready, &item.entry.name, size, old) {
            Ok(None) => Step::Want(file),
            Ok(Some((origin, basis_len))) => {
                self.receiver
                    .sign(self.segment, index, file, origin, basis_len);
                Step::Under
            }
            Err(error) => Step::End(self.receiver.failed(error)),
        }
    }

    /// A file that has become empty needs no content.
    fn transfer_nothing(
        &self,
        ready: &ReadyDir,
        index: u16,
        existed: bool,
        in_the_way: Option<Stat>,
        changes: Changes,
    ) -> Ending {
        if let Some(stat) = in_the_way
            && let Err(ending) = self.make_way(ready, index, &stat)
        {
            return ending;
        }
        match self.make(ready, &self.item(index).entry, existed) {
            Ok(applied) => self.receiver.settled(&applied, Outcome::Updated(changes)),
            Err(error) => self.receiver.not_made(error, !existed),
        }
    }

    /// Refuses early what [`Receiver::make_way`] would refuse when the content is there: until
    /// then the directory in the way stays.
    fn may_make_way(&self, ready: &ReadyDir, name: &Name) -> Result<(), Ending> {
        if self.receiver.order.delete {
            return Ok(());
        }
        let first = ready
            .dir
            .open_dir(name)
            .and_then(|dir| dir.names())
            .map(|mut names| names.next());
        match first {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Receiver::refusal(IN_THE_WAY, Class::Unsupported)),
            Err(error) => Err(self.receiver.failed(error)),
        }
    }

    /// What a file can be rebuilt from, and how long that is: what a killed run left of it, or its
    /// older content.
    fn origin(
        &self,
        ready: &ReadyDir,
        name: &Name,
        size: u64,
        old: Option<Stat>,
    ) -> Result<Option<(Origin, u64)>, barge_fs::Error> {
        let order = &self.receiver.order;
        // A file of several names stays as it is under those that are not to change.
        if let Some(old) = old.filter(|stat| order.inplace && stat.links == 1) {
            return Ok(Some((Origin::InPlace, old.size)));
        }
        if order.whole_file {
            return Ok(None);
        }
        if self.receiver.unclean
            && size > MAX_BUNDLED as u64
            && let Some(leftover) = ready.dir.find(&barge_fs::temporary_name(name))?
        {
            return Ok(Some((Origin::Leftover, leftover.size)));
        }
        let old = old.filter(|stat| stat.size >= DELTA_MIN && size >= DELTA_MIN);
        Ok(old.map(|stat| (Origin::Old, stat.size)))
    }

    /// Under `--checksum`: a file of the same size, whose digest decides.
    fn compare_content(&self, index: u16, existing: Option<Stat>) -> Step {
        let item = self.item(index);
        let own = self.ready.map(|ready| {
            let file = ready.dir.open_file(&item.entry.name)?;
            crate::digest::file_digest(&file, self.receiver.seed)
        });
        match own {
            Some(Ok(digest)) if Some(digest) == item.digest => self.settle(index, existing),
            Some(Err(error)) if error.is_fatal() => Step::End(self.receiver.failed(error)),
            _ => self.transfer(index, existing, Changes::CONTENT),
        }
    }

    /// The content is right: brings the metadata in line.
    fn settle(&self, index: u16, existing: Option<Stat>) -> Step {
        let entry = &self.item(index).entry;
        let (Some(ready), Some(stat)) = (self.ready, existing) else {
            return Step::End(Ending::Outcome(Outcome::Unchanged));
        };
        Step::End(match self.bring_in_line(ready, entry, &stat) {
            Ok(ending) => ending,
            Err(error) => self.receiver.failed(error),
        })
    }

    fn bring_in_line(
        &self,
        ready: &ReadyDir,
        entry: &Entry,
        stat: &Stat,
    ) -> Result<Ending, barge_fs::Error> {
        let keep: &Keep = &self.receiver.keep;
        let have = ready.dir.xattrs(&entry.name, stat, keep)?;
        let changes = differences(&entry.kind, &entry.meta, stat, &have, keep.owner);
        if changes.is_empty() {
            return Ok(Ending::Outcome(Outcome::Unchanged));
        }
        let outcome = Outcome::Metadata(changes);
        if self.receiver.order.dry_run {
            return Ok(Ending::Outcome(outcome));
        }
        let has_attributes = !have.is_empty();
        let applied = ready.dir.apply(
            &entry.name,
            stat,
            &entry.meta,
            &entry.kind,
            keep,
            has_attributes,
        );
        Ok(self.receiver.settled(&applied, outcome))
    }

    fn follower(&self, index: u16, group: LinkGroup) -> Step {
        let follower = (Arc::clone(self.segment), index);
        let lead = self.receiver.links().follow(group, follower);
        match lead {
            Lead::Wait => Step::Under,
            Lead::To(leader) => Step::End(self.link(index, &leader)),
            Lead::Lost => Step::End(Ending::Redo),
        }
    }

    /// Makes an entry another name of `leader`.
    fn link(&self, index: u16, leader: &MadeLeader) -> Ending {
        let name = &self.item(index).entry.name;
        let existing = match self.existing(name) {
            Ok(existing) => existing,
            Err(error) => return self.receiver.failed(error),
        };
        let inode = existing.map(|stat| barge_fs::LinkKey {
            dev: stat.dev,
            ino: stat.ino,
        });
        if inode.is_some() && inode == leader.inode {
            return Ending::Outcome(Outcome::Unchanged);
        }
        let Some(ready) = self.ready.filter(|_| !self.receiver.order.dry_run) else {
            return Ending::Outcome(Outcome::Linked);
        };
        if let Some(stat) = existing.filter(|stat| stat.kind == StatKind::Directory)
            && let Err(ending) = self.make_way(ready, index, &stat)
        {
            return ending;
        }
        let replaces = existing.is_some_and(|stat| stat.kind != StatKind::Directory);
        match self.link_to(ready, name, leader, replaces) {
            Ok(()) => Ending::Outcome(Outcome::Linked),
            Err(error) if error.is_too_many_links() => {
                self.copy_leader(ready, index, leader, replaces, error)
            }
            Err(error) => self.receiver.not_made(error, !replaces),
        }
    }

    /// The leader can take no further name: this entry becomes a file of its own with the same
    /// content, to which further names are linked. That is reported; nothing is lost.
    fn copy_leader(
        &self,
        ready: &ReadyDir,
        index: u16,
        leader: &MadeLeader,
        replaces: bool,
        error: barge_fs::Error,
    ) -> Ending {
        let item = self.item(index);
        let copied = match item.entry.kind {
            Kind::File { .. } => self.copy_file(ready, &item.entry, leader, replaces),
            _ => self.make(ready, &item.entry, replaces).map(|_| ()),
        };
        if let Err(error) = copied {
            return self.receiver.not_made(error, !replaces);
        }
        let stat = ready.dir.find(&item.entry.name).ok().flatten();
        if let (Tie::Follower { group, .. }, Some(stat)) = (item.tie, stat) {
            let made = MadeLeader {
                dir: Arc::clone(&self.segment.dir),
                name: item.entry.name.clone(),
                inode: Some(barge_fs::LinkKey {
                    dev: stat.dev,
                    ino: stat.ino,
                }),
            };
            self.receiver.links().replace(group, made);
        }
        let mut failure = error.failure(Side::Target);
        failure.op = "linkat (made a file of its own)".into();
        Ending::Outcome(Outcome::Failed(failure))
    }

    fn copy_file(
        &self,
        ready: &ReadyDir,
        entry: &Entry,
        leader: &MadeLeader,
        replaces: bool,
    ) -> Result<(), barge_fs::Error> {
        let from = leader
            .dir
            .open(&self.receiver.root)?
            .dir
            .open_file(&leader.name)?;
        let staged = ready.dir.stage(&entry.name)?;
        let size = from.stat()?.size;
        staged.set_len(size)?;
        let mut buffer = vec![0; MAX_BUNDLED];
        let mut at = 0;
        while let Some(run) = from.next_data(at, size)? {
            at = run.start;
            while at < run.end {
                let len = (run.end - at).min(buffer.len() as u64) as usize;
                let read = from.read_at(&mut buffer[..len], at)?;
                staged.write_at(&buffer[..read], at)?;
                at += len as u64;
            }
        }
        let (dir, keep) = (&ready.dir, &self.receiver.keep);
        staged
            .commit(dir, &entry.meta, keep, ready.inherits_acl, !replaces)
            .map(|_| ())
    }

    fn link_to(
        &self,
        ready: &ReadyDir,
        name: &Name,
        leader: &MadeLeader,
        replaces: bool,
    ) -> Result<(), barge_fs::Error> {
        let from = leader.dir.open(&self.receiver.root)?;
        if !replaces {
            return ready.dir.hard_link(name, &from.dir, &leader.name);
        }
        let temporary = barge_fs::temporary_name(name);
        match ready.dir.hard_link(&temporary, &from.dir, &leader.name) {
            Err(error) if error.is_exists() => {
                // A killed run left it.
                ready.dir.unlink(&temporary)?;
                ready.dir.hard_link(&temporary, &from.dir, &leader.name)?;
            }
            made => made?,
        }
        ready.dir.rename(&temporary, name)
    }

    /// Makes a directory, or takes the one that is there; its own segments can then go on.
    fn directory(&self, index: u16, child: &Arc<TargetDir>) {
        let stage = self
            .directory_stage(index, child)
            .unwrap_or_else(|ending| match ending {
                Ending::Outcome(Outcome::Failed(failure)) => Stage::Failed(failure),
                _ => Stage::Pretended,
            });
        let due = child.made(stage);
        self.receiver.go_on(due, None);
        self.receiver.end_entry(self.segment, index, Ending::Later);
    }

    fn directory_stage(&self, index: u16, child: &TargetDir) -> Result<Stage, Ending> {
        let name = &self.item(index).entry.name;
        if is_own_temporary(name) {
            return Err(Receiver::refusal(RESERVED, Class::Unsupported));
        }
        let existing = self
            .existing(name)
            .map_err(|error| self.receiver.failed(error))?;
        let is_there = existing.is_some_and(|stat| stat.kind == StatKind::Directory);
        let Some(ready) = self.ready else {
            return Ok(Stage::Pretended);
        };
        match existing {
            _ if self.receiver.order.dry_run && !is_there => return Ok(Stage::Pretended),
            Some(stat) if is_there => {
                self.unlock(ready, name, &stat, child)?;
                return Ok(Stage::Ready { fresh: false });
            }
            Some(stat) => self.make_way(ready, index, &stat)?,
            None => {}
        }
        ready
            .dir
            .make_dir(name)
            .map_err(|error| self.receiver.not_made(error, true))?;
        Ok(Stage::Ready { fresh: true })
    }

    /// Gives an existing directory's owner the rights to write in it; it gets its own again when
    /// all is through.
    fn unlock(
        &self,
        ready: &ReadyDir,
        name: &Name,
        stat: &Stat,
        child: &TargetDir,
    ) -> Result<(), Ending> {
        let mut before = Before::of(stat);
        if !self.receiver.order.dry_run && stat.mode.bits() & 0o700 != 0o700 {
            before.xattrs = ready.dir.xattrs(name, stat, &self.receiver.keep).ok();
            match ready.dir.make_child_writable(name, stat) {
                Err(error) if error.is_fatal() => return Err(self.receiver.failed(error)),
                // Another's directory: what fails in it says so itself.
                _ => {}
            }
        }
        child.was(before);
        Ok(())
    }
}
