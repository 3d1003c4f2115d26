//! Worker threads that live as long as the program.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    /// What each thread has not begun of its own tasks; the caller's come first.
    shares: Box<[Share]>,
    /// Workers that have not finished the current loop.
    busy: AtomicUsize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    panic: Option<Box<dyn Any + Send>>,
    /// Workers that wait for `wake`.
    asleep: usize,
    closed: bool,
}

/// Tasks `start .. end` that nobody has taken, as `end << 32 | start`. In a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Share(AtomicU64);

impl Share {
    fn set(&self, start: usize, end: usize) {
        self.0.store((end as u64) << 32 | start as u64, Ordering::Relaxed);
    }

    /// Takes the first task, or the last.
    fn take(&self, first: bool) -> Option<usize> {
        let less = |share: u64| {
            let (start, end) = (share & 0xffff_ffff, share >> 32);
            (start < end).then(|| if first { share + 1 } else { share - (1 << 32) })
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(if first { before & 0xffff_ffff } else { (before >> 32) - 1 } as usize)
    }
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
}

// SAFETY: the pointer is to a `Sync` closure, and `run` keeps it alive until no worker uses it.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` workers in all, the caller included; at least one.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            shares: (0..threads.max(1)).map(|_| Share::default()).collect(),
            busy: AtomicUsize::new(0),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let workers = (1..threads)
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                let work = move || shared.work(i);
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
    /// thread runs which task is unspecified, so a task must own what it writes. Each begins with a range of its own, the
    /// same whenever there are as many, so that it mostly finds in its cache what it wrote in the loop before; who is done
    /// helps the others from their end.
    ///
    /// # Panics
    /// With the task's own panic, after all threads have stopped; the pool remains usable. With 2^32 tasks or more.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // before the team is taken, which a panic would leave poisoned
        assert!(u32::try_from(tasks).is_ok(), "{tasks} tasks");
        let alone = self.workers.is_empty() || tasks <= 1;
        let team = if alone { None } else { self.team.try_lock().ok() };
        let Some(_team) = team else {
            return (0..tasks).for_each(task);
        };
        let shared = &*self.shared;
        let asleep = {
            // SAFETY: only the lifetime changes. No worker touches the closure after `busy` is 0, and this
            // function does not return or unwind before that.
            let task = unsafe {
                std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(task)
            };
            let mut state = shared.lock();
            state.job = Some(Job { task });
            shared.share_out(tasks);
            shared.busy.store(self.workers.len(), Ordering::Relaxed);
            shared.epoch.fetch_add(1, Ordering::Release);
            state.asleep
        };
        if asleep > 0 {
            shared.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.take_tasks(0, task)));
        if own.is_err() {
            shared.share_out(0);
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

    /// Gives each thread a range of as many tasks.
    fn share_out(&self, tasks: usize) {
        let threads = self.shares.len();
        for (i, share) in self.shares.iter().enumerate() {
            share.set(tasks * i / threads, tasks * (i + 1) / threads);
        }
    }

    /// Runs the tasks of thread `own`, and then others' as long as there are any.
    fn take_tasks(&self, own: usize, task: &(dyn Fn(usize) + Sync)) {
        while let Some(i) = self.shares[own].take(true) {
            task(i);
        }
        let threads = self.shares.len();
        for other in 1..threads {
            while let Some(i) = self.shares[(own + other) % threads].take(false) {
                task(i);
            }
        }
    }

    fn work(&self, own: usize) {
        let mut seen = 0;
        while let Some(job) = self.next_job(&mut seen) {
            // SAFETY: `run` waits for `busy` to reach 0 before the closure's lifetime ends.
            let task = unsafe { &*job.task };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_tasks(own, task))) {
                self.share_out(0);
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
            state.asleep += 1;
            state = self.wake.wait(state).unwrap_or_else(|e| e.into_inner());
            state.asleep -= 1;
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
    /// Only those of them may be used that no other task uses, while the slice that this was made of lives.
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
