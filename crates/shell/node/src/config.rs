//! What a member is started with.

use std::path::PathBuf;
use std::time::Duration;

use member::Begin;
use types::{Limits, Version};

/// A compaction of a larger store, in bytes, leaves no hash behind: it would read everything for a figure that hardly
/// anybody asks for. With less it costs nothing, and HashKV answers as etcd does.
pub const HASHED_BYTES_MAX: u64 = 64 << 20;

/// One member's settings, already validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// The member's name (`--name`).
    pub name: String,
    /// Where everything is kept (`--data-dir`).
    pub data_dir: PathBuf,
    /// Where the raft log is kept, if not below `data_dir` (`--wal-dir`).
    pub wal_dir: Option<PathBuf>,
    /// Whether the data directory of a Go etcd is left alone and refused (`--takeover=refuse`).
    pub takeover_refused: bool,
    /// Where peers reach this member (`--initial-advertise-peer-urls`).
    pub peer_urls: Vec<String>,
    /// Where clients reach this member (`--advertise-client-urls`).
    pub client_urls: Vec<String>,
    /// How the member begins where there is no raft log.
    pub begin: Begin,
    /// Threads that will serve clients; at most [`SERVING_THREADS_MAX`](crate::SERVING_THREADS_MAX).
    pub serving_threads: usize,
    /// One tick of the raft clock (`--heartbeat-interval`).
    pub heartbeat: Duration,
    /// Ticks without a leader before an election (`--election-timeout` in ticks).
    pub election_ticks: usize,
    /// Ask around before raising the term (`--pre-vote`).
    pub pre_vote: bool,
    /// Applied entries between two marks in the log (`--snapshot-count`).
    pub snapshot_count: u64,
    /// Entries kept in memory behind a mark (`--snapshot-catchup-entries`).
    pub catchup_entries: u64,
    /// Segments of the raft log kept (`--max-wals`); 0 for as many as there are.
    pub wals_max: usize,
    /// Learners the cluster takes (`--max-learners`).
    pub learners_max: usize,
    /// Whether changes of members that could cost the quorum are refused (`--strict-reconfig-check`).
    pub strict_reconfig_check: bool,
    /// Whether leases are checkpointed (gate LeaseCheckpoint).
    pub lease_checkpoints: bool,
    /// Whether checkpoints are stored whatever the cluster's version (gate LeaseCheckpointPersist).
    pub persist_lease_checkpoints: bool,
    /// The largest store, in bytes, of which a compaction hashes the rows; [`HASHED_BYTES_MAX`] unless somebody
    /// compares the hashes.
    pub hashed_bytes_max: u64,
    /// Interval of periodic watch progress (`--watch-progress-notify-interval`).
    pub watch_progress: Duration,
    /// Whether the disk is never synced (`--unsafe-no-fsync`).
    pub unsafe_no_fsync: bool,
    /// How long a simple token lives after it was made or last used (`--auth-token-ttl`).
    pub token_ttl: Duration,
    /// The release whose behaviour this member shows, as `3.7.1`.
    pub server_version: &'static str,
    /// The cluster version that release stands for, as `3.7.0`.
    pub cluster_version: Version,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// The election timeout.
    pub fn election_timeout(&self) -> Duration {
        self.heartbeat * u32::try_from(self.election_ticks).unwrap_or(u32::MAX)
    }
}
