//! The rules that hold in one directory: those of the transfer, and those of merge files on the way.
//!
//! Source: rsync(1), «MERGE-FILE FILTER RULES», and rsync 3.5.0 as it behaves.
use std::sync::Arc;

use barge_fs::Dir;

use super::list::{RuleError, RuleList};
use super::merge::{Files, InForce, Layer, Merging, ReadAbove, chain};
use super::path::{below, normal, parent, parents, push};
use super::pattern::Pattern;
use super::rule::{Measured, Rule, RuleSide, What};

/// The rules that hold in one directory of a walk. Cheap to clone, and shared between threads.
///
/// A walk begins [above](Self::new) its first directory. The root of the transfer is
/// [entered](Self::enter_root) where it is itself listed; where only names in it are, the walk goes
/// on to [these](Self::enter) at once.
#[derive(Clone, Debug)]
pub struct Scope(Arc<Place>);

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) lists: Arc<Lists>,
    /// The directory, from the root of the file system or module, without slashes at its ends.
    pub(super) path: Vec<u8>,
    /// How much of that is the root of the transfer.
    pub(super) root: usize,
    /// The root of the transfer, where it was entered.
    pub(super) top: Option<Dir>,
    /// The directory is being deleted.
    dying: bool,
    /// What merge files up to here say.
    merged: Merged,
    /// Above the first directory: what merge files say that are looked for further up.
    above: Option<Arc<Above>>,
}

#[derive(Debug)]
pub(super) struct Lists {
    daemon: RuleList,
    own: RuleList,
    pub(super) side: RuleSide,
}

/// What merge files say where a walk begins.
#[derive(Debug)]
struct Above {
    /// With the root of the transfer.
    root: Merged,
    /// With a directory in it.
    name: Merged,
}

/// What merge files say in a directory, by the daemon's list and by the other.
#[derive(Clone, Debug, Default)]
struct Merged {
    daemon: InForce,
    own: InForce,
}

/// What is asked about.
#[derive(Clone, Copy)]
struct Question<'q> {
    name: &'q [u8],
    is_dir: bool,
    /// It is the name of an extended attribute.
    xattr: bool,
}

impl Scope {
    /// Where a walk begins, above its first directory: names in the root of the transfer are asked
    /// about, and no directory's own rules hold.
    ///
    /// `absolute` is the path of that root as rules with `/` see it: from the root of the file
    /// system, or from that of the module. `read` gives the content of a merge file above it, by
    /// its path of the same kind.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when a merge file above the root holds what is no rule.
    pub fn new(
        daemon: &RuleList,
        rules: &RuleList,
        side: RuleSide,
        absolute: &[u8],
        read: &mut ReadAbove<'_>,
    ) -> Result<Self, RuleError> {
        let lists = Lists {
            daemon: daemon.clone(),
            own: rules.clone(),
            side,
        };
        let mut place = Place::at(normal(absolute), lists);
        if place.lists.look_above() {
            place.above = Some(Arc::new(place.look_above(read)?));
        }
        Ok(Self(Arc::new(place)))
    }

    /// A daemon's list at the root of its module, and no other.
    pub(super) fn alone(daemon: &RuleList, side: RuleSide) -> Self {
        let lists = Lists {
            daemon: daemon.clone(),
            own: RuleList::default(),
            side,
        };
        Self(Arc::new(Place::at(Vec::new(), lists)))
    }

    /// The same where the root of the transfer is another directory: that of another argument.
    #[must_use]
    pub fn rooted(&self, absolute: &[u8]) -> Self {
        let path = normal(absolute);
        self.with(|place| Place {
            root: path.len(),
            path,
            ..place
        })
    }

    /// The scope of the root of the transfer itself: its merge files are read in `dir`.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when a merge file cannot be read or holds what is no rule.
    pub fn enter_root(&self, dir: &Dir) -> Result<Self, RuleError> {
        let mut place = Place::clone(&self.0);
        let before = match place.above.take() {
            Some(above) => above.root.clone(),
            None => place.merged.clone(),
        };
        place.top = Some(dir.clone());
        place.enter(&before, dir)
    }

    /// The scope of the directory `name` of this one: its merge files are read in `dir`.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when a merge file cannot be read or holds what is no rule.
    pub fn enter(&self, name: &[u8], dir: &Dir) -> Result<Self, RuleError> {
        let mut place = Place::clone(&self.0);
        let before = match place.above.take() {
            Some(above) => above.name.clone(),
            None => place.merged.clone(),
        };
        push(&mut place.path, name);
        place.enter(&before, dir)
    }

    /// The same for a directory that is being deleted: perishable rules do not hold.
    #[must_use]
    pub fn dying(&self) -> Self {
        self.with(|place| Place {
            dying: true,
            ..place
        })
    }

    /// Whether a name in this directory is left out of the list, or spared from deletion.
    pub fn excludes(&self, name: &[u8], is_dir: bool) -> bool {
        let xattr = false;
        self.0.excludes(Question {
            name,
            is_dir,
            xattr,
        })
    }

    /// Whether the daemon's own list refuses a name in this directory.
    pub fn daemon_excludes(&self, name: &[u8], is_dir: bool) -> bool {
        self.0.daemon_refuses(name, is_dir)
    }

    /// Whether the daemon's own list refuses a path from the root, or what it leads through.
    pub(super) fn refuses(&self, path: &[u8], is_dir: bool) -> bool {
        self.0.daemon_refuses_path(&normal(path), is_dir)
    }

    /// Whether the one list there is spares a directory of a transfer.
    pub(super) fn spares(&self, root: &[u8], path: &[u8]) -> bool {
        let root = normal(root);
        let whole = normal(&[&root, &b"/"[..], path].concat());
        let dir = parent(&whole);
        let (is_dir, xattr) = (true, false);
        let question = Question {
            name: below(&whole, dir).unwrap_or_default(),
            is_dir,
            xattr,
        };
        self.0.says(dir, &root, question) == Some(true)
    }

    /// Whether an extended attribute of what is in this directory is left alone.
    pub fn excludes_xattr(&self, name: &[u8]) -> bool {
        let (is_dir, xattr) = (false, true);
        self.0.excludes(Question {
            name,
            is_dir,
            xattr,
        })
    }

    /// Whether there are rules about extended attributes here, which replace the usual choice.
    pub fn has_xattr_rules(&self) -> bool {
        let layers = |in_force: &InForce| in_force.has_xattr_rules();
        let Merged { daemon, own } = &self.0.merged;
        self.0.lists.daemon.has_xattr_rules()
            || self.0.lists.own.has_xattr_rules()
            || layers(daemon)
            || layers(own)
    }

    fn with(&self, change: impl FnOnce(Place) -> Place) -> Self {
        Self(Arc::new(change(Place::clone(&self.0))))
    }
}

impl Place {
    fn at(path: Vec<u8>, lists: Lists) -> Self {
        Self {
            lists: Arc::new(lists),
            root: path.len(),
            path,
            top: None,
            dying: false,
            merged: Merged::default(),
            above: None,
        }
    }

    fn excludes(&self, question: Question<'_>) -> bool {
        self.daemon_says(&self.path, question) == Some(true)
            || self.own_says(question) == Some(true)
    }

    fn own_says(&self, question: Question<'_>) -> Option<bool> {
        let asked = Asked {
            place: self,
            dir: &self.path,
            root: &self.path[..self.root.min(self.path.len())],
            in_force: &self.merged.own,
            question,
        };
        asked.verdict(&self.lists.own.rules, None)
    }

    /// The paths of a daemon's list begin at the root of the module.
    fn daemon_says(&self, dir: &[u8], question: Question<'_>) -> Option<bool> {
        self.says(dir, b"", question)
    }

    /// What the daemon's list says, or the one that there is in its place.
    fn says(&self, dir: &[u8], root: &[u8], question: Question<'_>) -> Option<bool> {
        let asked = Asked {
            place: self,
            dir,
            root,
            in_force: &self.merged.daemon,
            question,
        };
        asked.verdict(&self.lists.daemon.rules, None)
    }

    /// Whether the daemon's list refuses a name in this directory.
    pub(super) fn daemon_refuses(&self, name: &[u8], is_dir: bool) -> bool {
        let xattr = false;
        let question = Question {
            name,
            is_dir,
            xattr,
        };
        self.daemon_says(&self.path, question) == Some(true)
    }

    /// Whether the daemon's list refuses a path, or a directory it leads through.
    pub(super) fn daemon_refuses_path(&self, path: &[u8], is_dir: bool) -> bool {
        let way = parents(path).skip(1).map(|dir| (dir, true));
        way.chain([(path, is_dir)]).any(|(path, is_dir)| {
            let dir = parent(path);
            let name = below(path, dir).unwrap_or_default();
            let xattr = false;
            let question = Question {
                name,
                is_dir,
                xattr,
            };
            self.daemon_says(dir, question) == Some(true)
        })
    }

    fn enter(mut self, before: &Merged, dir: &Dir) -> Result<Scope, RuleError> {
        self.merge(before, &mut Files::Beneath(dir))?;
        Ok(Scope(Arc::new(self)))
    }

    /// Reads the merge files of this directory; `before` is what those of its parent say.
    fn merge(&mut self, before: &Merged, files: &mut Files<'_, '_>) -> Result<(), RuleError> {
        let lists = Arc::clone(&self.lists);
        self.merged = Merged::default();
        let daemon = Merging::new(self, &lists.daemon, &before.daemon, files).run()?;
        self.merged.daemon = daemon;
        let own = Merging::new(self, &lists.own, &before.own, files);
        self.merged.own = own.beside_daemon().run()?;
        Ok(())
    }

    /// Reads the merge files that are looked for above where the walk begins.
    fn look_above(&self, read: &mut ReadAbove<'_>) -> Result<Above, RuleError> {
        let root = self.path.clone();
        let mut name = root.clone();
        push(&mut name, b"*"); // whatever its name: only its parents count
        Ok(Above {
            root: self.look_above_of(&root, read)?,
            name: self.look_above_of(&name, read)?,
        })
    }

    fn look_above_of(&self, first: &[u8], read: &mut ReadAbove<'_>) -> Result<Merged, RuleError> {
        let mut place = self.clone();
        for dir in parents(first) {
            place.path = dir.to_vec();
            let before = std::mem::take(&mut place.merged);
            place.merge(&before, &mut Files::Above { read, first })?;
        }
        Ok(place.merged)
    }
}

impl Lists {
    /// Whether any merge file is looked for above the root of the transfer.
    fn look_above(&self) -> bool {
        let rules = self.daemon.rules.iter().chain(self.own.rules.iter());
        let mut merges = rules.filter_map(Rule::dir_merge);
        merges.any(|merge| merge.above.is_some())
    }
}

/// A question to one list.
struct Asked<'a> {
    place: &'a Place,
    /// The directory of what is asked about.
    dir: &'a [u8],
    /// Where the list's own paths begin.
    root: &'a [u8],
    in_force: &'a InForce,
    question: Question<'a>,
}

impl Asked<'_> {
    /// Whether the first rule that matches excludes; `layer` is where the rules stand.
    fn verdict(&self, rules: &[Rule], layer: Option<&Layer>) -> Option<bool> {
        let side = self.place.lists.side;
        let mut holding = rules
            .iter()
            .filter(|rule| rule.holds.at(side) && !(self.place.dying && rule.modifiers.perishable));
        holding.find_map(|rule| match &rule.what {
            What::Names {
                pattern, measured, ..
            } => {
                let about = rule.modifiers.xattrs == self.question.xattr;
                let matches =
                    about && self.matches(pattern, *measured, layer) != rule.modifiers.negated;
                matches.then_some(!rule.modifiers.include)
            }
            What::Cvs { rules, .. } => self.verdict(rules, layer),
            What::DirMerge(merge) => {
                let mut layers = chain(self.in_force.layer(merge));
                layers.find_map(|layer| self.verdict(&layer.rules, Some(layer)))
            }
        })
    }

    fn matches(&self, pattern: &Pattern, measured: Measured, layer: Option<&Layer>) -> bool {
        let from = match (measured, layer) {
            (Measured::Absolute, _) => b"",
            (Measured::MergeDir, Some(layer)) => &layer.dir[..],
            _ => self.root,
        };
        let Question { name, is_dir, .. } = self.question;
        below(self.dir, from).is_some_and(|dir| pattern.matches(dir, name, is_dir))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use barge_fs::Root;
    use barge_rsync::options::{FilterOption, Options};
    use barge_types::{Name, RelPath};
    use tempfile::TempDir;

    use super::*;
    use crate::filter::{DaemonRules, RuleSources};

    fn list(rules: &[&str]) -> RuleList {
        let rules = rules
            .iter()
            .map(|rule| FilterOption::Rule(rule.as_bytes().to_vec()));
        let options = Options {
            filters: rules.collect(),
            ..Options::default()
        };
        let mut read = |path: &Path| fs::read(path);
        let mut sources = RuleSources {
            read: &mut read,
            cvsignore: None,
            cvsignore_variable: None,
        };
        RuleList::of_client(&options, &mut sources).unwrap()
    }

    fn daemon(exclude: &str) -> RuleList {
        let mut read = |path: &Path| fs::read(path);
        let mut sources = RuleSources {
            read: &mut read,
            cvsignore: None,
            cvsignore_variable: None,
        };
        let given = DaemonRules {
            exclude: exclude.as_bytes(),
            ..DaemonRules::default()
        };
        RuleList::of_daemon(&given, &mut sources).unwrap()
    }

    /// Files, with a directory `a` and all that is named.
    fn tree(files: &[(&str, &str)]) -> (TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let dir = Root::open(folder.path()).unwrap().dir(&RelPath::root());
        (folder, dir.unwrap())
    }

    /// The scopes of the root of a module and of `a` in it.
    fn scopes(daemon: &RuleList, rules: &[&str], dir: &Dir) -> Result<[Scope; 2], RuleError> {
        let mut none = |_: &[u8]| Ok(None);
        let scope = Scope::new(daemon, &list(rules), RuleSide::Sending, b"/", &mut none)?;
        let root = scope.enter_root(dir)?;
        let a = dir.open_dir(&Name::new(b"a").unwrap()).unwrap();
        let below = root.enter(b"a", &a)?;
        Ok([root, below])
    }

    #[test]
    fn few_short_files_do_not_fill_memory_by_merging_each_other() {
        let (_folder, dir) = tree(&[
            (".r", &". l1\n".repeat(100)),
            ("l1", &". l2\n".repeat(100)),
            ("l2", &". l3\n".repeat(100)),
            ("l3", &"- x\n".repeat(100)),
        ]);
        let error = scopes(&RuleList::default(), &[": .r"], &dir).unwrap_err();
        assert_eq!(error.exit_code, 11, "{error}");
        // Each alone is as long as may be, and a directory's rules hold in those below.
        let long = "- xxxxxx\n".repeat(450_000);
        let (_folder, dir) = tree(&[(".r", &long), ("a/.r", &long), (".s", &long)]);
        assert!(scopes(&RuleList::default(), &[": .r"], &dir).is_ok());
        let error = scopes(&RuleList::default(), &[": .r", ": .s"], &dir).unwrap_err();
        assert_eq!(error.text, "too many rules of merge files in force");
    }

    #[test]
    fn what_cvs_ignores_is_made_up_once_however_often_it_is_said() {
        let rules = list(&["-C", "-C", "-sC", "-C"]).rules;
        let made: Vec<_> = rules
            .iter()
            .filter_map(|rule| match &rule.what {
                What::Cvs { rules, .. } => Some(rules),
                _ => None,
            })
            .collect();
        assert!(Arc::ptr_eq(made[0], made[1]) && Arc::ptr_eq(made[0], made[3]));
        assert!(!Arc::ptr_eq(made[0], made[2]));
    }

    #[test]
    fn merge_file_reaches_no_file_outside() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs::write(&secret, "- f1\n").unwrap();
        let path = secret.to_str().unwrap();
        for text in [
            format!(". {path}\n"),
            ". /etc/passwd\n".into(),
            ". link/secret\n".into(),
            ". ./link/secret\n".into(),
            ". ../../link/secret\n".into(),
            ". ./direct\n".into(),
        ] {
            let (folder, dir) = tree(&[("a/.r", &text)]);
            symlink(outside.path(), folder.path().join("a/link")).unwrap();
            symlink(outside.path(), folder.path().join("link")).unwrap();
            symlink(&secret, folder.path().join("a/direct")).unwrap();
            let error = scopes(&RuleList::default(), &[": .r"], &dir).unwrap_err();
            assert_eq!(error.exit_code, 11, "{text}");
            assert_eq!(
                error.text,
                "failed to open exclude file <rule from /a/.r line 1>"
            );
        }
    }

    #[test]
    fn merge_file_that_is_a_link_or_unreadable_ends_the_run() {
        let (folder, dir) = tree(&[("rules", "- f1\n")]);
        symlink("../rules", folder.path().join("a/.r")).unwrap();
        let error = scopes(&RuleList::default(), &[": .r"], &dir).unwrap_err();
        let text = "failed to open exclude file /a/.r: Too many levels of symbolic links (40)";
        assert_eq!((&*error.text, error.exit_code), (text, 11));

        let (folder, dir) = tree(&[("a/.r", "- f1\n")]);
        let path = folder.path().join("a/.r");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&path).is_err() {
            assert!(scopes(&RuleList::default(), &[": .r"], &dir).is_err());
        } else {
            println!("skipped, needs not to be root: an unreadable merge file");
        }
    }

    #[test]
    fn merge_file_that_is_no_file_is_none() {
        let (folder, dir) = tree(&[]);
        fs::create_dir(folder.path().join("a/.r")).unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join(".r")).unwrap();
        let [root, a] = scopes(&RuleList::default(), &[": .r"], &dir).unwrap();
        assert!(!root.excludes(b"f1", false) && !a.excludes(b"f1", false));
    }

    #[test]
    fn merge_file_too_large_ends_the_run() {
        let (folder, dir) = tree(&[]);
        let file = fs::File::create(folder.path().join(".r")).unwrap();
        file.set_len(5 << 20).unwrap();
        assert!(scopes(&RuleList::default(), &[": .r"], &dir).is_err());
    }

    #[test]
    fn merge_file_does_not_look_further_up() {
        for text in [": ../.q\n", ": /.q\n", ":n /.q\n"] {
            let (_folder, dir) = tree(&[("a/.r", text), (".q", "- f1\n")]);
            let error = scopes(&RuleList::default(), &[": .r"], &dir).unwrap_err();
            assert_eq!(error.exit_code, 1, "{text}");
        }
    }

    #[test]
    fn merge_files_in_force_are_bounded() {
        let many: String = (0..300).map(|n| format!(": .{n}\n")).collect();
        let (_folder, dir) = tree(&[("a/.r", &many)]);
        let error = scopes(&RuleList::default(), &[": .r"], &dir).unwrap_err();
        assert_eq!(error.text, "too many merge files in force");
    }

    #[test]
    fn merge_file_that_the_daemon_refuses_is_none() {
        let files = [
            ("a/.r", "- f1\n"),
            (".r", ". secret\n- f2\n"),
            ("secret", "- f3\n"),
        ];
        let (_folder, dir) = tree(&files);
        let [root, a] = scopes(&daemon("/a/.r secret"), &[": .r"], &dir).unwrap();
        assert!(!a.excludes(b"f1", false));
        assert!(root.excludes(b"f2", false) && a.excludes(b"f2", false));
        assert!(!root.excludes(b"f3", false));
        assert!(root.excludes(b"secret", false) && a.excludes(b".r", false));
        assert!(root.daemon_excludes(b"secret", false) && !root.daemon_excludes(b"f2", false));
    }

    #[test]
    fn daemon_is_asked_first_and_its_includes_leave_the_rest_to_the_client() {
        let (_folder, dir) = tree(&[]);
        let list = daemon("+ f1 f*");
        let [root, a] = scopes(&list, &["+ f2", "- f1"], &dir).unwrap();
        for scope in [root, a] {
            assert!(scope.excludes(b"f2", false) && scope.daemon_excludes(b"f2", false));
            assert!(scope.excludes(b"f1", false) && !scope.daemon_excludes(b"f1", false));
            assert!(!scope.excludes(b"g", false));
        }
    }

    #[test]
    fn daemon_measures_paths_from_the_root_of_its_module() {
        let (_folder, dir) = tree(&[]);
        let (rules, mut none) = (list(&["- /f2", "-/ /sub/f3"]), |_: &[u8]| Ok(None));
        let daemon = daemon("/sub/f1 /f4");
        let scope = Scope::new(&daemon, &rules, RuleSide::Sending, b"/sub", &mut none).unwrap();
        let scope = scope.enter_root(&dir).unwrap();
        for (name, excluded) in [(b"f1", true), (b"f2", true), (b"f3", true), (b"f4", false)] {
            assert_eq!(scope.excludes(name, false), excluded);
        }
    }

    #[test]
    fn attributes_have_rules_of_their_own() {
        // rsync 3.5.0 -X, with attributes user.a, user.b, user.c: those that are left out.
        for (rules, left_out) in [
            (&["-x user.a"][..], "a"),
            (&["-x a"], ""),
            (&["-x user.*"], "abc"),
            (&["-xs user.a"], "a"),
            (&["+x user.a", "-x *"], "bc"),
            (&["-x! user.a"], "bc"),
            (&["-x /user.a"], "a"),
            (&["-x user.a/"], ""),
            (&["- user.a"], ""),
            (&["-x **"], "abc"),
            (&[": .r", "-x user.b"], "ab"),
        ] {
            let (_folder, dir) = tree(&[(".r", "-x user.a\n")]);
            let [scope, _] = scopes(&RuleList::default(), rules, &dir).unwrap();
            let out: String = "abc"
                .chars()
                .filter(|name| scope.excludes_xattr(format!("user.{name}").as_bytes()))
                .collect();
            assert_eq!(out, left_out, "{rules:?}");
            assert!(!scope.excludes(b"user.a", false) || rules == ["- user.a"]);
            assert_eq!(scope.has_xattr_rules(), rules != ["- user.a"]);
        }
    }

    #[test]
    fn another_root_has_the_rules_that_were_found_above_the_first() {
        let (_folder, dir) = tree(&[]);
        let mut read = |path: &[u8]| match path {
            b"/first/.r" => Ok(Some(b"- f1\n- /x/f2\n- /f4\n".to_vec())),
            b"/second/.r" => Ok(Some(b"- f3\n".to_vec())),
            _ => Ok(None),
        };
        let (none, rules) = (RuleList::default(), list(&[": /.r"]));
        let at = b"/first/x";
        let first = Scope::new(&none, &rules, RuleSide::Sending, at, &mut read).unwrap();
        let second = first.rooted(b"/second/x").enter_root(&dir).unwrap();
        let first = first.enter_root(&dir).unwrap();
        for (name, [by_first, by_second]) in [
            (b"f1", [true, true]),
            (b"f2", [true, false]),
            (b"f3", [false, false]),
            (b"f4", [false, false]),
        ] {
            assert_eq!(first.excludes(name, false), by_first);
            assert_eq!(second.excludes(name, false), by_second);
        }
    }

    #[test]
    fn names_above_the_first_directory_are_asked_about_without_merge_files() {
        let (_folder, dir) = tree(&[(".r", "- f1\n")]);
        let mut read = |path: &[u8]| match path {
            b"/w/.r" => Ok(Some(b"- f2\n".to_vec())),
            b"/.r" => Ok(Some(b"- f3\n".to_vec())),
            _ => Ok(None),
        };
        let (none, rules) = (RuleList::default(), list(&[": /.r", "- f4"]));
        let top = Scope::new(&none, &rules, RuleSide::Sending, b"/w", &mut read).unwrap();
        let holds =
            |scope: &Scope| ["f1", "f2", "f3", "f4"].map(|n| scope.excludes(n.as_bytes(), false));
        assert_eq!(holds(&top), [false, false, false, true]);
        // The root itself is not listed: its merge file is one of those further up.
        let in_name = top.enter(b"src", &dir).unwrap();
        assert_eq!(holds(&in_name), [true, true, true, true]);
        let in_root = top.enter_root(&dir).unwrap();
        assert_eq!(holds(&in_root), [true, false, true, true]);
    }
}
