//! A copy within one machine: a client that sends and a server that receives, in one process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use barge_rsync::options::{Transport, parse_server, server_args};
use barge_rsync::session::Preferences;

use super::{Client, Connection, Ended, Event, Failure, Listener, Peer, Server, Stderr};

/// Copies `sources` to `destination`, or lists the sources, over the two ends of a connection, such as
/// [`pipe`](super::pipe) makes. The client's arguments for a server are made here. `stderr` is the
/// server's: [`Server::stderr`].
pub fn copy(
    mut client: Client,
    sources: Vec<PathBuf>,
    destination: PathBuf,
    (here, there): (Connection, Connection),
    stderr: Stderr,
) -> Ended {
    client.options.sender = !client.options.list_only;
    // What is appended to is never copied whole.
    let whole = client.options.append == 0;
    client.options.whole_file.get_or_insert(whole);
    // Who lists is the client, and so it receives.
    let (near, far) = match client.options.sender {
        true => (sources, vec![destination]),
        false => (vec![destination], sources),
    };
    client.paths = near;
    let far: Vec<OsString> = far.into_iter().map(Into::into).collect();
    client.server_args = server_args(&client.options, &far, Transport::Daemon);
    let (first, secluded) = (&client.server_args.first, &client.server_args.secluded);
    let parsed = parse_server(first, secluded.as_deref());
    let mut options = match parsed {
        Ok(options) => options,
        Err(refusal) => return Ended::failed(refusal.into()),
    };
    // One that asks for it itself, or not to, said so among its own options.
    options.fake_super |= client.options.fake_super && options.as_super.is_none();
    options.whole_file = client.options.whole_file;
    // Both sides know the arguments already.
    options.secluded_args = false;
    client.server_args.secluded = None;
    let server = Server {
        options,
        args: Vec::new(),
        preferences: Preferences::new(true),
        listener: Arc::new(Deaf),
        stderr: Some(stderr),
    };
    // What is protected is so from --force too, for which rules do not cross.
    let rules = client.rules.clone();
    let both = std::thread::scope(|scope| {
        let server = scope.spawn(move || server.run_beside(there, rules));
        let ended = client.run(here, Peer::Server);
        (ended, server.join())
    });
    match both {
        (mut ended, Ok(served)) => {
            // As over a remote shell: of a run that came to its end, the server knows more, and where
            // the connection was the first to say, the larger code wins.
            match ended.failure {
                None if served.code != 0 => {
                    ended.code = served.code;
                    ended.failure = served.failure;
                }
                Some(Failure::Closed) => {
                    ended.code = ended.code.max(served.code);
                    ended.failure = served.failure.or(ended.failure);
                }
                _ => {}
            }
            ended
        }
        (_, Err(panic)) => std::panic::resume_unwind(panic),
    }
}

/// The server's own listener: all it has to say comes over the connection, or is shown at once.
struct Deaf;

impl Listener for Deaf {
    fn event(&self, _event: Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Mutex;

    use barge_rsync::options::{FilterOption, Options, ServerArgs};

    use super::*;
    use crate::filter::{RuleList, RuleSources};
    use crate::over_rsync::pipe;

    #[derive(Default)]
    struct Lines(Mutex<String>);

    impl Listener for Lines {
        fn event(&self, event: Event<'_>) {
            if let Event::Line { text, .. } = event {
                let text = String::from_utf8_lossy(text);
                self.0.lock().unwrap().push_str(&text);
            }
        }
    }

    /// The exit code of a copy of what is in `source`, and the lines it told.
    fn run(source: &Path, target: &Path, set: impl FnOnce(&mut Options)) -> (u8, String) {
        let mut options = Options {
            recursive: true,
            ..Options::default()
        };
        set(&mut options);
        let mut sources = RuleSources {
            read: &mut |_| Err(std::io::ErrorKind::Unsupported.into()),
            cvsignore: None,
            cvsignore_variable: None,
        };
        let lines = Arc::new(Lines::default());
        let client = Client {
            rules: RuleList::of_client(&options, &mut sources).unwrap(),
            options,
            server_args: ServerArgs {
                first: Vec::new(),
                secluded: None,
            },
            preferences: Preferences::new(false),
            paths: Vec::new(),
            listener: Arc::clone(&lines) as Arc<dyn Listener>,
        };
        let sources = vec![source.join("")];
        let ended = copy(client, sources, target.to_owned(), pipe(), Arc::new(|_| ()));
        let lines = lines.0.lock().unwrap().clone();
        (ended.code, lines)
    }

    #[test]
    fn what_is_protected_is_so_from_force_without_any_deletion() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("s"), folder.path().join("t"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("x"), "new").unwrap();
        fs::create_dir_all(target.join("x")).unwrap();
        fs::write(target.join("x/kept"), "old").unwrap();
        let (code, lines) = run(&source, &target, |options| {
            options.force = true;
            options.filters = vec![FilterOption::Rule(b"P kept".to_vec())];
        });
        assert_eq!(code, 23, "{lines}");
        assert_eq!(fs::read(target.join("x/kept")).unwrap(), b"old");
    }

    #[test]
    fn link_with_a_slash_behind_it_is_the_directory_that_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("s"), folder.path().join("t"));
        fs::create_dir_all(source.join("dir")).unwrap();
        fs::write(source.join("dir/x"), "text").unwrap();
        std::os::unix::fs::symlink("dir", source.join("link")).unwrap();
        let link = format!("{}/./link", source.display());
        let (code, lines) = run(Path::new(&link), &target, |options| {
            options.relative = true;
            options.links = true;
        });
        assert_eq!(code, 0, "{lines}");
        assert!(fs::symlink_metadata(target.join("link")).unwrap().is_dir());
        assert_eq!(fs::read(target.join("link/x")).unwrap(), b"text");
    }

    #[test]
    fn what_is_appended_to_has_a_backup() {
        for append in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let (source, target) = (folder.path().join("s"), folder.path().join("t"));
            for (dir, text) in [(&source, "longer text"), (&target, "long")] {
                fs::create_dir(dir).unwrap();
                fs::write(dir.join("x"), text).unwrap();
            }
            let (code, lines) = run(&source, &target, |options| {
                options.append = append;
                options.inplace = true;
                options.backup = true;
                options.suffix = b"~".to_vec();
            });
            assert_eq!(code, 0, "{lines}");
            assert_eq!(fs::read(target.join("x")).unwrap(), b"longer text");
            assert_eq!(fs::read(target.join("x~")).unwrap(), b"long");
        }
    }

    #[test]
    fn similar_file_is_no_basis_of_what_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("s"), folder.path().join("t"));
        for (dir, name) in [(&source, "file-1.2"), (&target, "file-1.1")] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join(name), "line\n".repeat(20_000)).unwrap();
        }
        let (code, lines) = run(&source, &target, |options| {
            options.append = 2;
            options.inplace = true;
            options.fuzzy = 1;
        });
        assert_eq!(code, 0, "{lines}");
        let copied = fs::read(target.join("file-1.2")).unwrap();
        assert_eq!(copied, fs::read(source.join("file-1.2")).unwrap());
    }

    #[test]
    fn empty_directory_that_is_protected_is_not_pruned() {
        // As rsync 3.5.0 does, by the rules that are no merge file's.
        for (rule, made) in [
            ("P c", &["a", "a/b", "a/b/c"][..]),
            ("P /a/b/", &["a", "a/b"]),
            ("P a/b", &["a", "a/b"]),
            ("R c", &[]),
            ("P! c", &["a", "a/b", "e"]),
            (": c", &[]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (source, target) = (folder.path().join("s"), folder.path().join("t"));
            fs::create_dir_all(source.join("a/b/c")).unwrap();
            fs::create_dir_all(source.join("e")).unwrap();
            let (code, lines) = run(&source, &target, |options| {
                options.prune_empty_dirs = true;
                options.filters = vec![FilterOption::Rule(rule.into())];
            });
            assert_eq!(code, 0, "{lines}");
            let all = ["a", "a/b", "a/b/c", "e"];
            let there = all.into_iter().filter(|dir| target.join(dir).exists());
            assert_eq!(there.collect::<Vec<_>>(), made, "{rule}");
        }
    }

    #[test]
    fn of_names_like_our_own_only_files_are_left_out_and_that_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("s"), folder.path().join("t"));
        let temporary = format!(".barge-{}", "0a".repeat(16));
        fs::create_dir_all(source.join(&temporary)).unwrap();
        fs::write(source.join(&temporary).join("data"), "precious").unwrap();
        fs::write(source.join(".barge-run"), "").unwrap();
        let (code, lines) = run(&source, &target, |_| ());
        assert_eq!(code, 0, "{lines}");
        let copied = fs::read(target.join(&temporary).join("data")).unwrap();
        assert_eq!(copied, b"precious");
        assert!(!target.join(".barge-run").exists());
        let told = "skipping a temporary file of barge's: ";
        assert!(
            lines.starts_with(told) && lines.lines().count() == 1,
            "{lines}"
        );
        let (_, lines) = run(&source, &target, |options| {
            options.filters = vec![FilterOption::Exclude(b"/.barge-run".to_vec())];
        });
        assert_eq!(lines, "");
    }
}
