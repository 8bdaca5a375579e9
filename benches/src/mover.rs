//! barge at both ends: `barge send` → HAProxy → `barge serve --once`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::line::Line;
use crate::process::{Ending, Process, run};
use crate::route::{HOST, Route};

/// Starts the server and returns it with the client's command.
pub(crate) fn lay(keys: &Path, dir: &Path, source: &Path, target: &Path) -> Result<Line> {
    let barge = program()?;
    make_identities(&barge, keys)?;
    let mut command = Command::new(&barge);
    command.args(["serve", "--once", "--listen", "127.0.0.1:0"]);
    command
        .arg("--volume")
        .arg(format!("bench={}", target.display()));
    command.arg("--tls").arg(keys.join("server"));
    let mut server = Process::start("barge serve", Ending::Itself, &mut command, dir)?;
    let words = server.wait_for_words("listening on ")?;
    let address = words.split_whitespace().next().unwrap_or_default();
    let address = address
        .parse()
        .with_context(|| format!("barge listens on {address:?}"))?;
    let route = Route::start(address, dir)?;
    let client = client_command(&barge, keys, source, route.port);
    Ok(Line {
        servers: vec![server],
        route,
        client,
        role: "barge send",
    })
}

/// Deletion is asked for because the pair is asked for it.
fn client_command(barge: &Path, keys: &Path, source: &Path, port: u16) -> Command {
    let mut command = Command::new(barge);
    command.arg("send").arg(source).arg("--delete");
    command.args(["--volume", "bench", "--server-name", HOST]);
    command
        .args(["--to", &format!("127.0.0.1:{port}")])
        .arg("--tls")
        .arg(keys.join("client"));
    command
}

fn make_identities(barge: &Path, keys: &Path) -> Result<()> {
    if keys.join("server").exists() {
        return Ok(());
    }
    run(Command::new(barge)
        .arg("keys")
        .arg(keys)
        .args(["--host", HOST]))
}

/// The barge that was built with this program: it stands in the same folder.
pub(crate) fn program() -> Result<PathBuf> {
    let barge = env::current_exe()?.with_file_name("barge");
    ensure!(
        barge.exists(),
        "{} is not built: cargo build --release",
        barge.display()
    );
    Ok(barge)
}
