//! What a leader may do ends with its term: it ends no lease, renews none, and proposes nothing of its own. And what a
//! version that goes down asks for.

use std::path::Path;
use std::sync::Arc;

use apply::{Applier, Asker, Config};
use consensus::{Boot, Consensus, Role, Scope, Standing};
use holdfast_member::{
    Engine, EngineEffect, EngineOptions, Front, FrontEffect, FrontInput, FrontOptions, Proposal,
    RequestIds, Run,
};
use lease::KeepAlive;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::membershippb;
use store::Store;
use types::{ConfState, Entry, EntryKind, LeaseId, Refusal, Version};
use vfs::{Disk, MemoryDisk};

const MEMBER: u64 = 7;

/// The applying half, fed by hand.
struct Half {
    engine: Engine,
    next: u64,
}

impl Half {
    fn new() -> Half {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let (store, restored) =
            Store::open(disk, Path::new("/store"), store::Options::default()).expect("it is new");
        let config = Config {
            member: MEMBER,
            quota_bytes: None,
            learners_max: 1,
            leases: lease::Options::new(1),
            persist_checkpoints: false,
            hashed_bytes_max: u64::MAX,
        };
        let applier = Applier::open(config, store, &restored).expect("it is new");
        let options = EngineOptions {
            member: MEMBER,
            election_ms: 1000,
            cluster_version: Version::new(3, 7),
            committed_before: 0,
        };
        Half { engine: Engine::new(applier, watch::Limits::default(), options), next: 1 }
    }

    fn entry(&mut self, term: u64, data: Vec<u8>, now_ms: u64) -> Vec<EngineEffect> {
        let entry = Entry { term, index: self.next, kind: EntryKind::Normal, data: data.into() };
        self.next += 1;
        self.engine.apply(&[entry], now_ms).expect("memory takes it")
    }

    /// A leader's first entry, or one that raft put in the place of another.
    fn empty(&mut self, term: u64, now_ms: u64) {
        self.entry(term, Vec::new(), now_ms);
    }

    fn grant(&mut self, id: LeaseId, ttl: i64, term: u64, now_ms: u64) {
        let grant = pb::LeaseGrantRequest { id, ttl };
        let request = pb::InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
        self.entry(term, request.encode_to_vec(), now_ms);
    }

    fn leads(&mut self, term: u64) {
        let role = Role::Leader;
        self.engine.stands(Standing { term, leader: MEMBER, role, ..Standing::default() });
    }

    fn follows(&mut self, term: u64) {
        let role = Role::Follower;
        self.engine.stands(Standing { term, leader: 8, role, ..Standing::default() });
    }

    /// What it proposes when time comes to this.
    fn proposes(&mut self, now_ms: u64) -> Vec<(LeaseId, Scope)> {
        let proposed = self.engine.ticked(now_ms).into_iter().filter_map(|effect| match effect {
            EngineEffect::Propose { request, scope, .. } => Some((request.lease_revoke?.id, scope)),
            _ => None,
        });
        proposed.collect()
    }
}

#[test]
fn another_empty_entry_of_the_term_does_not_start_leases_over() {
    let mut half = Half::new();
    half.leads(3);
    half.empty(3, 0);
    half.grant(5, 10, 3, 0);
    half.empty(3, 9_000);
    assert_eq!(half.proposes(9_999), []);
    assert_eq!(half.proposes(10_000), [(5, Scope::LeaderOf(3))]);
}

#[test]
fn a_deposed_leader_ends_no_lease_and_renews_none() {
    let mut half = Half::new();
    half.leads(3);
    half.empty(3, 0);
    half.grant(5, 10, 3, 0);
    let renewed = KeepAlive::Renewed { ttl_seconds: 10, clear: None };
    assert_eq!(half.engine.keep_alive(5, 3, 1_000), renewed);
    assert_eq!(half.engine.keep_alive(5, 4, 1_000), KeepAlive::NotPrimary, "not in that term");
    half.follows(4);
    assert_eq!(half.engine.keep_alive(5, 3, 2_000), KeepAlive::NotPrimary);
    assert_eq!(half.proposes(90_000), []);
    // Elected again, it knows nothing before the term's first entry has reached it.
    half.leads(5);
    assert_eq!(half.engine.keep_alive(5, 5, 91_000), KeepAlive::NotPrimary);
    assert_eq!(half.proposes(91_000), []);
    half.empty(5, 100_000);
    assert_eq!(half.proposes(110_999), []);
    assert_eq!(half.proposes(111_000), [(5, Scope::LeaderOf(5))]);
}

#[test]
fn a_term_that_was_lost_and_another_that_was_won_between_two_looks_are_two_terms() {
    let mut half = Half::new();
    half.leads(3);
    half.empty(3, 0);
    half.grant(5, 10, 3, 0);
    half.leads(9);
    assert_eq!(half.engine.keep_alive(5, 3, 1_000), KeepAlive::NotPrimary);
    assert_eq!(half.engine.keep_alive(5, 9, 1_000), KeepAlive::NotPrimary);
    assert_eq!(half.proposes(20_000), []);
}

#[test]
fn what_a_leader_decided_waits_for_nobody_and_is_not_forwarded() {
    let conf_state = ConfState { voters: vec![MEMBER, 8, 9], learners: Vec::new() };
    let boot = Boot { conf_state, ..Boot::default() };
    let consensus = Consensus::new(&consensus::Config::new(MEMBER, 1), boot).expect("it is new");
    let options = FrontOptions {
        proposals_pending_max: 10,
        committed_applied_gap_max: 5000,
        reads_waiting_max: 10,
        read_retry_ticks: 5,
        leader_wait_ticks: 70,
        election_ticks: 10,
        snapshot_count: 100,
        catchup_entries: 5,
        log_bytes_max: 1 << 20,
        lagging_bytes_max: 1 << 20,
        log_file_bytes_max: 1 << 20,
        snapshot_hold_ticks: 300,
    };
    let ids = RequestIds::new(MEMBER, Run { number: 0, unix_ms: 0 }, 0, 1);
    let mut front = Front::new(consensus, options, (MEMBER, ids), 0, 0);
    let revoke = || pb::InternalRaftRequest {
        lease_revoke: Some(pb::LeaseRevokeRequest { id: 5 }),
        ..Default::default()
    };
    let proposal = |id, scope| Proposal::of(revoke(), id, scope, Asker::default());
    let both = vec![proposal(1, Scope::Anyone), proposal(2, Scope::LeaderOf(1))];
    let effects = front.step(FrontInput::Propose(both));
    let refused: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            FrontEffect::Refuse { id, refusal } => Some((*id, refusal.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(2, Refusal::LeaderChanged)], "the client's waits for a leader");
}

#[test]
fn a_version_that_goes_down_has_the_log_marked_there() {
    let mut half = Half::new();
    let mut syncs = Vec::new();
    for version in ["3.6.0", "3.7.0", "3.6.0", "3.6.0", "3.5.0"] {
        let set = membershippb::ClusterVersionSetRequest { ver: version.into() };
        let request =
            pb::InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() };
        let effects = half.entry(1, request.encode_to_vec(), 0);
        syncs.push(effects.iter().any(|effect| matches!(effect, EngineEffect::SyncStore)));
    }
    assert_eq!(syncs, [false, false, true, false, true]);
}
