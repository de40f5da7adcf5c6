//! Clients that write while the server is killed, and the judge of what is left.
//!
//! A round: several clients write, each its own keys, and note what was acknowledged; in the middle
//! the server is killed with SIGKILL and started again; then everything noted must be there. An answer
//! that never came proves nothing: that write may be there or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use prost::Message;
use proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, HashKvRequest, HashKvResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest, TxnResponse,
    request_op,
};

use crate::grpc::{Call, Connection};
use crate::process::Server;
use crate::random::Random;

/// How long a client waits for an answer; a killed server gives none.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(5);

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The key.
    pub key: String,
    /// The value, or `None` for a delete.
    pub value: Option<String>,
    /// The revision the server said it has.
    pub revision: i64,
}

/// What one client did until its connection broke or it was told to stop.
#[derive(Debug, Default)]
pub struct Journal {
    /// All writes with an answer, in order.
    pub acknowledged: Vec<Acknowledged>,
    /// Hashes the server gave: (revision, hash).
    pub hashes: Vec<(i64, u32)>,
    /// Answers that no healthy server gives.
    pub complaints: Vec<String>,
}

/// Clients that write until told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Journal>>,
}

impl Load {
    /// Starts `clients` clients. Their keys and values hold `round`, so that rounds do not mix.
    pub fn start(address: &str, clients: usize, round: u64, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: usize| {
            let (stop, address) = (stop.clone(), address.to_string());
            let random = Random::new(seed ^ (round << 20) ^ number as u64);
            std::thread::spawn(move || write_until(&stop, &address, number, round, random))
        };
        let clients = (0..clients).map(start).collect();
        Load { stop, clients }
    }

    /// Tells the clients to stop, and gathers what they did.
    pub fn finish(self) -> Journal {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Journal::default();
        for client in self.clients {
            let journal = client.join().expect("a client does not panic");
            all.acknowledged.extend(journal.acknowledged);
            all.hashes.extend(journal.hashes);
            all.complaints.extend(journal.complaints);
        }
        all.acknowledged.sort_by_key(|write| write.revision);
        all
    }
}

fn write_until(
    stop: &AtomicBool,
    address: &str,
    number: usize,
    round: u64,
    mut random: Random,
) -> Journal {
    let mut journal = Journal::default();
    let Ok(connection) = Connection::open(address) else { return journal };
    for count in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("client{number}/key{}", random.below(40));
        let value =
            format!("round{round}-{number}-{count}-{}", "x".repeat(random.below(600) as usize));
        let went_on = match random.below(10) {
            0 => delete(&connection, key, &mut journal),
            1 | 2 => txn(&connection, key, value, &mut journal),
            3 if number == 0 => hash(&connection, &mut journal),
            _ => put(&connection, key, value, &mut journal),
        };
        if !went_on {
            break;
        }
    }
    journal
}

/// The decoded answer, or `None` when the connection broke. Refusals are complaints.
fn ask<M: Message + Default>(
    connection: &Connection,
    path: &str,
    request: &impl Message,
    journal: &mut Journal,
) -> Option<M> {
    let call = Call::unary(path, &request.encode_to_vec());
    let answer = connection.call_for(&call, ANSWER_DURATION_MAX, usize::MAX);
    if answer.is_ok() && answer.messages.len() == 1 {
        return M::decode(answer.messages[0].clone()).ok();
    }
    if answer.broken.is_none() && answer.status.is_some_and(|status| status != 14) {
        journal.complaints.push(format!("{path}: {:?} {:?}", answer.status, answer.message));
    }
    None
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn put(connection: &Connection, key: String, value: String, journal: &mut Journal) -> bool {
    let request = PutRequest {
        key: key.clone().into(),
        value: value.clone().into(),
        ..PutRequest::default()
    };
    let Some(answer) = ask::<PutResponse>(connection, "/etcdserverpb.KV/Put", &request, journal)
    else {
        return false;
    };
    journal.acknowledged.push(Acknowledged {
        key,
        value: Some(value),
        revision: revision(answer.header),
    });
    true
}

fn delete(connection: &Connection, key: String, journal: &mut Journal) -> bool {
    let request = DeleteRangeRequest { key: key.clone().into(), ..DeleteRangeRequest::default() };
    let path = "/etcdserverpb.KV/DeleteRange";
    let Some(answer) = ask::<DeleteRangeResponse>(connection, path, &request, journal) else {
        return false;
    };
    if answer.deleted == 1 {
        journal.acknowledged.push(Acknowledged {
            key,
            value: None,
            revision: revision(answer.header),
        });
    }
    true
}

/// Two keys in one revision: both are there, or none.
fn txn(connection: &Connection, key: String, value: String, journal: &mut Journal) -> bool {
    let pair = [key.clone(), format!("{key}/twin")];
    let op = |key: &String| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: key.clone().into(),
            value: value.clone().into(),
            ..PutRequest::default()
        })),
    };
    let request = TxnRequest { success: pair.iter().map(op).collect(), ..TxnRequest::default() };
    let Some(answer) = ask::<TxnResponse>(connection, "/etcdserverpb.KV/Txn", &request, journal)
    else {
        return false;
    };
    let revision = revision(answer.header);
    for key in pair {
        journal.acknowledged.push(Acknowledged { key, value: Some(value.clone()), revision });
    }
    true
}

fn hash(connection: &Connection, journal: &mut Journal) -> bool {
    let path = "/etcdserverpb.Maintenance/HashKV";
    let request = HashKvRequest { revision: 0 };
    match ask::<HashKvResponse>(connection, path, &request, journal) {
        Some(answer) => {
            journal.hashes.push((answer.hash_revision, answer.hash));
            true
        }
        None => false,
    }
}

/// Judges a server after its restart by what was acknowledged before. Empty when all is well.
pub fn judge(server: &Server, journal: &Journal) -> Vec<String> {
    let connection = server.connect();
    let mut found = journal.complaints.clone();
    let newest = journal.acknowledged.last().map_or(0, |write| write.revision);
    let everything = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        count_only: true,
        ..RangeRequest::default()
    };
    let answer = connection.unary("/etcdserverpb.KV/Range", &everything).ok::<RangeResponse>();
    let present = revision(answer.header);
    if present < newest {
        found.push(format!("revision {present} after {newest} was acknowledged"));
    }
    for write in journal.acknowledged.iter().filter(|write| write.revision <= present) {
        if let Some(complaint) = judge_one(&connection, write) {
            found.push(complaint);
        }
    }
    for (revision, hash) in &journal.hashes {
        let request = HashKvRequest { revision: *revision };
        let answer = connection.unary("/etcdserverpb.Maintenance/HashKV", &request);
        let after = answer.is_ok().then(|| answer.ok::<HashKvResponse>().hash);
        if after != Some(*hash) {
            found.push(format!("hash at revision {revision} was {hash}, is {after:?}"));
        }
    }
    found
}

/// The key at the revision of the write must be what was written.
fn judge_one(connection: &Connection, write: &Acknowledged) -> Option<String> {
    let request = RangeRequest {
        key: write.key.clone().into(),
        revision: write.revision,
        ..RangeRequest::default()
    };
    let answer = connection.unary("/etcdserverpb.KV/Range", &request);
    if !answer.is_ok() {
        return Some(format!("{} at {}: {:?}", write.key, write.revision, answer.message));
    }
    let found = answer.ok::<RangeResponse>().kvs.into_iter().next();
    let same = match (&write.value, &found) {
        (None, None) => true,
        (Some(value), Some(kv)) => {
            kv.mod_revision == write.revision && kv.value == value.as_bytes()
        }
        _ => false,
    };
    (!same).then(|| {
        format!("{} at {}: wrote {:?}, found {found:?}", write.key, write.revision, write.value)
    })
}
