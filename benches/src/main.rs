//! Measures barge beside the pair it replaces, interleaved in one run.
//!
//! How to read what it prints, and under what conditions: `benches/README.md`.

#![expect(
    clippy::print_stdout,
    reason = "the tables are what this program is for"
)]
#![expect(clippy::print_stderr, reason = "progress goes beside the tables")]

mod compare;
mod conditions;
mod data;
mod line;
mod mover;
mod pair;
mod process;
mod route;
mod scenario;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use line::{Contender, Ground, Protocol, Sample};
use scenario::{Scale, Scenario};

/// Measures barge beside rsync, stunnel, stunnel and rsync, through one HAProxy
#[derive(Parser)]
struct Options {
    /// What to measure; everything when none is named.
    scenarios: Vec<Scenario>,
    /// Runs of each contender in each scenario.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Divides every size: 1000 proves in seconds that the harness works.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    scale: u64,
    /// Measures one contender alone, for a profile of it.
    #[arg(long)]
    only: Option<Contender>,
    /// The language barge speaks: its own at both ends, or rsync's in the pair's positions.
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    protocol: Protocol,
    /// Where the data goes; memory, so that the storage does not decide.
    #[arg(long, env = "BENCH_DIR", default_value = "/dev/shm")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match process::end_on_signal().and_then(|()| measure_all(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("barge-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(options: &Options) -> Result<()> {
    let scale = Scale(options.scale);
    let dir = fs::canonicalize(&options.dir).with_context(|| unusable(&options.dir))?;
    conditions::check_space(&dir, scale)?;
    let work = tempfile::Builder::new()
        .prefix("barge-bench.")
        .tempdir_in(&dir)
        .with_context(|| unusable(&dir))?;
    let ground = Ground::prepare(work.path())?;
    println!("{}", conditions::describe(&dir)?);
    for scenario in chosen(&options.scenarios) {
        let samples = measure(&ground, scenario, scale, options)?;
        println!(
            "{}",
            table::render(scenario, scale, options.protocol, &samples)
        );
    }
    Ok(())
}

fn unusable(dir: &Path) -> String {
    format!("cannot work in {}", dir.display())
}

fn chosen(named: &[Scenario]) -> Vec<Scenario> {
    if named.is_empty() {
        Scenario::ALL.to_vec()
    } else {
        named.to_vec()
    }
}

/// Runs every contender `runs` times, each time after the other, and sees to it that each really
/// moved the data.
fn measure(
    ground: &Ground,
    scenario: Scenario,
    scale: Scale,
    options: &Options,
) -> Result<Vec<(Contender, Sample)>> {
    let source = ground.work.join("source");
    let target = ground.work.join("target");
    scenario.make_source(&source, scale)?;
    let mut samples = Vec::new();
    for run in 0..options.runs {
        for contender in order(run, options.protocol) {
            if options.only.is_some_and(|only| only != contender) {
                continue;
            }
            scenario.make_target(&target, scale)?;
            warm(&ground.work, scenario.new_bytes(scale))?;
            let sample = ground.time(contender, &source, &target)?;
            let seconds = sample.wall.as_secs_f64();
            eprintln!(
                "{scenario}, run {} of {}, {contender}: {seconds:.2} s",
                run + 1,
                options.runs
            );
            compare::same_tree(&source, &target)
                .with_context(|| format!("{scenario}: {contender} left another tree"))?;
            fs::remove_dir_all(&target)?;
            samples.push((contender, sample));
        }
    }
    ensure!(!samples.is_empty(), "nothing was measured");
    fs::remove_dir_all(&source)?;
    Ok(samples)
}

/// Who goes first changes from run to run, so that nobody always finds the warmer machine.
fn order(run: u32, protocol: Protocol) -> Vec<Contender> {
    let mut contenders = protocol.contenders().to_vec();
    let first = run as usize % contenders.len();
    contenders.rotate_left(first);
    contenders
}

/// Takes `bytes` from the file system once and gives them back.
///
/// A virtual machine's free memory may have gone back to its host, and the first touch of such a
/// page costs ten times a copy: whoever runs first would pay for both.
fn warm(dir: &Path, bytes: u64) -> Result<()> {
    let path = dir.join("warm");
    data::write_file(&path, bytes, data::Version::Warm)?;
    fs::remove_file(path)?;
    // What was prepared on a disk is written back before the clock runs, not while.
    nix::unistd::sync();
    process::check_not_ended()
}
