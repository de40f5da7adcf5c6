//! From a directory to the parts of a member that may run: looked at, locked, then opened by
//! [`member::recover`].

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use member::{BootError, Notice, RecoverOptions, Recovered};
use metrics::Metrics;
use vfs::{Disk, Lock};

use crate::go_dir::take_over;
use crate::{Config, Event, Report};

/// The parts of a member, and the right to write its files.
pub(crate) struct Booted {
    pub(crate) parts: Recovered,
    /// Held as long as the member runs.
    pub(crate) lock: Box<dyn Lock>,
}

pub(crate) fn boot(
    config: &Config,
    disk: &Arc<dyn Disk>,
    report: &Arc<dyn Report>,
    metrics: &Metrics,
) -> Result<Booted, BootError> {
    let dir = config.data_dir.join("member");
    io("creating", &dir, disk.create_dir_all(&dir))?;
    let lock = lock(disk, &dir.join("lock"), &**report)?;
    take_over(config, disk, &dir, report, |path| crate::boot::lock(disk, path, &**report))?;
    let mut notice = |notice| report.report(event(notice));
    let parts = member::recover(disk, &options(config, &dir), &mut notice)?;
    metrics.mvcc.compact_revision.set(parts.applier.compact_revision());
    Ok(Booted { parts, lock })
}

pub(crate) fn options(config: &Config, dir: &Path) -> RecoverOptions {
    let heartbeat_ms = u64::try_from(config.heartbeat.as_millis()).unwrap_or(u64::MAX);
    let ttl_min = lease::Options::ttl_seconds_min(config.election_ticks as u64, heartbeat_ms);
    RecoverOptions {
        wal_dir: config.wal_dir.clone().unwrap_or_else(|| dir.join("wal")),
        store_dir: dir.join("store"),
        snap_dir: dir.join("snap"),
        wal: wal::Options::default(),
        store: store::Options::default(),
        name: config.name.clone(),
        begin: config.begin.clone(),
        unix_ms: unix_ms(),
        election_ticks: config.election_ticks,
        pre_vote: config.pre_vote,
        uncommitted_bytes_max: config.limits.proposals_pending_bytes_max as u64,
        quota_bytes: config.limits.quota_bytes,
        learners_max: config.learners_max,
        leases: lease::Options {
            checkpoints: config.lease_checkpoints,
            ..lease::Options::new(ttl_min)
        },
        persist_checkpoints: config.persist_lease_checkpoints,
        hashed_bytes_max: config.hashed_bytes_max,
        seed: u64::from(std::process::id()),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn event(notice: Notice) -> Event {
    match notice {
        Notice::Ignored { what } => Event::Ignored { what },
        Notice::Repaired { file, offset } => Event::Repaired { file, offset },
        Notice::Bootstrapped { member, cluster } => Event::Bootstrapped { member, cluster },
        Notice::Recovered { member, cluster, log_index, applied_index, revision } => {
            Event::Recovered { member, cluster, log_index, applied_index, revision }
        }
    }
}

fn io<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, BootError> {
    result.map_err(|source| BootError::Io { action, path: path.to_owned(), source })
}

/// As etcd does, a second process on the same directory waits, and says so (`docs/etcd/server-flags.md` 6.3): soon, but
/// not while one process only takes over from another.
pub(crate) fn lock(
    disk: &Arc<dyn Disk>,
    path: &Path,
    report: &dyn Report,
) -> Result<Box<dyn Lock>, BootError> {
    const SAY_SO_AFTER: Duration = Duration::from_secs(1);
    let began = Instant::now();
    let mut said = false;
    loop {
        if let Some(lock) = io("locking", path, disk.lock(path))? {
            return Ok(lock);
        }
        if !said && SAY_SO_AFTER <= began.elapsed() {
            said = true;
            report.report(Event::Locked { file: path.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
