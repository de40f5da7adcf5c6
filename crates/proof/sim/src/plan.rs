//! What one seed decides before anything happens: sizes, limits, and what may go wrong.
//!
//! Everything is small, so that a few hundred requests roll segments, take checkpoints, clean, and make
//! watchers wait. Each size is drawn anew for each seed: bugs like odd borders.

use std::path::PathBuf;

use member::{Begin, FrontOptions, InitialMember, RecoverOptions};

use crate::chance::Chance;

/// One tick of raft's clock.
pub(crate) const HEARTBEAT_MS: u64 = 100;
const ELECTION_TICKS: usize = 10;
/// The token of every cluster here.
const TOKEN: &str = "sim";
/// Clocks of a cluster's members are at most so much too fast, in thousandths.
pub(crate) const FAST_CLOCK: u64 = 1050;

/// A seed's world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// First members of the cluster.
    pub(crate) members: usize,
    /// Members that have a Go member's habits.
    pub(crate) go: usize,
    pub(crate) election_ticks: usize,
    pub(crate) pre_vote: bool,
    pub(crate) catchup_entries: u64,
    pub(crate) lagging_bytes_max: usize,
    pub(crate) log_file_bytes_max: u64,
    pub(crate) snapshot_hold_ticks: u64,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    /// Requests to be made.
    pub(crate) operations: usize,
    pub(crate) wal: wal::Options,
    pub(crate) store: store::Options,
    pub(crate) watch: watch::Limits,
    pub(crate) snapshot_count: u64,
    pub(crate) checkpoint_rows_min: u64,
    pub(crate) log_bytes_max: usize,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) lease_checkpoints: bool,
    pub(crate) compaction_batch: usize,
    /// A sync takes up to so long.
    pub(crate) sync_ms_max: u64,
    /// Something goes wrong once in about so many steps.
    pub(crate) fault_one_in: u64,
    /// How often the engine has its turn, beside 4 of everybody else: what it is asked gathers where it is slow.
    pub(crate) engine_weight: usize,
    /// Messages an actor takes in one turn, at most.
    pub(crate) batch_max: usize,
    /// Largest values, in bytes.
    pub(crate) value_bytes_max: u64,
    /// Keys of each kind.
    pub(crate) keys: u64,
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Plan {
        let wal_bytes = chance.pick(&[2048, 4096, 8192, 32_768]);
        Plan {
            members: 1,
            go: 0,
            election_ticks: ELECTION_TICKS,
            pre_vote: true,
            catchup_entries: 5,
            lagging_bytes_max: 1 << 20,
            log_file_bytes_max: 1 << 28,
            snapshot_hold_ticks: 300,
            clients: chance.between(1, 5) as usize,
            watchers: chance.between(1, 3) as usize,
            operations: chance.between(60, 260) as usize,
            wal: wal::Options {
                segment_bytes: wal_bytes,
                tail_step_bytes: chance.pick(&[512, 1024, 4096]),
                tail_ahead_bytes: chance.pick(&[0, 1024, 8192]),
                spare_step_bytes: chance.pick(&[512, 2048, 65_536]),
                commits_are_durable: false,
            },
            store: store::Options {
                segment_bytes: chance.pick(&[512, 1024, 2048, 4096, 16_384]),
                clean_live_percent: chance.pick(&[50, 70, 90]),
                clean_garbage_bytes_min: chance.pick(&[1, 128, 1024]),
                clean_spare_bytes: 0,
                quota_bytes: None,
                tail_bytes_max: chance.pick(&[64, 512, 8192]),
                frame_bytes_max: 300,
                recent_bytes_max: chance.pick(&[0, 256, 4096]),
            },
            watch: watch_limits(chance),
            snapshot_count: chance.pick(&[1, 3, 10, 40]),
            checkpoint_rows_min: chance.pick(&[5, 20, 60, 100_000]),
            log_bytes_max: chance.pick(&[512, 4096, 1 << 20]),
            quota_bytes: chance.one_in(8).then(|| chance.pick(&[6000, 12_000, 30_000])),
            lease_checkpoints: chance.one_in(2),
            compaction_batch: chance.pick(&[1, 5, 1000]),
            sync_ms_max: chance.pick(&[0, 0, 1, 20, 300]),
            fault_one_in: chance.pick(&[100, 300, 800, 2000]),
            batch_max: chance.pick(&[1, 3, 10, 100]),
            value_bytes_max: chance.pick(&[4, 40, 400]),
            keys: chance.pick(&[2, 5, 12]),
            engine_weight: chance.pick(&[1, 4]),
        }
    }

    /// A cluster's plan: the one member's, and what only several members have. That follows from dice of its own, so
    /// that a lone member's seeds mean what they always meant.
    pub(crate) fn draw_cluster(chance: &mut Chance, members: usize, seed: u64) -> Plan {
        let plan = Plan::draw(chance);
        let mut more = Chance::new(seed ^ 0x00c1_0573);
        let old = more.one_in(3);
        Plan {
            members,
            go: if old { more.below(members) } else { 0 },
            election_ticks: more.pick(&[3, 5, 10]),
            pre_vote: !more.one_in(5),
            catchup_entries: more.pick(&[0, 5, 30]),
            lagging_bytes_max: more.pick(&[300, 3000, 1 << 20]),
            log_file_bytes_max: more.pick(&[1000, 20_000, 1 << 28]),
            snapshot_hold_ticks: more.pick(&[5, 300]),
            clients: more.between(2, 5) as usize,
            operations: more.between(60, 160) as usize,
            fault_one_in: more.pick(&[150, 400, 1200, 4000]),
            quota_bytes: plan.quota_bytes.filter(|_| more.one_in(2)),
            engine_weight: more.pick(&[1, 4]),
            ..plan
        }
    }

    /// How the first members begin.
    pub(crate) fn found(&self) -> Begin {
        let of = |place| {
            let name = name(place);
            InitialMember { peer_urls: urls(&name), name }
        };
        Begin::New { members: (0..self.members).map(of).collect(), token: TOKEN.to_owned() }
    }

    /// The id of a first member.
    pub(crate) fn founder_id(place: usize) -> u64 {
        member::bootstrap_member_id(&urls(&name(place)), TOKEN)
    }

    pub(crate) fn recover_options(
        &self,
        name: &str,
        begin: Begin,
        seed: u64,
        unix_ms: u64,
    ) -> RecoverOptions {
        let ttl_min = lease::Options::ttl_seconds_min(self.election_ticks as u64, HEARTBEAT_MS);
        RecoverOptions {
            wal_dir: PathBuf::from("data/member/wal"),
            store_dir: PathBuf::from("data/member/store"),
            snap_dir: PathBuf::from("data/member/snap"),
            wal: self.wal,
            store: self.store.clone(),
            name: name.to_owned(),
            begin,
            unix_ms,
            election_ticks: self.election_ticks,
            pre_vote: self.pre_vote,
            uncommitted_bytes_max: 1 << 20,
            quota_bytes: self.quota_bytes,
            learners_max: 1,
            leases: lease::Options {
                checkpoints: self.lease_checkpoints,
                checkpoint_interval_ms: 1500,
                revoke_retry_ms: 1000,
                ..lease::Options::new(ttl_min)
            },
            persist_checkpoints: self.lease_checkpoints,
            hashed_bytes_max: u64::MAX,
            seed,
        }
    }

    pub(crate) fn front_options(&self) -> FrontOptions {
        FrontOptions {
            proposals_pending_max: 64,
            committed_applied_gap_max: 200,
            read_retry_ticks: 5,
            leader_wait_ticks: 50,
            snapshot_count: self.snapshot_count,
            catchup_entries: self.catchup_entries,
            reads_waiting_max: 1000,
            election_ticks: self.election_ticks as u64,
            lagging_bytes_max: self.lagging_bytes_max,
            log_file_bytes_max: self.log_file_bytes_max,
            snapshot_hold_ticks: self.snapshot_hold_ticks,
            log_bytes_max: self.log_bytes_max,
        }
    }

    pub(crate) fn election_ms(&self) -> u64 {
        self.election_ticks as u64 * HEARTBEAT_MS
    }
}

/// What a member is called.
pub(crate) fn name(place: usize) -> String {
    format!("m{place}")
}

/// Where its peers would reach it.
pub(crate) fn urls(name: &str) -> Vec<String> {
    vec![format!("http://{name}:2380")]
}

fn watch_limits(chance: &mut Chance) -> watch::Limits {
    watch::Limits {
        stream_bytes_max: chance.pick(&[200, 2000, 100_000]),
        stream_responses_max: chance.pick(&[1, 4, 100]),
        pending_bytes_max: chance.pick(&[500, 100_000]),
        recent_bytes_max: chance.pick(&[0, 500, 10_000]),
        recent_revisions_max: chance.pick(&[1, 5, 100]),
        response_bytes_max: chance.pick(&[1, 300, 10_000]),
        history_bytes_max: chance.pick(&[1, 500, 10_000]),
        scan_bytes_max: chance.pick(&[1, 1000, 100_000]),
        watchers_per_read_max: chance.pick(&[1, 4]),
        fragment_bytes: chance.pick(&[100, 1000]),
        watches_max: 100,
    }
}
