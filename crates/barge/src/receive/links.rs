//! Files with several names: the first is brought, the others are linked to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use barge_fs::{LinkKey, Stat};
use barge_native::{Item, LinkGroup, ProtocolError, Tie};
use barge_types::Name;

use super::dirs::TargetDir;
use super::remembered::{Room, Share};
use super::segment::OpenSegment;

/// The files with several names whose last name has not been made.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: HashMap<LinkGroup, Group>,
    /// Inodes of the target that are some group's file already.
    claimed: HashSet<LinkKey>,
}

#[derive(Debug)]
struct Group {
    leader: Leader,
    /// Further names that have arrived and not ended.
    followers: usize,
    last_arrived: bool,
    /// Of what is remembered of it.
    _share: Share,
}

#[derive(Debug)]
enum Leader {
    /// It is being brought; these wait for it.
    Underway(Vec<Follower>),
    /// It is there.
    Made(Arc<MadeLeader>),
    /// It failed: the source must name another.
    Lost,
}

/// A further name: an entry of a segment.
pub(super) type Follower = (Arc<OpenSegment>, u16);

/// A file to which further names are linked.
#[derive(Debug)]
pub(super) struct MadeLeader {
    pub(super) dir: Arc<TargetDir>,
    pub(super) name: Name,
    /// `None` in a dry run in which it would have been made.
    pub(super) inode: Option<LinkKey>,
}

/// What a follower can do.
#[derive(Debug)]
pub(super) enum Lead {
    /// Wait; it will be called.
    Wait,
    /// Link.
    To(Arc<MadeLeader>),
    /// Nothing: its leader failed.
    Lost,
}

impl Links {
    /// Notes an entry's tie as its segment arrives.
    pub(super) fn arrive(&mut self, item: &Item, room: &Arc<Room>) -> Result<(), ProtocolError> {
        match item.tie {
            Tie::None | Tie::Directory(_) => Ok(()),
            Tie::Leader(group) => {
                let leader = Leader::Underway(Vec::new());
                let new = Group {
                    leader,
                    followers: 0,
                    last_arrived: false,
                    _share: room.of_group(item.entry.name.as_bytes().len())?,
                };
                match self.groups.insert(group, new) {
                    None => Ok(()),
                    Some(_) => Err(ProtocolError::Order("a hard link's leader")),
                }
            }
            Tie::Follower { group, last } => {
                let group = self.groups.get_mut(&group);
                let group = group.filter(|group| !group.last_arrived);
                let group = group.ok_or(ProtocolError::Order("a hard link"))?;
                group.followers += 1;
                group.last_arrived = last;
                Ok(())
            }
        }
    }

    /// What `follower` of `group` can do now.
    pub(super) fn follow(&mut self, group: LinkGroup, follower: Follower) -> Lead {
        match self.groups.get_mut(&group).map(|group| &mut group.leader) {
            Some(Leader::Underway(waiting)) => {
                waiting.push(follower);
                Lead::Wait
            }
            Some(Leader::Made(leader)) => Lead::To(Arc::clone(leader)),
            Some(Leader::Lost) | None => Lead::Lost,
        }
    }

    /// The leader has ended; returns who waited for it.
    pub(super) fn resolve(&mut self, group: LinkGroup, made: Option<MadeLeader>) -> Vec<Follower> {
        let Some(entry) = self.groups.get_mut(&group) else {
            return Vec::new();
        };
        let leader = made.map_or(Leader::Lost, |made| Leader::Made(Arc::new(made)));
        match std::mem::replace(&mut entry.leader, leader) {
            Leader::Underway(waiting) => waiting,
            Leader::Made(_) | Leader::Lost => Vec::new(),
        }
    }

    /// Further names are linked to another file from here on: the first can take no more.
    pub(super) fn replace(&mut self, group: LinkGroup, made: MadeLeader) {
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.leader = Leader::Made(Arc::new(made));
        }
    }

    /// A follower has ended; a group is forgotten with its last.
    pub(super) fn followed(&mut self, group: LinkGroup) {
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.followers -= 1;
            if entry.followers == 0 && entry.last_arrived {
                self.groups.remove(&group);
            }
        }
    }

    /// Whether an existing inode cannot stay what an entry's name stands for: it has other names,
    /// and the source's file has none, or they are another file's already.
    pub(super) fn must_part(&mut self, tie: Tie, stat: &Stat) -> bool {
        match (stat.link_key(), tie) {
            (None, _) | (_, Tie::Directory(_)) => false,
            (Some(key), Tie::Leader(_)) => !self.claimed.insert(key),
            (Some(_), _) => true,
        }
    }
}
