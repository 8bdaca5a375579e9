//! Threads that do file work.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and a queue. What bounds the queue are the windows of the protocol.
#[derive(Debug)]
pub(crate) struct Pool {
    queue: crossbeam_channel::Sender<Next>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

enum Next {
    Run(Job),
    Stop,
}

impl Pool {
    /// Starts `threads` threads.
    pub(crate) fn new(name: &str, threads: usize) -> std::io::Result<Self> {
        let (sender, queue) = crossbeam_channel::unbounded::<Next>();
        let start = |_| {
            let queue = queue.clone();
            let work = move || {
                barge_fs::dedicate_thread();
                while let Ok(Next::Run(job)) = queue.recv() {
                    job();
                }
            };
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
        };
        let threads = (0..threads).map(start).collect::<Result<_, _>>()?;
        Ok(Self {
            queue: sender,
            threads: Mutex::new(threads),
        })
    }

    /// Queues `job`.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // It fails only when every thread is gone, after `finish`.
        let _ = self.queue.send(Next::Run(Box::new(job)));
    }

    /// Lets the threads finish what is queued, and waits for them.
    pub(crate) fn finish(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in &threads {
            let _ = self.queue.send(Next::Stop);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Jobs that run one after the other, in the order they came, on whatever thread of a pool is
/// free: one thread writes one file, so that no two wait for its lock.
#[derive(Default)]
pub(crate) struct Strand {
    state: Mutex<StrandState>,
}

#[derive(Default)]
struct StrandState {
    jobs: VecDeque<Job>,
    running: bool,
}

impl Strand {
    /// Queues `job` behind those that came before.
    pub(crate) fn run(self: &Arc<Self>, pool: &Pool, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.jobs.push_back(Box::new(job));
        if !std::mem::replace(&mut state.running, true) {
            let strand = Arc::clone(self);
            pool.run(move || strand.drain());
        }
    }

    fn drain(&self) {
        loop {
            let job = {
                let mut state = self.lock();
                let Some(job) = state.jobs.pop_front() else {
                    state.running = false;
                    return;
                };
                job
            };
            job();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StrandState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Strand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Strand")
    }
}

/// How many threads do file work: several for each processor the process may use, because most
/// of them wait for storage most of the time.
pub(crate) fn workers() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus * 4).clamp(4, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strand_runs_its_jobs_in_order_on_a_pool_of_many_threads() {
        let pool = Pool::new("test", 4).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let strand = Arc::new(Strand::default());
        for n in 0..1000 {
            let seen = Arc::clone(&seen);
            strand.run(&pool, move || seen.lock().unwrap().push(n));
        }
        pool.finish();
        assert_eq!(*seen.lock().unwrap(), (0..1000).collect::<Vec<_>>());
    }
}
