//! What a person or a log sees while a run is on.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use barge::Counters;
use indicatif::{
    HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressFinish, ProgressStyle,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::info;

use crate::output::Output;

/// Standard error, which the bar shares with the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Screen(MultiProgress);

impl Screen {
    /// Writes while the bar is off the screen.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

/// How progress is shown.
pub(crate) enum Progress {
    /// A bar on a terminal.
    Bar(ProgressBar),
    /// A line of the log at times.
    Lines,
    /// An event of the output at times.
    Events(Arc<Output>),
}

impl Progress {
    /// A bar where standard error is a terminal that `output` leaves alone, else lines; events
    /// where the output is JSON.
    pub(crate) fn new(screen: &Screen, output: &Arc<Output>, quiet: bool) -> Self {
        match (
            output.is_json(),
            io::stderr().is_terminal() && !output.is_itemizing(),
        ) {
            (true, _) => Self::Events(Arc::clone(output)),
            (false, true) if !quiet => Self::Bar(screen.0.add(bar())),
            (false, _) => Self::Lines,
        }
    }

    /// Shows `counters` from time to time, until dropped.
    pub(crate) async fn follow(&self, counters: &Counters) -> Infallible {
        let every = match self {
            Self::Bar(_) => BAR_EVERY,
            Self::Lines | Self::Events(_) => LINE_EVERY,
        };
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = 0;
        loop {
            ticks.tick().await;
            match self {
                Self::Bar(bar) => draw(bar, counters),
                Self::Lines => info!("{}", line(counters, sent, every)),
                Self::Events(output) => output.progress(counters),
            }
            sent = counters.bytes_sent.get();
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}; {msg}",
    )
    .expect("the template is well-formed");
    ProgressBar::new(0)
        .with_style(style)
        .with_finish(ProgressFinish::AndClear)
}

fn draw(bar: &ProgressBar, counters: &Counters) {
    bar.set_length(counters.bytes_listed.get());
    bar.set_position(bytes_done(counters));
    bar.set_message(paths(counters));
}

/// `sent` is how many bytes had been sent `since` ago.
fn line(counters: &Counters, sent: u64, since: Duration) -> String {
    let rate = counters.bytes_sent.get().saturating_sub(sent) / since.as_secs().max(1);
    format!(
        "{} of {} listed so far, {}/s sent; {}",
        HumanBytes(bytes_done(counters)),
        HumanBytes(counters.bytes_listed.get()),
        HumanBytes(rate),
        paths(counters)
    )
}

fn paths(counters: &Counters) -> String {
    let (ended, listed) = (counters.ended.get(), counters.listed.get());
    let mut text = format!("{} of {} paths", HumanCount(ended), HumanCount(listed));
    for (count, what) in [
        (counters.failed.get(), "failed"),
        (counters.reconnects.get(), "connections made again"),
    ] {
        if count > 0 {
            text += &format!(", {} {what}", HumanCount(count));
        }
    }
    text
}

/// Bytes of files that have ended, or bytes read where a large file has not ended yet.
fn bytes_done(counters: &Counters) -> u64 {
    let done = counters.bytes_ended.get().max(counters.bytes_read.get());
    done.min(counters.bytes_listed.get())
}

const BAR_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_says_how_far_how_fast_and_what_failed() {
        let counters = Counters::default();
        counters.listed.add(20_000);
        counters.ended.add(12_345);
        counters.bytes_listed.add(4 << 30);
        counters.bytes_ended.add(1 << 30);
        counters.bytes_read.add(2 << 30);
        counters.bytes_sent.add(30 << 20);
        let shown = line(&counters, 10 << 20, Duration::from_secs(10));
        let start = "2.00 GiB of 4.00 GiB listed so far, 2.00 MiB/s sent; ";
        assert_eq!(shown, format!("{start}12,345 of 20,000 paths"));
        counters.failed.add(2);
        assert!(line(&counters, 0, LINE_EVERY).ends_with("paths, 2 failed"));
    }
}
