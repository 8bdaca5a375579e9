//! Groups of names of one file: who of them is made first, and who waits to be linked to it.
//!
//! Source: rsync(1), «--hard-links», and rsync 3.5.0 as it behaves.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use barge_rsync::wire::ndx::FileIndex;

use super::dirs::TargetDir;

/// The groups of a run, by the numbers they have in the lists. They are remembered until the end:
/// no list says which member is the last.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    groups: HashMap<u32, Group>,
    /// Members that wait for leaders whose updates are delayed.
    held: usize,
}

#[derive(Debug, Default)]
struct Group {
    /// The last member that is known.
    last: Option<FileIndex>,
    stage: Stage,
    /// Members that were passed over because nothing is there under their names.
    passed_over: Vec<FileIndex>,
    /// Members that came after the leader.
    waiting: VecDeque<FileIndex>,
}

/// How far a group is.
#[derive(Clone, Debug, Default)]
enum Stage {
    /// No member leads.
    #[default]
    Open,
    /// One is on its way.
    Underway,
    /// It has come, and gets its name at the end of the run.
    Delayed,
    /// A name of the file is there.
    Made(Arc<Leader>),
}

/// Where a name of a group's file is.
#[derive(Debug)]
pub(super) struct Leader {
    /// Its path, as the lists have it.
    pub(super) path: Vec<u8>,
    /// Its directory here.
    pub(super) dir: Arc<TargetDir>,
    /// What it has of [`barge_fs::LinkKey`]; unknown in a dry run that would have made it.
    pub(super) inode: Option<(u64, u64)>,
}

/// What a member is to do.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Be made, or be taken as it is: the others follow.
    Lead,
    /// Wait until the leader is through.
    Wait,
    /// Become another name of this.
    LinkTo(Arc<Leader>),
}

impl HardLinks {
    /// A member is in a list that came.
    pub(super) fn listed(&mut self, group: u32, index: FileIndex) {
        let group = self.groups.entry(group).or_default();
        group.last = group.last.max(Some(index));
    }

    /// The part of a member that is come to. With `passes` it leaves the lead to a later one, if
    /// there is any: it may be there already.
    pub(super) fn meet(&mut self, group: u32, index: FileIndex, passes: bool) -> Part {
        let group = self.groups.entry(group).or_default();
        match &group.stage {
            Stage::Made(leader) => Part::LinkTo(Arc::clone(leader)),
            Stage::Underway | Stage::Delayed => {
                self.held += usize::from(matches!(group.stage, Stage::Delayed));
                group.waiting.push_back(index);
                Part::Wait
            }
            Stage::Open if passes && group.last > Some(index) => {
                group.passed_over.push(index);
                Part::Wait
            }
            Stage::Open => {
                group.stage = Stage::Underway;
                Part::Lead
            }
        }
    }

    /// The leader's update is delayed.
    pub(super) fn delay(&mut self, group: u32) {
        let group = self.groups.entry(group).or_default();
        group.stage = Stage::Delayed;
        self.held += group.passed_over.len() + group.waiting.len();
    }

    /// How many members wait for the end of the run.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The leader is in its place; returns who is to be linked to it now.
    pub(super) fn made(&mut self, group: u32, leader: Leader) -> (Arc<Leader>, Vec<FileIndex>) {
        let group = self.groups.entry(group).or_default();
        let leader = Arc::new(leader);
        let was = std::mem::replace(&mut group.stage, Stage::Made(Arc::clone(&leader)));
        let mut followers = std::mem::take(&mut group.passed_over);
        followers.reverse();
        followers.extend(group.waiting.drain(..));
        if matches!(was, Stage::Delayed) {
            self.held -= followers.len();
        }
        (leader, followers)
    }

    /// The leader cannot be made, or has as many names as it may have; returns who of those that
    /// wait is to lead in its place.
    pub(super) fn lost(&mut self, group: u32) -> Option<FileIndex> {
        let group = self.groups.entry(group).or_default();
        group.stage = Stage::Open;
        let passed_over = group.passed_over.pop();
        let next = passed_over.or_else(|| group.waiting.pop_front())?;
        group.stage = Stage::Underway;
        Some(next)
    }

    /// Whether members were passed over for one that is not to come: this was the last that is
    /// known, and it was left alone.
    pub(super) fn is_orphaned(&self, group: u32, index: FileIndex) -> bool {
        self.groups.get(&group).is_some_and(|group| {
            matches!(group.stage, Stage::Open)
                && group.last <= Some(index)
                && !group.passed_over.is_empty()
        })
    }

    /// Whether the leader waits for the end of the run: then nothing more is asked for.
    pub(super) fn is_delayed(&self, group: u32) -> bool {
        let group = self.groups.get(&group);
        group.is_some_and(|group| matches!(group.stage, Stage::Delayed))
    }

    /// A member leads a group whose file has as many names as it may have.
    pub(super) fn lead_anew(&mut self, group: u32) {
        self.groups.entry(group).or_default().stage = Stage::Underway;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::over_rsync::receiver::dirs::TargetDirs;

    fn index(n: u32) -> FileIndex {
        FileIndex::new(n).unwrap()
    }

    fn leader() -> Leader {
        Leader {
            path: b"leader".to_vec(),
            dir: TargetDirs::default().at(b".").unwrap(),
            inode: None,
        }
    }

    fn group_of(members: u32) -> HardLinks {
        let mut links = HardLinks::default();
        (0..members).for_each(|n| links.listed(7, index(n)));
        links
    }

    #[test]
    fn last_known_member_leads_when_none_is_there_and_the_others_follow_backwards() {
        let mut links = group_of(3);
        assert!(matches!(links.meet(7, index(0), true), Part::Wait));
        assert!(matches!(links.meet(7, index(1), true), Part::Wait));
        assert!(matches!(links.meet(7, index(2), true), Part::Lead));
        links.listed(7, index(9));
        assert!(matches!(links.meet(7, index(9), true), Part::Wait));
        let (_, followers) = links.made(7, leader());
        assert_eq!(followers, [index(1), index(0), index(9)]);
        assert!(matches!(links.meet(7, index(10), true), Part::LinkTo(_)));
    }

    #[test]
    fn member_that_is_there_leads_at_once() {
        let mut links = group_of(3);
        assert!(matches!(links.meet(7, index(0), false), Part::Lead));
        assert!(matches!(links.meet(7, index(1), false), Part::Wait));
    }

    #[test]
    fn members_that_were_passed_over_are_orphans_when_the_last_one_was_left_alone() {
        let mut links = group_of(3);
        assert!(!links.is_orphaned(7, index(2)));
        assert!(matches!(links.meet(7, index(0), true), Part::Wait));
        assert!(!links.is_orphaned(7, index(0)), "others are to come");
        assert!(links.is_orphaned(7, index(2)));
        assert_eq!(links.lost(7), Some(index(0)));
        assert!(!links.is_orphaned(7, index(2)));
    }

    #[test]
    fn another_leads_when_the_leader_is_lost() {
        let mut links = group_of(3);
        assert!(matches!(links.meet(7, index(0), true), Part::Wait));
        assert!(matches!(links.meet(7, index(1), false), Part::Lead));
        assert!(matches!(links.meet(7, index(2), true), Part::Wait));
        assert_eq!(links.lost(7), Some(index(0)));
        assert_eq!(links.lost(7), Some(index(2)));
        assert_eq!(links.lost(7), None);
        assert!(matches!(links.meet(7, index(4), true), Part::Lead));
    }

    #[test]
    fn who_waits_for_a_delayed_leader_is_held_until_it_is_made() {
        let mut links = HardLinks::default();
        for n in 1..=4 {
            links.listed(7, index(n));
        }
        assert!(matches!(links.meet(7, index(1), true), Part::Wait));
        assert!(matches!(links.meet(7, index(2), false), Part::Lead));
        assert!(matches!(links.meet(7, index(3), false), Part::Wait));
        assert_eq!(links.held(), 0);
        links.delay(7);
        assert_eq!(links.held(), 2);
        assert!(matches!(links.meet(7, index(4), false), Part::Wait));
        assert_eq!(links.held(), 3);
        let (_, followers) = links.made(7, leader());
        assert_eq!(followers, [index(1), index(3), index(4)]);
        assert_eq!(links.held(), 0);
    }
}
