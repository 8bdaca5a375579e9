//! The eleven characters of `%i`: what is done to an entry, what it is, and what changes of it.
//!
//! rsync(1), `--itemize-changes`: `YXcstpoguax`.

use barge::over_rsync::{Item, ItemSide};

/// The flags of an item, as they cross the wire.
pub(super) mod flag {
    pub(crate) const ATIME: u16 = 1 << 0;
    pub(crate) const CHANGE: u16 = 1 << 1;
    /// Of a symbolic link: its time could not be set.
    pub(crate) const SIZE: u16 = 1 << 2;
    pub(crate) const TIME: u16 = 1 << 3;
    pub(crate) const PERMS: u16 = 1 << 4;
    pub(crate) const OWNER: u16 = 1 << 5;
    pub(crate) const GROUP: u16 = 1 << 6;
    pub(crate) const ACL: u16 = 1 << 7;
    pub(crate) const XATTR: u16 = 1 << 8;
    pub(crate) const CRTIME: u16 = 1 << 10;
    pub(crate) const BASIS: u16 = 1 << 11;
    pub(crate) const XNAME: u16 = 1 << 12;
    pub(crate) const NEW: u16 = 1 << 13;
    pub(crate) const LOCAL: u16 = 1 << 14;
    pub(crate) const TRANSFER: u16 = 1 << 15;
}

/// What a deletion shows in the place of the flags.
pub(super) const DELETING: &str = "*deleting  ";

/// The columns of one item. `local` is a copy within one machine, which rsync shows as received;
/// `times` says whether times of modification are kept.
pub(super) fn columns(item: &Item<'_>, local: bool, times: bool) -> String {
    let kind = kind(item.mode);
    let update = update(item, local);
    let mut text = String::from_iter([update, kind]);
    if item.iflags & flag::NEW != 0 {
        return text + "+++++++++";
    }
    let attributes = attributes(item.iflags, kind, times);
    let unchanged = attributes.iter().all(|&letter| letter == '.');
    if unchanged && !matches!(update, '<' | '>') {
        return text + "         ";
    }
    text.extend(attributes);
    text
}

fn update(item: &Item<'_>, local: bool) -> char {
    match item.iflags {
        flags if flags & flag::LOCAL != 0 => match flags & flag::XNAME {
            0 => 'c',
            _ => 'h',
        },
        flags if flags & flag::TRANSFER == 0 => '.',
        _ if item.side == ItemSide::Sent && !local => '<',
        _ => '>',
    }
}

fn kind(mode: u32) -> char {
    match mode & super::KIND {
        super::DIRECTORY => 'd',
        super::SYMLINK => 'L',
        super::CHARACTER_DEVICE | super::BLOCK_DEVICE => 'D',
        super::FIFO | super::SOCKET => 'S',
        _ => 'f',
    }
}

fn attributes(flags: u16, kind: char, times: bool) -> [char; 9] {
    let if_set = |mask: u16, letter: char| if flags & mask != 0 { letter } else { '.' };
    let time_failed = kind == 'L' && flags & flag::SIZE != 0;
    let accessed = match (flags & flag::ATIME != 0, flags & flag::CRTIME != 0) {
        (true, true) => 'b',
        (true, false) => 'u',
        (false, true) => 'n',
        (false, false) => '.',
    };
    [
        if_set(flag::CHANGE, 'c'),
        if kind == 'L' {
            '.'
        } else {
            if_set(flag::SIZE, 's')
        },
        if_set(flag::TIME, if times && !time_failed { 't' } else { 'T' }),
        if_set(flag::PERMS, 'p'),
        if_set(flag::OWNER, 'o'),
        if_set(flag::GROUP, 'g'),
        accessed,
        if_set(flag::ACL, 'a'),
        if_set(flag::XATTR, 'x'),
    ]
}

/// Whether anything was done, or would be: not only looked at and found as it should be.
pub(super) fn is_significant(iflags: u16) -> bool {
    iflags & !(flag::BASIS | flag::XNAME | flag::LOCAL) != 0
}

/// Whether something significant is more than an attribute of what is no directory.
pub(super) fn is_touched(item: &Item<'_>) -> bool {
    let is_dir = item.mode & super::KIND == super::DIRECTORY;
    is_dir || item.iflags & (flag::TRANSFER | flag::LOCAL) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personality::rsync::output::tests::item;

    /// The columns that two stock rsyncs 3.5.0 printed, with what was done to come by them and the
    /// flags rsync(1) explains them by.
    #[test]
    fn columns_look_as_captured_from_rsync() {
        const FILE: u32 = 0o100_644;
        const DIR: u32 = 0o040_755;
        const LINK: u32 = 0o120_777;
        const PIPE: u32 = 0o010_644;
        const DEVICE: u32 = 0o020_644;
        use flag::*;
        for (mode, flags, times, captured) in [
            (FILE, TRANSFER | NEW, true, ">f+++++++++"),
            (FILE, TRANSFER | SIZE | TIME, true, ">f.st......"),
            (FILE, TRANSFER | TIME, false, ">f..T......"),
            (FILE, TRANSFER | SIZE | TIME, false, ">f.sT......"),
            (FILE, TRANSFER | CHANGE | SIZE | TIME, true, ">fcst......"),
            (FILE, TRANSFER | CHANGE, true, ">fc........"),
            (FILE, TRANSFER, true, ">f........."),
            (FILE, PERMS, true, ".f...p....."),
            (FILE, OWNER | GROUP, true, ".f....og..."),
            (FILE, ATIME | XATTR, true, ".f......u.x"),
            (FILE, PERMS | ATIME | ACL, true, ".f...p..ua."),
            (FILE, ATIME | CRTIME, true, ".f......b.."),
            (FILE, CRTIME, true, ".f......n.."),
            (FILE, ACL, true, ".f.......a."),
            (FILE, 0, true, ".f         "),
            (FILE, LOCAL, true, "cf         "),
            (FILE, LOCAL | XNAME, true, "hf         "),
            (FILE, LOCAL | XNAME | NEW, true, "hf+++++++++"),
            (FILE, LOCAL | XNAME | SIZE | TIME, true, "hf.st......"),
            (DIR, LOCAL | NEW, true, "cd+++++++++"),
            (DIR, TIME, true, ".d..t......"),
            (DIR, PERMS, true, ".d...p....."),
            (DIR, LOCAL, true, "cd         "),
            (DIR, 0, true, ".d         "),
            (LINK, LOCAL | NEW | CHANGE, true, "cL+++++++++"),
            (LINK, LOCAL | CHANGE | TIME, true, "cLc.t......"),
            (LINK, LOCAL | CHANGE | TIME, false, "cLc.T......"),
            (LINK, LOCAL | CHANGE | TIME | SIZE, true, "cLc.T......"),
            (LINK, TIME, true, ".L..t......"),
            (LINK, LOCAL | XNAME, true, "hL         "),
            (PIPE, LOCAL | NEW, true, "cS+++++++++"),
            (PIPE, TIME, true, ".S..t......"),
            (DEVICE, LOCAL | NEW | CHANGE, true, "cD+++++++++"),
        ] {
            let mut item = item("name", mode, flags);
            item.side = ItemSide::Received;
            assert_eq!(columns(&item, false, times), captured, "{flags:#x}");
            assert_eq!(captured.len(), DELETING.len());
        }
    }

    #[test]
    fn content_that_is_sent_points_to_the_left_unless_it_stays_on_the_machine() {
        let item = item("name", 0o100_644, flag::TRANSFER | flag::NEW);
        assert_eq!(columns(&item, false, true), "<f+++++++++");
        assert_eq!(columns(&item, true, true), ">f+++++++++");
    }
}
