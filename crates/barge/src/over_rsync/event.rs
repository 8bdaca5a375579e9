//! What a run over rsync's protocol tells whoever shows it.
//!
//! The mover says what happened and in which order; whoever listens decides what of it is shown and
//! how it looks. Only [`Event::Line`] is ready text: what rsync(1) words freely. A line that an
//! `--info` word governs is told when [`Options::info`](super::options::Options::info) asks for it,
//! and not otherwise.

/// Hears of a run as it happens. Called from the run's threads; lines in the order they are due.
pub trait Listener: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);

    /// How `--list-only` shows an entry, without a newline: a server says it to its client. `None` where
    /// nobody is to see it.
    fn list_line(&self, _entry: &Item<'_>) -> Option<Vec<u8>> {
        None
    }
}

/// How grave a line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// For the standard output.
    Info,
    /// For the standard error.
    Warning,
    /// An error that does not change the exit code by itself.
    Error,
    /// An error of one file: the exit code becomes 23.
    FileError,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A line of text, with its newline. From the peer too: escape what a terminal would obey.
    Line {
        /// How grave it is.
        level: Level,
        /// The text, as rsync words it.
        text: &'a [u8],
    },
    /// Content of a regular file begins to move; an [`Event::Item`] of the same file follows when
    /// it is through, and none when it failed. Told before the first [`Event::Progress`].
    Starts(Item<'a>),
    /// An entry was dealt with: what `-v`, `-i`, `--out-format` and the log show. Unchanged entries
    /// too, when the receiving side tells of them; `bytes` and `checksum` are known here.
    Item(Item<'a>),
    /// An entry of the list, shown by `--list-only` instead of being dealt with.
    Entry(Item<'a>),
    /// A path was deleted at the receiving side.
    Deleted {
        /// Its path, without a trailing slash.
        name: &'a [u8],
        /// Its `st_mode` where it was deleted here; over the wire comes no more than whether it
        /// was a directory (`0o040000`) or not (0).
        mode: u32,
    },
    /// The list begins to be built or to be received.
    ListBegins {
        /// It comes in pieces (incremental recursion).
        incremental: bool,
        /// Bytes of the checksum that [`Item::checksum`] may carry: that of transfers, with `-c` that
        /// of the list.
        checksum_len: usize,
    },
    /// Entries listed so far, of all lists: when a list is through, and now and then before.
    Listed {
        /// How many entries there are.
        entries: u64,
        /// Bytes of the regular files and symbolic links among them.
        bytes: u64,
        /// No more will come.
        complete: bool,
    },
    /// Content moves: `name` is at `offset` of `size`.
    ///
    /// As often as chunks move; first when no more than 32 KiB are through on the sending side,
    /// and at offset 0 on the receiving side, for that is what rsync shows first.
    Progress {
        /// The file.
        name: &'a [u8],
        /// Bytes of it that are through, taken from a basis or sent.
        offset: u64,
        /// Its length.
        size: u64,
        /// It is through.
        last: bool,
        /// How far the run is.
        at: Position,
    },
    /// A list is done with: every entry of it is in its final state. Told for each of the lists
    /// when they come in pieces, else for each of the three ends of phases; what
    /// `--info=progress2` shows then.
    Settled(Position),
}

/// How far a run is, for progress.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// Transfers asked for so far, those that failed included, and the present one.
    pub transfers: u64,
    /// Lengths of the files of the transfers before the present one.
    pub bytes: u64,
    /// Entries listed that lie behind: those before the present one, it included; when a list is
    /// done with, all up to its end or the end of the list the last item was in.
    pub behind: u64,
}

/// At which end an item is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ItemSide {
    /// It was sent from here.
    Sent,
    /// It was received here.
    Received,
}

/// What is told of an entry that was dealt with.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its path below the transfer's root, without a trailing slash; `.` for the root.
    pub name: &'a [u8],
    /// What `%f` shows: the source's path with the argument it was found below (`src/sub/file`),
    /// on a daemon the path below the module's; elsewhere at the receiving side as `name`.
    pub full_name: &'a [u8],
    /// Its `st_mode`, the kind included.
    pub mode: u32,
    /// Its length.
    pub size: u64,
    /// Its time, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Its owner; 0 when owners do not travel.
    pub uid: u32,
    /// Its group, where groups travel.
    pub gid: Option<u32>,
    /// A symbolic link's target.
    pub link: Option<&'a [u8]>,
    /// The path it was hard-linked to just now: the item's extra name, where it is not empty.
    pub hard_link: Option<&'a [u8]>,
    /// The item flags, as they cross the wire.
    pub iflags: u16,
    /// At which end this is.
    pub side: ItemSide,
    /// Bytes of the connection this file took: those of content (`%b`), those of block sums (`%c`).
    pub bytes: (u64, u64),
    /// The whole-file checksum, where there is one.
    pub checksum: Option<&'a [u8]>,
}

/// The closing statistics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RunStats {
    /// Entries listed: regular files, directories, links, devices, specials.
    pub files: [u64; 5],
    /// Entries created, of the same kinds.
    pub created: [u64; 5],
    /// Entries deleted, of the same kinds; `None` before protocol 31, which does not count them.
    pub deleted: Option<[u64; 5]>,
    /// Regular files transferred.
    pub transferred: u64,
    /// Bytes of all regular files and links listed.
    pub total_size: u64,
    /// Bytes of the files transferred.
    pub transferred_size: u64,
    /// Bytes sent as they are.
    pub literal: u64,
    /// Bytes taken from a basis.
    pub matched: u64,
    /// Bytes of the lists on the wire.
    pub list_bytes: u64,
    /// Milliseconds it took to build them.
    pub list_build_ms: u64,
    /// Milliseconds it took to transfer them.
    pub list_transfer_ms: u64,
    /// Bytes this side sent.
    pub sent: u64,
    /// Bytes this side received.
    pub received: u64,
}
