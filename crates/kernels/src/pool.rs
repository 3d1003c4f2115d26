//! Worker threads that live as long as the program.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// How often an idle worker looks for the next loop before it sleeps: some 50 microseconds, longer than the
/// gap between two operations of a step and shorter than anything a person would see in their battery.
const SPINS: usize = 20_000;

/// A fixed team of threads for data-parallel loops. The calling thread works too. Several threads may call
/// at once: the first has the team, the others compute alone meanwhile.
pub struct Pool {
    shared: Arc<Shared>,
    /// Held by the caller that has the team.
    team: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Grows by one for each loop; workers watch it.
    epoch: AtomicUsize,
    /// Index of the next task that nobody took.
    next: AtomicUsize,
    /// Workers that have not finished the current loop.
    busy: AtomicUsize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    panic: Option<Box<dyn Any + Send>>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

// SAFETY: the pointer is to a `Sync` closure, and `run` keeps it alive until no worker uses it.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` workers in all, the caller included; at least one.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let workers = (1..threads)
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                let work = move || shared.work();
                // a machine that has no thread left still computes, on fewer
                std::thread::Builder::new().name(format!("kernels-{i}")).spawn(work).ok()
            })
            .collect();
        Pool { shared, team: Mutex::new(()), workers }
    }

    /// The threads that this process may use: its processor affinity and its container's share.
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// How many threads share a loop, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(i)` once for each `i < tasks`, on all threads, and returns when all are done. Which
    /// thread runs which task is unspecified, so a task must own what it writes.
    ///
    /// # Panics
    /// With the task's own panic, after all threads have stopped. The pool remains usable.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let alone = self.workers.is_empty() || tasks <= 1;
        let team = if alone { None } else { self.team.try_lock().ok() };
        let Some(_team) = team else {
            return (0..tasks).for_each(task);
        };
        let shared = &*self.shared;
        {
            // SAFETY: only the lifetime changes. No worker touches the closure after `busy` is 0, and this
            // function does not return or unwind before that.
            let task = unsafe {
                std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(task)
            };
            let mut state = shared.lock();
            state.job = Some(Job { task, tasks });
            shared.next.store(0, Ordering::Relaxed);
            shared.busy.store(self.workers.len(), Ordering::Relaxed);
            shared.epoch.fetch_add(1, Ordering::Release);
        }
        shared.wake.notify_all();
        let own = catch_unwind(AssertUnwindSafe(|| shared.take_tasks(tasks, task)));
        if own.is_err() {
            shared.next.store(tasks, Ordering::Relaxed);
        }
        let mut spins = 0;
        while shared.busy.load(Ordering::Acquire) > 0 {
            spin(&mut spins);
        }
        let theirs = {
            let mut state = shared.lock();
            state.job = None;
            state.panic.take()
        };
        if let Some(panic) = own.err().or(theirs) {
            drop(_team);
            resume_unwind(panic);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn take_tasks(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= tasks {
                return;
            }
            task(i);
        }
    }

    fn work(&self) {
        let mut seen = 0;
        while let Some(job) = self.next_job(&mut seen) {
            // SAFETY: `run` waits for `busy` to reach 0 before the closure's lifetime ends.
            let task = unsafe { &*job.task };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_tasks(job.tasks, task))) {
                self.next.store(job.tasks, Ordering::Relaxed);
                self.lock().panic.get_or_insert(panic);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a loop later than `seen`: spinning first, then asleep. `None` when the pool closes.
    fn next_job(&self, seen: &mut usize) -> Option<Job> {
        let mut spins = 0;
        while spins < SPINS && self.epoch.load(Ordering::Acquire) == *seen {
            spin(&mut spins);
        }
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != *seen {
                *seen = epoch;
                return state.job;
            }
            state = self.wake.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }
}

fn spin(spins: &mut usize) {
    *spins += 1;
    if spins.is_multiple_of(1024) {
        // the other side may need this very processor
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.epoch.fetch_add(1, Ordering::Release);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // a worker that panicked outside a task has nothing left to clean up
            let _ = worker.join();
        }
    }
}

/// A slice that tasks of one loop write in disjoint parts.
pub(crate) struct Parts<T>(*mut T, usize);

// SAFETY: access goes through `part`, whose caller promises disjoint ranges.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    pub(crate) fn new(slice: &mut [T]) -> Parts<T> {
        Parts(slice.as_mut_ptr(), slice.len())
    }

    /// The first of the elements `start .. start + len`.
    ///
    /// # Safety
    /// As for [`Self::part`], as far as it is used.
    pub(crate) unsafe fn pointer(&self, start: usize, len: usize) -> *mut T {
        assert!(start + len <= self.1);
        // SAFETY: in bounds by the assertion.
        unsafe { self.0.add(start) }
    }

    /// The elements `start .. start + len`.
    ///
    /// # Safety
    /// No two live parts may overlap, and the slice that this was made of must outlive them.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start + len <= self.1);
        // SAFETY: in bounds by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}
