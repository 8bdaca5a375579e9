//! Work that several threads do and one takes in order.

use std::collections::VecDeque;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Does `work` on each of `jobs`, on so many threads, and hands the results to `take` in the order of the
/// jobs. At most two results a thread wait to be taken.
///
/// Each thread has a buffer, which it passes from one job to the next.
///
/// # Errors
///
/// The first of `take`; what is not under way then is not begun.
pub(super) fn in_order<J: Send, T: Send, E>(
    threads: usize,
    jobs: impl Iterator<Item = J>,
    work: impl Fn(J, &mut Vec<u8>) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (ask, asked) = bounded::<(J, Sender<T>)>(2 * threads);
        for _ in 0..threads {
            let (asked, work) = (asked.clone(), &work);
            scope.spawn(move || {
                let mut buffer = Vec::new();
                for (job, answer) in asked {
                    // Whoever asked may have given up.
                    let _ = answer.send(work(job, &mut buffer));
                }
            });
        }
        drop(asked);
        let mut waiting: VecDeque<Receiver<T>> = VecDeque::new();
        for job in jobs {
            if waiting.len() == 2 * threads
                && let Some(first) = waiting.pop_front()
            {
                take(answer(&first))?;
            }
            let (answer, result) = bounded(1);
            ask.send((job, answer))
                .expect("its threads take jobs until the last one");
            waiting.push_back(result);
        }
        waiting.iter().try_for_each(|result| take(answer(result)))
    })
}

fn answer<T>(result: &Receiver<T>) -> T {
    result
        .recv()
        .expect("a thread answers, or its panic ends the process")
}

/// Reading and digesting: two a processor, because storage lets them wait.
pub(super) fn threads() -> usize {
    2 * thread::available_parallelism()
        .map_or(1, usize::from)
        .min(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let mut taken = Vec::new();
        let done: Result<(), ()> = in_order(
            threads(),
            0..500,
            |job: u32, _| {
                if job.is_multiple_of(7) {
                    thread::yield_now();
                }
                job
            },
            |job| {
                taken.push(job);
                Ok(())
            },
        );
        assert_eq!(done, Ok(()));
        assert!(taken.iter().copied().eq(0..500));
    }

    #[test]
    fn first_error_ends_it() {
        let mut taken = 0;
        let done = in_order(
            threads(),
            0..1_000_000,
            |job: u32, _| job,
            |job| {
                taken += 1;
                if job == 20 { Err("full") } else { Ok(()) }
            },
        );
        assert_eq!((done, taken), (Err("full"), 21));
    }
}
