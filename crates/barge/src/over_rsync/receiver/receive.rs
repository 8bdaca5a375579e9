//! Takes what the sender sends: lists for the generator, answers, and content, which it writes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use barge_delta::DigestBytes;
use barge_fs::{Dir, Error, Staged, Stat};
use barge_rsync::WireError;
use barge_rsync::role::incoming::{Answer, Event as Came, Incoming as Machine};
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::idlist::IdNames;
use barge_rsync::wire::iflags::Basis as BasisKind;
use barge_rsync::wire::list::List;
use barge_rsync::wire::sums::SumHead;
use barge_rsync::wire::token::Token;
use barge_types::{Mode, Name, RelPath, Xattr};

use super::attributes::Resolved;
use super::decide::{self, Want};
use super::dirs::OpenDir;
use super::partial::Delayed;
use super::progress::Progress;
use super::requests::{How, Request, Transfer};
use super::set::On;
use super::side::{Side, Told, Verdict};
use super::texts::{self, Who};
use super::write::{Basis, Writer, Zeros};
use crate::over_rsync::failure::exit;
use crate::over_rsync::incoming::Incoming;
use crate::over_rsync::memory;
use crate::over_rsync::{Failure, Level};

/// The receiving thread's part.
pub(super) struct Receiving {
    side: Arc<Side>,
    pub(super) wire: Incoming,
    machine: Machine,
    tell: Sender<Told>,
    open: OpenDir,
    progress: Progress,
}

impl Receiving {
    pub(super) fn new(side: Arc<Side>, wire: Incoming, tell: Sender<Told>) -> Self {
        let machine = Machine::new(&side.options, &side.run.setup, memory::for_lists());
        Self {
            progress: Progress::new(Arc::clone(&side)),
            side,
            wire,
            machine,
            tell,
            open: OpenDir::default(),
        }
    }

    /// Takes everything, to the end of the sender's stream.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        loop {
            let before = self.machine.consumed();
            let came = self.next()?;
            if matches!(came, Came::List(_) | Came::ListsEnd) {
                let len = self.machine.consumed() - before;
                self.side.tally.with(|stats| {
                    // rsync counts the header of the first frame among them.
                    let header = if stats.list_bytes == 0 { 4 } else { 0 };
                    stats.list_bytes += header + len;
                });
            }
            match came {
                Came::List(list) => {
                    self.asked_for(&list)?;
                    self.learn(&list.names);
                    // A server that has nothing to send says no more.
                    let is_all = list.is_empty() && list.parent().is_none();
                    self.progress.list_came(&list);
                    self.tell(Told::List(list));
                    if is_all && !self.side.run.server {
                        self.tell(Told::End);
                        return Ok(());
                    }
                }
                Came::ListsEnd => {
                    self.progress.lists_end();
                    self.tell(Told::ListsEnd);
                }
                Came::Answer(answer) => self.answer(answer)?,
                Came::Token(_) => return Err(out_of_turn()),
                Came::ListDone => self.answered(Told::ListDone)?,
                Came::RedoDone => self.answered(Told::RedoDone)?,
                Came::UpdatesDone => self.answered(Told::UpdatesDone)?,
                Came::Statistics(statistics) => self.side.statistics(&statistics),
                Came::DelStats(_) => {}
                Came::End => {
                    self.tell(Told::End);
                    return Ok(());
                }
            }
        }
    }

    /// Hears what the sender's users and groups are called. One that cannot be looked up here keeps its
    /// number, which may be another's.
    fn learn(&self, names: &IdNames) {
        for (name, error) in self.side.attributes.learn(names) {
            let doing = [error.op.as_bytes(), b" ", &texts::quoted(name)];
            let line = texts::failed(Who::Receiver, &doing, &error);
            self.side.run.say(Level::FileError, line);
        }
    }

    /// Everything listed was asked for: a server must not choose what a client gets.
    fn asked_for(&self, list: &List) -> Result<(), Failure> {
        let Some(asked) = &self.side.asked else {
            return Ok(());
        };
        for (_, entry) in list.entries() {
            let path = entry.path.to_vec();
            if !asked.has(&path, entry.is_dir()) {
                let name = path.escape_ascii();
                let text = format!("rejecting unrequested file-list name: {name}");
                return Err(Failure::fatal(exit::UNSUPPORTED, text));
            }
        }
        Ok(())
    }

    /// A marker of the sender's, which never comes before the one that it answers.
    fn answered(&mut self, told: Told) -> Result<(), Failure> {
        if !self.side.requests.take_marker() {
            return Err(WireError::Protocol("the end of what has not ended").into());
        }
        self.progress.settled();
        self.tell(told);
        Ok(())
    }

    /// Nothing will be answered any more.
    pub(super) fn end_requests(&self) {
        self.side.requests.end();
    }

    fn next(&mut self) -> Result<Came, Failure> {
        let machine = &mut self.machine;
        self.wire.read_with(|data| {
            machine.handle_data(data.split());
            machine.poll()
        })
    }

    /// That nobody listens means that the run is over, which the wire tells too.
    fn tell(&self, told: Told) {
        let _ = self.tell.send(told);
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Failure> {
        let request = self.side.requests.take(answer.item.index);
        let unasked = WireError::Protocol("an answer to what was not asked for");
        let request = request
            .filter(|request| request.item == answer.item)
            .ok_or(unasked)?;
        self.attributes(&request, &answer)?;
        self.progress.came_to(request.item.index);
        match (&request.transfer, answer.head) {
            (Some(transfer), Some(head)) if head == transfer.head => self.file(&request, transfer),
            (None, None) => self.noted(&request),
            (Some(_), None) if self.side.options.dry_run => {
                self.progress.begins(&request);
                self.progress.ended(&request);
                self.side.tell_item(&request, 0, None);
                Ok(())
            }
            _ => Err(WireError::Protocol("an answer that differs from its request").into()),
        }
    }

    /// Keeps the values of attributes that came.
    fn attributes(&self, request: &Request, answer: &Answer) -> Result<(), Failure> {
        let set = request.subject.entry().xattrs.as_deref();
        for (number, value) in &answer.xattrs {
            let attr = set.and_then(|set| set.numbered(*number));
            let Some(attr) = attr.filter(|_| request.xattrs.contains(number)) else {
                return Err(WireError::Protocol("an attribute that was not asked for").into());
            };
            if let barge_rsync::wire::attrs::XattrValue::Long(long) = attr.value() {
                long.set_fetched(value.clone());
            }
        }
        Ok(())
    }

    /// An entry was dealt with by the generator; what had to come for it is set now.
    fn noted(&mut self, request: &Request) -> Result<(), Failure> {
        if request.lacks_values && !self.side.options.dry_run {
            let entry = request.subject.entry();
            let set = self.set_late(request);
            let failures = set.unwrap_or_else(|error| vec![error]);
            self.side.not_set(Who::Receiver, entry, &failures);
            self.side.may_go(request.item.index, entry);
        }
        self.side.tell_item(request, 0, None);
        Ok(())
    }

    /// Gives an entry that is in its place the attributes whose values had to come; what of them
    /// could not be set.
    fn set_late(&self, request: &Request) -> Result<Vec<Error>, Error> {
        let entry = request.subject.entry();
        let attributes = &self.side.attributes;
        let resolved = attributes.resolve(entry, None, &request.known);
        self.all_came(request, &resolved);
        let is_all = resolved.missing.is_empty();
        let set = |mode| self.set_in_place(entry, mode, &resolved.xattrs, is_all);
        let (stat, failures) = set(None)?;
        let is_shut = stat.mode.bits() & 0o200 == 0 && !entry.is_symlink();
        if failures.is_empty() || !is_shut || attributes.is_root {
            return Ok(failures);
        }
        // Not even its owner may set attributes of what he may not write to.
        let open = Mode::from_st_mode(stat.mode.bits() | 0o200);
        self.set_in_place(entry, Some(open), &[], false)?;
        Ok(set(Some(stat.mode))?.1)
    }

    /// Sets a mode and attributes of an entry that is in its place.
    fn set_in_place(
        &self,
        entry: &FileEntry,
        mode: Option<Mode>,
        xattrs: &[Xattr],
        is_all: bool,
    ) -> Result<(Stat, Vec<Error>), Error> {
        let (root, attributes) = (self.side.root(), &self.side.attributes);
        let want = Want {
            mode,
            ..Want::default()
        };
        let set = |on: On<'_>| attributes.set(on, entry, &want, xattrs, is_all);
        if entry.path.is_root() {
            return set(On::Dir(&root.dir(&RelPath::root())?));
        }
        let (above, name) = self.side.place_of(entry)?;
        if entry.is_dir() {
            return set(On::Dir(&root.dir(&above.join(&name))?));
        }
        let dir = root.dir(&above)?;
        let real = dir.stat(&name)?;
        let stat = attributes.seen(On::Entry(&dir, &name, &real), real)?;
        if decide::kind(entry) != Some(stat.kind) {
            return Err(Error {
                op: "setxattr",
                errno: ESTALE,
            });
        }
        set(On::Entry(&dir, &name, &stat))
    }

    /// Says that values of attributes did not come, though the sender has them.
    fn all_came(&self, request: &Request, resolved: &Resolved) {
        if !resolved.missing.is_empty() {
            let path = self.side.full_name(request.subject.entry());
            let head = &b"rsync: [receiver] values of extended attributes did not come for "[..];
            let line = [head, &path, b"\n"].concat();
            self.side.run.say(Level::FileError, line);
        }
    }

    /// Takes a file's content, or lets it pass when it cannot be written.
    fn file(&mut self, request: &Request, transfer: &Transfer) -> Result<(), Failure> {
        let before = self.machine.consumed() - SumHead::LEN as u64;
        let mut place = match self.begin(request, transfer) {
            Ok(place) => Some(place),
            Err(complaint) => {
                self.side.run.say(Level::FileError, complaint);
                None
            }
        };
        self.progress.begins(request);
        let digest = match self.content(request, transfer, place.as_mut()) {
            Ok(digest) => digest,
            Err(failure) => {
                if let Some(place) = place {
                    self.keep_partial(request, transfer, place);
                }
                return Err(failure);
            }
        };
        self.progress
            .moved(request, request.subject.entry().len, true);
        self.progress.ended(request);
        let verdict = match place {
            None => Verdict::Failed,
            Some(mut place) => {
                let own = place.writer.finish();
                let own = own.map_err(|error| self.write_failed(request, &error))?;
                self.tell_unread(request, &place);
                let verified = own == digest || own.as_bytes() == [0];
                let bytes = self.machine.consumed() - before;
                self.end(request, transfer, place, (bytes, verified.then_some(&own)))
            }
        };
        let index = request.item.index;
        self.tell(Told::Through { index, verdict });
        Ok(())
    }

    /// Tells why a file will not verify whose old content could not be read.
    fn tell_unread(&self, request: &Request, place: &Place) {
        if let Some(error) = &place.writer.unread {
            let path = self.side.full_name(request.subject.entry());
            let line = texts::failed(Who::Receiver, &[b"read of what is there of ", &path], error);
            self.side.run.say(Level::Warning, line);
        }
    }

    /// Takes what follows an answer, to the digest at its end.
    fn content(
        &mut self,
        request: &Request,
        transfer: &Transfer,
        mut place: Option<&mut Place>,
    ) -> Result<DigestBytes, Failure> {
        loop {
            let token = match self.next()? {
                Came::Token(token) => token,
                _ => return Err(out_of_turn()),
            };
            if let (Some(place), false) = (&place, matches!(token, Token::End(_))) {
                self.progress.moved(request, place.writer.len(), false);
            }
            match token {
                Token::Literal(bytes) => {
                    if let Some(place) = &mut place {
                        let written = place.writer.literal(bytes);
                        written.map_err(|error| self.write_failed(request, &error))?;
                    }
                }
                Token::Blocks { first, count } => {
                    let place = place.as_deref_mut();
                    self.blocks(request, &transfer.head, place, first, count)?;
                }
                Token::End(digest) => return Ok(digest),
            }
        }
    }

    /// Keeps what came of a file before the run broke off, where that is wanted.
    fn keep_partial(&self, request: &Request, transfer: &Transfer, mut place: Place) {
        let options = &self.side.options;
        let kept = matches!(transfer.how, How::Beside) && place.writer.len() > 0;
        if !kept || !options.partial || place.writer.flush_all().is_err() {
            return;
        }
        // What cannot be kept is gone, as without the option.
        match self.side.partial_dir(&place.dir, true) {
            Ok(Some(partial)) => {
                let _ = self.put_into(request, transfer, &mut place, &partial, false);
            }
            Ok(None) => {
                self.dress(request, transfer, &place.dir, &place.writer.staged, false);
                let dir = place.dir.clone();
                let _ = self.put_into(request, transfer, &mut place, &dir, false);
            }
            Err(_) => {}
        }
    }

    fn blocks(
        &mut self,
        request: &Request,
        head: &SumHead,
        place: Option<&mut Place>,
        first: u32,
        count: u32,
    ) -> Result<(), Failure> {
        let range = head
            .blocks(first, count)
            .ok_or(WireError::Protocol("a block that the basis does not have"))?;
        if self.machine.wants_matched() {
            return self.feed_back(request, head, place, first..first + count);
        }
        match place {
            None => Ok(()),
            Some(place) => {
                let taken = place.writer.matched(range);
                taken.map_err(|error| self.write_failed(request, &error))
            }
        }
    }

    /// Takes matched blocks one by one, and gives their bytes to the machine: later bytes are
    /// decompressed by them.
    fn feed_back(
        &mut self,
        request: &Request,
        head: &SumHead,
        mut place: Option<&mut Place>,
        blocks: Range<u32>,
    ) -> Result<(), Failure> {
        for block in blocks {
            let range = head.blocks(block, 1).expect("they were looked up together");
            let bytes = match &mut place {
                // Nothing is made of it.
                None => vec![0; (range.end - range.start) as usize].into(),
                Some(place) => {
                    let taken = place.writer.matched_bytes(range);
                    taken.map_err(|error| self.write_failed(request, &error))?
                }
            };
            self.machine.matched(&bytes);
        }
        Ok(())
    }

    /// A target that cannot be written ends the run, as a full disk does.
    fn write_failed(&self, request: &Request, error: &Error) -> Failure {
        let path = self.side.full_name(request.subject.entry());
        let line = texts::write_failed(&path, error);
        self.side.run.say(Level::FileError, line);
        Failure::fatal(11, "")
    }

    /// Opens what is read and what is written.
    fn begin(&mut self, request: &Request, transfer: &Transfer) -> Result<Place, Vec<u8>> {
        let complain = |doing: &[u8], error: &Error| {
            let path = self.side.full_name(request.subject.entry());
            texts::failed(Who::Receiver, &[doing, b" ", &path], error)
        };
        let root = self.side.root();
        let dir = self
            .open
            .get(root, &transfer.dir)
            .map_err(|error| complain(b"open of directory of", &error))?;
        let name = self
            .side
            .name_of(request.subject.entry())
            .map_err(|error| complain(b"mkstemp", &error.into()))?;
        let staged = self
            .stage(&dir, &name, transfer)
            .map_err(|(doing, error)| complain(doing, &error))?;
        let in_place = !matches!(transfer.how, How::Beside);
        let basis = match request.item.basis {
            _ if transfer.head == SumHead::NONE => Basis::None,
            BasisKind::Destination | BasisKind::Partial if in_place => Basis::Itself,
            kind => self.basis(&dir, &name, kind, request, transfer),
        };
        let options = &self.side.options;
        let zeros = match (options.sparse, in_place || options.preallocate) {
            (false, _) => Zeros::Written,
            (true, false) => Zeros::LeftOut,
            (true, true) => Zeros::Punched,
        };
        let mut writer = Writer::new(staged, basis, zeros, self.side.run.setup.checksum);
        writer.is_longer |= matches!(transfer.how, How::InPlace | How::Append(_) | How::Partial);
        if options.preallocate && transfer.how != How::Device {
            writer.is_longer = true;
            self.reserve(&writer, request);
        }
        if let How::Append(len) = transfer.how {
            let appended = writer.append_to(len, options.append > 1);
            appended.map_err(|error| complain(b"read of", &error))?;
        }
        Ok(Place { dir, name, writer })
    }

    /// Reserves the space that a file will take. Where there is none, writing it will tell.
    fn reserve(&self, writer: &Writer, request: &Request) {
        let entry = request.subject.entry();
        if let Err(error) = writer.staged.reserve(entry.len) {
            let path = self.side.full_name(entry);
            let line = texts::failed(Who::Receiver, &[b"do_fallocate ", &path], &error);
            self.side.run.say(Level::Warning, line);
        }
    }

    /// Opens what is written.
    fn stage(
        &self,
        dir: &Dir,
        name: &Name,
        transfer: &Transfer,
    ) -> Result<Staged, (&'static [u8], Error)> {
        let opens = |error| (&b"open"[..], error);
        match transfer.how {
            How::Partial => match self.side.partial_dir(dir, false) {
                Ok(Some(partial)) => partial.stage_left(name, name).map_err(opens),
                Ok(None) => dir.stage_unique(name).map_err(opens),
                Err(error) => Err(opens(error)),
            },
            How::Beside => {
                let staged = match self.side.temp_dir() {
                    Some(Ok(temp)) => temp.stage_unique(name),
                    Some(Err(error)) => Err(error),
                    None => dir.stage_unique(name),
                };
                staged.map_err(|error| (&b"mkstemp"[..], error))
            }
            How::Append(len) => stage_behind(dir, name, len, transfer).map_err(opens),
            How::InPlace => match dir.open_in_place(name) {
                Err(error) if error.is_not_found() => {
                    transfer.dir.touch();
                    dir.create_in_place(name).map_err(opens)
                }
                staged => staged.map_err(opens),
            },
            How::Device => dir.open_device(name).map_err(opens),
        }
    }

    /// The basis; when it has gone meanwhile, there are zeros in its place, which do not verify.
    fn basis(
        &self,
        dir: &Dir,
        name: &Name,
        kind: BasisKind,
        request: &Request,
        transfer: &Transfer,
    ) -> Basis {
        let alternate = |number: u8| {
            let root = self.side.alternates().get(usize::from(number));
            root.and_then(|root| root.as_ref()?.dir(&transfer.dir.path).ok())
        };
        // The name is the one that this side has chosen: the answer would not be here with another.
        let similar = || Name::new(&request.item.name[..]).ok();
        let file = match kind {
            BasisKind::Destination => dir.open_file(name).ok(),
            BasisKind::Directory(number) => {
                alternate(number).and_then(|dir| dir.open_file(name).ok())
            }
            BasisKind::Backup => {
                let path = Side::path_of(&transfer.dir, name);
                let backup = self.side.backup();
                backup.and_then(|backup| backup.open(dir, &path, name).ok())
            }
            BasisKind::Partial => {
                let partial = self.side.partial_dir(dir, false).ok().flatten();
                partial.and_then(|partial| partial.open_file(name).ok())
            }
            BasisKind::Fuzzy => similar().and_then(|name| dir.open_file(&name).ok()),
            BasisKind::FuzzyDirectory(number) => {
                let (dir, name) = (alternate(number), similar());
                dir.zip(name)
                    .and_then(|(dir, name)| dir.open_file(&name).ok())
            }
        };
        file.map_or(Basis::None, Basis::File)
    }

    /// Puts a file that came in its place, when its digest agrees.
    fn end(
        &mut self,
        request: &Request,
        transfer: &Transfer,
        mut place: Place,
        (bytes, verified): (u64, Option<&DigestBytes>),
    ) -> Verdict {
        let Some(digest) = verified else {
            self.side.tell_item(request, bytes, None);
            return self.not_verified(request, transfer);
        };
        let (literal, matched) = (place.writer.literal, place.writer.matched);
        if let Err(error) = self.put_in_place(request, transfer, &mut place) {
            let entry = request.subject.entry();
            self.side.failed(Who::Receiver, "rename of", entry, &error);
            return Verdict::Failed;
        }
        self.side.tally.content(literal, matched);
        let shown = self.side.run.shown(digest);
        self.side.tell_item(request, bytes, Some(&shown));
        Verdict::Done
    }

    fn put_in_place(
        &self,
        request: &Request,
        transfer: &Transfer,
        place: &mut Place,
    ) -> Result<(), Error> {
        let options = &self.side.options;
        if transfer.how != How::Device {
            self.dress(request, transfer, &place.dir, &place.writer.staged, true);
        }
        if options.fsync {
            place.writer.staged.sync()?;
        }
        if !matches!(transfer.how, How::InPlace | How::Append(_) | How::Device) {
            transfer.dir.touch();
        }
        if options.delay_updates && transfer.how != How::Device {
            return self.delay(request, transfer, place);
        }
        self.back_up(transfer, place)?;
        let dir = place.dir.clone();
        self.put_into(request, transfer, place, &dir, true)?;
        if options.partial_dir.is_some() {
            self.drop_partial(request, transfer, place);
        }
        Ok(())
    }

    /// Keeps what a file replaces, where that is wanted.
    fn back_up(&self, transfer: &Transfer, place: &Place) -> Result<(), Error> {
        if !matches!(transfer.how, How::Beside | How::Partial) {
            return Ok(());
        }
        let Some(backup) = self.side.backup() else {
            return Ok(());
        };
        let Some(stat) = place.dir.find(&place.name)? else {
            return Ok(());
        };
        let path = Side::path_of(&transfer.dir, &place.name);
        backup.keep_too(&self.side.run, &place.dir, &path, &place.name, &stat)
    }

    /// Puts a file where it waits for the end of the run.
    fn delay(
        &self,
        request: &Request,
        transfer: &Transfer,
        place: &mut Place,
    ) -> Result<(), Error> {
        let partial = self.side.partial_dir(&place.dir, true)?;
        let partial = partial.ok_or(Error {
            op: "mkdirat",
            errno: EIO,
        })?;
        self.put_into(request, transfer, place, &partial, true)?;
        let delayed = Delayed {
            dir: Arc::clone(&transfer.dir),
            name: place.name.clone(),
            index: request.item.index,
        };
        self.side.delayed().push(delayed);
        Ok(())
    }

    /// Removes what an earlier run left of a file that is in its place.
    fn drop_partial(&self, request: &Request, transfer: &Transfer, place: &Place) {
        if request.item.basis != BasisKind::Partial {
            return;
        }
        if transfer.how == How::Beside
            && let Ok(Some(partial)) = self.side.partial_dir(&place.dir, false)
        {
            // It was the basis, and nothing more comes of it.
            let _ = partial.unlink(&place.name);
        }
        self.side.leave_partial_dir(&place.dir);
    }

    /// Gives a file that was written its name in a directory. `whole` says that all of it is there.
    fn put_into(
        &self,
        request: &Request,
        transfer: &Transfer,
        place: &mut Place,
        dir: &Dir,
        whole: bool,
    ) -> Result<(), Error> {
        match place.writer.staged.place(dir, &place.name) {
            Err(error) if error.is_mount_point() => {
                self.carry_over(request, transfer, place, dir, whole)
            }
            placed => placed,
        }
    }

    /// A temporary file on another file system: copied beside its place, then put there.
    fn carry_over(
        &self,
        request: &Request,
        transfer: &Transfer,
        place: &Place,
        dir: &Dir,
        whole: bool,
    ) -> Result<(), Error> {
        let temporary = &place.writer.staged;
        let mut staged = dir.stage_unique(&place.name)?;
        let len = temporary.size()?;
        if staged.copy_from_staged(temporary, 0..len)? != len {
            return Err(Error {
                op: "copy_file_range",
                errno: EIO,
            });
        }
        self.dress(request, transfer, dir, &staged, whole);
        if self.side.options.fsync {
            staged.sync()?;
        }
        staged.place(dir, &place.name)
    }

    fn not_verified(&self, request: &Request, transfer: &Transfer) -> Verdict {
        let name = request.subject.entry().path.to_vec();
        let what_of_it: &[u8] = match transfer.how {
            How::Beside | How::Partial => b"discarded",
            How::InPlace | How::Append(_) | How::Device => b"retained",
        };
        let said = [&name[..], b" failed verification -- update ", what_of_it].concat();
        match transfer.again {
            false => {
                let line = [b"WARNING: ", &said[..], b" (will try again).\n"].concat();
                self.side.run.say(Level::Warning, line);
                Verdict::Again
            }
            true => {
                let line = [b"ERROR: ", &said[..], b".\n"].concat();
                self.side.run.say(Level::FileError, line);
                Verdict::Failed
            }
        }
    }

    /// Gives a file that is written all it is to have besides its content.
    fn dress(
        &self,
        request: &Request,
        transfer: &Transfer,
        dir: &Dir,
        staged: &Staged,
        whole: bool,
    ) {
        let entry = request.subject.entry();
        let attributes = &self.side.attributes;
        let mut want = attributes.want_in(dir, entry, transfer.existing.as_ref());
        if !whole {
            // It must not look like the source's file.
            want.mtime = None;
        }
        let resolved = attributes.resolve(entry, None, &request.known);
        if whole {
            self.all_came(request, &resolved);
        }
        let set = attributes.set(On::Staged(staged), entry, &want, &resolved.xattrs, true);
        let failures = set.map_or_else(|error| vec![error], |(_, failures)| failures);
        self.side.not_set(Who::Receiver, entry, &failures);
    }
}

/// Opens a file of which the first `len` bytes are there. What else has its name by now, or was cut
/// meanwhile, lacks them: behind a hole the rest would pass for the whole.
fn stage_behind(dir: &Dir, name: &Name, len: u64, transfer: &Transfer) -> Result<Staged, Error> {
    let staged = dir.open_in_place(name)?;
    let (was, is) = (transfer.existing.as_ref(), staged.stat()?);
    let is_same = was.is_some_and(|was| (was.dev, was.ino) == (is.dev, is.ino));
    match is_same && is.size >= len {
        true => Ok(staged),
        false => Err(Error {
            op: "openat",
            errno: ESTALE,
        }),
    }
}

/// A file that is being received.
struct Place {
    dir: Dir,
    name: Name,
    writer: Writer,
}

/// A copy that came out shorter than what was copied.
pub(super) const EIO: i32 = 5;

/// Something else is there than what attributes came for.
const ESTALE: i32 = 116;

fn out_of_turn() -> Failure {
    WireError::Protocol("content that is nobody's, or something else among content").into()
}
