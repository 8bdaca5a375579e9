//! What `--help` says beyond the flags: enough to use the program without any other text.

use crate::exit::Exit;

pub(crate) const ABOUT: &str = "\
Moves Kubernetes volumes between clusters.

`barge serve` mounts the target volume, `barge send` the source volume; they talk through one TLS \
port, at which each end verifies the other. A second run sends only what has changed since. A lost \
connection is made again within the run; a killed run is continued by running it again.

`barge rsync`, `barge stunnel`, `barge blockrsync` and `barge proxy` take the command lines of those \
programs, and barge does so when it is called by such a name.";

pub(crate) const KEYS: &str = "\
Makes throw-away keys for one migration: a CA, and with it an identity for each end.

Writes DIR/server and DIR/client, each with tls.crt, tls.key and ca.crt: the layout of a Kubernetes \
TLS Secret. Valid for 30 days. The CA's own key is not kept, so nobody can make a third identity. \
Nothing is overwritten.";

pub(crate) const KEYS_AFTER: &str = "\
Examples:
  barge keys keys --host volume.apps.example.org
  kubectl create secret generic barge-server --from-file=keys/server
  kubectl create secret generic barge-client --from-file=keys/client    (in the other cluster)";

pub(crate) const SERVE: &str = "\
Takes volumes: listens, verifies each client, and writes what it sends.

Each volume is a directory with a name; a client says which one it wants. A volume takes one run at \
a time. Logs «listening on ADDRESS» when it is ready. A --device is a block device or a raw image \
instead, which a client with --device makes equal to its own, in place; an image need not be there yet.

A client that names no protocol in its TLS handshake is taken for an rsync: to it the volumes are a \
daemon's modules, to push to and to pull from. It shows a certificate like any other, so rsync-ssl \
--type=openssl needs RSYNC_SSL_CERT, RSYNC_SSL_KEY and RSYNC_SSL_CA_CERT.

Without --once it serves until SIGTERM or SIGINT. The signal drains: no new run is taken, what is \
in flight is committed or removed, reports are written. A second signal ends at once.";

pub(crate) const SERVE_AFTER: &str = "\
Examples:
  barge serve --once --volume data=/mnt/target --tls /etc/barge/tls
  barge serve --once --device disk=/dev/target --tls /etc/barge/tls
  barge serve --volume a=/a --volume b=/b --tls tls --admin 0.0.0.0:9090 --report /dev/termination-log

Admin address (plain HTTP, for the kubelet and Prometheus; keep it inside the pod's network):
  /healthz  200 while the process lives
  /readyz   200 while new runs are taken, 503 while draining
  /metrics  counters in Prometheus' text format";

pub(crate) const SEND: &str = "\
Sends the directory PATH to a volume of a server.

Brings over files, directories, symbolic and hard links, devices, fifos and sockets, with numeric \
owner, mode, times in nanoseconds, extended attributes, ACLs and holes. The volume's root takes the \
attributes of PATH. A file is taken for unchanged when size and time agree; of a changed file only \
the difference is sent. A file appears under its name when all of it has arrived and its digest \
agrees. Mounted file systems below PATH are not entered, lost+found in the root is left alone.

With --device PATH is a block device or a raw image. Both ends digest what they have, in parts of 1 GiB \
over several connections, and blocks of 128 KiB that differ are sent and written in place; zeros are discarded, \
or become holes. A target that is smaller is refused first, and what a larger device has behind the end is \
cleared. A source that is written meanwhile is sent again, up to three times, and then reported (exit code 8): \
of a device that shows only in what is sent, so it must not be in use.

Exit code 0 means that all that was asked for is durable at the target.";

pub(crate) const SEND_AFTER: &str = "\
Examples:
  barge send /mnt/source --to volume.apps.example.org --volume data --tls /etc/barge/tls
  barge send /mnt/source --to 10.0.0.7:8443 --server-name volume.apps.example.org \\
      --volume data --tls tls --delete --exclude /cache/ --bwlimit 200Mi
  barge send /dev/source --device --to volume.apps.example.org --volume disk --tls /etc/barge/tls
  barge send . --to host --volume data --tls tls --delete --dry-run --itemize";

pub(crate) const COPY: &str = "\
Copies the directory SRC to the directory DST, which exists, within this machine.

The same mover as `barge send`, with both ends in one process and no network: the same rules, \
outcomes and exit codes. DST may not lie inside SRC, nor SRC inside DST.";

pub(crate) const COPY_AFTER: &str = "\
Examples:
  barge copy /mnt/old /mnt/new
  barge copy /mnt/old /mnt/new --delete --max-delete 1000 --report report.json";

/// How to write a pattern: part of the help of `send` and `copy`.
const PATTERNS: &str = "\
Patterns (rsync's rules for exclusion):
  name      any entry of that name, at any depth
  /name     only in the root of the volume
  a/b       the end of a path: x/a/b, not a/x/b
  dir/      only directories; nothing within them is looked at
  *         any bytes but a slash; ** any bytes
  ?         one byte but a slash; [a-z] one of these
  dir/***   the directory and all within it
  What is excluded is neither sent nor, under --delete, deleted at the target.";

const STANDARD_OUTPUT: &str = "\
Standard output:
  The report; before it, with --itemize, a line for each path that is not unchanged:
  created, updated (what differed), metadata (what differed), linked, deleted, skipped (the rule),
  failed: the reason. With --json one object a line instead:
  {\"event\":\"path\",...} for each path that fails, and with --itemize for every path;
  {\"event\":\"progress\",...} every ten seconds; {\"event\":\"report\",...} at the end, as --report writes it.
  Names that are not UTF-8 have a second field, path_bytes, in hexadecimal.
  Logs and progress go to standard error.";

const ENVIRONMENT: &str = "\
Environment:
  Every flag can be given as BARGE_ and its name in capitals with _ for -: BARGE_BWLIMIT=200Mi.
  A flag without a value takes true or false: BARGE_DELETE=true. One that can be given several times
  takes one value a line. The command line wins.
  BARGE_LOG  which logs, in place of -v and -q: a level, or TARGET=LEVEL,…";

/// The text after the flags of the command itself.
pub(crate) fn after_barge() -> String {
    format!(
        "`barge COMMAND --help` tells all of a command, with examples.\n\n{ENVIRONMENT}\n\n{}",
        exit_codes()
    )
}

/// The text after the flags of `keys` or `serve`.
pub(crate) fn after(examples: &str) -> String {
    format!("{examples}\n\n{ENVIRONMENT}\n\n{}", exit_codes())
}

/// The text after the flags of `send` or `copy`.
pub(crate) fn after_moving(examples: &str) -> String {
    after(&format!("{examples}\n\n{PATTERNS}\n\n{STANDARD_OUTPUT}"))
}

fn exit_codes() -> String {
    format!("Exit codes:\n{}", Exit::table())
}
