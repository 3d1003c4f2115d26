//! Memory and processor time: what the system has to give, and what this process has taken.

use std::path::Path;
use std::time::Duration;

/// Bytes of memory that can be taken without pushing anybody out, also within a container's limit. `None` where the
/// system does not say.
pub fn available_memory() -> Option<u64> {
    let system = proc_bytes("/proc/meminfo", "MemAvailable:")?;
    Some(container_memory().map_or(system, |container| container.min(system)))
}

/// The most memory that this process has held at once, in bytes. `None` where the system does not say.
pub fn peak_memory() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// The memory that this process holds now, in bytes, with the pages of mapped files that are in memory. `None` where the
/// system does not say.
pub fn resident_memory() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmRSS:")
}

/// The time that processors have spent on all threads of this process. `None` where the system does not say.
pub fn processor_time() -> Option<Duration> {
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut spent) };
    (failed == 0).then(|| Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32))
}

/// What the control group leaves: its limit less what is used and cannot be dropped. Files that were read count as used,
/// but are given up when memory is short.
fn container_memory() -> Option<u64> {
    let v2 = Path::new("/sys/fs/cgroup");
    let v1 = Path::new("/sys/fs/cgroup/memory");
    let (limit, used, stat, file) = match number(&v2.join("memory.max")) {
        Some(limit) => (limit, number(&v2.join("memory.current"))?, v2.join("memory.stat"), "file"),
        None => {
            let limit = number(&v1.join("memory.limit_in_bytes"))?;
            (limit, number(&v1.join("memory.usage_in_bytes"))?, v1.join("memory.stat"), "total_cache")
        }
    };
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(file)?.strip_prefix(' ')?.parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

/// The number that a file holds; `None` for `max`.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of a line `name   123 kB`.
fn proc_bytes(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
