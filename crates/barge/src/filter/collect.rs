//! Collects rules from texts and files in order, as rsync does.

use std::io;
use std::mem;
use std::sync::Arc;

use barge_types::Name;

use super::cvs::{self, CvsPattern};
use super::list::{RuleError, RuleSources};
use super::rule::{
    Bare, DirMerge, Fault, Holds, Measured, Modifiers, Parsed, Prefixes, Rule, Style, What,
};

/// What rules are made up with, wherever they stand. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Makeup {
    pub(super) unsaid: Unsaid,
    /// Rules in files end with a NUL.
    pub(super) from0: bool,
    pub(super) cvs: Arc<[CvsPattern]>,
}

/// Where a rule holds that names no side.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Unsaid {
    /// At both.
    #[default]
    BothSides,
    /// Where it is no merge rule, at the sending side alone: `--delete-excluded`.
    SendingSide,
    /// In a daemon's list, where what is hidden or protected is so from every client.
    Daemon,
}

/// Where the text of a rule comes from, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'o> {
    /// An option, a record, or a parameter: the text itself is shown.
    Text,
    /// A file, whose content is nobody's business.
    File {
        name: &'o str,
        /// `None` in files that are read by words.
        line: Option<usize>,
    },
}

/// Gives the content of a file that a rule names: `None` when it is to be passed over. What the
/// file's patterns do is for the message.
pub(super) type Open<'a> =
    dyn FnMut(&[u8], &Origin<'_>, Option<Bare>) -> Result<Option<Vec<u8>>, RuleError> + 'a;

/// Rules in the making.
pub(super) struct Collector<'a> {
    rules: Vec<Rule>,
    cleared: bool,
    /// Names of merge files that are in force already, but not by these rules.
    taken: Vec<Name>,
    /// What CVS ignores, made up already: a rule of two bytes stands for dozens.
    cvs: Vec<(Modifiers, Measured, Arc<[Rule]>)>,
    makeup: &'a Makeup,
    from0: bool,
    measured: Measured,
    depth: usize,
    /// Messages name lines of the file that is read: it is named by an option, not by a file.
    numbered: bool,
    open: &'a mut Open<'a>,
}

impl Makeup {
    pub(super) fn new(sources: &RuleSources<'_>, unsaid: Unsaid) -> Self {
        let home = sources.cvsignore.as_deref();
        let variable = sources.cvsignore_variable.as_deref();
        Self {
            unsaid,
            from0: false,
            cvs: cvs::patterns(home, variable).into(),
        }
    }

    fn holds(&self, modifiers: &Modifiers, merges: bool) -> Holds {
        match self.unsaid {
            Unsaid::Daemon => Holds {
                sending: true,
                receiving: modifiers.receiver || !modifiers.sender,
            },
            Unsaid::SendingSide if !merges => Holds::by(modifiers, SENDING),
            _ => Holds::by(modifiers, Holds::BOTH),
        }
    }
}

impl Unsaid {
    pub(super) fn by(delete_excluded: bool) -> Self {
        if delete_excluded {
            Self::SendingSide
        } else {
            Self::BothSides
        }
    }
}

impl<'a> Collector<'a> {
    pub(super) fn new(makeup: &'a Makeup, measured: Measured, open: &'a mut Open<'a>) -> Self {
        Self {
            rules: Vec::new(),
            cleared: false,
            taken: Vec::new(),
            cvs: Vec::new(),
            makeup,
            from0: false,
            measured,
            depth: 0,
            numbered: true,
            open,
        }
    }

    /// Goes on with a list that was begun.
    pub(super) fn after(self, rules: Vec<Rule>) -> Self {
        Self { rules, ..self }
    }

    /// Merge files of these names are in force already.
    pub(super) fn beside(self, taken: Vec<Name>) -> Self {
        Self { taken, ..self }
    }

    /// Reads one rule; no text is none.
    pub(super) fn add(
        &mut self,
        text: &[u8],
        style: Style,
        origin: &Origin<'_>,
    ) -> Result<(), RuleError> {
        if !text.is_empty() {
            self.add_first(text, style, origin)?;
        }
        Ok(())
    }

    /// Reads rules that blanks separate.
    pub(super) fn add_words(&mut self, text: &[u8], style: Style) -> Result<(), RuleError> {
        let mut rest = text.trim_ascii_start();
        while !rest.is_empty() {
            rest = self.add_first(rest, style.in_words(), &Origin::Text)?;
            rest = rest.trim_ascii_start();
        }
        Ok(())
    }

    /// Reads the rules of a file that is named where these rules are.
    pub(super) fn add_file(&mut self, path: &[u8], style: Style) -> Result<(), RuleError> {
        let bare = match style.prefixes {
            Prefixes::Old(bare) | Prefixes::Bare(bare) => Some(bare),
            Prefixes::Rules | Prefixes::Cvs => None,
        };
        match (self.open)(path, &Origin::Text, bare)? {
            Some(content) => self.add_content(&content, style, &shown_path(path)),
            None => Ok(()),
        }
    }

    /// Reads the rules of a file; `name` is for messages.
    pub(super) fn add_content(
        &mut self,
        content: &[u8],
        style: Style,
        name: &str,
    ) -> Result<(), RuleError> {
        if style.words {
            let mut words = content.split(|byte| byte.is_ascii_whitespace() || *byte == 0);
            let origin = Origin::File { name, line: None };
            return words.try_for_each(|word| self.add(word, style, &origin));
        }
        for (line, text) in lines(content, self.from0) {
            if !text.starts_with(b"#") && !text.starts_with(b";") {
                let line = self.numbered.then_some(line);
                self.add(text, style, &Origin::File { name, line })?;
            }
        }
        Ok(())
    }

    /// How the files that are read from now on end their rules.
    pub(super) fn set_from0(&mut self, from0: bool) {
        self.from0 = from0;
    }

    /// Whether what was in force before these rules is not any more.
    pub(super) fn was_cleared(&self) -> bool {
        self.cleared
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.rules
    }

    /// Reads the rule at the beginning of `text`; gives what follows it.
    fn add_first<'t>(
        &mut self,
        text: &'t [u8],
        style: Style,
        origin: &Origin<'_>,
    ) -> Result<&'t [u8], RuleError> {
        let (parsed, rest) = style
            .read(text)
            .map_err(|fault| origin.error(fault, text))?;
        match parsed {
            Parsed::Clear => self.clear(),
            Parsed::Names(modifiers, text) => self.push_names(modifiers, text),
            Parsed::Cvs(modifiers, text) => self.push_cvs(modifiers, text),
            Parsed::DirMerge(modifiers, text) => self.push_dir_merge(&modifiers, text),
            Parsed::Merge(modifiers, path) => self.merge(&modifiers, path, text, origin)?,
        }
        Ok(rest)
    }

    fn clear(&mut self) {
        self.rules.clear();
        self.cleared = true;
    }

    fn push_names(&mut self, modifiers: Modifiers, text: &[u8]) {
        let rule = self.rule_of_names(modifiers, text, self.measured);
        self.rules.push(rule);
    }

    fn rule_of_names(&self, mut modifiers: Modifiers, text: &[u8], measured: Measured) -> Rule {
        let holds = self.makeup.holds(&modifiers, false);
        modifiers.sender |= self.makeup.unsaid == Unsaid::SendingSide && !modifiers.has_side();
        Rule::names(modifiers, text, holds, measured)
    }

    fn push_cvs(&mut self, modifiers: Modifiers, text: &[u8]) {
        let rules = self.rules_of_cvs(modifiers);
        let holds = self.makeup.holds(&modifiers, false);
        let unsaid = self.makeup.unsaid == Unsaid::SendingSide && !modifiers.has_side();
        let modifiers = Modifiers {
            sender: modifiers.sender || unsaid,
            ..modifiers
        };
        let text = text.into();
        self.rules.push(Rule {
            what: What::Cvs { text, rules },
            modifiers,
            holds,
        });
    }

    fn rules_of_cvs(&mut self, modifiers: Modifiers) -> Arc<[Rule]> {
        let measured = self.measured;
        let mut made = self.cvs.iter();
        let is_same = |(of, at, _): &&(Modifiers, Measured, _)| (*of, *at) == (modifiers, measured);
        if let Some((.., rules)) = made.find(is_same) {
            return Arc::clone(rules);
        }
        let rule = |pattern: &CvsPattern| {
            let modifiers = Modifiers {
                cvs: false,
                perishable: modifiers.perishable || pattern.perishable,
                ..modifiers
            };
            self.rule_of_names(modifiers, &pattern.text, measured)
        };
        let rules: Arc<[Rule]> = self.makeup.cvs.iter().map(rule).collect();
        self.cvs.push((modifiers, measured, Arc::clone(&rules)));
        rules
    }

    fn push_dir_merge(&mut self, modifiers: &Modifiers, text: &[u8]) {
        let merge = DirMerge::new(modifiers, text);
        self.push_exclude_itself(modifiers, merge.name.as_ref().map(Name::as_bytes));
        // The first rule about a file name is the one that counts.
        if merge.name.as_ref().is_some_and(|name| self.is_taken(name)) {
            return;
        }
        let holds = self.makeup.holds(modifiers, true);
        self.rules.push(Rule {
            what: What::DirMerge(Arc::new(merge)),
            modifiers: *modifiers,
            holds,
        });
    }

    fn is_taken(&self, name: &Name) -> bool {
        let own = self.rules.iter().filter_map(Rule::dir_merge);
        let mut own = own.filter_map(|merge| merge.name.as_ref());
        self.taken.contains(name) || own.any(|other| other == name)
    }

    /// `e`: the file's own name is excluded, with none of the other modifiers.
    fn push_exclude_itself(&mut self, modifiers: &Modifiers, name: Option<&[u8]>) {
        if let Some(name) = name.filter(|name| modifiers.excludes_itself && !name.is_empty()) {
            let holds = self.makeup.holds(&Modifiers::NONE, false);
            let rule = Rule::names(Modifiers::NONE, name, holds, self.measured);
            self.rules.push(rule);
        }
    }

    fn merge(
        &mut self,
        modifiers: &Modifiers,
        path: &[u8],
        text: &[u8],
        origin: &Origin<'_>,
    ) -> Result<(), RuleError> {
        self.push_exclude_itself(modifiers, path.rsplit(|&byte| byte == b'/').next());
        if self.depth == MAX_DEPTH {
            let shown = origin.shown(text);
            let text = format!("merge-file include depth limit ({MAX_DEPTH}) exceeded at {shown}");
            return Err(RuleError {
                text,
                exit_code: FILE,
            });
        }
        let Some(content) = (self.open)(path, origin, modifiers.bare)? else {
            return Ok(());
        };
        let name = match origin {
            Origin::Text => shown_path(path),
            Origin::File { name, line: None } => format!("a file named at {name}"),
            Origin::File {
                name,
                line: Some(line),
            } => format!("a file named at {name} line {line}"),
        };
        // What a merge file merges is anchored where all other rules are.
        let measured = mem::replace(&mut self.measured, Measured::Root);
        let of_option = matches!(origin, Origin::Text);
        let numbered = mem::replace(&mut self.numbered, of_option);
        self.depth += 1;
        let added = self.add_content(&content, Style::of_files(modifiers), &name);
        self.depth -= 1;
        (self.measured, self.numbered) = (measured, numbered);
        added
    }
}

impl Origin<'_> {
    /// The rule as a message shows it.
    pub(super) fn shown(&self, text: &[u8]) -> String {
        match self {
            Self::Text => String::from_utf8_lossy(text).into_owned(),
            Self::File { name, line: None } => format!("<rule from {name}>"),
            Self::File {
                name,
                line: Some(line),
            } => format!("<rule from {name} line {line}>"),
        }
    }

    fn error(&self, fault: Fault, text: &[u8]) -> RuleError {
        let shown = self.shown(text);
        let text = match (fault, self) {
            (Fault::Unknown, _) => format!("Unknown filter rule: {shown}"),
            (Fault::Modifier(at), Self::Text) => {
                let letter = text.get(at).map_or(' ', |&byte| byte.into());
                format!("invalid modifier '{letter}' at position {at} in filter rule: {shown}")
            }
            (Fault::Modifier(_), Self::File { .. }) => {
                format!("invalid modifier in filter rule: {shown}")
            }
            (Fault::End, _) => format!("unexpected end of filter rule: {shown}"),
            (Fault::Trailing, _) => format!("'!' rule has trailing characters: {shown}"),
            (Fault::TwoSides, _) => {
                format!("specified-side merge file contains specified-side filter: {shown}")
            }
            (Fault::Nul, _) => format!("a NUL byte in a filter rule: {shown}"),
            (Fault::TooLong, _) => format!("over-long filter: {shown}"),
        };
        RuleError {
            text,
            exit_code: SYNTAX,
        }
    }
}

/// A file of rules that cannot be read.
pub(super) fn unreadable(
    path: &[u8],
    why: &Origin<'_>,
    bare: Option<Bare>,
    error: &io::Error,
) -> RuleError {
    let kind = match bare {
        Some(Bare::Includes) => "include",
        _ => "exclude",
    };
    let file = match why {
        Origin::Text => {
            let reason = error.to_string().replace("(os error ", "(");
            format!("{}: {reason}", shown_path(path))
        }
        Origin::File { .. } => why.shown(b""),
    };
    RuleError {
        text: format!("failed to open {kind} file {file}"),
        exit_code: FILE,
    }
}

fn shown_path(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The lines of a file that hold something, with their numbers.
fn lines(content: &[u8], from0: bool) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = content;
    let mut number = 0;
    let ends = move |byte: &u8| {
        if from0 {
            *byte == 0
        } else {
            b"\n\r".contains(byte)
        }
    };
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = rest.iter().position(ends).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            // `\r\n` is one end.
            let long = !from0 && after.starts_with(b"\r\n");
            rest = after.get(1 + usize::from(long)..).unwrap_or_default();
            number += 1;
            if !line.is_empty() {
                return Some((number, line));
            }
        }
        None
    })
}

const SENDING: Holds = Holds {
    sending: true,
    receiving: false,
};

/// How deep files of rules may name others, as in rsync.
const MAX_DEPTH: usize = 32;

/// Exit codes of rsync(1).
const SYNTAX: u8 = 1;
const FILE: u8 = 11;
