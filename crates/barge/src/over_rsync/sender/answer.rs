//! Sends the lists, answers what the receiving side asks for, in its order, and ends the run.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use barge_delta::{Counts, Index};
use barge_rsync::WireError;
use barge_rsync::options::Options;
use barge_rsync::role::phase::{SenderPhase, SenderStep};
use barge_rsync::role::requests::{Event as Asked, Request, Requests};
use barge_rsync::session::CompatFlags;
use barge_rsync::wire::budget::Budget;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::flist::Format;
use barge_rsync::wire::iflags::{Basis, ItemFlags};
use barge_rsync::wire::item::Item;
use barge_rsync::wire::list::{List, Lists};
use barge_rsync::wire::mux::{IoErrors, Message};
use barge_rsync::wire::ndx::{FileIndex, Ndx, NdxWriter};
use barge_rsync::wire::stats::{DelStats, Statistics};
use barge_rsync::wire::sums::{SumHead, SumsDecoder};
use bytes::{Bytes, BytesMut};

use super::bases::{Bases, Reach};
use super::content::{Answer, Append, Contents, Sent, put_item};
use super::queue::{Queue, Scanned, ScannedList};
use super::removal;
use crate::over_rsync::failure::Failure;
use crate::over_rsync::files_from::NameFeed;
use crate::over_rsync::incoming::Incoming;
use crate::over_rsync::memory;
use crate::over_rsync::read_ahead::{Bell, Watch};
use crate::over_rsync::run::Run;
use crate::over_rsync::{Event, Item as Told, ItemSide, Position, RunStats};

/// Entries that are announced beyond the list in hand before anything else is done, so that the
/// receiving side is never idle.
const FEW_AHEAD: u64 = 1_000;

/// Entries that are announced beyond it at most.
const MANY_AHEAD: u64 = 10_000;

/// How long requests wait for the next list while so few are announced.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the first lists are held back to leave together, as long as they come soon. So they do
/// with rsync, whose receiving client tells how many bytes of lists it read: it does not count those
/// that it reads together with something else.
const GATHERING: Duration = Duration::from_millis(500);

/// The files that the receiving side says are safe there.
pub(super) type Safe = Arc<Mutex<VecDeque<FileIndex>>>;

/// The thread that talks.
pub(super) struct Answers {
    pub(super) run: Arc<Run>,
    pub(super) options: Arc<Options>,
    pub(super) bases: Arc<Bases>,
    pub(super) format: Format,
    pub(super) incoming: Incoming,
    pub(super) requests: Requests,
    pub(super) bell: Arc<Bell>,
    pub(super) watch: Watch,
    pub(super) queue: Arc<Queue>,
    pub(super) safe: Safe,
    /// Names of `--files-from` come before the requests.
    pub(super) names: Option<NameFeed>,
    pub(super) contents: Contents,
    pub(super) phase: SenderPhase,
    pub(super) ndx: NdxWriter,
    pub(super) books: Books,
}

/// What the talking thread remembers.
pub(super) struct Books {
    lists: Lists,
    /// Of each of these, how many entries there are up to its end, and what was asked for.
    pages: VecDeque<Page>,
    /// No more lists will come.
    ended: bool,
    /// Entries of all lists so far.
    entries: u64,
    /// Those up to the end of the list that the receiving side is at.
    reached: u64,
    /// Trouble that the receiving side knows of.
    told: IoErrors,
    /// How far the run is.
    position: Position,
    begun: Instant,
    listed: Option<Instant>,
    /// When the scan last had something to send.
    listed_last: Instant,
    deleted: Option<DelStats>,
    /// What all searches for blocks came to.
    searches: Counts,
    pub(super) stats: RunStats,
}

/// What is remembered of a list.
struct Page {
    /// The index of its first entry, and how many there are.
    start: u32,
    len: u32,
    /// Entries of all lists, up to its end.
    end: u64,
    /// A bit for each entry: its content was asked for.
    asked: Vec<u64>,
    /// Of what the list takes, which is dropped with this.
    _budget: Budget,
}

impl Books {
    pub(super) fn new() -> Self {
        Self {
            lists: Lists::default(),
            pages: VecDeque::new(),
            ended: false,
            entries: 0,
            reached: 0,
            told: IoErrors::default(),
            position: Position::default(),
            begun: Instant::now(),
            listed: None,
            listed_last: Instant::now(),
            deleted: None,
            searches: Counts::default(),
            stats: RunStats::default(),
        }
    }

    fn ahead(&self) -> u64 {
        self.entries - self.reached
    }

    /// What is remembered of the list in which an index is, or of whose directory it tells.
    fn page_of(&mut self, index: FileIndex) -> Option<&mut Page> {
        let after = self
            .pages
            .partition_point(|page| page.start <= index.get() + 1);
        self.pages.get_mut(after.checked_sub(1)?)
    }
}

/// Whether the conversation goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Go,
    End,
}

impl Answers {
    /// Talks to the end.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        loop {
            let few = !self.books.ended && self.books.ahead() < FEW_AHEAD;
            if few && (self.send_list()? || self.comes_soon()?) {
                if self.has_nothing_to_send() {
                    return Ok(());
                }
                continue;
            }
            if let Some(asked) = self.poll()? {
                match self.answer(asked)? {
                    Next::Go => continue,
                    Next::End => return Ok(()),
                }
            }
            // What is behind the names that the scan has no room for stays where it is.
            if self.names.as_ref().is_some_and(NameFeed::is_held_up) {
                if !self.send_list()? {
                    self.wait_for_scan()?;
                }
                continue;
            }
            let data = self.poll_data()?;
            // What was asked for before they were safe is answered: nothing more is wanted of them.
            self.remove_safe()?;
            if let Some(data) = data {
                self.requests.handle_data(data);
            } else if self.books.ahead() >= MANY_AHEAD || !self.send_list()? {
                self.wait()?;
            }
        }
    }

    /// Waits a little for the next list, as long as the last one is not long ago: a scan of small
    /// directories is ahead at once, and one that takes long keeps nobody from its content. Whether
    /// there is something to send.
    fn comes_soon(&mut self) -> Result<bool, Failure> {
        // The scan may itself be waiting for names, which come before the requests.
        if self.names.is_some() {
            return Ok(false);
        }
        if !self.queue.is_empty() {
            return Ok(true);
        }
        let patience = PATIENCE.saturating_sub(self.books.listed_last.elapsed());
        if patience.is_zero() {
            return Ok(false);
        }
        if self.books.begun.elapsed() >= GATHERING {
            self.run.outgoing.flush()?;
        }
        let ready = || (!self.queue.is_empty()).then_some(());
        Ok(self.bell.wait_for(Some(patience), ready).is_some())
    }

    /// The next request, once all names have come.
    fn poll(&mut self) -> Result<Option<Asked>, Failure> {
        if let Some(names) = &mut self.names {
            let ended = match names.is_raw {
                true => names.take(self.incoming.unframed())?,
                false => names.take(self.requests.input())?,
            };
            if !ended {
                return Ok(None);
            }
            self.names = None;
        }
        Ok(self.requests.poll()?)
    }

    /// Waits until the scan has something to send, or takes more names.
    fn wait_for_scan(&mut self) -> Result<(), Failure> {
        self.run.outgoing.flush()?;
        loop {
            let due = self.incoming.keep_alive()?;
            let takes_more = || self.names.as_ref().is_none_or(NameFeed::has_room);
            let ready = || (!self.queue.is_empty() || takes_more()).then_some(());
            if self.bell.wait_for(due.patience(), ready).is_some() {
                return Ok(());
            }
        }
    }

    /// Data that has come. Raw names stand outside all frames.
    fn poll_data(&mut self) -> Result<Option<BytesMut>, Failure> {
        match &self.names {
            Some(names) if names.is_raw => Ok(None),
            _ => self.incoming.poll_data(),
        }
    }

    /// Waits for requests, or for a list that may be sent.
    fn wait(&mut self) -> Result<(), Failure> {
        self.run.outgoing.flush()?;
        loop {
            let due = self.incoming.keep_alive()?;
            let wants_lists = self.books.ahead() < MANY_AHEAD;
            let ready = || match (self.watch.is_ready(), wants_lists && !self.queue.is_empty()) {
                (false, false) => None,
                (came, _) => Some(came),
            };
            match self.bell.wait_for(due.patience(), ready) {
                Some(true) => return self.incoming.wait(),
                Some(false) => return Ok(()),
                None => {}
            }
        }
    }

    /// Sends the next list, or a piece of the first. Whether there was one.
    fn send_list(&mut self) -> Result<bool, Failure> {
        let Some(scanned) = self.queue.take() else {
            return Ok(false);
        };
        self.books.listed_last = Instant::now();
        match scanned {
            Scanned::Piece(bytes) => self.send_encoded(&bytes)?,
            Scanned::List(list) => self.send_whole_list(list)?,
            Scanned::End => self.end_lists()?,
            Scanned::Failed(failure) => return Err(failure),
        }
        Ok(true)
    }

    fn send_whole_list(&mut self, scanned: ScannedList) -> Result<(), Failure> {
        let ScannedList {
            dir,
            bytes,
            list,
            budget,
            errors,
            tells_errors,
            size,
        } = scanned;
        let is_31 = self.run.setup.protocol.is_31_or_newer();
        let is_news = !is_31 && errors != self.books.told;
        if is_news && !self.run.peer().server {
            // As stock's server: its client hears of it before it deletes anything for the lists.
            self.run.outgoing.message_first(&Message::IoError(errors));
        }
        if let Some(dir) = dir {
            let ndx = &mut self.ndx;
            let marker = |out: &mut BytesMut| ndx.put(out, Ndx::List(dir));
            self.run.outgoing.data(marker)?;
        }
        self.send_encoded(&bytes)?;
        if !tells_errors {
            self.run.outgoing.message(&Message::IoError(errors));
        }
        self.books.told = errors;
        self.note_list(list, budget, size);
        Ok(())
    }

    fn note_list(&mut self, list: Arc<List>, budget: Budget, size: u64) {
        let books = &mut self.books;
        let len = u64::from(list.len());
        books.entries += len;
        books.listed.get_or_insert_with(Instant::now);
        books.stats.total_size = books.stats.total_size.saturating_add(size);
        for (_, entry) in list.entries() {
            books.stats.files[kind_of(entry)] += 1;
        }
        if books.pages.is_empty() {
            books.reached = books.reached.max(books.entries);
        }
        books.pages.push_back(Page {
            start: list.start().get(),
            len: list.len(),
            end: books.entries,
            asked: vec![0; (len as usize).div_ceil(64)],
            _budget: budget,
        });
        books.lists.push(list);
        // The list's end is known with it: it is told before the receiving side can answer.
        books.ended = !self.format.incremental;
        self.run.transfer_starts();
        self.tell_listed();
    }

    fn tell_listed(&self) {
        self.run.tell(Event::Listed {
            entries: self.books.entries,
            bytes: self.books.stats.total_size,
            complete: self.books.ended,
        });
    }

    fn send_encoded(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for piece in bytes.chunks(ENCODED_PIECE) {
            self.run.outgoing.data(|out| out.extend_from_slice(piece))?;
        }
        Ok(())
    }

    fn end_lists(&mut self) -> Result<(), Failure> {
        self.books.ended = true;
        if self.format.incremental && !self.has_nothing_to_send() {
            let ndx = &mut self.ndx;
            self.run.outgoing.data(|out| ndx.put(out, Ndx::ListsEnd))?;
        }
        self.tell_listed();
        Ok(())
    }

    /// A server that has nothing to send ends the run by itself.
    fn has_nothing_to_send(&self) -> bool {
        self.run.server && self.books.ended && self.books.entries == 0
    }

    fn answer(&mut self, asked: Asked) -> Result<Next, Failure> {
        match asked {
            Asked::Request(request) => self.request(request)?,
            Asked::DelStats(stats) => self.books.deleted = Some(stats),
            Asked::Done => return self.done(),
        }
        Ok(Next::Go)
    }

    fn request(&mut self, request: Request) -> Result<(), Failure> {
        let Request { item, xattrs, head } = request;
        let found = self.books.lists.find(item.index)?;
        let (list, is_parent) = (Arc::clone(found.list), found.is_parent);
        let entry = entry_of(&list, item.index, is_parent)?;
        self.reach(item.index);
        let xattrs = match self.has_xattrs(&item) {
            true => Some(self.values(entry, &xattrs)?),
            false => None,
        };
        if !item.flags.has(ItemFlags::TRANSFER) {
            return self.repeat(entry, &item, xattrs.as_deref());
        }
        if !self.phase.may_transfer() || is_parent || !entry.is_file() {
            return Err(WireError::Protocol("a request for what is no file").into());
        }
        self.books.position.transfers += 1;
        match head {
            Some(head) => self.content(entry, &item, xattrs, head),
            None => {
                self.tell_start(entry, &item);
                self.repeat(entry, &item, xattrs.as_deref())?;
                self.count_transfer(entry);
                Ok(())
            }
        }
    }

    /// The receiving side has come to this entry.
    fn reach(&mut self, index: FileIndex) {
        let books = &mut self.books;
        let Some(page) = books.page_of(index) else {
            return;
        };
        let (end, before) = (page.end, page.end - u64::from(page.len));
        let within = (index.get() + 1).saturating_sub(page.start);
        books.reached = books.reached.max(end);
        books.position.behind = before + u64::from(within);
    }

    /// Whether a list of extended attributes stands with an item.
    fn has_xattrs(&self, item: &Item) -> bool {
        let Format {
            xattrs,
            dry_run,
            xattr_optim,
            ..
        } = self.format;
        let is_link = item.flags.has(ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL);
        xattrs && !dry_run && item.flags.has(ItemFlags::XATTR) && !(xattr_optim && is_link)
    }

    /// The values of the attributes that are asked for, read anew; empty when they are gone.
    fn values(&mut self, entry: &FileEntry, numbers: &[u32]) -> Result<Vec<(u32, Bytes)>, Failure> {
        let mut values = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let none = WireError::Protocol("a request for attributes of an entry without any");
            let set = entry.xattrs.as_ref().ok_or(none)?;
            let attribute = set.asked(number)?;
            values.push((number, self.value(entry, attribute.name())));
        }
        Ok(values)
    }

    fn value(&mut self, entry: &FileEntry, name: &[u8]) -> Bytes {
        let wanted = |found: &barge_types::XattrName| found.as_bytes() == name;
        let reach = Reach::of(entry);
        let read = match reach.is_referent || entry.path.is_root() {
            true => {
                let held = self
                    .bases
                    .hold(reach, &entry.path.to_vec(), reach.is_referent);
                held.and_then(|held| held.xattrs(&wanted))
            }
            false => self.contents.dir(entry).and_then(|dir| {
                let name = super::bases::name_of(&entry.path)?;
                dir.xattrs_of(&name, &wanted)
            }),
        };
        let value = read.ok().and_then(|mut found| found.pop());
        value.map_or(Bytes::new(), |xattr| xattr.value.into_vec().into())
    }

    /// Answers without content.
    fn repeat(
        &mut self,
        entry: &FileEntry,
        item: &Item,
        xattrs: Option<&[(u32, Bytes)]>,
    ) -> Result<(), Failure> {
        let ndx = &mut self.ndx;
        self.run.outgoing.data(|out| {
            put_item(item, xattrs, ndx, out);
        })?;
        self.count_created(entry, item);
        self.tell_item(entry, item, (0, 0), None);
        Ok(())
    }

    fn content(
        &mut self,
        entry: &FileEntry,
        item: &Item,
        xattrs: Option<Vec<(u32, Bytes)>>,
        head: SumHead,
    ) -> Result<(), Failure> {
        let again = self.was_asked_before(item.index);
        let append = (self.options.append > 0 && !again).then(|| Append {
            from: head.basis_len(),
            verifies: self.options.append > 1,
        });
        let (_budget, basis) = match append {
            Some(_) => (None, None),
            None => self.basis(item, &head)?,
        };
        let size = entry.len;
        let Some(opened) = self.contents.open(entry, item) else {
            self.books.position.bytes += size;
            return Ok(());
        };
        if append.is_some_and(|append| opened.size < append.from) {
            self.tell_diminished(entry);
            self.contents.will_not_come(item);
            return Ok(());
        }
        self.tell_start(entry, item);
        let sums = bytes_of_sums(&head, append.is_none());
        let answer = Answer {
            entry,
            item,
            xattrs,
            head,
            basis,
            append,
        };
        let shows = self.options.info.progress > 0;
        let (run, position) = (Arc::clone(&self.run), self.books.position);
        let name = if shows {
            entry.path.to_vec()
        } else {
            Vec::new()
        };
        let tell_progress = |offset: u64, last: bool| {
            if shows {
                run.tell(Event::Progress {
                    name: &name,
                    offset,
                    size: opened.size,
                    last,
                    at: position,
                });
            }
        };
        let mut progress = |offset| tell_progress(offset, false);
        let sent = self
            .contents
            .send(&mut self.ndx, answer, &opened, &mut progress)?;
        tell_progress(opened.size, true);
        self.count_sent(entry, item, &sent);
        let digest = self.run.shown(&sent.digest);
        self.tell_item(entry, item, (sent.bytes, sums), Some(&digest));
        Ok(())
    }

    fn count_sent(&mut self, entry: &FileEntry, item: &Item, sent: &Sent) {
        self.count_created(entry, item);
        self.count_transfer(entry);
        let books = &mut self.books;
        books.stats.literal += sent.literal;
        books.stats.matched += sent.matched;
        books.searches.matches += sent.search.matches;
        books.searches.false_alarms += sent.search.false_alarms;
    }

    fn count_transfer(&mut self, entry: &FileEntry) {
        let books = &mut self.books;
        books.position.bytes += entry.len;
        books.stats.transferred += 1;
        books.stats.transferred_size += entry.len;
    }

    fn count_created(&mut self, entry: &FileEntry, item: &Item) {
        if item.flags.has(ItemFlags::NEW) {
            self.books.stats.created[kind_of(entry)] += 1;
        }
    }

    /// Takes the block sums that follow a request, ready to be searched for, and of what they take.
    fn basis(
        &mut self,
        item: &Item,
        head: &SumHead,
    ) -> Result<(Option<Budget>, Option<Index>), Failure> {
        if head.count() == 0 {
            return Ok((None, None));
        }
        let setup = self.run.setup;
        let seed_first = setup.compat.has(CompatFlags::CHECKSUM_SEED_FIX);
        let strong = head.strong_sum(setup.checksum, setup.seed, seed_first);
        let wanted = bytes_of_sums(head, true);
        let (budget, most) = memory::for_sums(wanted, self.options.max_alloc);
        let mut sums = SumsDecoder::new(*head, strong, most);
        while !sums.poll(self.requests.input()) {
            let data = self.incoming.take(usize::MAX)?;
            self.requests.handle_data(data);
        }
        let signature = sums.finish();
        let index = signature.map(|signature| match self.is_in_place(item) {
            true => signature.build_in_place(),
            false => signature.build(),
        });
        Ok((Some(budget), index))
    }

    /// Whether the basis is overwritten while the file is made from it.
    fn is_in_place(&self, item: &Item) -> bool {
        let flags = self.run.setup.compat;
        match item.basis {
            Basis::Destination => self.options.inplace,
            Basis::Partial => flags.has(CompatFlags::INPLACE_PARTIAL_DIR),
            _ => false,
        }
    }

    /// Whether this file's content was asked for before; it is remembered from now on.
    fn was_asked_before(&mut self, index: FileIndex) -> bool {
        let Some(page) = self.books.page_of(index) else {
            return false;
        };
        let slot = (index.get() - page.start) as usize;
        let (word, bit) = (&mut page.asked[slot / 64], 1 << (slot % 64));
        std::mem::replace(word, *word | bit) & bit != 0
    }

    /// rsync ends as if all were well; but this file is not at the target as it is here.
    fn tell_diminished(&self, entry: &FileEntry) {
        self.run.trouble(IoErrors::VANISHED);
        let quoted = self.bases.quoted(Reach::of(entry), &entry.path.to_vec());
        let text = [b"skipped diminished file: ", &*quoted, b"\n"].concat();
        self.run.say(crate::over_rsync::Level::Warning, text);
    }

    fn tell_start(&self, entry: &FileEntry, item: &Item) {
        let paths = self.paths_of(entry);
        self.run.tell(Event::Starts(self.told(entry, item, &paths)));
    }

    fn tell_item(
        &self,
        entry: &FileEntry,
        item: &Item,
        bytes: (u64, u64),
        checksum: Option<&[u8]>,
    ) {
        let paths = self.paths_of(entry);
        let told = self.told(entry, item, &paths);
        let checksum = checksum.or(told.checksum);
        self.run.tell(Event::Item(Told {
            bytes,
            checksum,
            ..told
        }));
    }

    /// An entry's path in the transfer and at the source.
    fn paths_of(&self, entry: &FileEntry) -> (Vec<u8>, Vec<u8>) {
        let path = entry.path.to_vec();
        let source = self.bases.path(Reach::of(entry), &path);
        (path, source)
    }

    fn told<'a>(
        &self,
        entry: &'a FileEntry,
        item: &'a Item,
        (path, source): &'a (Vec<u8>, Vec<u8>),
    ) -> Told<'a> {
        let is_link = item.flags.has(ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL);
        Told {
            name: path.strip_prefix(b"/").unwrap_or(path),
            full_name: source,
            mode: entry.mode,
            size: entry.len,
            mtime: (entry.mtime.secs(), entry.mtime.nanos()),
            uid: entry.uid,
            gid: self.options.group.then_some(entry.gid),
            link: entry.extra().link.as_deref(),
            hard_link: (is_link && !item.name.is_empty()).then_some(&item.name),
            iflags: item.flags.bits(),
            side: ItemSide::Sent,
            bytes: (0, 0),
            checksum: entry.extra().checksum.as_deref(),
        }
    }

    /// Removes the sources of files that are safe at the receiving side.
    fn remove_safe(&mut self) -> Result<(), Failure> {
        loop {
            let next = self
                .safe
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(index) = next else {
                return Ok(());
            };
            let found = self.books.lists.find(index)?;
            let (list, is_parent) = (Arc::clone(found.list), found.is_parent);
            let entry = entry_of(&list, index, is_parent)?;
            let dir = self.contents.dir(entry);
            let tells = self.options.info.remove > 0;
            removal::remove(&self.run, &self.bases, entry, dir, tells);
        }
    }
}

/// The end of lists, phases and the run.
impl Answers {
    fn done(&mut self) -> Result<Next, Failure> {
        self.list_behind_last()?;
        let books = &self.books;
        let step = self.phase.done(books.lists.len(), !books.ended)?;
        match step {
            SenderStep::FreeList => {
                self.free_list();
                self.put_done()?;
            }
            SenderStep::Answer => self.put_done()?,
            SenderStep::Close => self.close()?,
            SenderStep::Goodbye => self.goodbye()?,
            SenderStep::End => return Ok(Next::End),
        }
        let settles = match self.format.incremental {
            true => step == SenderStep::FreeList,
            false => step != SenderStep::Goodbye,
        };
        if !self.format.incremental {
            // Wherever in the one list the last item was: links to others may have come late.
            self.books.position.behind = self.books.entries;
        }
        if settles {
            self.run.tell(Event::Settled(self.books.position));
        }
        Ok(Next::Go)
    }

    /// Before the only list there is may be done, the next one is sent, or the end of lists: to
    /// the receiving side, no list left means that there are no more, and phases follow.
    fn list_behind_last(&mut self) -> Result<(), Failure> {
        while self.format.incremental && self.books.lists.len() == 1 && !self.books.ended {
            if !self.send_list()? {
                self.wait_for_list()?;
            }
        }
        Ok(())
    }

    /// Waits until something has been scanned, and meanwhile lets the peer know that this side
    /// lives.
    fn wait_for_list(&mut self) -> Result<(), Failure> {
        self.run.outgoing.flush()?;
        let scanned = || (!self.queue.is_empty()).then_some(());
        while self.bell.wait_for(Some(LOOK_UP), scanned).is_none() {
            self.run.activity.progress();
            self.incoming.keep_alive()?;
        }
        Ok(())
    }

    fn free_list(&mut self) {
        let books = &mut self.books;
        books.lists.free_oldest();
        if let Some(page) = books.pages.pop_front() {
            books.position.behind = books.position.behind.max(page.end);
        }
        if let Some(next) = books.pages.front() {
            books.reached = books.reached.max(next.end);
        }
    }

    fn put_done(&mut self) -> Result<(), Failure> {
        let ndx = &mut self.ndx;
        self.run.outgoing.data(|out| ndx.put(out, Ndx::Done))
    }

    fn close(&mut self) -> Result<(), Failure> {
        if self.options.verbose > 1 {
            self.tell_searches();
        }
        let trouble = self.run.io_errors();
        if trouble != self.books.told {
            self.run.outgoing.message(&Message::IoError(trouble));
            self.books.told = trouble;
        }
        self.put_done()?;
        let stats = self.statistics();
        self.books.stats.list_build_ms = stats.list_build_ms;
        self.books.stats.list_transfer_ms = stats.list_transfer_ms;
        if self.run.server {
            self.run.outgoing.data(|out| stats.put(out))?;
        }
        Ok(())
    }

    /// Tells what searching for blocks came to, in the words of rsync's `--debug=deltasum`, which is
    /// in `-vv`. A hit is a window that looks like a block by what the index keeps of each.
    fn tell_searches(&self) {
        let Books {
            searches: Counts {
                matches,
                false_alarms,
            },
            stats: RunStats { literal, .. },
            ..
        } = self.books;
        let hits = matches + false_alarms;
        let text = format!(
            "total: matches={matches}  hash_hits={hits}  false_alarms={false_alarms} data={literal}\n"
        );
        self.run.say(crate::over_rsync::Level::Info, text);
    }

    fn goodbye(&mut self) -> Result<(), Failure> {
        if let Some(deleted) = self.books.deleted.filter(|_| self.run.server) {
            let ndx = &mut self.ndx;
            self.run.outgoing.data(|out| {
                ndx.put(out, Ndx::DelStats);
                deleted.put(out);
            })?;
        }
        self.put_done()
    }

    fn statistics(&self) -> Statistics {
        let books = &self.books;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let built = books
            .listed
            .map_or(Duration::ZERO, |listed| listed - books.begun);
        Statistics {
            read: self.run.received.load(Ordering::Relaxed),
            written: self.run.outgoing.written(),
            total_size: books.stats.total_size,
            list_build_ms: millis(built).max(1),
            list_transfer_ms: 0,
        }
    }

    /// What moved, in the end.
    pub(super) fn into_stats(self) -> (Incoming, RunStats) {
        let mut stats = self.books.stats;
        stats.sent = self.run.outgoing.written();
        stats.received = self.run.received.load(Ordering::Relaxed);
        if self.run.setup.protocol.is_31_or_newer() {
            let DelStats {
                files,
                dirs,
                links,
                devices,
                specials,
            } = self.books.deleted.unwrap_or_default();
            stats.deleted = Some([files, dirs, links, devices, specials].map(u64::from));
        }
        (self.incoming, stats)
    }
}

fn entry_of(list: &List, index: FileIndex, is_parent: bool) -> Result<&FileEntry, WireError> {
    let entry = match is_parent {
        true => list.parent().map(|parent| &**parent),
        false => list.get(index),
    };
    entry.ok_or(WireError::Protocol("an index of no entry"))
}

/// Bytes of the connection that a head took, and the sums behind it.
fn bytes_of_sums(head: &SumHead, sums_follow: bool) -> u64 {
    let each = head.strong_len() as u64 + 4;
    let sums = if sums_follow {
        u64::from(head.count()) * each
    } else {
        0
    };
    SumHead::LEN as u64 + sums
}

/// Which of the counts of [`RunStats::files`] an entry belongs to.
fn kind_of(entry: &FileEntry) -> usize {
    match entry {
        entry if entry.is_file() || entry.is_missing() => 0,
        entry if entry.is_dir() => 1,
        entry if entry.is_symlink() => 2,
        entry if entry.is_device() => 3,
        _ => 4,
    }
}

/// How often a wait for a scan looks whether the peer should hear something.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Bytes of an encoded list that are copied at a time.
const ENCODED_PIECE: usize = 32 << 10;
