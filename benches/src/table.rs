//! Samples as Markdown.

use std::fmt::Write;
use std::time::Duration;

use crate::line::{Contender, Protocol, Sample};
use crate::process::Usage;
use crate::scenario::{MIB, Scale, Scenario};

/// Both tables of one scenario: the contenders, and below them each process.
pub(crate) fn render(
    scenario: Scenario,
    scale: Scale,
    protocol: Protocol,
    samples: &[(Contender, Sample)],
) -> String {
    let of = |wanted: &Contender| {
        let of = samples.iter().filter(|(contender, _)| contender == wanted);
        of.map(|(_, sample)| sample).collect::<Vec<_>>()
    };
    let rows = protocol.contenders().iter().map(|c| (*c, of(c)));
    let rows: Vec<_> = rows.filter(|(_, samples)| !samples.is_empty()).collect();
    let runs = rows
        .iter()
        .map(|(_, samples)| samples.len())
        .max()
        .unwrap_or(0);
    let mut text = format!(
        "### {scenario}: {}; runs: {runs}\n\n",
        scenario.describe(scale)
    );
    text.push_str(
        "| | wall s, median (min–max) | content MiB/s | CPU s | HAProxy CPU s | peak memory MiB | wire MiB |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let content = scenario.content_bytes(scale) as f64 / MIB;
    let figured: Vec<_> = rows
        .iter()
        .map(|(c, samples)| (*c, figures(samples)))
        .collect();
    for (contender, figures) in &figured {
        text.push_str(&row(&contender.to_string(), content, figures));
    }
    if let [(Contender::Pair, pair), others @ ..] = &figured[..] {
        for (contender, figures) in others {
            text.push_str(&ratios(*contender, pair, figures));
        }
    }
    text.push_str("\n| | process | CPU s | peak memory MiB |\n|---|---|---|---|\n");
    for (contender, samples) in &rows {
        text.push_str(&processes(&contender.to_string(), samples));
    }
    text
}

/// One contender's numbers over its runs.
struct Figures {
    wall: Spread,
    cpu: Spread,
    route_cpu: Spread,
    memory: Spread,
    wire: Spread,
}

fn figures(samples: &[&Sample]) -> Figures {
    let spread = |number: fn(&Sample) -> f64| Spread::of(samples.iter().map(|s| number(s)));
    Figures {
        wall: spread(|s| s.wall.as_secs_f64()),
        cpu: spread(|s| {
            s.mover
                .iter()
                .map(|u| u.cpu)
                .sum::<Duration>()
                .as_secs_f64()
        }),
        route_cpu: spread(|s| s.route.cpu.as_secs_f64()),
        memory: spread(|s| s.mover.iter().flat_map(|u| &u.peaks).sum::<u64>() as f64 / 1024.0),
        wire: spread(|s| s.wire as f64 / MIB),
    }
}

fn row(name: &str, content: f64, of: &Figures) -> String {
    format!(
        "| {name} | {:.2} ({:.2}–{:.2}) | {:.0} | {:.2} ({:.2}–{:.2}) | {:.2} | {:.1} | {:.2} |\n",
        of.wall.median,
        of.wall.min,
        of.wall.max,
        content / of.wall.median,
        of.cpu.median,
        of.cpu.min,
        of.cpu.max,
        of.route_cpu.median,
        of.memory.median,
        of.wire.median,
    )
}

fn ratios(contender: Contender, pair: &Figures, its: &Figures) -> String {
    let ratio = |of: fn(&Figures) -> &Spread| of(pair).median / of(its).median;
    format!(
        "| **pair ÷ {contender}** | **{:.2}** | | {:.2} | {:.2} | {:.2} | {:.2} |\n",
        ratio(|f| &f.wall),
        ratio(|f| &f.cpu),
        ratio(|f| &f.route_cpu),
        ratio(|f| &f.memory),
        ratio(|f| &f.wire),
    )
}

/// A row for each role: median time on a processor, and the largest peak of each of its processes.
fn processes(name: &str, samples: &[&Sample]) -> String {
    let mut text = String::new();
    let Some(first) = samples.first() else {
        return text;
    };
    let roles = |sample: &Sample| [&sample.mover[..], std::slice::from_ref(&sample.route)].concat();
    for (index, usage) in roles(first).iter().enumerate() {
        let all: Vec<Usage> = samples.iter().map(|s| roles(s)[index].clone()).collect();
        let cpu = Spread::of(all.iter().map(|usage| usage.cpu.as_secs_f64())).median;
        let _ = writeln!(
            text,
            "| {name} | {} | {cpu:.2} | {} |",
            usage.role,
            peaks(&all)
        );
    }
    text
}

/// `4.1 + 11.0`: a process and its children, in the order they were started.
fn peaks(runs: &[Usage]) -> String {
    let count = runs
        .iter()
        .map(|usage| usage.peaks.len())
        .max()
        .unwrap_or(0);
    let peak = |index| runs.iter().filter_map(|usage| usage.peaks.get(index)).max();
    let peaks = (0..count)
        .filter_map(peak)
        .map(|kib| format!("{:.1}", *kib as f64 / 1024.0));
    peaks.collect::<Vec<_>>().join(" + ")
}

/// The middle of some numbers, and their ends.
#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of at least one number.
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len() - 1;
        let median = f64::midpoint(numbers[last / 2], numbers[numbers.len() / 2]);
        Self {
            median,
            min: numbers[0],
            max: numbers[last],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_lies_between_the_two_in_the_middle() {
        for (numbers, median) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 9.0], 3.0),
        ] {
            assert_eq!(Spread::of(numbers.into_iter()).median, median);
        }
    }

    #[test]
    fn table_compares_the_medians_and_lists_every_process() {
        let usage = |role, seconds, peaks: &[u64]| Usage {
            role,
            cpu: Duration::from_secs(seconds),
            peaks: peaks.to_vec(),
        };
        let sample = |wall, role, peaks| Sample {
            wall: Duration::from_secs(wall),
            mover: vec![usage(role, wall, peaks)],
            route: usage("HAProxy", 1, &[2048]),
            wire: 1 << 20,
        };
        let samples = [
            (Contender::Pair, sample(6, "rsync", &[1024, 3072])),
            (Contender::Barge, sample(2, "barge", &[2048])),
        ];
        let text = render(Scenario::File, Scale(1), Protocol::Native, &samples);
        for line in [
            "| pair | 6.00 (6.00–6.00) | 683 | 6.00 (6.00–6.00) | 1.00 | 4.0 | 1.00 |",
            "| **pair ÷ barge** | **3.00** | | 3.00 | 1.00 | 2.00 | 1.00 |",
            "| pair | rsync | 6.00 | 1.0 + 3.0 |",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }
}
