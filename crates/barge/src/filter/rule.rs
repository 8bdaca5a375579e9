//! One filter rule: how its text is read, and how it crosses the wire.
//!
//! Source: rsync(1), «FILTER RULES IN DEPTH», and rsync 3.5.0 as it behaves.

use std::sync::Arc;

use barge_types::Name;

use super::pattern::Pattern;

/// Which side of a transfer asks its rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuleSide {
    /// Leaves names out of the list.
    Sending,
    /// Spares names that it would delete.
    Receiving,
}

/// One rule of a list.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) what: What,
    pub(super) modifiers: Modifiers,
    /// Where it holds: what the modifiers say, unless they leave it to other options.
    pub(super) holds: Holds,
}

/// What a rule is about.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The names that match.
    Names {
        text: Box<[u8]>,
        pattern: Pattern,
        measured: Measured,
    },
    /// Files of rules in the directories of the transfer.
    DirMerge(Arc<DirMerge>),
    /// What CVS ignores: rules of its own, which a server may have to make up itself.
    Cvs { text: Box<[u8]>, rules: Arc<[Rule]> },
}

/// The sides at which a rule holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Holds {
    pub(super) sending: bool,
    pub(super) receiving: bool,
}

/// From where on a path is held against a pattern that is measured against paths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Measured {
    /// From the root of the transfer.
    Root,
    /// From the directory of the file the rule stands in.
    MergeDir,
    /// From the root of the file system or of the module.
    Absolute,
}

/// A file of rules that directories may have.
#[derive(Debug)]
pub(super) struct DirMerge {
    /// As given.
    pub(super) text: Box<[u8]>,
    /// The name in each directory; `None` where no file can have it.
    pub(super) name: Option<Name>,
    /// The directory from which on it is looked for, down to where the walk begins.
    pub(super) above: Option<Box<[u8]>>,
    /// The rules do not hold further down.
    pub(super) not_inherited: bool,
    /// How its files are read.
    pub(super) style: Style,
}

/// The letters after a rule's prefix, and the prefix itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Modifiers {
    /// `+` in front.
    pub(super) include: bool,
    /// `/`.
    pub(super) absolute: bool,
    /// `!`.
    pub(super) negated: bool,
    /// `C`.
    pub(super) cvs: bool,
    /// `n`.
    pub(super) not_inherited: bool,
    /// `w`.
    pub(super) words: bool,
    /// `-` or `+` after a merge: all patterns exclude, or include.
    pub(super) bare: Option<Bare>,
    /// `e`.
    pub(super) excludes_itself: bool,
    /// `x`.
    pub(super) xattrs: bool,
    /// `s`.
    pub(super) sender: bool,
    /// `r`.
    pub(super) receiver: bool,
    /// `p`.
    pub(super) perishable: bool,
}

/// What a pattern without a prefix does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bare {
    Excludes,
    Includes,
}

/// How rules are spelled where they are read, and what holds for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) prefixes: Prefixes,
    /// A blank ends a rule.
    pub(super) words: bool,
    /// Modifiers of the merge rule that its file's rules have too: `/`, `s`, `r`, `p`.
    inherited: Modifiers,
}

/// Which prefixes a rule may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prefixes {
    /// All of them, and one there must be.
    Rules,
    /// `- ` and `+ `, or a lone `!`: those of `--exclude` and `--include`.
    Old(Bare),
    /// None.
    Bare(Bare),
    /// None, but a lone `!` clears the list: as CVS has it.
    Cvs,
}

/// A rule that was read but has no place yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Parsed<'t> {
    Clear,
    Names(Modifiers, &'t [u8]),
    Merge(Modifiers, &'t [u8]),
    DirMerge(Modifiers, &'t [u8]),
    Cvs(Modifiers, &'t [u8]),
}

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It begins with no prefix.
    Unknown,
    /// The byte at this place is no modifier of the rule.
    Modifier(usize),
    /// There is no pattern.
    End,
    /// There is something after `!`.
    Trailing,
    /// The file of the rule has a side, and the rule names one too.
    TwoSides,
    /// The pattern holds a NUL byte.
    Nul,
    /// The pattern is longer than [`MAX_PATTERN`].
    TooLong,
}

impl Style {
    /// That of `--filter` and of the wire.
    pub(super) const RULES: Self = Self::plain(Prefixes::Rules);

    pub(super) const fn plain(prefixes: Prefixes) -> Self {
        Self {
            prefixes,
            words: false,
            inherited: Modifiers::NONE,
        }
    }

    /// The same, with rules that a blank ends.
    pub(super) const fn in_words(self) -> Self {
        let words = true;
        Self { words, ..self }
    }

    /// That of the files a merge rule names.
    pub(super) fn of_files(modifiers: &Modifiers) -> Self {
        let prefixes = match modifiers.bare {
            _ if modifiers.cvs => Prefixes::Cvs,
            Some(bare) => Prefixes::Bare(bare),
            None => Prefixes::Rules,
        };
        let inherited = Modifiers {
            absolute: modifiers.absolute,
            sender: modifiers.sender,
            receiver: modifiers.receiver,
            perishable: modifiers.perishable,
            ..Modifiers::NONE
        };
        Self {
            prefixes,
            words: modifiers.words || modifiers.cvs,
            inherited,
        }
    }

    /// Reads the rule at the beginning of `text`; also gives what follows it.
    pub(super) fn read<'t>(&self, text: &'t [u8]) -> Result<(Parsed<'t>, &'t [u8]), Fault> {
        match self.prefixes {
            Prefixes::Rules => self.read_rule(text),
            Prefixes::Old(_) | Prefixes::Cvs if self.cut(text).0 == b"!" => {
                Ok((Parsed::Clear, self.cut(text).1))
            }
            Prefixes::Old(bare) => match text {
                [b'-', b' ', rest @ ..] => self.names(Bare::Excludes, rest),
                [b'+', b' ', rest @ ..] => self.names(Bare::Includes, rest),
                _ => self.names(bare, text),
            },
            Prefixes::Bare(bare) => self.names(bare, text),
            Prefixes::Cvs => self.names(Bare::Excludes, text),
        }
    }

    fn names<'t>(&self, bare: Bare, text: &'t [u8]) -> Result<(Parsed<'t>, &'t [u8]), Fault> {
        let modifiers = Modifiers {
            include: bare == Bare::Includes,
            ..self.inherited
        };
        let (pattern, rest) = self.pattern(text)?;
        Ok((Parsed::Names(modifiers, pattern), rest))
    }

    fn read_rule<'t>(&self, text: &'t [u8]) -> Result<(Parsed<'t>, &'t [u8]), Fault> {
        let (kind, after) = prefix(text).ok_or(Fault::Unknown)?;
        if kind == b'!' {
            let (more, rest) = self.cut(after);
            let cleared = more.is_empty().then_some((Parsed::Clear, rest));
            return cleared.ok_or(Fault::Trailing);
        }
        let mut modifiers = Modifiers::of_kind(kind);
        let at = text.len() - after.len();
        let letters = self.letters(kind, after, &mut modifiers);
        let after = letters.map_err(|n| Fault::Modifier(at + n))?;
        if modifiers.has_side() && self.inherited.has_side() {
            return Err(Fault::TwoSides);
        }
        self.with_pattern(kind, modifiers.with(&self.inherited), after)
    }

    /// Reads modifiers and the separator; else gives the place of what is none.
    fn letters<'t>(
        &self,
        kind: u8,
        text: &'t [u8],
        modifiers: &mut Modifiers,
    ) -> Result<&'t [u8], usize> {
        for (at, &letter) in text.iter().enumerate() {
            match letter {
                b' ' | b'_' => return Ok(&text[at + 1..]),
                // In words the rule may end here, as `-C` does.
                _ if self.words && letter.is_ascii_whitespace() && modifiers.cvs => {
                    return Ok(&text[at..]);
                }
                _ if modifiers.take(kind, letter) => {}
                _ => return Err(at),
            }
        }
        Ok(&[])
    }

    fn with_pattern<'t>(
        &self,
        kind: u8,
        modifiers: Modifiers,
        text: &'t [u8],
    ) -> Result<(Parsed<'t>, &'t [u8]), Fault> {
        let is_merge = matches!(kind, b'.' | b':');
        if modifiers.cvs && !is_merge {
            // It takes no pattern, and ignores one that is there.
            let (pattern, rest) = if self.words {
                (&b""[..], text)
            } else {
                (text, &b""[..])
            };
            return Ok((Parsed::Cvs(modifiers, pattern), rest));
        }
        let (pattern, rest) = match self.pattern(text) {
            Err(Fault::End) if modifiers.cvs => (&b".cvsignore"[..], self.cut(text).1),
            read => read?,
        };
        let parsed = match kind {
            b'.' => Parsed::Merge(modifiers, pattern),
            b':' => Parsed::DirMerge(modifiers, pattern),
            _ => Parsed::Names(modifiers, pattern),
        };
        Ok((parsed, rest))
    }

    fn pattern<'t>(&self, text: &'t [u8]) -> Result<(&'t [u8], &'t [u8]), Fault> {
        match self.cut(text) {
            ([], _) => Err(Fault::End),
            (pattern, _) if pattern.contains(&0) => Err(Fault::Nul),
            (pattern, _) if pattern.len() > MAX_PATTERN => Err(Fault::TooLong),
            cut => Ok(cut),
        }
    }

    /// Cuts where the rule ends.
    fn cut<'t>(&self, text: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        let blank = text.iter().position(u8::is_ascii_whitespace);
        text.split_at(blank.filter(|_| self.words).unwrap_or(text.len()))
    }
}

impl Modifiers {
    /// None.
    pub(super) const NONE: Self = Self {
        include: false,
        absolute: false,
        negated: false,
        cvs: false,
        not_inherited: false,
        words: false,
        bare: None,
        excludes_itself: false,
        xattrs: false,
        sender: false,
        receiver: false,
        perishable: false,
    };

    /// What the prefix alone says.
    fn of_kind(kind: u8) -> Self {
        Self {
            include: matches!(kind, b'+' | b'S' | b'R'),
            sender: matches!(kind, b'H' | b'S'),
            receiver: matches!(kind, b'P' | b'R'),
            ..Self::NONE
        }
    }

    /// With those that a file's rules inherit.
    fn with(self, inherited: &Self) -> Self {
        Self {
            absolute: self.absolute || inherited.absolute,
            sender: self.sender || inherited.sender,
            receiver: self.receiver || inherited.receiver,
            perishable: self.perishable || inherited.perishable,
            ..self
        }
    }

    pub(super) fn has_side(&self) -> bool {
        self.sender || self.receiver
    }

    /// Takes one letter; whether a rule of this kind may have it.
    fn take(&mut self, kind: u8, letter: u8) -> bool {
        let merges = matches!(kind, b'.' | b':');
        let has_side = matches!(kind, b'H' | b'S' | b'P' | b'R');
        let flag = match letter {
            b'/' => &mut self.absolute,
            b'!' if !merges => &mut self.negated,
            b'C' if !has_side && !self.cvs && self.bare.is_none() => &mut self.cvs,
            b'-' | b'+' if merges && !self.cvs && self.bare.is_none() => {
                let includes = letter == b'+';
                self.bare = Some(if includes {
                    Bare::Includes
                } else {
                    Bare::Excludes
                });
                return true;
            }
            b'e' if merges => &mut self.excludes_itself,
            b'n' if merges => &mut self.not_inherited,
            b'w' if merges => &mut self.words,
            b'x' => &mut self.xattrs,
            b's' if !has_side => &mut self.sender,
            b'r' if !has_side => &mut self.receiver,
            b'p' => &mut self.perishable,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// The letters in the order in which they cross the wire.
    fn letters(&self) -> impl Iterator<Item = u8> {
        let bare = self.bare.map_or(b'-', |bare| match bare {
            Bare::Excludes => b'-',
            Bare::Includes => b'+',
        });
        // `C` says what these three would say.
        let spelled = !self.cvs;
        let all = [
            (self.absolute, b'/'),
            (self.negated, b'!'),
            (self.cvs, b'C'),
            (self.not_inherited && spelled, b'n'),
            (self.words && spelled, b'w'),
            (self.bare.is_some() && spelled, bare),
            (self.xattrs, b'x'),
            (self.sender, b's'),
            (self.receiver, b'r'),
            (self.perishable, b'p'),
        ];
        all.into_iter()
            .filter_map(|(set, letter)| set.then_some(letter))
    }
}

impl Holds {
    /// At both sides.
    pub(super) const BOTH: Self = Self {
        sending: true,
        receiving: true,
    };

    /// Where the modifiers name one side; else `unsaid`.
    pub(super) fn by(modifiers: &Modifiers, unsaid: Self) -> Self {
        match (modifiers.sender, modifiers.receiver) {
            (false, false) => unsaid,
            (sending, receiving) => Self { sending, receiving },
        }
    }

    pub(super) fn at(self, side: RuleSide) -> bool {
        match side {
            RuleSide::Sending => self.sending,
            RuleSide::Receiving => self.receiving,
        }
    }
}

impl DirMerge {
    pub(super) fn new(modifiers: &Modifiers, text: &[u8]) -> Self {
        let slash = text.iter().rposition(|&byte| byte == b'/');
        // A slash that begins the name is the root, one further in ends a directory's path.
        let above = slash.map(|at| text[..at.max(1)].into());
        let name = slash.map_or(text, |at| &text[at + 1..]);
        Self {
            text: text.into(),
            name: Name::new(name).ok(),
            above,
            not_inherited: modifiers.not_inherited || modifiers.cvs,
            style: Style::of_files(modifiers),
        }
    }
}

impl Rule {
    /// A rule about names.
    pub(super) fn names(
        modifiers: Modifiers,
        text: &[u8],
        holds: Holds,
        measured: Measured,
    ) -> Self {
        let measured = match measured {
            _ if modifiers.absolute => Measured::Absolute,
            // Only a pattern that is anchored has a place to be anchored at.
            Measured::MergeDir if !text.starts_with(b"/") => Measured::Root,
            measured => measured,
        };
        let what = What::Names {
            text: text.into(),
            pattern: Pattern::new(text),
            measured,
        };
        Self {
            what,
            modifiers,
            holds,
        }
    }

    /// The merge files it is about.
    pub(super) fn dir_merge(&self) -> Option<&Arc<DirMerge>> {
        match &self.what {
            What::DirMerge(merge) => Some(merge),
            _ => None,
        }
    }

    /// The rule as it crosses the wire.
    pub(super) fn record(&self) -> Vec<u8> {
        let (prefix, text) = match &self.what {
            What::DirMerge(merge) => (b':', &merge.text),
            What::Names { text, .. } | What::Cvs { text, .. } => match self.modifiers.include {
                true => (b'+', text),
                false => (b'-', text),
            },
        };
        let mut record = vec![prefix];
        record.extend(self.modifiers.letters());
        record.push(b' ');
        record.extend_from_slice(text);
        record
    }
}

/// The prefix of a rule, and what follows it and the comma after it.
fn prefix(text: &[u8]) -> Option<(u8, &[u8])> {
    let short = text.first().filter(|byte| b"-+.:HSPR!".contains(byte));
    let (kind, rest) = match short {
        Some(&kind) => (kind, &text[1..]),
        None => WORDS.iter().find_map(|(word, kind)| {
            let rest = text.strip_prefix(*word)?;
            let ends = rest
                .first()
                .is_none_or(|&b| matches!(b, b',' | b'_') || b.is_ascii_whitespace());
            ends.then_some((*kind, rest))
        })?,
    };
    Some((kind, rest.strip_prefix(b",").unwrap_or(rest)))
}

/// The long prefixes and what they are short for.
const WORDS: [(&[u8], u8); 9] = [
    (b"exclude", b'-'),
    (b"include", b'+'),
    (b"merge", b'.'),
    (b"dir-merge", b':'),
    (b"hide", b'H'),
    (b"show", b'S'),
    (b"protect", b'P'),
    (b"risk", b'R'),
    (b"clear", b'!'),
];

/// The longest pattern, in bytes, a slash at its end included: as rsync takes it.
pub(super) const MAX_PATTERN: usize = 4095;
