//! A life that touches everything that writes: puts, deletes, transactions, leases that are revoked, expire and
//! are checkpointed, alarms, compactions and their pruning, cleaning, index images, full and recycled segments
//! of both logs, marks and release, restarts in order and by `kill -9`.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use proto::membershippb;
use vfs::MemoryDisk;

use crate::{Chance, Lone, Picture, Stopped};

/// How a run ended, and what must be there after it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Whether the member was there at all: its first start had returned.
    pub born: bool,
    /// The newest entry known to be committed.
    pub committed: u64,
    /// Why it ended early.
    pub stopped: Option<String>,
    /// Upkeep that failed and was given up, without ending the member.
    pub given_up: Vec<String>,
    /// Pictures after each entry, in a run that keeps them.
    pub pictures: Vec<(u64, Picture)>,
}

/// Steps of a whole life.
pub const STEPS: u64 = 150;

/// Runs a life of `steps` steps on `disk` until it is through or the disk ends it.
pub fn run(disk: &MemoryDisk, seed: u64, steps: u64, pictures: bool) -> Ledger {
    let mut ledger = Ledger::default();
    let mut lone = None;
    let ended = live(disk, seed, steps, pictures, &mut lone, &mut ledger);
    take_note(lone.as_mut(), &mut ledger);
    ledger.stopped = ended.err().map(|stopped| stopped.0);
    ledger
}

fn take_note(lone: Option<&mut Lone>, ledger: &mut Ledger) {
    let Some(lone) = lone else { return };
    ledger.born = true;
    ledger.committed = ledger.committed.max(lone.committed());
    ledger.given_up.append(&mut lone.given_up);
    ledger.pictures.extend(lone.pictures());
}

fn live(
    disk: &MemoryDisk,
    seed: u64,
    steps: u64,
    pictures: bool,
    slot: &mut Option<Lone>,
    ledger: &mut Ledger,
) -> Result<(), Stopped> {
    let mut chance = Chance(seed);
    let mut now_ms = 1_000_000;
    for step in 0..steps {
        if step % 50 == 0 {
            if let Some(mut old) = slot.take() {
                now_ms = old.now_ms();
                take_note(Some(&mut old), ledger);
                // Once in order, once by a signal that cannot be caught.
                if step % 100 == 50 {
                    old.leave()?;
                }
            }
            let fresh = slot.insert(boot(disk, now_ms)?);
            if pictures {
                fresh.keep_pictures();
            }
            fresh.start()?;
        }
        let lone = slot.as_mut().expect("it was just booted");
        for _ in 0..=chance.below(2) {
            let count = 1 + chance.below(3);
            let requests: Vec<_> = (0..count).map(|_| request(&mut chance, lone)).collect();
            lone.propose(requests);
        }
        if step % 60 == 40 {
            lone.defragment()?;
        }
        // Once in a while as long as a lease's checkpoints are apart.
        lone.step(if step % 45 == 44 { 301_000 } else { 400 })?;
    }
    Ok(())
}

/// Boots where no damage was done: only the disk may refuse.
fn boot(disk: &MemoryDisk, now_ms: u64) -> Result<Lone, Stopped> {
    Lone::boot(disk, now_ms).map_err(|error| {
        let text = crate::picture::told(&error);
        assert!(text.contains("os error"), "refused without a crash: {text}");
        Stopped(text)
    })
}

fn key(chance: &mut Chance) -> Bytes {
    format!("key-{:02}", chance.below(12)).into()
}

fn put(chance: &mut Chance) -> pb::PutRequest {
    let bytes = [0, 3, 40, 200, 420][chance.below(5) as usize];
    let letter = b'a' + chance.below(26) as u8;
    let lease = if chance.one_in(4) { 1 + chance.below(3) as i64 } else { 0 };
    pb::PutRequest {
        key: key(chance),
        value: vec![letter; bytes].into(),
        lease,
        ..Default::default()
    }
}

fn delete(chance: &mut Chance) -> pb::DeleteRangeRequest {
    let key = key(chance);
    let range_end = if chance.one_in(4) { Bytes::from_static(b"key-09") } else { Bytes::new() };
    pb::DeleteRangeRequest { key, range_end, ..Default::default() }
}

fn txn(chance: &mut Chance) -> pb::TxnRequest {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let compare = pb::Compare {
        key: key(chance),
        target: CompareTarget::Version as i32,
        result: CompareResult::Greater as i32,
        target_union: Some(TargetUnion::Version(chance.below(3) as i64)),
        ..Default::default()
    };
    let first = put(chance);
    let mut second = put(chance);
    second.key = [&first.key[..], b"-too"].concat().into();
    let success = [first, second].map(|put| op(Request::RequestPut(put)));
    let failure = [op(Request::RequestDeleteRange(delete(chance)))];
    pb::TxnRequest { compare: vec![compare], success: success.into(), failure: failure.into() }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn alarm(chance: &mut Chance) -> pb::AlarmRequest {
    let action = 1 + chance.below(2) as i32;
    // An alarm that stops nothing: of a kind nobody asks about.
    pb::AlarmRequest { action, member_id: chance.below(3), alarm: 0 }
}

fn attributes(chance: &mut Chance) -> membershippb::ClusterMemberAttrSetRequest {
    let member_id = member::bootstrap_member_id(&["http://127.0.0.1:2380".into()], "proof");
    let url = format!("http://127.0.0.1:{}", 2000 + chance.below(9));
    let attributes = membershippb::Attributes { name: "lone".into(), client_urls: vec![url] };
    membershippb::ClusterMemberAttrSetRequest { member_id, member_attributes: Some(attributes) }
}

/// The next request. What it refers to depends on the state only, so it is the same in every run.
pub fn request(chance: &mut Chance, lone: &Lone) -> pb::InternalRaftRequest {
    let mut request = pb::InternalRaftRequest::default();
    match chance.below(32) {
        0..=13 => request.put = Some(put(chance)),
        14..=17 => request.delete_range = Some(delete(chance)),
        18..=22 => request.txn = Some(txn(chance)),
        23..=25 => {
            let (id, ttl) = (1 + chance.below(3) as i64, [3, 20, 1000][chance.below(3) as usize]);
            request.lease_grant = Some(pb::LeaseGrantRequest { id, ttl });
        }
        26 => {
            request.lease_revoke = Some(pb::LeaseRevokeRequest { id: 1 + chance.below(3) as i64 });
        }
        27 => request.alarm = Some(alarm(chance)),
        28 => request.cluster_member_attr_set = Some(attributes(chance)),
        _ => {
            let revision = lone.applier().revision() - chance.below(12) as i64;
            request.compaction = Some(pb::CompactionRequest { revision, physical: false });
        }
    }
    request
}
