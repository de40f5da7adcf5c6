//! The clients: each does one kind of thing for as long as the run goes on, and asks again when the server is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use holdfast_robust::grpc::{Answer, Call, Connection};
use holdfast_robust::random::Random;
use prost::Message;
use proto::etcdserverpb as pb;

use super::{Done, Plan, Run, VALUE_BYTES_MEAN, again, join};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// How long a server may be away.
const AWAY_DURATION_MAX: Duration = Duration::from_secs(60);
/// gRPC's UNAVAILABLE: what a server says that ends.
const UNAVAILABLE: i32 = 14;
/// gRPC's OUT_OF_RANGE: of a revision that is compacted.
const OUT_OF_RANGE: i32 = 11;

/// Clients that overwrite. Each has keys of its own.
const CHURNERS: u64 = 4;
/// Seconds a lease lives that nobody revokes.
const LEASE_TTL_S: i64 = 5;
/// Keys in a page of a list.
const PAGE: i64 = 100;

/// Asks one server, again and again while it is away.
pub(super) struct Asker {
    address: String,
    connection: Option<Connection>,
    pub(super) complaints: Vec<String>,
}

impl Asker {
    pub(super) fn new(address: &str) -> Asker {
        Asker { address: address.to_string(), connection: None, complaints: Vec::new() }
    }

    /// The first answer that is not about the server being away.
    pub(super) fn answer(&mut self, path: &str, request: &impl Message) -> Answer {
        let call = Call::unary(path, &request.encode_to_vec());
        let deadline = Instant::now() + AWAY_DURATION_MAX;
        loop {
            if self.connection.is_none() {
                self.connection = Connection::open(&self.address).ok();
            }
            let answer = self.connection.as_ref().map(|connection| connection.call(&call));
            match answer {
                Some(answer) if answer.broken.is_none() && answer.status != Some(UNAVAILABLE) => {
                    return answer;
                }
                Some(answer) if deadline < Instant::now() => return answer,
                None if deadline < Instant::now() => {
                    return Answer { broken: Some("no connection".into()), ..Answer::default() };
                }
                _ => {
                    self.connection = None;
                    sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// As [`Asker::answer`], decoded. A refusal is a complaint.
    pub(super) fn ask<M: Message + Default>(
        &mut self,
        path: &str,
        request: &impl Message,
    ) -> Option<M> {
        let answer = self.answer(path, request);
        if answer.is_ok() && answer.messages.len() == 1 {
            return M::decode(answer.messages[0].clone()).ok();
        }
        self.complain(path, &answer);
        None
    }

    pub(super) fn complain(&mut self, path: &str, answer: &Answer) {
        let Answer { status, message, broken, .. } = answer;
        self.complaints.push(format!("{path}: {status:?} {message:?} {broken:?}"));
    }

    /// The store's revision.
    pub(super) fn revision(&mut self) -> Option<i64> {
        let read = pb::RangeRequest { key: "any".into(), ..Default::default() };
        let answer: pb::RangeResponse = self.ask(RANGE, &read)?;
        answer.header.map(|header| header.revision)
    }
}

/// What one client knows of its keys: the seed and the length of each value, or that the key was deleted.
#[derive(Clone, Debug)]
pub(super) struct Beliefs {
    client: u64,
    values: BTreeMap<u64, Option<(u64, usize)>>,
}

fn key(client: u64, number: u64) -> Vec<u8> {
    format!("churn/{client}/{number:08}").into_bytes()
}

fn value((seed, length): (u64, usize)) -> Vec<u8> {
    let word = seed.to_le_bytes();
    word.iter().copied().cycle().take(length).collect()
}

impl Beliefs {
    /// Overwrites a key, or deletes it and puts it again.
    fn overwrite(&mut self, asker: &mut Asker, number: u64, random: &mut Random) {
        if random.one_in(10) {
            let request = pb::DeleteRangeRequest {
                key: key(self.client, number).into(),
                ..Default::default()
            };
            if asker.ask::<pb::DeleteRangeResponse>(DELETE, &request).is_some() {
                self.values.insert(number, None);
            }
        }
        // From a sixteenth of the mean to nearly twice of it.
        let length =
            random.between(VALUE_BYTES_MEAN as i64 / 16, VALUE_BYTES_MEAN as i64 * 31 / 16);
        let fresh = (random.next_u64(), length as usize);
        let request = pb::PutRequest {
            key: key(self.client, number).into(),
            value: value(fresh).into(),
            ..Default::default()
        };
        // Whoever is not answered asks again with the same value, so there is no doubt left.
        if asker.ask::<pb::PutResponse>(PUT, &request).is_some() {
            self.values.insert(number, Some(fresh));
        }
    }
}

/// Writes all keys once.
pub(super) fn fill(address: &str, plan: Plan, seed: u64) -> Vec<Beliefs> {
    let fillers = (0..CHURNERS).map(|client| {
        let address = address.to_string();
        thread::spawn(move || {
            let mut asker = Asker::new(&address);
            let mut random = Random::new(seed ^ client << 32);
            let mut beliefs = Beliefs { client, values: BTreeMap::new() };
            for number in 0..plan.keys() / CHURNERS {
                beliefs.overwrite(&mut asker, number, &mut random);
            }
            assert_eq!(
                asker.complaints,
                Vec::<String>::new(),
                "the store takes what it is to hold"
            );
            beliefs
        })
    });
    fillers.collect::<Vec<_>>().into_iter().map(join).collect()
}

/// Whatever is not as it was believed to be, in words.
pub(super) fn lost(address: &str, beliefs: &[Beliefs]) -> Vec<String> {
    let mut asker = Asker::new(address);
    let mut lost = Vec::new();
    for Beliefs { client, values } in beliefs {
        let numbers: Vec<u64> = values.keys().copied().collect();
        for page in numbers.chunks(PAGE as usize) {
            let (first, last) = (page[0], page[page.len() - 1]);
            let request = pb::RangeRequest {
                key: key(*client, first).into(),
                range_end: key(*client, last + 1).into(),
                ..Default::default()
            };
            let answer: pb::RangeResponse = asker.ask(RANGE, &request).unwrap_or_default();
            let found: BTreeMap<&[u8], &[u8]> =
                answer.kvs.iter().map(|kv| (kv.key.as_ref(), kv.value.as_ref())).collect();
            for number in page {
                let expected = values[number].map(value);
                let key = key(*client, *number);
                if found.get(key.as_slice()).copied() != expected.as_deref() {
                    lost.push(format!(
                        "{} is not as it was written",
                        String::from_utf8_lossy(&key)
                    ));
                }
            }
        }
    }
    lost.truncate(10);
    lost
}

/// All clients at work.
pub(super) struct Clients {
    churners: Vec<JoinHandle<(Beliefs, Done)>>,
    others: Vec<JoinHandle<Done>>,
}

impl Clients {
    /// What they did. The run is over.
    pub(super) fn finish(self) -> Done {
        let mut all = Done::default();
        for churner in self.churners {
            let (beliefs, done) = join(churner);
            all = all.with_house(&done);
            all.beliefs.push(beliefs);
        }
        for other in self.others {
            all = all.with_house(&join(other));
        }
        all
    }
}

/// Sets all clients to work.
pub(super) fn start(run: &Arc<Run>, address: &str, beliefs: &mut Vec<Beliefs>) -> Clients {
    let churners = beliefs.drain(..).map(|beliefs| churn(run, address, beliefs)).collect();
    let ms = Duration::from_millis;
    let others = vec![
        again(run, address, ms(2), conflict),
        again(run, address, ms(2), delete_nothing),
        again(run, address, ms(20), lease(run.seed)),
        again(run, address, ms(10), read(run.seed)),
        again(run, address, ms(20), put_and_wait),
        again(run, address, ms(20), get_and_wait),
    ];
    Clients { churners, others }
}

fn churn(run: &Arc<Run>, address: &str, mut beliefs: Beliefs) -> JoinHandle<(Beliefs, Done)> {
    let (run, address) = (run.clone(), address.to_string());
    thread::spawn(move || {
        let mut random = Random::new(run.seed ^ 77 ^ beliefs.client);
        let (mut asker, mut done) = (Asker::new(&address), Done::default());
        let pause = run.plan.beat * CHURNERS as u32 / run.plan.churn() as u32;
        let mut next = Instant::now();
        while run.goes_on() {
            let number = random.below(run.plan.keys() / CHURNERS);
            beliefs.overwrite(&mut asker, number, &mut random);
            done.count("keys overwritten", 1);
            next = (next + pause).max(Instant::now());
            sleep(next.saturating_duration_since(Instant::now()));
        }
        done.complaints = asker.complaints;
        (beliefs, done)
    })
}

/// A transaction whose condition never holds: what a controller does that lost a race.
fn conflict(_run: &Run, asker: &mut Asker, done: &mut Done) {
    let never = pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Version as i32,
        key: "conflict".into(),
        target_union: Some(pb::compare::TargetUnion::Version(1 << 40)),
        ..Default::default()
    };
    let put = pb::PutRequest { key: "conflict".into(), value: "x".into(), ..Default::default() };
    let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    let request = pb::TxnRequest { compare: vec![never], success: vec![put], failure: vec![] };
    asker.ask::<pb::TxnResponse>(TXN, &request);
    done.count("failed compare-and-puts", 1);
}

fn delete_nothing(_run: &Run, asker: &mut Asker, done: &mut Done) {
    let request = pb::DeleteRangeRequest { key: "nothing".into(), ..Default::default() };
    asker.ask::<pb::DeleteRangeResponse>(DELETE, &request);
    done.count("deletes of nothing", 1);
}

/// A lease with a key; it is renewed once, then revoked, or left to end.
fn lease(seed: u64) -> impl FnMut(&Run, &mut Asker, &mut Done) {
    let mut random = Random::new(seed ^ 5);
    move |_run, asker, done| {
        let grant = pb::LeaseGrantRequest { ttl: LEASE_TTL_S, id: 0 };
        let Some(pb::LeaseGrantResponse { id, .. }) = asker.ask(GRANT, &grant) else { return };
        let key = format!("leased/{}", random.below(1000));
        let put =
            pb::PutRequest { key: key.into(), value: "x".into(), lease: id, ..Default::default() };
        // A server that was away for long has let the lease end.
        asker.answer(PUT, &put);
        asker.answer(KEEP_ALIVE, &pb::LeaseKeepAliveRequest { id });
        if random.one_in(2) {
            asker.answer(REVOKE, &pb::LeaseRevokeRequest { id });
        }
        done.count("leases", 1);
    }
}

/// One key, a page, a count, a page of the past.
fn read(seed: u64) -> impl FnMut(&Run, &mut Asker, &mut Done) {
    let mut random = Random::new(seed ^ 6);
    move |run, asker, done| {
        let client = random.below(CHURNERS);
        let key = key(client, random.below(run.plan.keys() / CHURNERS));
        let page = pb::RangeRequest {
            key: key.clone().into(),
            range_end: format!("churn/{client}0").into(),
            limit: PAGE,
            ..Default::default()
        };
        let request = match random.below(4) {
            0 => pb::RangeRequest { key: key.into(), ..Default::default() },
            1 => page,
            2 => pb::RangeRequest { count_only: true, limit: 0, ..page },
            _ => {
                let Some(revision) = asker.revision() else { return };
                pb::RangeRequest { revision: (revision - 500).max(1), ..page }
            }
        };
        let answer = asker.answer(RANGE, &request);
        if !answer.is_ok() && answer.status != Some(OUT_OF_RANGE) {
            asker.complain(RANGE, &answer);
        }
        done.count("reads", 1);
    }
}

/// The waits that are reported: a put of a small key.
fn put_and_wait(run: &Run, asker: &mut Asker, done: &mut Done) {
    let request =
        pb::PutRequest { key: "waits".into(), value: vec![b'w'; 64].into(), ..Default::default() };
    let waited = run.timed(|| asker.ask::<pb::PutResponse>(PUT, &request).is_some());
    run.waits.puts().extend(waited);
    done.count("puts whose waits were noted", 1);
}

/// And a linearizable get.
fn get_and_wait(run: &Run, asker: &mut Asker, _done: &mut Done) {
    let request = pb::RangeRequest { key: "waits".into(), ..Default::default() };
    let waited = run.timed(|| asker.ask::<pb::RangeResponse>(RANGE, &request).is_some());
    run.waits.gets().extend(waited);
}

impl Run {
    /// How long something took, unless the process was away meanwhile.
    fn timed(&self, ask: impl FnOnce() -> bool) -> Option<Duration> {
        let (away, life, began) = (self.is_away(), self.lives(), Instant::now());
        let is_answered = ask();
        let waited = began.elapsed();
        (is_answered && !away && !self.is_away() && life == self.lives()).then_some(waited)
    }
}
