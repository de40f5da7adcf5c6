//! What the threads of one member share: the published state, and the ways to each other.
//!
//! Circle: the threads of one member: what reaches a thread is defined in that thread's file, and each may reach any
//! other through what they share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Instant;

use apply::{Members, ReadView};
use arc_swap::ArcSwap;
use auth::Tokens;
use consensus::{Progress, Role, Standing};
use member::Run;
use metrics::Metrics;
use mvcc::CompactionHashes;
use proto::etcdserverpb as pb;
use types::MemberId;

use crate::door::{EngineSender, WeakEngine};
use crate::front::{FrontSender, WeakFront};
use crate::lane::Lanes;
use crate::peers::{Peers, Received};
use crate::readers::Readers;
use crate::{Config, Report};

/// Everything threads of one member reach for.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) member: MemberId,
    pub(crate) cluster_id: u64,
    pub(crate) front: FrontSender,
    /// The front itself, for steps that are taken at once when it is idle.
    pub(crate) front_here: OnceLock<WeakFront>,
    pub(crate) engine: EngineSender,
    /// The engine itself, for what is done at once when it is idle.
    pub(crate) engine_here: OnceLock<WeakEngine>,
    pub(crate) lanes: Lanes,
    pub(crate) peers: Arc<dyn Peers>,
    /// What came from them and is not looked at yet.
    pub(crate) received: Received,
    /// Where their snapshots arrive.
    pub(crate) snap_dir: PathBuf,
    /// What a leader knows of each member.
    pub(crate) progress: ArcSwap<Vec<Progress>>,
    /// When this member, leading, last heard of a majority, by its own clock.
    pub(crate) quorum_heard_ms: AtomicU64,
    /// When this member last heard of a new leader, by its own clock; 0 for never.
    pub(crate) led_since_ms: AtomicU64,
    /// What readers see.
    pub(crate) view: ArcSwap<ReadView>,
    /// The last entry in `view`.
    pub(crate) applied: AtomicU64,
    pub(crate) standing: PublishedStanding,
    pub(crate) cluster: ArcSwap<ClusterView>,
    pub(crate) figures: Figures,
    pub(crate) hashes: RwLock<CompactionHashes>,
    /// Who is known by which token.
    pub(crate) tokens: Mutex<Tokens>,
    /// Proposals on their way, for the bound on them.
    pub(crate) proposals: AtomicUsize,
    /// Bytes of them.
    pub(crate) proposal_bytes: AtomicUsize,
    /// Which run this is, for ids.
    pub(crate) run: Run,
    pub(crate) stopping: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) report: Arc<dyn Report>,
    /// The zero of the member's clock.
    pub(crate) started: Instant,
}

impl Shared {
    /// Looks at the tokens, or changes them, at this moment.
    pub(crate) fn tokens<T>(&self, with: impl FnOnce(&mut Tokens, u64) -> T) -> T {
        let mut tokens = self.tokens.lock().expect("no holder of the lock panics");
        with(&mut tokens, self.now_ms())
    }

    /// Whether the cluster has no other member.
    pub(crate) fn is_alone(&self) -> bool {
        self.cluster.load().members.members().nth(1).is_none()
    }

    /// Milliseconds on the member's clock, which only moves forward.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Members, version and alarms, as the applied entries left them.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Who belongs to it, who did once, and the version all agreed on.
    pub members: Arc<Members>,
    /// The version the stored data has, as `3.7.0`.
    pub storage_version: Option<String>,
    /// The raised alarms.
    pub alarms: Vec<pb::AlarmMember>,
}

impl ClusterView {
    /// Whether an alarm of this kind is raised by anybody.
    pub fn alarmed(&self, kind: i32) -> bool {
        self.alarms.iter().any(|alarm| alarm.alarm == kind)
    }
}

/// Figures that requests and metrics look at without asking anybody.
#[derive(Debug, Default)]
pub struct Figures {
    /// Bytes the store takes on disk.
    pub file_bytes: AtomicU64,
    /// Bytes of them that are alive.
    pub live_bytes: AtomicU64,
    /// Bytes of files that were replaced and removed, and are still read. They are not in `file_bytes`.
    pub held_bytes: AtomicU64,
    /// Streams that hold a view.
    pub readers: Arc<Readers>,
    /// The store's revision.
    pub revision: AtomicI64,
    /// The newest compaction of which nothing is left to forget; -1 for none.
    pub pruned: AtomicI64,
    /// Whether the disk has so little room left that only what makes room is taken.
    pub lacks_room: AtomicBool,
    /// When all of the store could last be read, in seconds since 1970; 0 for never.
    pub scrubbed_s: AtomicU64,
    /// What cannot be read of the store, a line for each file.
    pub damages: ArcSwap<Vec<String>>,
    /// Whether this member raised its own NOSPACE, so that it may also take it back.
    pub raised_no_space: AtomicBool,
}

/// Where to find a compaction's hash.
pub type HashSource = CompactionHashes;

/// Term, leader and role, read far more often than written.
#[derive(Debug, Default)]
pub(crate) struct PublishedStanding {
    term: AtomicU64,
    leader: AtomicU64,
    role: AtomicU64,
    committed: AtomicU64,
}

impl PublishedStanding {
    pub(crate) fn store(&self, standing: Standing) {
        self.term.store(standing.term, Ordering::Release);
        self.role.store(standing.role as u64, Ordering::Release);
        self.committed.store(standing.committed, Ordering::Release);
        self.leader.store(standing.leader, Ordering::Release);
    }

    pub(crate) fn load(&self) -> Standing {
        let role = match self.role.load(Ordering::Acquire) {
            role if role == Role::Leader as u64 => Role::Leader,
            role if role == Role::Candidate as u64 => Role::Candidate,
            role if role == Role::PreCandidate as u64 => Role::PreCandidate,
            _ => Role::Follower,
        };
        Standing {
            leader: self.leader.load(Ordering::Acquire),
            term: self.term.load(Ordering::Acquire),
            committed: self.committed.load(Ordering::Acquire),
            role,
        }
    }
}
