//! What is tried: options in groups, each with what it meets at the target.

use crate::roles::Role;

/// One set of options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// Its part of a case's name.
    pub(crate) name: &'static str,
    /// Options of the client.
    pub(crate) options: &'static [&'static str],
    /// What is there before.
    pub(crate) target: Target,
    /// What of the source is asked for.
    pub(crate) from: &'static [&'static str],
    /// Where it goes; absent for a listing.
    pub(crate) to: Option<&'static str>,
    /// In which roles it makes sense.
    pub(crate) roles: Roles,
    /// Run as an ordinary user, on files some of which he cannot read.
    pub(crate) nobody: bool,
    /// The source is changed by the run.
    pub(crate) changes_source: bool,
    /// With a daemon that has changed its root: without, stock's looks for the files of `--files-from` and
    /// for those that `--fuzzy` finds in another directory where they are not, and calls them vanished.
    pub(crate) chroot: bool,
    /// Whether lines are compared in their order.
    pub(crate) order: Order,
}

/// What a target is before a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// It is not there.
    Absent,
    /// An empty directory.
    Empty,
    /// What an older copy may have become.
    Old,
    /// As the source is, made by a stock copy before.
    Same,
}

/// Whether the lines of standard output come in an order of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// They do, voice by voice.
    Kept,
    /// Not where the client receives: its generator names what it changed of attributes
    /// (`--info=name2`), its receiver what it received.
    KeptByPush,
    /// Not anywhere: a file is asked for a second time whenever the receiver has found its content
    /// wrong, and backups are told of when it makes them.
    Free,
}

/// Which roles a group is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Roles {
    /// All of them.
    All,
    /// Where the client sends.
    Push,
    /// Where the client receives.
    Pull,
    /// With a daemon.
    Daemon,
    /// Within one machine.
    Local,
}

impl Roles {
    /// Whether a role is among them.
    pub(crate) fn have(self, role: Role) -> bool {
        match self {
            Self::All => true,
            Self::Push => role.is_push(),
            Self::Pull => !role.is_push(),
            Self::Daemon => role.is_daemon(),
            Self::Local => role == Role::Local,
        }
    }
}

const fn group(name: &'static str, options: &'static [&'static str]) -> Group {
    Group {
        name,
        options,
        target: Target::Old,
        from: &["source/"],
        to: Some("target/"),
        roles: Roles::All,
        nobody: false,
        changes_source: false,
        chroot: false,
        order: Order::Kept,
    }
}

impl Group {
    const fn onto(self, target: Target) -> Self {
        Self { target, ..self }
    }

    const fn from(self, from: &'static [&'static str]) -> Self {
        Self { from, ..self }
    }

    const fn to(self, to: &'static str) -> Self {
        Self {
            to: Some(to),
            ..self
        }
    }

    const fn listing(self) -> Self {
        Self {
            to: None,
            roles: Roles::Pull,
            ..self
        }
    }

    const fn only(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    const fn as_nobody(self) -> Self {
        Self {
            nobody: true,
            ..self
        }
    }

    const fn in_chroot(self) -> Self {
        Self {
            chroot: true,
            ..self
        }
    }

    const fn in_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    const fn moving(self) -> Self {
        Self {
            changes_source: true,
            ..self
        }
    }
}

use Target::{Absent, Empty, Same};

/// MTC's command line, but for the log that goes to standard output.
const MTC: &[&str] = &[
    "--recursive",
    "--links",
    "--perms",
    "--devices",
    "--specials",
    "--times",
    "--owner",
    "--group",
    "--hard-links",
    "--delete",
    "--partial",
    "--human-readable",
    "--log-file=client.log",
    "--info=COPY2,DEL2,REMOVE2,SKIP2,FLIST2,PROGRESS2,STATS2",
    "--omit-dir-times",
    "--exclude=lost+found",
];

/// That of `crane transfer-pvc`.
const CRANE: &[&str] = &[
    "--recursive",
    "--links",
    "--perms",
    "--times",
    "--human-readable",
    "--info=COPY,DEL,STATS2,PROGRESS2,FLIST2",
    "--omit-dir-times",
    "--progress",
];

const EVERY_ESCAPE: &str =
    "--out-format=%o|%i|%n|%L|%l|%M|%U|%G|%B|%b|%c|%C|%a|%h|%m|%P|%u|%%|%z|%-30n|%8l|%''l|%'b|";

/// All groups.
pub(crate) const GROUPS: &[Group] = &[
    // What is copied at all, and what is told of it.
    group("archive", &["-a"]),
    group("archive-empty", &["-av"]).onto(Empty),
    group("archive-absent", &["-av"]).onto(Absent),
    group("archive-same", &["-av"]).onto(Same),
    group("recursive", &["-rv"]),
    group("links", &["-rlv"]),
    group("times", &["-rlti"]),
    group("perms", &["-rlpi"]),
    group("owner-group", &["-rogi"]),
    group("nothing-but-names", &["-v"])
        .from(&["source/same", "source/sub"])
        .onto(Empty),
    group("one-file", &["-av"]).from(&["source/delta"]),
    group("one-file-new-name", &["-av"])
        .from(&["source/delta"])
        .to("target/renamed"),
    group("one-file-absent", &["-av"])
        .from(&["source/delta"])
        .onto(Absent)
        .to("target"),
    group("one-file-new-dir", &["-av"])
        .from(&["source/delta"])
        .onto(Absent),
    group("many-arguments", &["-av"]).from(&["source/delta", "source/sub", "source/names/"]),
    group("without-slash", &["-av"]).from(&["source"]),
    group("itemize", &["-ai"]),
    group("itemize-all", &["-aii"]),
    group("itemize-all-same", &["-aii"]).onto(Same),
    group("verbose-2", &["-avv"]).in_order(Order::KeptByPush),
    group("verbose-2-same", &["-avv"])
        .onto(Same)
        .in_order(Order::KeptByPush),
    group("quiet", &["-avq"]),
    group("dry-run", &["-ani", "--delete"]),
    group("dry-run-empty", &["-anvH"]).onto(Empty),
    group("dry-run-absent", &["-anvH", "--stats"]).onto(Absent),
    group("stats", &["-a", "--stats"]),
    group("stats-delete", &["-a", "--stats", "--delete"]),
    group("stats-human-2", &["-avh", "--stats"]),
    group("stats-human-3", &["-avhh", "--stats"]),
    group("stats-human-0", &["-av", "--no-h", "--stats"]),
    group("progress", &["-a", "--progress"]),
    group("progress-empty", &["-aH", "--progress"]).onto(Empty),
    group("progress-same", &["-a", "--progress"]).onto(Same),
    group("progress-human", &["-ah", "--progress"]),
    group("progress-2", &["-a", "--info=progress2"]),
    group("progress-2-names", &["-av", "--info=progress2"]).onto(Empty),
    group("progress-2-same", &["-a", "--info=progress2"]).onto(Same),
    group("progress-dry", &["-an", "--progress"]),
    group(
        "progress-late",
        &["-a", "--progress", "--out-format=%n %l %C"],
    ),
    group("info-name", &["-a", "--info=name"]),
    group("info-name-2", &["-a", "--info=name2"]).in_order(Order::KeptByPush),
    group("info-del", &["-a", "--delete", "--info=del"]),
    group("info-flist-2", &["-a", "--info=flist2"]),
    group("info-stats", &["-a", "--info=stats1"]),
    group("info-none", &["-av", "--info=none"]),
    group("info-skip-2", &["-a", "--ignore-existing", "--info=skip2"]),
    group("info-misc-2", &["-a", "--info=misc2"]),
    group("out-format", &["-aH", "--delete", EVERY_ESCAPE]),
    group("out-format-name", &["-a", "--delete", "--out-format=%n"]),
    group(
        "out-format-operation",
        &["-a", "--delete", "--out-format=%o %n"],
    ),
    group("log-file", &["-aH", "--delete", "--log-file=client.log"]),
    group(
        "log-file-verbose",
        &["-avH", "--delete", "--log-file=client.log"],
    ),
    group(
        "log-file-format",
        &[
            "-a",
            "--log-file=client.log",
            "--log-file-format=%o %n%L %l",
        ],
    ),
    group(
        "log-file-no-format",
        &["-a", "--log-file=client.log", "--log-file-format="],
    ),
    group("transfer-log", &["-aH", "--delete"])
        .to("target/")
        .only(Roles::Daemon),
    group("8-bit-output", &["-av8"])
        .from(&["source/names/"])
        .onto(Empty),
    group("outbuf", &["-av", "--outbuf=L"]),
    group("stderr-all", &["-av", "--stderr=all"]),
    group("stderr-client", &["-av", "--stderr=client"]),
    group("mtc", MTC),
    group("mtc-empty", MTC).onto(Empty),
    group("crane", CRANE).onto(Empty),
    // Listings.
    group("list", &["-r"]).listing(),
    group("list-flat", &[]).listing(),
    group("list-links", &["-rl"]).listing(),
    group("list-human", &["-rh"]).listing(),
    group("list-plain", &["-r", "--no-h"]).listing(),
    group("list-file", &[]).from(&["source/delta"]).listing(),
    group("list-local", &["-r"]).listing().only(Roles::Local),
    group("list-only", &["-a", "--list-only"]),
    group("list-only-verbose", &["-av", "--list-only"]).onto(Empty),
    // Hard links, attributes, special files.
    group("hard-links", &["-aHi"]),
    group("hard-links-empty", &["-aHi"]).onto(Empty),
    group("hard-links-all", &["-aHii"]).onto(Same),
    group("hard-links-dry", &["-aHni"]),
    group("acls", &["-aAi"]),
    group("xattrs", &["-aXi"]),
    group("everything", &["-aHAXSi", "--numeric-ids"]),
    group("everything-empty", &["-aHAXSi", "--numeric-ids"]).onto(Empty),
    group("everything-same", &["-aHAXSii"]).onto(Same),
    group("everything-delete", &["-aHAXSi", "--delete"]),
    group("numeric-ids", &["-ai", "--numeric-ids"]),
    group("sparse", &["-aS"]),
    group("sparse-inplace", &["-aS", "--inplace"]),
    group("no-devices", &["-ai", "--no-devices"]),
    group("no-specials", &["-ai", "--no-specials"]),
    group("devices", &["-rlti", "--devices"]),
    group("specials", &["-rlti", "--specials"]),
    group("executability", &["-rltEi"]),
    group("atimes", &["-aiU"]).from(&["source/sub"]),
    group("omit-dir-times", &["-aiO"]),
    group("omit-link-times", &["-aiJ"]),
    group("chmod", &["-ai", "--chmod=Du=rwx,Dgo=rx,Fu=rw,Fgo-rwx"]),
    group("chmod-number", &["-ai", "--chmod=F640,D2750"]),
    group("chown", &["-ai", "--chown=7:8"]),
    group(
        "usermap",
        &["-ai", "--usermap=1234:99,*:5", "--groupmap=0:6"],
    ),
    group("fake-super", &["-aHAXi", "-M--fake-super"]).only(Roles::Push),
    group("fake-super-here", &["-aXi", "--fake-super"]),
    // How content comes over and is written.
    group("whole-file", &["-ai", "-W"]),
    group("no-whole-file", &["-ai", "--no-W", "--stats"]),
    group("block-size", &["-a", "--no-W", "-B700", "--stats"]),
    group("inplace", &["-ai", "--inplace", "--no-W", "--stats"]),
    group("append", &["-ai", "--append"]),
    group("append-verify", &["-ai", "--append-verify"]).in_order(Order::Free),
    group("partial", &["-ai", "--partial"]),
    group("partial-dir", &["-ai", "--partial-dir=.partial"]),
    group(
        "partial-dir-delete",
        &["-ai", "--partial-dir=.partial", "--delete"],
    ),
    group("delay-updates", &["-ai", "--delay-updates"]),
    group(
        "delay-updates-delete",
        &["-aHi", "--delay-updates", "--delete-delay"],
    ),
    group("temp-dir", &["-ai", "--temp-dir=../temporary"]),
    group("preallocate", &["-a", "--preallocate"]),
    group("fsync", &["-a", "--fsync"]),
    group("compress", &["-az", "--no-W", "--stats"]),
    group("compress-zstd", &["-az", "--zc=zstd", "--no-W", "--stats"]),
    group("compress-lz4", &["-az", "--zc=lz4", "--no-W", "--stats"]),
    group(
        "compress-zlibx",
        &["-az", "--zc=zlibx", "--no-W", "--stats"],
    ),
    group("compress-zlib", &["-az", "--zc=zlib", "--no-W", "--stats"]),
    group(
        "compress-level",
        &["-az", "--zc=zlibx", "--zl=1", "--no-W", "--stats"],
    ),
    group("skip-compress", &["-az", "--skip-compress=gz/jpg"]),
    group("choice-xxh128", &["-aci", "--cc=xxh128", "--no-W"]),
    group("choice-xxh3", &["-aci", "--cc=xxh3", "--no-W"]),
    group("choice-xxh64", &["-aci", "--cc=xxh64", "--no-W"]),
    group("choice-md5", &["-aci", "--cc=md5", "--no-W"]),
    group("choice-md4", &["-aci", "--cc=md4", "--no-W"]),
    group("choice-sha1", &["-aci", "--cc=sha1", "--no-W"]),
    group("choice-two", &["-aci", "--cc=xxh64,md5", "--no-W"]),
    group("choice-none", &["-ai", "--cc=none"]),
    group("seed", &["-aci", "--no-W", "--checksum-seed=42"]),
    group("bwlimit", &["-ai", "--bwlimit=5000"]),
    group("timeouts", &["-ai", "--timeout=30", "--contimeout=10"]).only(Roles::Daemon),
    group("max-alloc", &["-ai", "--max-alloc=100M"]),
    // What is taken for changed.
    group("checksum", &["-aci"]),
    group("size-only", &["-ai", "--size-only"]),
    group("ignore-times", &["-aiI"]),
    group("modify-window", &["-ai", "--modify-window=100000000"]),
    group("modify-window-ns", &["-ai", "-@-1"]),
    group("update", &["-aiu"]),
    group("existing", &["-ai", "--existing"]),
    group("ignore-existing", &["-ai", "--ignore-existing"]),
    group(
        "existing-both",
        &["-ai", "--existing", "--ignore-existing", "--delete"],
    ),
    group("max-size", &["-ai", "--max-size=1K"]),
    group("min-size", &["-ai", "--min-size=1K"]),
    group("max-size-verbose", &["-avv", "--max-size=1K"]).in_order(Order::KeptByPush),
    // Deletions.
    group("delete", &["-ai", "--delete"]),
    group("delete-verbose", &["-av", "--delete"]),
    group("delete-before", &["-ai", "--delete-before"]),
    group("delete-during", &["-ai", "--delete-during"]),
    group("delete-delay", &["-ai", "--delete-delay"]),
    group("delete-after", &["-ai", "--delete-after"]),
    group(
        "delete-protected",
        &[
            "-ai",
            "--delete",
            "--exclude=*.bak",
            "--exclude=/gone/below/file",
        ],
    ),
    group(
        "delete-excluded",
        &["-ai", "--delete", "--delete-excluded", "--exclude=*.bak"],
    ),
    group("max-delete", &["-ai", "--delete", "--max-delete=2"]),
    group("max-delete-0", &["-ai", "--delete", "--max-delete=0"]),
    group("force", &["-ai", "--force"]),
    group("no-force", &["-av"]),
    group("delete-dirs", &["-di", "--delete"]),
    // Filters.
    group("exclude", &["-av", "--exclude=*.o", "--exclude=/sub/dir/"]),
    group(
        "include",
        &["-av", "--include=*/", "--include=*.o", "--exclude=*"],
    ),
    group(
        "prune",
        &["-avm", "--include=*/", "--include=*.o", "--exclude=*"],
    ),
    group(
        "prune-delete",
        &[
            "-aim",
            "--delete",
            "--include=*/",
            "--include=*.o",
            "--exclude=*",
        ],
    ),
    group(
        "filter",
        &[
            "-av",
            "--filter=-_/deep",
            "--filter=H /new",
            "--filter=P gone*",
            "--delete",
        ],
    ),
    group(
        "filter-merge",
        &["-av", "--filter=: .rsync-filter", "--delete"],
    ),
    group("filter-F", &["-avF", "--delete"]),
    group("filter-FF", &["-avFF", "--delete", "--delete-excluded"]),
    group("cvs", &["-avC"]),
    group("cvs-delete", &["-avC", "--delete"]),
    group("exclude-from", &["-av", "--exclude-from=rules"]),
    group(
        "include-from",
        &["-av", "--include-from=rules", "--exclude=*"],
    ),
    group("files-from", &["-av", "--files-from=names"]).in_chroot(),
    group("files-from-recursive", &["-avr", "--files-from=names"]).in_chroot(),
    group("files-from-0", &["-av", "--from0", "--files-from=names0"]).in_chroot(),
    group("files-from-flat", &["-av", "--no-R", "--files-from=names"]).in_chroot(),
    group(
        "files-from-delete",
        &["-avr", "--delete", "--files-from=names"],
    )
    .in_chroot(),
    // Names and links.
    group("relative", &["-aRi"])
        .from(&["./source/sub/dir", "source/./deep/deeper"])
        .onto(Empty),
    group("relative-no-implied", &["-aRi", "--no-implied-dirs"])
        .from(&["source/./deep/deeper", "source/./sub/dir/one"]),
    group("relative-delete", &["-aRi", "--delete"])
        .from(&["./source/sub/dir", "source/./deep/deeper"]),
    group("relative-delete-before", &["-aRi", "--delete-before"])
        .from(&["source/./sub/", "source/./filtered/cache/"]),
    group("relative-delete-wild", &["-aRi", "--delete"]).from(&["source/./su*/d?r"]),
    group("delete-wild", &["-ai", "--delete"]).from(&["source/su*", "source/f*d"]),
    group("dirs-delete-relative", &["-dRti", "--delete"]).from(&["source/./sub/", "source/./deep"]),
    group("dirs", &["-dti"]),
    group("copy-links", &["-rLti"]).from(&["source/sub", "source/link", "source/link-to-dir"]),
    group("copy-dirlinks", &["-aki"]),
    // Without attributes: rsync 3.5.0 sets those of the link, or fails to.
    group("keep-dirlinks", &["-rlKi"]),
    group("keep-dirlinks-delete", &["-rlKi", "--delete"]).from(&["source/was-link"]),
    group("keep-dirlinks-dry", &["-rlKni", "--delete"]).from(&["source/was-link"]),
    group("safe-links", &["-ai", "--safe-links"]),
    group("safe-links-verbose", &["-av", "--safe-links"]).onto(Empty),
    group("copy-unsafe-links", &["-ai", "--copy-unsafe-links"])
        .from(&["source/sub", "source/link"]),
    group("munge-links", &["-ai", "--munge-links"]).onto(Empty),
    group("mkpath", &["-av", "--mkpath"]).to("target/a/b/c/"),
    group("mkpath-missing", &["-av"]).to("target/a/b/c/"),
    group("one-file-system", &["-ax"]),
    group("secluded-args", &["-av", "-s"]).from(&["source/names/"]),
    group("old-args", &["-av", "--old-args"]).from(&["source/sub"]),
    group(
        "no-forms",
        &["-avH", "--no-H", "--no-perms", "--no-o", "--no-g"],
    ),
    // Basis directories and backups.
    group("link-dest", &["-aHi", "--link-dest=../alternative"]).onto(Empty),
    group("link-dest-all", &["-aii", "--link-dest=../alternative"]).onto(Empty),
    group("link-dest-verbose", &["-avv", "--link-dest=../alternative"])
        .onto(Empty)
        .in_order(Order::KeptByPush),
    group("link-dest-old", &["-ai", "--link-dest=../alternative"]),
    group("link-dest-absent", &["-ai", "--link-dest=../alternative"]).onto(Absent),
    group("copy-dest", &["-ai", "--copy-dest=../alternative"]).onto(Empty),
    group("copy-dest-absent", &["-aii", "--copy-dest=../alternative"]).onto(Absent),
    group("link-dest-dry", &["-ani", "--link-dest=../alternative"]).onto(Absent),
    group("link-dest-nowhere", &["-ai", "--link-dest=../nowhere"])
        .onto(Absent)
        .only(Roles::Local),
    group(
        "link-dest-no-times",
        &["-rlii", "--link-dest=../alternative"],
    )
    .onto(Absent),
    group("compare-dest", &["-ai", "--compare-dest=../alternative"]).onto(Empty),
    group(
        "compare-dest-old",
        &["-ai", "--compare-dest=../alternative"],
    ),
    group("fuzzy", &["-aiy", "--no-W", "--stats"]),
    group("fuzzy-empty", &["-aiy", "--no-W", "--stats"]).onto(Empty),
    group(
        "fuzzy-delete",
        &["-aiy", "--no-W", "--stats", "--delete-after"],
    ),
    group("fuzzy-inplace", &["-aiy", "--no-W", "--stats", "--inplace"]),
    group("fuzzy-whole-file", &["-aiy", "-W", "--stats"]),
    group("fuzzy-dry", &["-aiyn", "--no-W", "--stats"]),
    group(
        "fuzzy-2",
        &["-aiyy", "--no-W", "--stats", "--link-dest=../alternative"],
    )
    .onto(Empty)
    .in_chroot(),
    group(
        "fuzzy-2-old",
        &["-aiyy", "--no-W", "--stats", "--copy-dest=../alternative"],
    )
    .in_chroot(),
    group("backup", &["-aib", "--delete"]),
    group("backup-verbose", &["-avvb"]).in_order(Order::Free),
    group("backup-suffix", &["-aib", "--suffix=.before"]),
    group(
        "backup-dir",
        &["-aib", "--backup-dir=../backups", "--delete"],
    ),
    group("backup-inplace", &["-aib", "--inplace", "--no-W"]),
    // What changes the source.
    group("remove-source", &["-ai", "--remove-source-files"]).moving(),
    group("remove-source-xattrs", &["-aXi", "--remove-source-files"]).moving(),
    group(
        "remove-source-compare",
        &[
            "-ai",
            "--remove-source-files",
            "--compare-dest=../alternative",
        ],
    )
    .moving(),
    group(
        "remove-source-delayed",
        &["-aHi", "--remove-source-files", "--delay-updates"],
    )
    .moving(),
    group(
        "remove-source-hard",
        &["-aHv", "--remove-source-files", "--info=remove"],
    )
    .moving(),
    // What goes wrong.
    group("missing", &["-av"]).from(&["source/nowhere", "source/sub"]),
    group("missing-only", &["-av"]).from(&["source/nowhere"]),
    group("missing-ignored", &["-av", "--ignore-missing-args"])
        .from(&["source/nowhere", "source/sub"]),
    group("missing-deleted", &["-av", "--delete-missing-args"])
        .from(&["source/gone-file", "source/sub"]),
    group("unreadable", &["-av"]).onto(Empty).as_nobody(),
    group("unreadable-delete", &["-av", "--delete"]).as_nobody(),
    group(
        "unreadable-delete-anyway",
        &["-av", "--delete", "--ignore-errors"],
    )
    .as_nobody(),
    group("unreadable-quiet", &["-aq"]).as_nobody(),
    group("file-over-dir", &["-av"])
        .from(&["source/one"])
        .to("target/was-dir-with-files"),
    group("dir-over-file", &["-av"])
        .from(&["source/sub"])
        .to("target/delta"),
    group("many-over-file", &["-av"])
        .from(&["source/sub", "source/one"])
        .to("target/delta"),
    group("no-such-option", &["-a", "--no-such-option"]),
];
