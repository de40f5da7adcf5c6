//! What is measured of a running member, from outside.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_robust::http;
use holdfast_robust::process::Server;

use super::Run;

const MIB: f64 = 1_048_576.0;

/// One look at the process, its directory and its metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Since the run began.
    pub(super) at: Duration,
    /// Which process of the run.
    pub(super) life: u32,
    /// Blocks of everything below the data directory, MiB.
    pub(super) disk_mib: f64,
    /// What the store says it takes, what of it lives, and what readers hold besides, MiB.
    pub(super) store_mib: f64,
    pub(super) in_use_mib: f64,
    pub(super) held_mib: f64,
    /// Resident, MiB.
    pub(super) memory_mib: f64,
    pub(super) files: f64,
    pub(super) threads: f64,
    /// Waits since the last sample, ms.
    pub(super) put_median_ms: Option<f64>,
    pub(super) put_most_ms: Option<f64>,
    pub(super) get_median_ms: Option<f64>,
    pub(super) get_most_ms: Option<f64>,
}

/// Waits since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Waits {
    puts: Mutex<Vec<Duration>>,
    gets: Mutex<Vec<Duration>>,
}

impl Waits {
    pub(super) fn puts(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.puts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gets(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.gets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The median and what nineteen of twenty did not exceed, in ms.
fn of(mut waits: Vec<Duration>) -> (Option<f64>, Option<f64>) {
    waits.sort();
    let part = |percent: usize| {
        let last = waits.len().checked_sub(1)?;
        Some(waits[last * percent / 100].as_secs_f64() * 1e3)
    };
    (part(50), part(95))
}

impl Sample {
    /// `None` when the process does not answer.
    pub(super) fn take(run: &Run, server: &Server, life: u32) -> Option<Sample> {
        let (put_median_ms, put_most_ms) = of(std::mem::take(&mut *run.waits.puts()));
        let (get_median_ms, get_most_ms) = of(std::mem::take(&mut *run.waits.gets()));
        let metrics = http::get(&server.address(), "/metrics").ok()?.text();
        let mib = |name: &str| metric(&metrics, name).map(|bytes| bytes / MIB);
        let count = |folder: &str| {
            let folder = format!("/proc/{}/{folder}", server.pid());
            std::fs::read_dir(folder).ok().map(|entries| entries.count() as f64)
        };
        Some(Sample {
            at: run.began.elapsed(),
            life,
            disk_mib: disk_bytes(&server.home().data_dir()) as f64 / MIB,
            store_mib: mib("etcd_mvcc_db_total_size_in_bytes")?,
            in_use_mib: mib("etcd_mvcc_db_total_size_in_use_in_bytes")?,
            held_mib: mib("holdfast_mvcc_db_held_bytes")?,
            memory_mib: mib("process_resident_memory_bytes")?,
            files: count("fd")?,
            threads: count("task")?,
            put_median_ms,
            put_most_ms,
            get_median_ms,
            get_most_ms,
        })
    }
}

/// The value of a metric without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// Blocks in use, not lengths: some files are longer than what is in them.
fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
