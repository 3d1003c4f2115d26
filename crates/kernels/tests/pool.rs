//! The worker threads run every task once, for several callers, and survive a panic.

use kernels::Pool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

fn count(pool: &Pool, tasks: usize) -> Vec<usize> {
    let seen: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    pool.run(tasks, &|i| {
        seen[i].fetch_add(1, Ordering::Relaxed);
    });
    seen.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn each_task_runs_once() {
    for threads in [0, 1, 2, 5] {
        let pool = Pool::new(threads);
        for tasks in [0, 1, 2, 3, 1000] {
            assert_eq!(count(&pool, tasks), vec![1; tasks], "{threads} threads");
        }
    }
}

#[test]
fn callers_share_a_pool() {
    let pool = Pool::new(3);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..2000).for_each(|i| assert_eq!(count(&pool, i % 7), vec![1; i % 7])));
        }
    });
}

#[test]
fn a_panicking_task_reaches_the_caller_and_leaves_the_pool_usable() {
    let pool = Pool::new(3);
    for bad in 0..50 {
        let panic = catch_unwind(AssertUnwindSafe(|| pool.run(50, &|i| assert_ne!(i, bad, "task {bad}"))));
        let message = *panic.expect_err("the panic is passed on").downcast::<String>().expect("its message");
        assert!(message.contains(&format!("task {bad}")), "{message}");
        assert_eq!(count(&pool, 10), vec![1; 10]);
    }
}
