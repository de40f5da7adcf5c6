//! The judge of what a killed server still has.
//!
//! Everything a client may rely on after an acknowledgement is asked for again: the write at its
//! revision, the key's present state, leases, hashes. Then the history is replayed by a watch: it must
//! lead from the state at its beginning to the state of today, without a gap, every acknowledged write
//! in it and every transaction whole - also those that were never acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::etcdserverpb::{
    HashKvRequest, HashKvResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, RangeRequest,
    RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use proto::mvccpb::{Event, KeyValue, event::EventType};

use super::{Acknowledged, Hashed, Journal, TWIN};
use crate::grpc::{Connection, Item};
use crate::process::Server;

/// How long a replay may pause.
const REPLAY_DURATION_MAX: Duration = Duration::from_secs(10);
/// gRPC's code for what has been compacted.
const OUT_OF_RANGE: i32 = 11;

/// What was looked at, and what was wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong, in sentences. Empty when all is well.
    pub complaints: Vec<String>,
    /// Writes found at their revisions.
    pub writes: usize,
    /// Hashes that could be compared.
    pub hashes: usize,
    /// Events replayed.
    pub events: usize,
    /// The server's revision.
    pub revision: i64,
}

type State = BTreeMap<Vec<u8>, KeyValue>;

/// Judges a server after its restart by what was acknowledged before.
pub fn judge(server: &Server, journal: &Journal) -> Verdict {
    let connection = &server.connect();
    let mut verdict = Verdict { complaints: journal.complaints.clone(), ..Verdict::default() };
    let newest = journal.acknowledged.last().map_or(0, |write| write.revision);
    let hashed = hash_at(connection, 0).expect("the present revision has a hash");
    let (present, compacted) = (hashed.revision, hashed.compacted.max(0));
    verdict.revision = present;
    if present < newest {
        verdict.complaints.push(format!("revision {present} after {newest} was acknowledged"));
    }
    for write in journal.acknowledged.iter().filter(|write| write.revision <= present) {
        if write.revision >= compacted {
            verdict.complaints.extend(judge_one(connection, write));
            verdict.writes += 1;
        }
    }
    judge_hashes(connection, journal, compacted, &mut verdict);
    judge_leases(connection, journal, &mut verdict);
    // A compacted revision itself can still be read; a store that never was begins with 1.
    let first = journal.acknowledged.first().map_or(present, |write| write.revision);
    let base_revision = (first - 1).clamp(compacted.max(1).min(present), present);
    let base = state_at(connection, base_revision);
    judge_base(&base, base_revision, journal, &mut verdict);
    let events = replay(connection, base_revision, present, &mut verdict);
    judge_replay(&events, journal, base_revision, &mut verdict);
    judge_end(base, &events, &state_at(connection, present), &mut verdict);
    verdict
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
        (Some(_), Some(kv)) => kv.mod_revision == write.revision && is_of(kv, write),
        _ => false,
    };
    (!same).then(|| {
        format!("{} at {}: wrote {:?}, found {found:?}", write.key, write.revision, write.value)
    })
}

fn is_of(kv: &KeyValue, write: &Acknowledged) -> bool {
    write.value.as_ref().is_some_and(|value| kv.value == value.as_bytes())
        && kv.lease == write.lease
}

fn hash_at(connection: &Connection, at: i64) -> Option<Hashed> {
    let request = HashKvRequest { revision: at };
    let answer = connection.unary("/etcdserverpb.Maintenance/HashKV", &request);
    let answer = answer.is_ok().then(|| answer.ok::<HashKvResponse>())?;
    let (revision, compacted) = (answer.hash_revision, answer.compact_revision);
    Some(Hashed { revision, compacted, hash: answer.hash })
}

/// A hash of the same revision over the same compaction is the same number, for ever.
fn judge_hashes(connection: &Connection, journal: &Journal, compacted: i64, verdict: &mut Verdict) {
    for before in journal.hashes.iter().filter(|hash| hash.compacted.max(0) == compacted) {
        let after = hash_at(connection, before.revision);
        if after.is_none_or(|after| after.hash != before.hash) {
            verdict.complaints.push(format!("the hash {before:?} is now {after:?}"));
        }
        verdict.hashes += 1;
    }
}

fn judge_leases(connection: &Connection, journal: &Journal, verdict: &mut Verdict) {
    let left = |id: i64| {
        let request = LeaseTimeToLiveRequest { id, keys: false };
        let answer = connection.unary("/etcdserverpb.Lease/LeaseTimeToLive", &request);
        answer.ok::<LeaseTimeToLiveResponse>().ttl
    };
    for id in &journal.leases {
        if left(*id) <= 0 {
            verdict.complaints.push(format!("lease {id} was granted and is gone"));
        }
    }
    for id in &journal.revoked {
        if left(*id) != -1 {
            verdict.complaints.push(format!("lease {id} was revoked and lives"));
        }
    }
}

fn state_at(connection: &Connection, revision: i64) -> State {
    let everything = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        revision,
        ..RangeRequest::default()
    };
    let answer = connection.unary("/etcdserverpb.KV/Range", &everything);
    assert_ne!(answer.status, Some(OUT_OF_RANGE), "revision {revision}: {:?}", answer.message);
    let kvs = answer.ok::<RangeResponse>().kvs;
    kvs.into_iter().map(|kv| (kv.key.to_vec(), kv)).collect()
}

/// What was acknowledged before the replay begins stands in the state it begins with.
fn judge_base(base: &State, at: i64, journal: &Journal, verdict: &mut Verdict) {
    let mut last: BTreeMap<&str, &Acknowledged> = BTreeMap::new();
    for write in journal.acknowledged.iter().filter(|write| write.revision <= at) {
        last.insert(&write.key, write);
    }
    for (key, write) in last {
        let kv = base.get(key.as_bytes());
        let same = match (&write.value, kv) {
            (None, None) => true,
            (Some(_), Some(kv)) => is_of(kv, write),
            _ => false,
        };
        if !same && !journal.in_doubt.contains(key) {
            verdict.complaints.push(format!("{write:?} is, compacted to {at}, {kv:?}"));
        }
    }
}

/// All events after `from` up to `to`, by revision.
fn replay(
    connection: &Connection,
    from: i64,
    to: i64,
    verdict: &mut Verdict,
) -> BTreeMap<i64, Vec<Event>> {
    let mut events: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    if from >= to {
        return events;
    }
    let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
    let create = WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: from + 1,
        ..WatchCreateRequest::default()
    };
    stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    while events.last_key_value().is_none_or(|(revision, _)| *revision < to) {
        let message = match stream.next(REPLAY_DURATION_MAX) {
            Item::Message(message) => message,
            other => {
                verdict.complaints.push(format!("the replay from {from} to {to} ended: {other:?}"));
                return events;
            }
        };
        let answer: WatchResponse = prost::Message::decode(message).expect("a watch response");
        let before = events.last_key_value().map_or(from, |(revision, _)| *revision);
        for event in answer.events {
            let at = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            if at <= before {
                verdict.complaints.push(format!("revision {at} was replayed after {before}"));
            }
            verdict.events += 1;
            events.entry(at).or_default().push(event);
        }
    }
    events
}

fn judge_replay(
    events: &BTreeMap<i64, Vec<Event>>,
    journal: &Journal,
    from: i64,
    verdict: &mut Verdict,
) {
    // Every revision has an event, so none may be missing.
    for (expected, at) in (from + 1..).zip(events.keys()) {
        if expected != *at {
            verdict.complaints.push(format!("revision {expected} is missing before {at}"));
            break;
        }
    }
    for write in journal.acknowledged.iter().filter(|write| write.revision > from) {
        let found = events
            .get(&write.revision)
            .into_iter()
            .flatten()
            .find(|event| event.kv.as_ref().is_some_and(|kv| kv.key == write.key.as_bytes()));
        let same = found.is_some_and(|event| match &write.value {
            None => event.r#type() == EventType::Delete,
            Some(_) => event.kv.as_ref().is_some_and(|kv| is_of(kv, write)),
        });
        if !same {
            verdict.complaints.push(format!("{write:?} was replayed as {found:?}"));
        }
    }
    for (revision, group) in events {
        verdict.complaints.extend(half_a_transaction(*revision, group));
    }
}

/// Guarantee (atomic): a twin is never put without the key it belongs to.
fn half_a_transaction(revision: i64, group: &[Event]) -> Option<String> {
    let puts: BTreeMap<&[u8], &KeyValue> = group
        .iter()
        .filter(|event| event.r#type() == EventType::Put)
        .filter_map(|event| event.kv.as_ref().map(|kv| (&kv.key[..], kv)))
        .collect();
    let lonely = puts.iter().find(|(key, kv)| {
        let base = key.strip_suffix(TWIN.as_bytes());
        base.is_some_and(|base| puts.get(base).is_none_or(|other| other.value != kv.value))
    });
    let (key, _) = lonely?;
    Some(format!("revision {revision} has half a transaction: {}", String::from_utf8_lossy(key)))
}

/// The history leads to the present: same keys, values, leases, versions and revisions.
fn judge_end(
    mut state: State,
    events: &BTreeMap<i64, Vec<Event>>,
    present: &State,
    verdict: &mut Verdict,
) {
    for event in events.values().flatten() {
        let Some(kv) = &event.kv else { continue };
        match event.r#type() {
            EventType::Put => drop(state.insert(kv.key.to_vec(), kv.clone())),
            EventType::Delete => drop(state.remove(&kv.key[..])),
        }
    }
    for key in state.keys().chain(present.keys()) {
        if state.get(key) != present.get(key) {
            let (key, was, is) = (String::from_utf8_lossy(key), state.get(key), present.get(key));
            verdict.complaints.push(format!("{key}: the replay ends with {was:?}, not {is:?}"));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Event {
        let kv = KeyValue {
            key: key.to_string().into(),
            value: value.to_string().into(),
            ..KeyValue::default()
        };
        Event { kv: Some(kv), ..Event::default() }
    }

    #[test]
    fn half_a_transaction_is_noticed() {
        assert_eq!(half_a_transaction(7, &[put("a", "1"), put("a/twin", "1")]), None);
        assert_eq!(half_a_transaction(7, &[put("a", "1")]), None, "a put alone");
        for group in [&[put("a/twin", "1")][..], &[put("a", "2"), put("a/twin", "1")]] {
            assert!(half_a_transaction(7, group).is_some(), "{group:?}");
        }
    }

    #[test]
    fn a_replay_with_a_gap_or_another_end_is_noticed() {
        let mut verdict = Verdict::default();
        let events = BTreeMap::from([(5, vec![put("a", "1")]), (7, vec![put("b", "1")])]);
        judge_replay(&events, &Journal::default(), 4, &mut verdict);
        assert_eq!(verdict.complaints, ["revision 6 is missing before 7"]);
        let mut verdict = Verdict::default();
        let present = State::from([(b"a".to_vec(), KeyValue::default())]);
        judge_end(State::new(), &events, &present, &mut verdict);
        assert_eq!(verdict.complaints.len(), 1, "{verdict:?}");
    }
}
