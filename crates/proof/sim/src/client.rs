//! Clients: each asks for one thing at a time, waits, gives up after a while, and goes on.
//!
//! Keys come in two kinds. Those that begin with `k` know no leases, so that a search for an order of their
//! requests need not guess when one ended. Those that begin with `l` know everything.

use bytes::Bytes;
use history::{Action, Condition, Request, Span, Target};
use proto::etcdserverpb as pb;

use crate::chance::Chance;
use crate::plan::Plan;

/// A client and what it waits for.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// The machine it talks to.
    pub(crate) at: usize,
    pub(crate) waits: Option<Waits>,
    /// When it asks for something next.
    pub(crate) next_ms: u64,
}

/// Something asked for.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    /// The request's id, or the read's ticket.
    pub(crate) id: u64,
    /// The machine that was asked.
    pub(crate) at: usize,
    /// Of a keep-alive that waits for a majority: the term in which the leader was asked.
    pub(crate) led_in: u64,
    pub(crate) what: What,
    pub(crate) invoked: u64,
    pub(crate) asked_ms: u64,
    /// Of a read: what must be applied before it may look.
    pub(crate) read_index: Option<u64>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Something about keys.
    Keys(Request),
    /// A lease of so many seconds.
    Grant { lease: i64, ttl: i64 },
    /// A lease to live on.
    KeepAlive { lease: i64 },
    /// The lease's checkpoint to be cleared, as a part of keeping it alive.
    Clear { lease: i64 },
    /// A lease to end.
    Revoke { lease: i64 },
    /// The alarm to be cleared.
    Disarm,
    /// The store to be cleaned.
    Defragment,
}

/// What clients know together: enough to ask for interesting things.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) leases: Vec<i64>,
    pub(crate) values: u64,
    pub(crate) leases_made: i64,
}

impl Knowledge {
    fn value(&mut self, plan: &Plan, chance: &mut Chance) -> Bytes {
        self.values += 1;
        let mut value = format!("v{}", self.values).into_bytes();
        let bytes = value.len() + chance.between(0, plan.value_bytes_max) as usize;
        value.resize(bytes, b'.');
        value.into()
    }

    /// Something to ask for.
    pub(crate) fn ask(&mut self, plan: &Plan, chance: &mut Chance) -> What {
        let kind = if chance.one_in(2) { 'k' } else { 'l' };
        if 1 < plan.members && chance.one_in(3) {
            // Which member has what is asked more often than what it can store.
            return What::Keys(Request::One(self.range(kind, plan, chance)));
        }
        match chance.below(100) {
            0..38 => What::Keys(Request::One(self.put(kind, plan, chance))),
            38..48 => What::Keys(Request::One(delete(kind, plan, chance))),
            48..62 => What::Keys(self.txn(kind, plan, chance)),
            62..74 => What::Keys(Request::One(self.range(kind, plan, chance))),
            74..78 => What::Keys(Request::Serializable(self.range(kind, plan, chance))),
            78..83 => {
                self.leases_made += 1;
                let lease = self.leases_made + 1000;
                What::Grant { lease, ttl: chance.between(1, 8) as i64 }
            }
            83..88 => self.lease(chance, |lease| What::KeepAlive { lease }),
            88..90 => self.lease(chance, |lease| What::Revoke { lease }),
            90..96 => What::Keys(Request::Compact { revision: self.compaction(chance) }),
            96..98 => What::Defragment,
            _ => What::Disarm,
        }
    }

    fn lease(&self, chance: &mut Chance, what: impl Fn(i64) -> What) -> What {
        match self.leases[..] {
            [] => What::Defragment,
            _ => what(chance.pick(&self.leases)),
        }
    }

    fn compaction(&self, chance: &mut Chance) -> i64 {
        let newest = self.revision.max(2);
        let oldest = self.compacted.max(1);
        match chance.below(10) {
            0 => newest + 3,
            1 => oldest,
            2 | 3 => newest,
            _ => chance.between(oldest as u64, newest.max(oldest) as u64) as i64,
        }
    }

    fn put(&mut self, kind: char, plan: &Plan, chance: &mut Chance) -> Action {
        let key = key(kind, plan, chance);
        let with_lease = kind == 'l' && !self.leases.is_empty() && chance.one_in(2);
        let lease = if with_lease { chance.pick(&self.leases) } else { 0 };
        Action::Put { key, value: self.value(plan, chance), lease, previous: chance.one_in(3) }
    }

    fn range(&self, kind: char, plan: &Plan, chance: &mut Chance) -> Action {
        let newest = self.revision.max(1) as u64;
        let revision = match chance.below(3) {
            0 => chance.between(self.compacted.max(1) as u64 / 2 + 1, newest.max(2)) as i64,
            _ => 0,
        };
        let limit = chance.pick(&[0, 0, 1, 2]);
        let span = if chance.one_in(4) { all() } else { span(kind, plan, chance) };
        Action::Range { span, revision, limit }
    }

    fn txn(&mut self, kind: char, plan: &Plan, chance: &mut Chance) -> Request {
        let conditions = (0..chance.below(3))
            .map(|_| {
                let target = match chance.below(4) {
                    0 => Target::Version(chance.between(0, 3) as i64),
                    1 => Target::Value(format!("v{}", self.values).into()),
                    2 if kind == 'l' => Target::Mod(self.revision),
                    _ => Target::Version(0),
                };
                Condition { key: key(kind, plan, chance), target }
            })
            .collect();
        let then = self.branch(kind, plan, chance);
        let otherwise = self.branch(kind, plan, chance);
        Request::Txn { conditions, then, otherwise }
    }

    /// A few actions; each key is written once at most.
    fn branch(&mut self, kind: char, plan: &Plan, chance: &mut Chance) -> Vec<Action> {
        let mut written: Vec<Bytes> = Vec::new();
        let mut actions = Vec::new();
        for _ in 0..chance.below(4) {
            let action = match chance.below(6) {
                0 => Action::Range { span: span(kind, plan, chance), revision: 0, limit: 0 },
                1 => delete(kind, plan, chance),
                _ => self.put(kind, plan, chance),
            };
            let again = written.iter().any(|key| match &action {
                Action::Put { key: other, .. } => key == other,
                Action::Delete { span, .. } => span.contains(key),
                Action::Range { .. } => false,
            });
            let deletes = |key: &Bytes| {
                let deletes =
                    |a: &Action| matches!(a, Action::Delete { span, .. } if span.contains(key));
                actions.iter().any(deletes)
            };
            match &action {
                Action::Put { key, .. } if !again && !deletes(key) => written.push(key.clone()),
                Action::Put { .. } => continue,
                Action::Delete { .. } if again => continue,
                Action::Delete { .. } | Action::Range { .. } => {}
            }
            actions.push(action);
        }
        actions
    }
}

fn key(kind: char, plan: &Plan, chance: &mut Chance) -> Bytes {
    format!("{kind}{:02}", chance.between(1, plan.keys)).into()
}

fn span(kind: char, plan: &Plan, chance: &mut Chance) -> Span {
    let first = key(kind, plan, chance);
    let end = match chance.below(4) {
        0 => Some(format!("{kind}~").into()),
        1 => Some(key(kind, plan, chance)).filter(|end| first < *end),
        _ => None,
    };
    Span { first, end }
}

/// Every key there can be.
pub(crate) fn all() -> Span {
    Span { first: "k".into(), end: Some("m".into()) }
}

fn delete(kind: char, plan: &Plan, chance: &mut Chance) -> Action {
    Action::Delete { span: span(kind, plan, chance), previous: chance.one_in(3) }
}

/// What is proposed for it; `None` for what is not.
pub(crate) fn proposal(what: &What, member: u64) -> Option<pb::InternalRaftRequest> {
    let mut out = pb::InternalRaftRequest::default();
    match what {
        What::Keys(request) => return crate::convert::proposal(request),
        What::Grant { lease, ttl } => {
            out.lease_grant = Some(pb::LeaseGrantRequest { id: *lease, ttl: *ttl });
        }
        What::Revoke { lease } => out.lease_revoke = Some(pb::LeaseRevokeRequest { id: *lease }),
        What::Disarm => {
            out.alarm = Some(pb::AlarmRequest {
                action: pb::alarm_request::AlarmAction::Deactivate as i32,
                member_id: member,
                alarm: apply::NOSPACE,
            });
        }
        What::KeepAlive { .. } | What::Clear { .. } | What::Defragment => return None,
    }
    Some(out)
}
