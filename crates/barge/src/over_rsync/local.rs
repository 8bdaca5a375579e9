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
    let both = std::thread::scope(|scope| {
        let server = scope.spawn(move || server.run(there));
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
