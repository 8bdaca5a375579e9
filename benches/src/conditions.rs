//! Under what conditions was measured, and whether there is room for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::scenario::Scale;

/// Refuses to begin what would fill the file system, or the memory behind it.
pub(crate) fn check_space(dir: &Path, scale: Scale) -> Result<()> {
    let stat = statfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let mut free = stat.blocks_available() * u64::try_from(stat.block_size())?;
    if stat.filesystem_type() == TMPFS_MAGIC {
        free = free.min(available_memory()?);
    }
    // The source, the old target and the new one beside it.
    let need = 3 * scale.large() + SLACK / scale.0 + LOGS;
    ensure!(
        free >= need,
        "{} has {} MiB to give, {} are needed: set BENCH_DIR to another folder, or --scale",
        dir.display(),
        free >> 20,
        need >> 20
    );
    Ok(())
}

/// A sentence that belongs to the tables.
pub(crate) fn describe(dir: &Path) -> Result<String> {
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let model = fs::read_to_string("/proc/cpuinfo")?;
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    Ok(format!(
        "{cores} cores ({}), {} MiB of memory, Linux {}, data in {}; {}; {}; {}\n",
        model.trim_start_matches([' ', '\t', ':']),
        field("MemTotal:")? >> 10,
        kernel.trim(),
        dir.display(),
        version("/usr/bin/rsync", "--version"),
        version("/usr/bin/stunnel", "-version"),
        version("/usr/sbin/haproxy", "-v"),
    ))
}

/// The first line of what a program says of its version that has a number in it.
fn version(program: &str, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else {
        return format!("no {program}");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()));
    line.unwrap_or(program)
        .split("  protocol")
        .next()
        .unwrap_or(program)
        .trim()
        .to_owned()
}

/// Bytes that can be had without swapping.
fn available_memory() -> Result<u64> {
    Ok(field("MemAvailable:")? << 10)
}

/// A field of `/proc/meminfo` in KiB.
fn field(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .with_context(|| format!("/proc/meminfo has no {name}"))?
        .parse()
        .context("meminfo")
}

/// For the machine itself.
const SLACK: u64 = 512 << 20;
/// For logs and keys; a container's `/dev/shm` of 64 MiB has room for a tiny run.
const LOGS: u64 = 16 << 20;
