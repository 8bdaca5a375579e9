//! Lists of rules, in order: those of a client, of a server, and of a daemon's module.
//!
//! Source: rsync(1), «FILTER RULES», rsyncd.conf(5), and rsync 3.5.0 as it behaves.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use barge_rsync::options::{Delete, FilterOption, Options};

use super::collect::{Collector, Makeup, Origin, Unsaid, unreadable};
use super::rule::{Bare, Measured, Prefixes, Rule, RuleSide, Style, What};
use super::scope::Scope;

/// A rule that is none, or a file of rules that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct RuleError {
    /// As rsync words it, without a newline.
    pub text: String,
    /// The exit code of rsync(1): 1 for a rule, 11 for a file.
    pub exit_code: u8,
}

impl RuleError {
    pub(super) fn syntax(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            exit_code: 1,
        }
    }
}

/// What rules are made of besides the options themselves.
pub struct RuleSources<'a> {
    /// Reads a file that the operator named; `-` is the standard input.
    pub read: &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    /// The content of `$HOME/.cvsignore`, where there is one. A daemon reads none.
    pub cvsignore: Option<Vec<u8>>,
    /// The value of `$CVSIGNORE`.
    pub cvsignore_variable: Option<Vec<u8>>,
}

/// The rules of a module's `rsyncd.conf`, as its parameters give them.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaemonRules<'a> {
    /// `filter`: rules, separated by blanks.
    pub filter: &'a [u8],
    /// `include from`.
    pub include_from: Option<&'a Path>,
    /// `include`: patterns, separated by blanks.
    pub include: &'a [u8],
    /// `exclude from`.
    pub exclude_from: Option<&'a Path>,
    /// `exclude`: patterns, separated by blanks.
    pub exclude: &'a [u8],
}

/// The rules that hold in a whole transfer, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RuleList {
    pub(super) rules: Arc<[Rule]>,
    /// How many of the rules cross the wire at most: a server that sends makes up those of `-C`
    /// itself.
    crossing: usize,
    /// What the rules of merge files are made up with.
    pub(super) makeup: Makeup,
}

impl RuleList {
    /// The list of a client: its options in order, then what other options imply.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first rule that is none or file that cannot be read.
    pub fn of_client(options: &Options, sources: &mut RuleSources<'_>) -> Result<Self, RuleError> {
        let makeup = Makeup::new(sources, Unsaid::by(options.delete_excluded));
        let read = &mut *sources.read;
        let mut open = |path: &[u8], why: &Origin<'_>, bare| read_operators(read, path, why, bare);
        let mut collector = Collector::new(&makeup, Measured::Root, &mut open);
        for option in &options.filters {
            add_option(&mut collector, option)?;
        }
        add_implied(&mut collector, options)?;
        let crossing = collector.rules().len();
        let mut rules = collector.into_rules();
        if options.cvs_exclude {
            rules = add_cvs(rules, options, &makeup)?;
        }
        Ok(Self {
            crossing: if options.sender {
                rules.len()
            } else {
                crossing
            },
            ..Self::new(rules, makeup, options.from0)
        })
    }

    /// The list of a server: the records its client sent, then what its options imply.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first record that is no rule, or a rule to read a file at once, which
    /// no client sends.
    pub fn of_server<'r>(
        options: &Options,
        records: impl IntoIterator<Item = &'r [u8]>,
        sources: &mut RuleSources<'_>,
    ) -> Result<Self, RuleError> {
        let makeup = Makeup::new(sources, Unsaid::by(options.delete_excluded));
        let mut open = |path: &[u8], _: &Origin<'_>, _| {
            let path = path.escape_ascii();
            let text = format!("a client's rule to merge \"{path}\" is refused");
            Err(RuleError::syntax(text))
        };
        let mut collector = Collector::new(&makeup, Measured::Root, &mut open);
        for record in records {
            collector.add(record, Style::RULES, &Origin::Text)?;
        }
        let mut rules = collector.into_rules();
        if options.cvs_exclude && options.sender {
            rules = add_cvs(rules, options, &makeup)?;
        }
        Ok(Self::new(rules, makeup, options.from0))
    }

    /// A daemon's own list, which is asked before any other.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first rule that is none or file that cannot be read.
    pub fn of_daemon(
        given: &DaemonRules<'_>,
        sources: &mut RuleSources<'_>,
    ) -> Result<Self, RuleError> {
        let makeup = Makeup::new(sources, Unsaid::Daemon);
        let read = &mut *sources.read;
        let mut open = |path: &[u8], why: &Origin<'_>, bare| read_operators(read, path, why, bare);
        let mut collector = Collector::new(&makeup, Measured::Root, &mut open);
        let old = |bare| Style::plain(Prefixes::Old(bare));
        collector.add_words(given.filter, Style::RULES)?;
        if let Some(path) = given.include_from {
            collector.add_file(path.as_os_str().as_bytes(), old(Bare::Includes))?;
        }
        collector.add_words(given.include, old(Bare::Includes))?;
        if let Some(path) = given.exclude_from {
            collector.add_file(path.as_os_str().as_bytes(), old(Bare::Excludes))?;
        }
        collector.add_words(given.exclude, old(Bare::Excludes))?;
        let rules = collector.into_rules();
        Ok(Self::new(rules, makeup, false))
    }

    fn new(rules: Vec<Rule>, makeup: Makeup, from0: bool) -> Self {
        Self {
            crossing: rules.len(),
            rules: rules.into(),
            makeup: Makeup { from0, ..makeup },
        }
    }

    /// The records a client sends to its server, which is the other side.
    pub fn records(&self, options: &Options) -> Vec<Vec<u8>> {
        let side = match options.sender {
            true => RuleSide::Receiving,
            false => RuleSide::Sending,
        };
        let rules = self.rules[..self.crossing].iter();
        let there = rules.filter(|rule| rule.holds.at(side));
        let spelled = there.flat_map(|rule| match &rule.what {
            // A server that sends knows what CVS ignores there.
            What::Cvs { rules, .. } if options.sender => rules.iter(),
            _ => std::slice::from_ref(rule).iter(),
        });
        spelled.map(Rule::record).collect()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there are rules about extended attributes, which replace the usual choice.
    pub fn has_xattr_rules(&self) -> bool {
        self.rules.iter().any(|rule| rule.modifiers.xattrs)
    }

    /// Whether these rules, without those of merge files, leave an attribute out at a side.
    pub fn excludes_xattr(&self, name: &[u8], side: RuleSide) -> bool {
        let rules = self.rules.iter().filter(|rule| rule.holds.at(side));
        for rule in rules.filter(|rule| rule.modifiers.xattrs) {
            if let What::Names { pattern, .. } = &rule.what
                && pattern.matches(b"", name, false) != rule.modifiers.negated
            {
                return !rule.modifiers.include;
            }
        }
        false
    }

    /// Whether these rules, without those of merge files, refuse a path from the root, or a
    /// directory it leads through: a daemon's list about what a client names.
    pub fn refuses(&self, path: &[u8], is_dir: bool, side: RuleSide) -> bool {
        Scope::alone(self, side).refuses(path, is_dir)
    }

    /// Whether these rules, without those of merge files, spare a directory from deletion: `path` of a
    /// transfer whose root is at the path `root`.
    pub fn protects(&self, root: &[u8], path: &[u8]) -> bool {
        !self.rules.is_empty() && Scope::alone(self, RuleSide::Receiving).spares(root, path)
    }

    /// Whether a sender that keeps to a client's rules cannot have listed this name.
    ///
    /// Asks the rules in order; false as soon as one is come to that only the sender can judge.
    pub fn forbids(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        let rules = self.rules.iter().filter(|rule| rule.holds.sending);
        for rule in rules.filter(|rule| !rule.modifiers.xattrs) {
            match &rule.what {
                What::Names {
                    pattern,
                    measured: Measured::Root,
                    ..
                } => {
                    if pattern.matches(dir, name, is_dir) != rule.modifiers.negated {
                        return !rule.modifiers.include;
                    }
                }
                _ => return false,
            }
        }
        false
    }
}

/// Whether a client sends its rules (the server sends, or deletes, or prunes); both sides agree.
pub fn rules_cross(options: &Options, server_sends: bool) -> bool {
    server_sends
        || options.prune_empty_dirs
        || options.delete_excluded
        || options.delete != Delete::No
}

fn add_option(collector: &mut Collector<'_>, option: &FilterOption) -> Result<(), RuleError> {
    let old = |bare| Style::plain(Prefixes::Old(bare));
    match option {
        FilterOption::Rule(text) => collector.add(text, Style::RULES, &Origin::Text),
        FilterOption::Exclude(text) => collector.add(text, old(Bare::Excludes), &Origin::Text),
        FilterOption::Include(text) => collector.add(text, old(Bare::Includes), &Origin::Text),
        FilterOption::ExcludeFrom(path) => {
            collector.add_file(path.as_os_str().as_bytes(), old(Bare::Excludes))
        }
        FilterOption::IncludeFrom(path) => {
            collector.add_file(path.as_os_str().as_bytes(), old(Bare::Includes))
        }
        FilterOption::From0(from0) => {
            collector.set_from0(*from0);
            Ok(())
        }
    }
}

/// Backups are spared by the deletion, and half-done files are no part of the transfer.
fn add_implied(collector: &mut Collector<'_>, options: &Options) -> Result<(), RuleError> {
    let deletes = options.delete != Delete::No && !options.delete_excluded;
    if deletes && options.backup && options.backup_dir.is_none() && !options.suffix.is_empty() {
        let rule = [b"P *", &options.suffix[..]].concat();
        collector.add(&rule, Style::RULES, &Origin::Text)?;
    }
    let dir = options.partial_dir.as_ref().map(|dir| dir.as_bytes());
    if let Some(dir) = dir.filter(|dir| !dir.starts_with(b"/")) {
        let slash: &[u8] = if dir.ends_with(b"/") { b"" } else { b"/" };
        let rule = [b"-p ", dir, slash].concat();
        collector.add(&rule, Style::RULES, &Origin::Text)?;
    }
    Ok(())
}

/// `-C`: what CVS ignores comes last.
fn add_cvs(rules: Vec<Rule>, options: &Options, makeup: &Makeup) -> Result<Vec<Rule>, RuleError> {
    // A client that receives does not let --delete-excluded touch them, as rsync does not.
    let receives = !options.server && !options.sender;
    let unsaid = if receives {
        Unsaid::BothSides
    } else {
        makeup.unsaid
    };
    let makeup = Makeup {
        unsaid,
        ..makeup.clone()
    };
    let mut open = |_: &[u8], _: &Origin<'_>, _| unreachable!("no file is merged by these rules");
    let mut collector = Collector::new(&makeup, Measured::Root, &mut open).after(rules);
    collector.add(b":C", Style::RULES, &Origin::Text)?;
    collector.add(b"-C", Style::RULES, &Origin::Text)?;
    Ok(collector.into_rules())
}

/// Reads a file that the operator named.
fn read_operators(
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    path: &[u8],
    why: &Origin<'_>,
    bare: Option<Bare>,
) -> Result<Option<Vec<u8>>, RuleError> {
    match read(Path::new(OsStr::from_bytes(path))) {
        Ok(content) => Ok(Some(content)),
        Err(error) => Err(unreadable(path, why, bare, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(options: &Options) -> Result<RuleList, RuleError> {
        let mut sources = RuleSources {
            read: &mut |path| std::fs::read(path),
            cvsignore: None,
            cvsignore_variable: Some(b"enva ! - + envb".to_vec()),
        };
        RuleList::of_client(options, &mut sources)
    }

    fn options(rules: &[&str]) -> Options {
        let rules = rules
            .iter()
            .map(|rule| FilterOption::Rule(rule.as_bytes().to_vec()));
        Options {
            filters: rules.collect(),
            delete: Delete::During,
            suffix: b"~".to_vec(),
            ..Options::default()
        }
    }

    /// What crosses the wire in a push, and in a pull.
    fn crossing(options: &Options) -> [String; 2] {
        [true, false].map(|sender| {
            let options = Options {
                sender,
                ..options.clone()
            };
            let records = list(&options).unwrap().records(&options);
            let records = records
                .iter()
                .map(|record| record.escape_ascii().to_string());
            records.collect::<Vec<_>>().join("|")
        })
    }

    #[test]
    fn client_sends_what_rsync_sends() {
        // Recorded from rsync 3.5.0, with --delete: rule, records of a push, records of a pull.
        for (rule, push, pull) in [
            ("-_foo/", "- foo/", "- foo/"),
            ("-,/sr foo", "-/sr foo", "-/sr foo"),
            ("-! foo", "-! foo", "-! foo"),
            ("-!/p foo", "-/!p foo", "-/!p foo"),
            ("+p foo/", "+p foo/", "+p foo/"),
            ("-!! x", "-! x", "-! x"),
            (":e .r", "- .r|: .r", "- .r|: .r"),
            (":n .r", ":n .r", ":n .r"),
            (":w- .r", ":w- .r", ":w- .r"),
            (":w+n x", ":nw+ x", ":nw+ x"),
            (":C", ":C .cvsignore", ":C .cvsignore"),
            (":C x", ":C x", ":C x"),
            (
                ":eC",
                "- .cvsignore|:C .cvsignore",
                "- .cvsignore|:C .cvsignore",
            ),
            (":sn .r", "", ":ns .r"),
            (":rn- .r", ":n-r .r", ""),
            (":+p .r", ":+p .r", ":+p .r"),
            (":/nwexsrp .r", "- .r|:/nwxsrp .r", "- .r|:/nwxsrp .r"),
            (":pxrsnwC", ":Cxsrp .cvsignore", ":Cxsrp .cvsignore"),
            (":n/C x", ":/C x", ":/C x"),
            (":es/p .r", "- .r", "- .r|:/sp .r"),
            ("H h", "", "-s h"),
            ("S s", "", "+s s"),
            ("P p", "-r p", ""),
            ("R r", "+r r", ""),
            ("H!p h", "", "-!sp h"),
            ("protect,p x", "-rp x", ""),
            ("-x user.x", "-x user.x", "-x user.x"),
            ("-xs user.x", "", "-xs user.x"),
            ("-xr user.x", "-xr user.x", ""),
            ("- foo//", "- foo//", "- foo//"),
            ("- /", "- /", "- /"),
            (": ../../x", ": ../../x", ": ../../x"),
            (":e a/b", "- b|: a/b", "- b|: a/b"),
            ("-  x ", "-  x ", "-  x "),
            ("!", "", ""),
            ("-C", "- -|- +|- envb", "-C "),
            ("-/C", "-/ -|-/ +|-/ envb", "-/C "),
            ("-pC x", "-p -|-p +|-p envb", "-Cp x"),
            ("-sC", "", "-Cs "),
            ("-rC", "-r -|-r +|-r envb", ""),
            ("-!C", "-! -|-! +|-! envb", "-!C "),
        ] {
            assert_eq!(crossing(&options(&[rule])), [push, pull], "{rule}");
        }
    }

    #[test]
    fn client_sends_plain_rules_to_a_sender_only_when_excluded_names_are_deleted() {
        for (rule, push, pull) in [
            ("- a", "", "-s a"),
            ("+ a", "", "+s a"),
            ("-s a", "", "-s a"),
            ("-r a", "-r a", ""),
            ("-sr a", "-sr a", "-sr a"),
            ("P a", "-r a", ""),
            (": .r", ": .r", ": .r"),
            (":s .r", "", ":s .r"),
            (":r .r", ":r .r", ""),
            ("-x user.a", "", "-xs user.a"),
            ("-C", "", "-Cs "),
            ("-p a", "", "-sp a"),
            (":e .r", ": .r", "- .r|: .r"),
        ] {
            let mut options = options(&[rule]);
            options.delete_excluded = true;
            assert_eq!(crossing(&options), [push, pull], "{rule}");
        }
    }

    #[test]
    fn client_sends_what_other_options_imply() {
        let with = |change: fn(&mut Options)| {
            let mut options = options(&["- q"]);
            change(&mut options);
            crossing(&options)
        };
        let backup = with(|options| options.backup = true);
        assert_eq!(backup, ["- q|-r *~", "- q"]);
        let elsewhere = with(|options| {
            options.backup = true;
            options.backup_dir = Some("bk".into());
        });
        assert_eq!(elsewhere, ["- q", "- q"]);
        let partial = with(|options| options.partial_dir = Some(".pd".into()));
        assert_eq!(partial, ["- q|-p .pd/", "- q|-p .pd/"]);
        let partial = with(|options| options.partial_dir = Some("a/b/".into()));
        assert_eq!(partial, ["- q|-p a/b/", "- q|-p a/b/"]);
        let absolute = with(|options| options.partial_dir = Some("/pd".into()));
        assert_eq!(absolute, ["- q", "- q"]);
        let cvs = with(|options| {
            options.cvs_exclude = true;
            options.backup = true;
        });
        assert_eq!(cvs, ["- q|-r *~|:C .cvsignore|- -|- +|- envb", "- q"]);
        let excluded = with(|options| {
            options.cvs_exclude = true;
            options.backup = true;
            options.delete_excluded = true;
            options.partial_dir = Some(".pd".into());
        });
        assert_eq!(excluded, [":C .cvsignore", "-s q|-sp .pd/"]);
    }

    #[test]
    fn client_sends_all_that_cvs_ignores() {
        // Recorded from rsync 3.5.0: -C -F --delete.
        let recorded = ": /.rsync-filter|:C .cvsignore|-p RCS|-p SCCS|-p CVS|-p CVS.adm|-p RCSLOG|\
            -p cvslog.*|-p tags|-p TAGS|-p .make.state|-p .nse_depinfo|-p *~|-p #*|-p .#*|-p ,*|\
            -p _$*|-p *$|-p *.old|-p *.bak|-p *.BAK|-p *.orig|-p *.rej|-p .del-*|-p *.a|-p *.olb|\
            -p *.o|-p *.obj|-p *.so|-p *.exe|-p *.Z|-p *.elc|-p *.ln|-p core|-p .svn/|-p .git/|\
            -p .hg/|-p .bzr/";
        let options = Options {
            sender: true,
            cvs_exclude: true,
            ..options(&[": /.rsync-filter"])
        };
        let mut sources = RuleSources {
            read: &mut |path| std::fs::read(path),
            cvsignore: None,
            cvsignore_variable: None,
        };
        let list = RuleList::of_client(&options, &mut sources).unwrap();
        let records = list.records(&options);
        let records: Vec<_> = records
            .iter()
            .map(|r| r.escape_ascii().to_string())
            .collect();
        assert_eq!(records.join("|"), recorded);
    }

    fn of_server(record: &[u8]) -> Result<RuleList, RuleError> {
        let mut sources = RuleSources {
            read: &mut |_| panic!("a server reads nothing"),
            cvsignore: None,
            cvsignore_variable: None,
        };
        let options = Options {
            server: true,
            sender: true,
            ..Options::default()
        };
        RuleList::of_server(&options, [record], &mut sources)
    }

    #[test]
    fn server_refuses_what_is_no_rule_or_reads_its_files() {
        for (record, text) in [
            (&b"xyz"[..], "Unknown filter rule: xyz"),
            (
                b"-f1",
                "invalid modifier 'f' at position 1 in filter rule: -f1",
            ),
            (b"- ", "unexpected end of filter rule: - "),
            (b"! x", "'!' rule has trailing characters: ! x"),
            (b"- a\0b", "a NUL byte in a filter rule: - a\0b"),
            (
                b". /etc/passwd",
                "a client's rule to merge \"/etc/passwd\" is refused",
            ),
            (b"merge,C x", "a client's rule to merge \"x\" is refused"),
        ] {
            let error = of_server(record).unwrap_err();
            assert_eq!((&*error.text, error.exit_code), (text, 1));
        }
        let long = [&b"- "[..], &[b'y'; 4096]].concat();
        assert!(
            of_server(&long)
                .unwrap_err()
                .text
                .starts_with("over-long filter: - yyy")
        );
        assert!(of_server(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn server_makes_of_records_what_the_client_has() {
        for rule in [
            "-_foo/",
            "P!p x",
            ":n- .r",
            ":eC",
            "-C",
            "+/!x user.a",
            "R /***",
        ] {
            let options = options(&[rule]);
            let records = list(&options).unwrap().records(&options);
            let server = Options {
                server: true,
                sender: true,
                ..Options::default()
            };
            let mut sources = RuleSources {
                read: &mut |_| panic!("a server reads nothing"),
                cvsignore: None,
                cvsignore_variable: None,
            };
            let again = records.iter().map(Vec::as_slice);
            let again = RuleList::of_server(&server, again, &mut sources).unwrap();
            assert_eq!(again.records(&options), records, "{rule}");
        }
    }

    #[test]
    fn rules_cross_where_the_server_sends_or_deletes_or_prunes() {
        let crosses = |change: fn(&mut Options), server_sends| {
            let mut options = Options::default();
            change(&mut options);
            rules_cross(&options, server_sends)
        };
        assert!(crosses(|_| (), true));
        assert!(!crosses(|_| (), false));
        assert!(crosses(|options| options.delete = Delete::After, false));
        assert!(crosses(|options| options.delete_excluded = true, false));
        assert!(crosses(|options| options.prune_empty_dirs = true, false));
    }

    #[test]
    fn daemon_reads_its_parameters_by_words() {
        // What rsync 3.5.0 hid of f1, f2 and f3 in a module of these parameters.
        let none = DaemonRules::default();
        for (given, hidden) in [
            (
                DaemonRules {
                    exclude: b"f1 f2",
                    ..none
                },
                &["f1", "f2"][..],
            ),
            (
                DaemonRules {
                    exclude: b"- f1 + f2 f2 f3",
                    ..none
                },
                &["f1", "f3"],
            ),
            (
                DaemonRules {
                    exclude: b"+ f1 f*",
                    ..none
                },
                &["f2", "f3"],
            ),
            (
                DaemonRules {
                    include: b"f1",
                    exclude: b"f*",
                    ..none
                },
                &["f2", "f3"],
            ),
            (
                DaemonRules {
                    include: b"- f1 f2",
                    exclude: b"f*",
                    ..none
                },
                &["f1", "f3"],
            ),
            (
                DaemonRules {
                    filter: b"- f1 - f2",
                    ..none
                },
                &["f1", "f2"],
            ),
            (
                DaemonRules {
                    filter: b"-_f1\t- f2 ",
                    ..none
                },
                &["f1", "f2"],
            ),
            (
                DaemonRules {
                    filter: b"exclude f1 exclude f2",
                    ..none
                },
                &["f1", "f2"],
            ),
            (
                DaemonRules {
                    filter: b"- f1 ! - f2",
                    ..none
                },
                &["f2"],
            ),
            (
                DaemonRules {
                    filter: b"P f1",
                    ..none
                },
                &["f1"],
            ),
            (
                DaemonRules {
                    exclude: b"f1 ! f2",
                    ..none
                },
                &["f2"],
            ),
            (
                DaemonRules {
                    exclude: b"f1 !f2",
                    ..none
                },
                &["f1"],
            ),
            (
                DaemonRules {
                    exclude: b"\"f1\" f2",
                    ..none
                },
                &["f2"],
            ),
            (
                DaemonRules {
                    filter: b"+ f1",
                    exclude: b"f*",
                    include: b"f2",
                    ..none
                },
                &["f3"],
            ),
        ] {
            let list = of_daemon(&given).unwrap();
            let refused = ["f1", "f2", "f3"];
            let refused: Vec<_> = refused
                .into_iter()
                .filter(|name| list.refuses(name.as_bytes(), false, RuleSide::Sending))
                .collect();
            assert_eq!(refused, hidden, "{given:?}");
        }
        for (filter, text) in [
            ("f1", "Unknown filter rule: f1"),
            ("- f1  -  f2", "unexpected end of filter rule: -  f2"),
            ("- f1 f2", "Unknown filter rule: f2"),
            ("- f1 !x - f2", "'!' rule has trailing characters: !x - f2"),
            ("- f1 ,- f2", "Unknown filter rule: ,- f2"),
        ] {
            let filter = filter.as_bytes();
            let error = of_daemon(&DaemonRules { filter, ..none }).unwrap_err();
            assert_eq!(error.text, text);
        }
    }

    fn of_daemon(given: &DaemonRules<'_>) -> Result<RuleList, RuleError> {
        let mut sources = RuleSources {
            read: &mut |path| std::fs::read(path),
            cvsignore: None,
            cvsignore_variable: None,
        };
        RuleList::of_daemon(given, &mut sources)
    }

    #[test]
    fn daemon_refuses_what_is_beneath_what_it_refuses() {
        let exclude = b"/secret /a/*/x *.key/";
        let list = of_daemon(&DaemonRules {
            exclude,
            ..DaemonRules::default()
        });
        let list = list.unwrap();
        for (path, refused) in [
            ("secret", true),
            ("/secret/deep/file", true),
            ("b/secret", false),
            ("a/b/x", true),
            ("a/x", false),
            ("k.key", false),
            ("k.key/x", true),
            ("", false),
        ] {
            let side = RuleSide::Receiving;
            assert_eq!(
                list.refuses(path.as_bytes(), false, side),
                refused,
                "{path}"
            );
        }
        assert!(list.refuses(b"k.key", true, RuleSide::Receiving));
    }

    #[test]
    fn name_is_forbidden_only_where_the_sender_has_no_choice() {
        let forbids = |rules: &[&str], dir: &str, name: &str| {
            let list = list(&options(rules)).unwrap();
            list.forbids(dir.as_bytes(), name.as_bytes(), false)
        };
        assert!(forbids(&["- *.o"], "a", "x.o"));
        assert!(forbids(&["+ y.o", "- *.o"], "a", "x.o"));
        assert!(!forbids(&["+ x.o", "- *.o"], "a", "x.o"));
        assert!(!forbids(&["P *.o"], "a", "x.o"));
        assert!(!forbids(&["-x *.o"], "a", "x.o"));
        assert!(forbids(&["- /a/x.o"], "a", "x.o"));
        assert!(!forbids(&["-/ /a/x.o", "- *.o"], "a", "x.o"));
        assert!(!forbids(&[": .r", "- *.o"], "a", "x.o"));
        assert!(forbids(&["- *.o", ": .r"], "a", "x.o"));
        assert!(!forbids(&["-C"], "a", "x.o"));
    }
}
