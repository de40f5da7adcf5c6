//! What the kernel counts for a process: CPU, memory, files. The same counters for every server.

use std::path::Path;
use std::time::Duration;

/// The kernel's clock tick in `/proc/PID/stat`, which is 1/100 s on every Linux that matters.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process so far.
pub fn cpu(pid: u32) -> Duration {
    stat_ticks(&format!("/proc/{pid}/stat"), 13..15)
}

/// User and system time of all children of ours that have ended and been waited for.
pub fn cpu_of_children() -> Duration {
    stat_ticks("/proc/self/stat", 15..17)
}

/// User and system time of this process.
pub fn cpu_of_self() -> Duration {
    stat_ticks("/proc/self/stat", 13..15)
}

fn stat_ticks(path: &str, fields: std::ops::Range<usize>) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The program's name may hold blanks and ends at the last bracket; it is the second field.
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    let words: Vec<&str> = after.split_whitespace().collect();
    let ticks: u64 = words
        .get(fields.start - 2..fields.end - 2)
        .unwrap_or_default()
        .iter()
        .filter_map(|w| w.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident now, MiB.
    pub now: f64,
    /// Resident at most since the mark was reset, MiB.
    pub high: f64,
}

/// Resident memory now and at most.
pub fn memory(pid: u32) -> Memory {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kib: f64 = line.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or(0.0);
        kib / 1024.0
    };
    Memory { now: mib("VmRSS:"), high: mib("VmHWM:") }
}

/// Sets the high mark of a process's memory back to what it holds now.
pub fn reset_high_mark(pid: u32) {
    // Without the right to do so the mark stays too high, which the table would show.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// What lies on disk below a folder, in MiB: blocks in use, not lengths, because some files are
/// longer than what is in them.
pub fn disk_mib(folder: &Path) -> f64 {
    disk_bytes(folder) as f64 / 1_048_576.0
}

fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
