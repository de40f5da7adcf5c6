//! Clients that write while the server is killed; [`judge`] looks at what is left.
//!
//! A round: several clients write, each its own keys, and note what was acknowledged, while a keeper
//! compacts, defragments and takes snapshots; in the middle the server is killed with SIGKILL and
//! started again; then everything noted must be there. An answer that never came proves nothing: that
//! write may be there or not.

mod judge;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use prost::Message;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DefragmentRequest, DefragmentResponse,
    DeleteRangeRequest, DeleteRangeResponse, HashKvRequest, HashKvResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, SnapshotRequest, TxnRequest,
    TxnResponse, request_op,
};

pub use judge::{Verdict, judge};

use crate::grpc::{Call, Connection};
use crate::random::Random;

/// How long a client waits for an answer; a killed server gives none.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(5);
/// Keys of each client.
const KEYS: u64 = 40;
/// Revisions the keeper leaves when it compacts.
const REVISIONS_KEPT: i64 = 300;
/// Seconds a lease lives: longer than the longest test, so that none may end by itself.
const LEASE_SECONDS: i64 = 36_000;

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The key.
    pub key: String,
    /// The value, or `None` for a delete.
    pub value: Option<String>,
    /// The lease it was put with, or 0.
    pub lease: i64,
    /// The revision the server said it has.
    pub revision: i64,
}

/// A hash the server gave.
#[derive(Clone, Copy, Debug)]
pub struct Hashed {
    /// At this revision.
    pub revision: i64,
    /// With this much compacted.
    pub compacted: i64,
    /// The hash.
    pub hash: u32,
}

/// What one client did until its connection broke or it was told to stop.
#[derive(Debug, Default)]
pub struct Journal {
    /// All writes with an answer, in order.
    pub acknowledged: Vec<Acknowledged>,
    /// Keys of which nobody knows: their last write got no answer.
    pub in_doubt: BTreeSet<String>,
    /// Leases granted and not revoked, and leases whose revocation was acknowledged.
    pub leases: BTreeSet<i64>,
    /// See `leases`.
    pub revoked: BTreeSet<i64>,
    /// Hashes the server gave.
    pub hashes: Vec<Hashed>,
    /// Compactions, defragmentations and snapshots that were answered.
    pub kept_house: usize,
    /// Answers that no healthy server gives.
    pub complaints: Vec<String>,
}

impl Journal {
    fn add(&mut self, other: Journal) {
        self.acknowledged.extend(other.acknowledged);
        self.in_doubt.extend(other.in_doubt);
        self.leases.extend(other.leases);
        self.revoked.extend(other.revoked);
        self.hashes.extend(other.hashes);
        self.kept_house += other.kept_house;
        self.complaints.extend(other.complaints);
    }
}

/// Clients that write until told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Journal>>,
}

impl Load {
    /// Starts `clients` clients and a keeper, which compacts only in rounds with an odd number: in the
    /// others hashes before and after can be compared. Keys and values hold `round`, so that rounds do
    /// not mix.
    pub fn start(address: &str, clients: usize, round: u64, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..=clients {
            let (stop, address) = (stop.clone(), address.to_string());
            let random = Random::new(seed ^ (round << 20) ^ number as u64);
            threads.push(std::thread::spawn(move || {
                let Ok(connection) = Connection::open(&address) else { return Journal::default() };
                let journal = Journal::default();
                if number == clients {
                    let mut keeper =
                        Keeper { connection, journal, random, compacts: round % 2 == 1 };
                    while !stop.load(Ordering::Relaxed) && keeper.step().is_some() {}
                    return keeper.journal;
                }
                let lease = Lease::default();
                let mut client = Client { connection, number, round, journal, random, lease };
                for count in 0.. {
                    if stop.load(Ordering::Relaxed) || client.step(count).is_none() {
                        break;
                    }
                }
                client.journal
            }));
        }
        Load { stop, clients: threads }
    }

    /// Tells the clients to stop, and gathers what they did.
    pub fn finish(self) -> Journal {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Journal::default();
        for client in self.clients {
            all.add(client.join().expect("a client does not panic"));
        }
        all.acknowledged.sort_by_key(|write| write.revision);
        all
    }
}

/// The decoded answer, or `None` when the connection broke. Refusals are complaints.
fn ask<M: Message + Default>(
    connection: &Connection,
    path: &str,
    request: &impl Message,
    complaints: &mut Vec<String>,
) -> Option<M> {
    let call = Call::unary(path, &request.encode_to_vec());
    let answer = connection.call_for(&call, ANSWER_DURATION_MAX, usize::MAX);
    if answer.is_ok() && answer.messages.len() == 1 {
        return M::decode(answer.messages[0].clone()).ok();
    }
    if answer.broken.is_none() && answer.status.is_some_and(|status| status != 14) {
        complaints.push(format!("{path}: {:?} {:?}", answer.status, answer.message));
    }
    None
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// The lease a client has at the moment, and the keys that hang on it.
#[derive(Debug, Default)]
struct Lease {
    id: i64,
    keys: BTreeSet<String>,
    granted: i64,
}

/// One client. A step is `None` when its connection broke.
struct Client {
    connection: Connection,
    number: usize,
    round: u64,
    journal: Journal,
    random: Random,
    lease: Lease,
}

impl Client {
    fn step(&mut self, count: u64) -> Option<()> {
        let (number, round) = (self.number, self.round);
        let key = format!("client{number}/key{}", self.random.below(KEYS));
        let filler = "x".repeat(self.random.below(600) as usize);
        let value = format!("round{round}-{number}-{count}-{filler}");
        match self.random.below(20) {
            0 | 1 => self.delete(key),
            2..5 => self.txn(key, value),
            5 if self.lease.id == 0 => self.grant(),
            5 if self.random.one_in(4) => self.revoke(),
            5..8 if self.lease.id != 0 => self.put_leased(value),
            8 | 9 if number == 0 => self.hash(),
            _ => self.put(key, value, 0),
        }
    }

    /// Asks; until the answer is there the keys are in doubt.
    fn write<M: Message + Default>(
        &mut self,
        path: &str,
        request: &impl Message,
        keys: &[&String],
    ) -> Option<M> {
        self.journal.in_doubt.extend(keys.iter().map(|key| (*key).clone()));
        let answer = ask(&self.connection, path, request, &mut self.journal.complaints)?;
        for key in keys {
            self.journal.in_doubt.remove(*key);
        }
        Some(answer)
    }

    fn note(&mut self, key: String, value: Option<String>, lease: i64, revision: i64) {
        self.journal.acknowledged.push(Acknowledged { key, value, lease, revision });
    }

    fn put(&mut self, key: String, value: String, lease: i64) -> Option<()> {
        let request = PutRequest {
            key: key.clone().into(),
            value: value.clone().into(),
            lease,
            ..PutRequest::default()
        };
        let answer: PutResponse = self.write("/etcdserverpb.KV/Put", &request, &[&key])?;
        self.note(key, Some(value), lease, revision(answer.header));
        Some(())
    }

    fn put_leased(&mut self, value: String) -> Option<()> {
        let key = format!("client{}/leased{}", self.number, self.random.below(5));
        let lease = self.lease.id;
        self.lease.keys.insert(key.clone());
        self.put(key, value, lease)
    }

    fn delete(&mut self, key: String) -> Option<()> {
        let request = DeleteRangeRequest { key: key.clone().into(), ..Default::default() };
        let path = "/etcdserverpb.KV/DeleteRange";
        let answer: DeleteRangeResponse = self.write(path, &request, &[&key])?;
        if answer.deleted == 1 {
            self.note(key, None, 0, revision(answer.header));
        }
        Some(())
    }

    /// Two keys in one revision: both are there, or none.
    fn txn(&mut self, key: String, value: String) -> Option<()> {
        let pair = [key.clone(), format!("{key}{TWIN}")];
        let op = |key: &String| RequestOp {
            request: Some(request_op::Request::RequestPut(PutRequest {
                key: key.clone().into(),
                value: value.clone().into(),
                ..PutRequest::default()
            })),
        };
        let request = TxnRequest { success: pair.iter().map(op).collect(), ..Default::default() };
        let path = "/etcdserverpb.KV/Txn";
        let answer: TxnResponse = self.write(path, &request, &[&pair[0], &pair[1]])?;
        for key in pair {
            self.note(key, Some(value.clone()), 0, revision(answer.header));
        }
        Some(())
    }

    fn grant(&mut self) -> Option<()> {
        self.lease.granted += 1;
        let id = (self.round as i64) * 10_000 + self.number as i64 * 1_000 + self.lease.granted;
        let request = LeaseGrantRequest { ttl: LEASE_SECONDS, id };
        let path = "/etcdserverpb.Lease/LeaseGrant";
        let answer: LeaseGrantResponse = self.write(path, &request, &[])?;
        self.journal.leases.insert(answer.id);
        self.lease.id = answer.id;
        Some(())
    }

    /// The lease goes, and all its keys in one revision.
    fn revoke(&mut self) -> Option<()> {
        let id = std::mem::take(&mut self.lease.id);
        let keys = std::mem::take(&mut self.lease.keys);
        self.journal.leases.remove(&id);
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        let request = LeaseRevokeRequest { id };
        let held: Vec<&String> = keys.iter().collect();
        let answer: LeaseRevokeResponse = self.write(path, &request, &held)?;
        self.journal.revoked.insert(id);
        for key in keys {
            self.note(key, None, 0, revision(answer.header));
        }
        Some(())
    }

    fn hash(&mut self) -> Option<()> {
        let path = "/etcdserverpb.Maintenance/HashKV";
        let request = HashKvRequest { revision: 0 };
        let complaints = &mut self.journal.complaints;
        let answer: HashKvResponse = ask(&self.connection, path, &request, complaints)?;
        self.journal.hashes.push(Hashed {
            revision: answer.hash_revision,
            compacted: answer.compact_revision,
            hash: answer.hash,
        });
        Some(())
    }
}

/// Behind the second key of a transaction.
pub(crate) const TWIN: &str = "/twin";

/// Compacts, defragments, takes snapshots.
struct Keeper {
    connection: Connection,
    journal: Journal,
    random: Random,
    compacts: bool,
}

impl Keeper {
    fn step(&mut self) -> Option<()> {
        sleep(Duration::from_millis(5 + self.random.below(40)));
        match self.random.below(4) {
            0 | 1 if self.compacts => self.compact()?,
            2 => drop(self.ask::<DefragmentResponse>(
                "/etcdserverpb.Maintenance/Defragment",
                &DefragmentRequest {},
            )?),
            _ => self.snapshot()?,
        }
        self.journal.kept_house += 1;
        Some(())
    }

    fn ask<M: Message + Default>(&mut self, path: &str, request: &impl Message) -> Option<M> {
        ask(&self.connection, path, request, &mut self.journal.complaints)
    }

    fn compact(&mut self) -> Option<()> {
        let any = RangeRequest { key: "any".into(), ..Default::default() };
        let answer: RangeResponse = self.ask("/etcdserverpb.KV/Range", &any)?;
        let revision = revision(answer.header) - REVISIONS_KEPT;
        if revision > 0 {
            let physical = self.random.one_in(2);
            let request = CompactionRequest { revision, physical };
            // A second one to the same revision is refused, and nobody's fault.
            let mut complaints = Vec::new();
            let path = "/etcdserverpb.KV/Compact";
            ask::<CompactionResponse>(&self.connection, path, &request, &mut complaints);
            complaints.retain(|complaint| !complaint.contains("has been compacted"));
            self.journal.complaints.append(&mut complaints);
        }
        Some(())
    }

    fn snapshot(&mut self) -> Option<()> {
        let path = "/etcdserverpb.Maintenance/Snapshot";
        let call = Call::unary(path, &SnapshotRequest {}.encode_to_vec());
        let answer = self.connection.call_for(&call, ANSWER_DURATION_MAX, usize::MAX);
        if !answer.is_ok() && answer.broken.is_none() && answer.status != Some(14) {
            let complaint = format!("{path}: {:?} {:?}", answer.status, answer.message);
            self.journal.complaints.push(complaint);
        }
        answer.is_ok().then_some(())
    }
}
