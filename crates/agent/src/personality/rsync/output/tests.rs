//! Whole runs as two stock rsyncs 3.5.0 showed them, told here event by event.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use barge::over_rsync::ItemSide;
use barge::over_rsync::options::Info;

use super::*;

/// An entry with a name, a mode and flags, sent.
pub(super) fn item(name: &str, mode: u32, iflags: u16) -> Item<'_> {
    Item {
        name: name.as_bytes(),
        full_name: name.as_bytes(),
        mode,
        size: 5,
        mtime: (1_234_567_890, 0),
        uid: 0,
        gid: Some(0),
        link: None,
        hard_link: None,
        iflags,
        side: ItemSide::Sent,
        bytes: (0, 0),
        checksum: None,
    }
}

/// A stream that can be looked at.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Clocks that stand still.
struct Still;

impl Clock for Still {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn now(&self) -> i64 {
        1_700_000_000
    }
}

/// A run's output, and where it goes.
struct Shop {
    output: Output,
    stdout: Paper,
    stderr: Paper,
    log: Paper,
}

impl Shop {
    fn new(options: &Options) -> Self {
        let (stdout, stderr, log) = (Paper::default(), Paper::default(), Paper::default());
        let screen = Screen::of(Box::new(stdout.clone()), Box::new(stderr.clone()));
        let logging = Logging::new(options, false);
        let run_log = RunLog::new(Log::of(Box::new(log.clone()), Arc::new(Still)), logging);
        let mut output = Output::with_clock(options, false, screen, Some(run_log), Box::new(Still));
        output.style.high = HighBytes::Utf8;
        Self {
            output,
            stdout,
            stderr,
            log,
        }
    }

    /// What has been logged, without times and processes.
    fn logged(&self) -> Vec<String> {
        let text = self.log.text();
        let lines = text
            .lines()
            .map(|line| line.split_once("] ").unwrap().1.to_owned());
        lines.collect()
    }

    fn list(&self, entries: u64, bytes: u64) {
        self.output.event(Event::ListBegins {
            incremental: true,
            checksum_len: 16,
        });
        self.output.event(Event::Listed {
            entries,
            bytes,
            complete: true,
        });
    }

    fn transfer(&self, name: &str, steps: &[u64], at: Position) {
        let mut file = item(name, 0o100_644, flag::TRANSFER | flag::NEW);
        let size = *steps.last().unwrap();
        file.size = size;
        self.output.event(Event::Starts(file.clone()));
        for (n, offset) in steps.iter().chain(steps.last()).enumerate() {
            self.output.event(Event::Progress {
                name: name.as_bytes(),
                offset: *offset,
                size,
                last: n == steps.len(),
                at,
            });
        }
        self.output.event(Event::Item(file));
    }

    /// A file, a directory's time, a link and a deletion.
    fn small_run(&self) {
        self.list(5, 200_010);
        self.output.event(Event::Deleted {
            name: b"gone/x",
            mode: 0o040_755,
        });
        self.output
            .event(Event::Item(item(".", 0o040_755, flag::TIME)));
        let at = |transfers, bytes, behind| Position {
            transfers,
            bytes,
            behind,
        };
        self.transfer("new\nline", &[1], at(1, 0, 2));
        self.transfer("big", &[32_768, 200_000], at(2, 1, 3));
        let mut link = item("link", 0o120_777, flag::LOCAL | flag::NEW);
        link.link = Some(b"a.txt");
        self.output.event(Event::Item(link));
        self.output
            .event(Event::Item(item("mode", 0o100_644, flag::PERMS)));
        self.output.event(Event::Settled(at(2, 200_001, 5)));
        let stats = RunStats {
            total_size: 200_010,
            sent: 200_600,
            received: 100,
            ..RunStats::default()
        };
        self.output.finish(&stats, 0);
    }
}

fn options(words: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options {
        sender: true,
        recursive: true,
        times: true,
        ..Options::default()
    };
    words(&mut options);
    options
}

const VERBOSE: Info = Info {
    backup: 0,
    copy: 1,
    del: 1,
    flist: 1,
    misc: 1,
    mount: 0,
    name: 1,
    nonreg: 1,
    progress: 0,
    remove: 0,
    skip: 0,
    stats: 1,
    symsafe: 1,
};

#[test]
fn run_without_options_says_nothing_and_logs_everything() {
    let shop = Shop::new(&options(|_| {}));
    shop.small_run();
    assert_eq!(
        (shop.stdout.text(), shop.stderr.text()),
        (String::new(), String::new())
    );
    let expected = [
        "building file list",
        "*deleting   gone/x/",
        ".d..t...... ./",
        "<f+++++++++ new\\#012line",
        "<f+++++++++ big",
        "cL+++++++++ link -> a.txt",
        "sent 200600 bytes  received 100 bytes  total size 200010",
    ];
    assert_eq!(shop.logged(), expected);
}

#[test]
fn verbose_run_names_what_was_touched_and_closes() {
    let shop = Shop::new(&options(|options| options.info = VERBOSE));
    shop.small_run();
    let expected = "\
sending incremental file list
deleting gone/x/
./
new\\#012line
big
link -> a.txt

sent 200,600 bytes  received 100 bytes  401,400.00 bytes/sec
total size is 200,010  speedup is 1.00
";
    assert_eq!(shop.stdout.text(), expected);
    assert_eq!(
        shop.logged()[6..],
        expected.lines().skip(7).collect::<Vec<_>>()
    );
}

#[test]
fn itemized_run_shows_attributes_too() {
    let shop = Shop::new(&options(|options| options.itemize = 1));
    shop.small_run();
    let expected = "\
*deleting   gone/x/
.d..t...... ./
<f+++++++++ new\\#012line
<f+++++++++ big
cL+++++++++ link -> a.txt
.f...p..... mode
";
    assert_eq!(shop.stdout.text(), expected);
}

#[test]
fn quiet_run_says_nothing_but_errors() {
    let shop = Shop::new(&options(|options| {
        options.info = VERBOSE;
        options.quiet = true;
    }));
    shop.small_run();
    let text = b"rsync: [sender] it failed\n";
    shop.output.event(Event::Line {
        level: Level::FileError,
        text,
    });
    assert_eq!(shop.stdout.text(), "");
    assert_eq!(shop.stderr.text().as_bytes(), text);
}

/// `--progress`: the list, names, and two lines a file.
#[test]
fn progress_of_files_follows_their_names() {
    let shop = Shop::new(&options(|options| {
        options.info.flist = 2;
        options.info.name = 1;
        options.info.progress = 1;
    }));
    shop.small_run();
    let expected = "sending incremental file list\n\
        deleting gone/x/\n\
        ./\n\
        new\\#012line\n\
        \r              1 100%    0.00kB/s    0:00:00  \
        \r              1 100%    0.00kB/s    0:00:00 (xfr#1, to-chk=3/5)\n\
        big\n\
        \r         32,768  16%   31.25MB/s    0:00:00  \
        \r        200,000 100%  190.73MB/s    0:00:00 (xfr#2, to-chk=2/5)\n\
        link -> a.txt\n";
    assert_eq!(shop.stdout.text(), expected);
}

/// A format that needs the end of the transfer: the name before, the line after.
#[test]
fn progress_comes_between_a_name_and_a_line_that_is_late() {
    let shop = Shop::new(&options(|options| {
        options.info.name = 1;
        options.info.progress = 1;
        options.out_format = Some(b"%n %b".to_vec());
    }));
    let at = Position {
        transfers: 1,
        bytes: 0,
        behind: 1,
    };
    shop.transfer("f", &[2], at);
    let lines: Vec<String> = shop.stdout.text().split('\n').map(str::to_owned).collect();
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("f", "f 0"));
}

/// `-v --info=progress2`: every name ends the line that would be written over.
#[test]
fn progress_of_the_run_makes_way_for_names_and_ends_with_a_newline() {
    let shop = Shop::new(&options(|options| {
        options.info = VERBOSE;
        options.info.progress = 2;
    }));
    shop.small_run();
    let expected = "sending incremental file list\n\
        deleting gone/x/\n\
        ./\n\
        new\\#012line\n\
        \r              1   0%    0.00kB/s    0:00:00  \
        \r              1   0%    0.00kB/s    0:00:00 (xfr#1, to-chk=3/5)\n\
        big\n\
        \r        200,001  99%  190.73MB/s    0:00:00 (xfr#2, to-chk=2/5)\n\
        link -> a.txt\n\
        \r        200,001  99%  190.73MB/s    0:00:00 (xfr#2, to-chk=0/5)\n\
        \n\
        sent 200,600 bytes  received 100 bytes  401,400.00 bytes/sec\n\
        total size is 200,010  speedup is 1.00\n";
    assert_eq!(shop.stdout.text(), expected);
}

#[test]
fn error_stands_below_an_unfinished_line_and_last_words_behind_it() {
    let shop = Shop::new(&options(|options| options.info.progress = 2));
    shop.list(1, 5);
    let at = Position {
        transfers: 1,
        bytes: 0,
        behind: 1,
    };
    shop.transfer("f", &[5], at);
    shop.output.event(Event::Line {
        level: Level::FileError,
        text: b"rsync: [sender] \"a\nb\" failed\n",
    });
    shop.output.event(Event::Settled(at));
    shop.output.finish(&RunStats::default(), 0);
    shop.output.fail(23, "sender");
    let expected = "\nrsync: [sender] \"a\\#012b\" failed\n\
                    rsync error: some files/attrs were not transferred (see previous errors) \
                    (code 23) at ";
    assert!(
        shop.stderr.text().starts_with(expected),
        "{}",
        shop.stderr.text()
    );
    assert!(shop.stderr.text().ends_with("]\n"));
    assert!(shop.stdout.text().ends_with("(xfr#1, to-chk=0/1)\n"));
    let logged = shop.logged();
    assert_eq!(logged[2], "rsync: [sender] \"a\\#012b\" failed");
    assert!(logged[4].starts_with("rsync error: "), "{logged:?}");
}

/// A list that comes as a whole, with counts (`--info=flist2`) and without, at both ends.
#[test]
fn list_is_counted_as_captured() {
    for (sender, level, entries, captured) in [
        (true, 1, 13, "building file list ... done\n"),
        (false, 1, 13, "receiving file list ... done\n"),
        (
            true,
            2,
            1,
            "building file list ... \n 0 files...\r1 file to consider\n",
        ),
        (false, 2, 1, "receiving file list ... 1 file to consider\n"),
        (
            true,
            2,
            100,
            "building file list ... \n 0 files...\r100 files to consider\n",
        ),
        (
            false,
            2,
            99,
            "receiving file list ... 99 files to consider\n",
        ),
        (
            false,
            2,
            100,
            "receiving file list ... \n 100 files...\r100 files to consider\n",
        ),
        (
            true,
            2,
            201,
            "building file list ... \n 0 files...\r\n 100 files...\r\n 200 files...\r201 files to consider\n",
        ),
    ] {
        let shop = Shop::new(&options(|options| {
            options.sender = sender;
            options.info.flist = level;
        }));
        shop.output.event(Event::ListBegins {
            incremental: false,
            checksum_len: 16,
        });
        for (entries, complete) in [(entries / 2, false), (entries, true)] {
            shop.output.event(Event::Listed {
                entries,
                bytes: 0,
                complete,
            });
        }
        // From the second count on, each is written over the one before.
        let captured = captured.replace("\r\n", "\r");
        assert_eq!(shop.stdout.text(), captured, "{sender} {level} {entries}");
    }
}

#[test]
fn daemon_logs_transfers_alone_unless_its_format_itemizes() {
    for (format, names, expected) in [
        (
            "%o %f %l",
            false,
            [
                "receiving file list",
                "del. gone 0",
                "recv f 5",
                "sent 1 bytes  received 2 bytes  total size 3",
            ]
            .as_slice(),
        ),
        (
            "%f %l",
            true,
            &[
                "receiving file list",
                "deleting gone/",
                "./",
                "f 5",
                "sent 1 bytes  received 2 bytes  total size 3",
            ],
        ),
        (
            "%i %f",
            true,
            &[
                "receiving file list",
                "*deleting   gone",
                ".d..t...... .",
                ">f+++++++++ f",
                "sent 1 bytes  received 2 bytes  total size 3",
            ],
        ),
    ] {
        let paper = Paper::default();
        let log = Log::of(Box::new(paper.clone()), Arc::new(Still));
        let options = Options {
            server: true,
            verbose: u8::from(names),
            times: true,
            ..Options::default()
        };
        let logging = Logging::of_daemon(&options, Some(format.as_bytes()), None);
        let run = RunLog::new(log, logging);
        run.event(Event::ListBegins {
            incremental: true,
            checksum_len: 16,
        });
        run.event(Event::Deleted {
            name: b"gone",
            mode: 0o040_000,
        });
        for (name, mode, flags) in [
            (".", 0o040_755, flag::TIME),
            ("f", 0o100_644, flag::TRANSFER | flag::NEW),
        ] {
            let mut item = item(name, mode, flags);
            item.side = ItemSide::Received;
            run.event(Event::Item(item));
        }
        let stats = RunStats {
            sent: 1,
            received: 2,
            total_size: 3,
            ..RunStats::default()
        };
        run.finish(&stats, 0);
        let text = paper.text();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("] ").unwrap().1)
            .collect();
        assert_eq!(lines, expected);
    }
}
