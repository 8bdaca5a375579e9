//! The daemon's configuration: global parameters and modules.
//!
//! Source: rsyncd.conf(5), and rsync 3.5.0 as it behaves.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A configuration file, read.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    /// Global parameters, and what modules take where they say nothing.
    pub(super) global: Section,
    /// The modules, in order.
    pub(super) modules: Vec<(String, Section)>,
    /// What was wrong and went by, for the log.
    pub(super) warnings: Vec<String>,
}

/// Parameters by name. What is not there has its default.
#[derive(Clone, Debug, Default)]
pub(super) struct Section(BTreeMap<&'static str, String>);

impl Section {
    /// A text, with the environment's variables put in for `%NAME%`.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.text_with(name, |variable| std::env::var(variable).ok())
    }

    /// A text, with what `lookup` knows put in for `%NAME%`.
    pub(super) fn text_with(
        &self,
        name: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        debug_assert!(parameter(name).is_some(), "{name}");
        let text = self.0.get(name).filter(|text| !text.is_empty())?;
        Some(expand(text, lookup))
    }

    /// A boolean; `None` where it is left open.
    pub(super) fn choice(&self, name: &str) -> Option<bool> {
        debug_assert!(parameter(name).is_some(), "{name}");
        self.0.get(name).and_then(|text| boolean(text))
    }

    /// A boolean, or its default.
    pub(super) fn is_on(&self, name: &str, default: bool) -> bool {
        self.choice(name).unwrap_or(default)
    }

    /// A number, or 0; of a text that is none, the number in front of it, as `atoi(3)` reads it.
    pub(super) fn number(&self, name: &str) -> i64 {
        debug_assert!(parameter(name).is_some(), "{name}");
        let text = self.0.get(name).map_or("", |text| text.trim());
        let digits = text.char_indices().find(|&(at, c)| {
            let is_sign = at == 0 && matches!(c, '-' | '+');
            !is_sign && !c.is_ascii_digit()
        });
        let end = digits.map_or(text.len(), |(at, _)| at);
        text[..end].parse().unwrap_or(0)
    }

    /// The parameters that are given and that this daemon does not honour.
    pub(super) fn unsupported(&self) -> impl Iterator<Item = &'static str> {
        let given = |name: &&'static str| self.0.get(*name).is_some_and(|text| is_meant(text));
        UNSUPPORTED.iter().copied().filter(given)
    }
}

/// Whether a parameter that is not honoured would change anything.
fn is_meant(text: &str) -> bool {
    !text.is_empty() && boolean(text) != Some(false)
}

/// What a parameter's value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Text,
    Number,
    Boolean,
    /// A boolean that may be left open.
    Choice,
}

/// Where a parameter may stand: all may before the first module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    Global,
    Module,
}

/// All parameters of rsyncd.conf(5).
const PARAMETERS: &[(&str, Kind, Reach)] = &[
    ("address", Kind::Text, Reach::Global),
    ("auth digest", Kind::Text, Reach::Module),
    ("auth users", Kind::Text, Reach::Module),
    ("charset", Kind::Text, Reach::Module),
    ("comment", Kind::Text, Reach::Module),
    ("daemon chroot", Kind::Text, Reach::Global),
    ("daemon gid", Kind::Text, Reach::Global),
    ("daemon uid", Kind::Text, Reach::Global),
    ("dont compress", Kind::Text, Reach::Module),
    ("early exec", Kind::Text, Reach::Module),
    ("exclude", Kind::Text, Reach::Module),
    ("exclude from", Kind::Text, Reach::Module),
    ("fake super", Kind::Boolean, Reach::Module),
    ("filter", Kind::Text, Reach::Module),
    ("forward lookup", Kind::Boolean, Reach::Module),
    ("gid", Kind::Text, Reach::Module),
    ("hosts allow", Kind::Text, Reach::Module),
    ("hosts deny", Kind::Text, Reach::Module),
    ("ignore errors", Kind::Boolean, Reach::Module),
    ("ignore nonreadable", Kind::Boolean, Reach::Module),
    ("include", Kind::Text, Reach::Module),
    ("include from", Kind::Text, Reach::Module),
    ("incoming chmod", Kind::Text, Reach::Module),
    ("insecure links", Kind::Boolean, Reach::Module),
    ("list", Kind::Boolean, Reach::Module),
    ("listen backlog", Kind::Number, Reach::Global),
    ("lock file", Kind::Text, Reach::Module),
    ("log file", Kind::Text, Reach::Module),
    ("log format", Kind::Text, Reach::Module),
    ("max connections", Kind::Number, Reach::Module),
    ("max verbosity", Kind::Number, Reach::Module),
    ("motd file", Kind::Text, Reach::Global),
    ("munge symlinks", Kind::Choice, Reach::Module),
    ("name converter", Kind::Text, Reach::Module),
    ("numeric ids", Kind::Choice, Reach::Module),
    ("open noatime", Kind::Choice, Reach::Module),
    ("outgoing chmod", Kind::Text, Reach::Module),
    ("path", Kind::Text, Reach::Module),
    ("pid file", Kind::Text, Reach::Global),
    ("port", Kind::Number, Reach::Global),
    ("post-xfer exec", Kind::Text, Reach::Module),
    ("pre-xfer exec", Kind::Text, Reach::Module),
    ("proxy protocol", Kind::Boolean, Reach::Global),
    ("proxy protocol hosts", Kind::Text, Reach::Global),
    ("read only", Kind::Boolean, Reach::Module),
    ("refuse options", Kind::Text, Reach::Module),
    ("reverse lookup", Kind::Boolean, Reach::Module),
    ("secrets file", Kind::Text, Reach::Module),
    ("socket options", Kind::Text, Reach::Global),
    ("strict modes", Kind::Boolean, Reach::Module),
    ("syslog facility", Kind::Text, Reach::Module),
    ("syslog tag", Kind::Text, Reach::Module),
    ("temp dir", Kind::Text, Reach::Module),
    ("timeout", Kind::Number, Reach::Module),
    ("transfer logging", Kind::Boolean, Reach::Module),
    ("uid", Kind::Text, Reach::Module),
    ("use chroot", Kind::Choice, Reach::Module),
    ("write only", Kind::Boolean, Reach::Module),
];

/// Parameters that decide who gets in, or what is found there: to go on without them is no choice.
const UNSUPPORTED: &[&str] = &[
    "daemon chroot",
    "daemon gid",
    "daemon uid",
    "early exec",
    "insecure links",
    "name converter",
    "post-xfer exec",
    "pre-xfer exec",
    "proxy protocol",
];

fn parameter(name: &str) -> Option<&'static (&'static str, Kind, Reach)> {
    PARAMETERS.iter().find(|(known, ..)| *known == name)
}

/// A parameter by the name of a file: case and blanks do not matter.
fn parameter_like(name: &str) -> Option<&'static (&'static str, Kind, Reach)> {
    let bare = |name: &str| name.split_whitespace().collect::<String>().to_lowercase();
    let name = bare(name);
    PARAMETERS.iter().find(|(known, ..)| bare(known) == name)
}

fn boolean(text: &str) -> Option<bool> {
    match &*text.to_ascii_lowercase() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// Puts variables in for `%NAME%`; what is no reference stays as it is.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let value = after
            .find('%')
            .filter(|&end| end > 0)
            .and_then(|end| Some((end, lookup(&after[..end])?)));
        match value {
            Some((end, value)) => {
                out.push_str(&value);
                rest = &after[end + 1..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

impl Config {
    /// Reads a file and what it includes. `overrides` are those of `--dparam`: they stand at the end of
    /// the global parameters.
    ///
    /// # Errors
    ///
    /// A text for the log, with file and line.
    pub(super) fn read(path: &Path, overrides: &[String]) -> Result<Self, String> {
        let mut reading = Reading {
            config: Self::default(),
            current: None,
            overrides,
            overridden: false,
        };
        reading.file(path, 0)?;
        reading.override_global()?;
        Ok(reading.config)
    }

    /// A module by its name.
    pub(super) fn module(&self, name: &str) -> Option<&Section> {
        let mut modules = self.modules.iter();
        modules
            .find(|(known, _)| known == name)
            .map(|(_, module)| module)
    }
}

struct Reading<'a> {
    config: Config,
    /// The module that parameters are for; `None`: global ones.
    current: Option<usize>,
    overrides: &'a [String],
    overridden: bool,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, depth: u8) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{}: included too deep", path.display()));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in logical_lines(&text) {
            self.line(&line, depth)
                .map_err(|error| format!("{} line {number}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, depth: u8) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Ok(());
        }
        // A pattern that was read as another would hide nothing.
        if line.contains(char::REPLACEMENT_CHARACTER) && !is_comment(line) {
            return Err("bytes that are no UTF-8".to_owned());
        }
        if let Some(directive) = line.strip_prefix('&') {
            return self.directive(directive, depth);
        }
        if let Some(section) = line.strip_prefix('[') {
            return self.section(section);
        }
        let Some((name, value)) = line.split_once('=') else {
            let text =
                format!("params.c:Parameter() - Ignoring badly formed line in config file: {line}");
            self.config.warnings.push(text);
            return Ok(());
        };
        if name.trim().is_empty() {
            return Err("Invalid parameter name in config file.".to_owned());
        }
        self.set(name, value.trim());
        Ok(())
    }

    /// `&include` keeps to itself what a file says globally, `&merge` does not.
    fn directive(&mut self, directive: &str, depth: u8) -> Result<(), String> {
        let (word, path) = directive
            .split_once(char::is_whitespace)
            .unwrap_or((directive, ""));
        let (ending, path) = (word, Path::new(path.trim()));
        match ending {
            "include" => {
                for file in files(path, "conf")? {
                    let (global, current) = (self.config.global.clone(), self.current.take());
                    self.file(&file, depth + 1)?;
                    self.config.global = global;
                    self.current = current;
                }
                Ok(())
            }
            "merge" => {
                let files = files(path, "inc")?;
                files.iter().try_for_each(|file| self.file(file, depth + 1))
            }
            _ => Err(format!("Unknown directive: &{word}.")),
        }
    }

    fn section(&mut self, rest: &str) -> Result<(), String> {
        let Some((name, _)) = rest.split_once(']') else {
            return Err(format!("Badly formed line in config file: {rest}"));
        };
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() {
            return Err("Empty section name in config file.".to_owned());
        }
        if name.eq_ignore_ascii_case("global") {
            self.current = None;
            return Ok(());
        }
        if name.contains('/') {
            return Err(format!(
                "invalid section name in configuration file: {name}"
            ));
        }
        self.override_global()?;
        let known = self
            .config
            .modules
            .iter()
            .position(|(known, _)| *known == name);
        self.current = Some(known.unwrap_or_else(|| {
            let defaults = self.config.global.clone();
            self.config.modules.push((name, defaults));
            self.config.modules.len() - 1
        }));
        Ok(())
    }

    /// Sets what `--dparam` says, once.
    fn override_global(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.overridden, true) {
            return Ok(());
        }
        let current = self.current.take();
        for parameter in self.overrides {
            if parameter.contains(char::REPLACEMENT_CHARACTER) {
                return Err(format!("--dparam value is no UTF-8: {parameter}"));
            }
            let (name, value) = parameter
                .split_once('=')
                .ok_or_else(|| format!("--dparam value is missing an '=': {parameter}"))?;
            self.set(name, value.trim());
        }
        self.current = current;
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some(&(known, kind, reach)) = parameter_like(&name) else {
            self.warn(format!("Unknown Parameter encountered: \"{name}\""));
            self.warn(format!("IGNORING unknown parameter \"{name}\""));
            return;
        };
        if reach == Reach::Global && self.current.is_some() {
            self.warn(format!("Global parameter {known} found in module section!"));
            return;
        }
        let is_open = kind == Kind::Choice && value.eq_ignore_ascii_case("unset");
        let is_boolean = matches!(kind, Kind::Boolean | Kind::Choice);
        if is_boolean && !is_open && boolean(&expand_now(value)).is_none() {
            self.warn(format!(
                "Badly formed boolean in configuration file: \"{value}\"."
            ));
            return;
        }
        let value = match kind {
            Kind::Text => value.to_owned(),
            _ => expand_now(value),
        };
        let section = match self.current {
            Some(module) => &mut self.config.modules[module].1,
            None => &mut self.config.global,
        };
        section.0.insert(known, value);
    }

    fn warn(&mut self, text: String) {
        self.config.warnings.push(text);
    }
}

/// Whether a line is a module's comment, which is shown and decides nothing.
fn is_comment(line: &str) -> bool {
    let name = line.split_once('=').map(|(name, _)| name.trim());
    name.is_some_and(|name| name.eq_ignore_ascii_case("comment"))
}

fn expand_now(value: &str) -> String {
    expand(value, |variable| std::env::var(variable).ok())
}

/// Lines with their numbers; one that ends in a backslash goes on in the next.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in text.lines().enumerate() {
        let is_comment = !goes_on && line.trim_start().starts_with(['#', ';']);
        let trimmed = line.trim_end();
        let (line, continues) = match trimmed.strip_suffix('\\') {
            Some(line) if !is_comment => (line, true),
            _ => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, before)) => before.push_str(line),
            None => lines.push((at + 1, line.to_owned())),
        }
        goes_on = continues;
    }
    lines
}

/// A file itself, or those of a directory with this ending, by name.
fn files(path: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let failed = |error: &io::Error| unreadable(path, error);
    if !std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .is_dir()
    {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| failed(&error))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| failed(&error))?.path();
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && file.extension().is_some_and(|found| found == ending) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let reason = super::failed::reason(error);
    format!("unable to read config file {path:?}: {reason}")
}

/// Files that include files that include files, and so on, this deep.
const MAX_DEPTH: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path(), &[])
    }

    fn names(config: &Config) -> Vec<&str> {
        config.modules.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_refused_where_they_would_decide() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &[u8]| {
            std::fs::write(file.path(), text).unwrap();
            Config::read(file.path(), &[])
        };
        assert!(read(b"# caf\xe9\n[m]\n comment = caf\xe9\n").is_ok());
        for text in [&b"[m]\npath = /x\nexclude = caf\xe9\n"[..], b"[caf\xe9]\n"] {
            let error = read(text).unwrap_err();
            assert!(error.ends_with("bytes that are no UTF-8"), "{error}");
        }
    }

    #[test]
    fn parameters_and_modules_are_read_whatever_their_blanks_and_case() {
        let text = "motd file=/m\n[a   b ]\n path = /x y \n READ ONLY = No\n# c\n;d=e\n\
                    comment = hello \\\n  world\n[c]\nReadOnly = yes\nmax connections = 4x\n";
        let config = read(text).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        assert_eq!(names(&config), ["a b", "c"]);
        assert_eq!(config.global.text("motd file").unwrap(), "/m");
        let module = config.module("a b").unwrap();
        assert_eq!(module.text("path").unwrap(), "/x y");
        assert_eq!(module.text("comment").unwrap(), "hello   world");
        assert!(!module.is_on("read only", true));
        let module = config.module("c").unwrap();
        assert!(module.is_on("read only", false));
        assert_eq!(module.number("max connections"), 4);
        assert_eq!(module.number("timeout"), 0);
        assert_eq!(module.text("path"), None);
        assert!(config.module("d").is_none());
    }

    /// The texts are those of rsync 3.5.0's log.
    #[test]
    fn what_is_wrong_and_harmless_is_warned_about() {
        let text = "foo bar = 1\n[m]\nport = 9\nread only = on\nuse chroot = unset\npath\n";
        let config = read(text).unwrap();
        assert_eq!(
            config.warnings,
            [
                "Unknown Parameter encountered: \"foo bar\"",
                "IGNORING unknown parameter \"foo bar\"",
                "Global parameter port found in module section!",
                "Badly formed boolean in configuration file: \"on\".",
                "params.c:Parameter() - Ignoring badly formed line in config file: path",
            ]
        );
        let module = config.module("m").unwrap();
        assert_eq!(module.choice("use chroot"), None);
        assert!(module.is_on("read only", true));
    }

    #[test]
    fn what_is_wrong_and_harmful_is_refused_with_its_line() {
        for (text, error) in [
            ("[m\n", "line 1: Badly formed line in config file: m"),
            ("\n[]\n", "line 2: Empty section name in config file."),
            (
                "[m/n]\n",
                "line 1: invalid section name in configuration file: m/n",
            ),
            (
                "[m]\n\\\n=x\n",
                "line 2: Invalid parameter name in config file.",
            ),
            ("&foo /tmp\n", "line 1: Unknown directive: &foo."),
            ("&include /nonexistent\n", "No such file or directory (2)"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(error), "{found}");
        }
    }

    #[test]
    fn a_module_takes_what_was_global_when_it_began() {
        let text =
            "comment=one\n[a]\n[global]\ncomment=two\n[b]\n[c]\ncomment=three\n[a]\nlist=no\n";
        let config = read(text).unwrap();
        let comment = |name| config.module(name).unwrap().text("comment").unwrap();
        assert_eq!(names(&config), ["a", "b", "c"]);
        assert_eq!(
            [comment("a"), comment("b"), comment("c")],
            ["one", "two", "three"]
        );
        assert!(!config.module("a").unwrap().is_on("list", true));
    }

    /// As rsync 3.5.0 expands them.
    #[test]
    fn variables_are_put_in_and_other_percent_signs_stay() {
        let lookup = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        for (text, expanded) in [
            ("%HOME%/x", "/root/x"),
            ("100%% done", "100%% done"),
            ("%%HOME%%", "%/root%"),
            ("%HOME", "%HOME"),
            ("%home% %HOME %HOME%x", "%home% %HOME /rootx"),
            ("%NOPE%", "%NOPE%"),
        ] {
            assert_eq!(expand(text, lookup), expanded, "{text}");
        }
    }

    #[test]
    fn included_files_keep_to_themselves_and_merged_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.conf", "comment=b\n[b]\n");
        write("a.conf", "[a]\n");
        write(".c.conf", "[c]\n");
        write("d.inc", "comment=d\n");
        write("e.txt", "[e]\n");
        let at = dir.path().display();
        let text = format!("comment=top\n&include {at}\n[x]\n[global]\n&merge {at}\n[y]\n");
        let config = read(&text).unwrap();
        assert_eq!(names(&config), ["a", "b", "x", "y"]);
        let comment = |name| config.module(name).unwrap().text("comment").unwrap();
        let comments = ["a", "b", "x", "y"].map(comment);
        assert_eq!(comments, ["top", "b", "top", "d"]);
        write("loop.conf", &format!("&include {at}/loop.conf\n"));
        let endless = read(&format!("&include {at}/loop.conf\n")).unwrap_err();
        assert!(endless.contains("too deep"), "{endless}");
    }

    #[test]
    fn overrides_stand_at_the_end_of_the_global_parameters() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "comment=one\n[a]\n[b]\ncomment=two\n").unwrap();
        let overrides = ["pidfile=/p".to_owned(), "comment=over".to_owned()];
        let config = Config::read(file.path(), &overrides).unwrap();
        assert_eq!(config.global.text("pid file").unwrap(), "/p");
        let comment = |name| config.module(name).unwrap().text("comment").unwrap();
        assert_eq!([comment("a"), comment("b")], ["over", "two"]);
        assert!(Config::read(file.path(), &["x".to_owned()]).is_err());
    }

    #[test]
    fn what_decides_over_access_and_is_not_honoured_is_named() {
        let config = read("[m]\npre-xfer exec = /x\ninsecure links = no\n[n]\n").unwrap();
        let unsupported = |name| -> Vec<_> { config.module(name).unwrap().unsupported().collect() };
        assert_eq!(unsupported("m"), ["pre-xfer exec"]);
        assert!(unsupported("n").is_empty());
    }
}
