//! The judges of a cluster, asked after every turn.
//!
//! | what | holds |
//! |---|---|
//! | election safety | one leader in a term; one vote of a member in a term, whatever crashes in between |
//! | log matching | two logs that hold an entry of one index and term hold the same up to there |
//! | committed is durable | what a leader commits is in the synced logs of a majority of voters |
//! | revokes belong to a term | a lease that a leader ends is ended in the term in which that leads |
//! | leader completeness | whoever becomes leader has everything that was ever committed |
//! | nothing leaves before it is durable | an answer to an append or a vote, and a request for votes, stand on what the sender's log holds |
//! | same log, same state | members that have applied the same entries hold the same, byte for byte |
//!
//! That committed entries never change, and that each request is carried out once, is looked at by the record.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Message, Role, Standing};
use history::Violation;
use member::{Engine, Front, HashRead, RequestIds};
use mvcc::{CompactionHashes, HashAnswer};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::raftpb::MessageType;
use store::Bucket;
use types::{Entry, EntryKind, MemberId};

use crate::out::{Group, causes};

/// What a member's log is known to hold, synced.
#[derive(Clone, Copy, Debug, Default)]
struct Durable {
    term: u64,
    vote: MemberId,
    last: u64,
}

/// A member's whole state at one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    revision: i64,
    compacted: i64,
    hash: u32,
    attachments: Vec<(i64, Bytes)>,
    rows: Vec<(Bucket, Bytes, Bytes)>,
}

/// Rows that say nothing about the replicated state: how far pruning got, and what a snapshot's file says of its entry.
const OWN: [&[u8]; 4] = [b"finishedCompactRev", b"consistent_index", b"term", b"confState"];

/// Everything the judges remember.
#[derive(Debug, Default)]
pub(crate) struct Judges {
    leaders: BTreeMap<u64, MemberId>,
    votes: BTreeMap<(MemberId, u64), MemberId>,
    /// Each entry that was ever written, and the term of the one before it.
    written: BTreeMap<(u64, u64), (Option<u64>, Entry)>,
    durable: BTreeMap<MemberId, Durable>,
    states: BTreeMap<u64, (MemberId, State)>,
    /// The highest commit index of any leader.
    committed: u64,
    /// By whom each member counted a majority when it was last looked at.
    /// With the turn since which it does.
    voters: BTreeMap<MemberId, (Vec<MemberId>, u64)>,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(what())) }
}

impl Judges {
    /// The member starts: what its log holds now is durable, what was lost was not.
    pub(crate) fn booted(&mut self, member: MemberId, front: &Front) {
        let term = front.standing().term.max(front.entry_term(front.last_index()).unwrap_or(0));
        let durable = self.durable.entry(member).or_default();
        durable.term = durable.term.max(term);
        durable.last = front.last_index();
    }

    /// The member's log holds this now.
    pub(crate) fn durable(&mut self, member: MemberId, groups: &[Group]) {
        let durable = self.durable.entry(member).or_default();
        for group in groups {
            if let Some(state) = group.hard_state {
                (durable.term, durable.vote) = (state.term, state.vote);
            }
            // A snapshot begins the log anew, entries replace what was there.
            durable.last = group.snapshot.unwrap_or(durable.last);
            durable.last = group.last.unwrap_or(durable.last);
        }
    }

    /// Election safety, and leader completeness for what was `committed`: its last entry.
    pub(crate) fn stands(
        &mut self,
        member: MemberId,
        standing: Standing,
        front: &Front,
        committed: Option<&Entry>,
        step: u64,
    ) -> Result<(), Violation> {
        let Standing { term, role, .. } = standing;
        if role != Role::Leader {
            return Ok(());
        }
        self.majority_has(member, standing.committed, front, step)?;
        let known = self.leaders.insert(term, member);
        ensure(known.is_none_or(|other| other == member), || {
            format!("{member:x} and {:x} lead in term {term}", known.unwrap_or_default())
        })?;
        // One that won late may lack what leaders of later terms committed.
        let new = known.is_none() && self.leaders.range(term + 1..).next().is_none();
        let Some(last) = committed.filter(|last| new && last.term < term) else { return Ok(()) };
        let found = front.entry_term(last.index);
        // What it has let go was applied here before, and is compared as such.
        let complete =
            found == Some(last.term) || (found.is_none() && last.index < front.last_index());
        ensure(complete, || {
            format!(
                "{member:x} leads in term {term}, but at entry {} it has term {found:?}, and term {} was committed",
                last.index, last.term
            )
        })
    }

    /// What a leader commits is durable on a majority. Where the configuration has changed meanwhile, it was counted by
    /// the one before.
    fn majority_has(
        &mut self,
        leader: MemberId,
        committed: u64,
        front: &Front,
        step: u64,
    ) -> Result<(), Violation> {
        let voters = front.conf_state().voters;
        let known = self.voters.entry(leader).or_insert_with(|| (voters.clone(), step));
        if known.0 != voters {
            *known = (voters.clone(), step);
        }
        // What was committed before may have been by a majority of others.
        let before = self.committed;
        self.committed = before.max(committed);
        if known.1 == step || committed <= before {
            return Ok(());
        }
        let has = |id: &&MemberId| self.durable.get(id).is_some_and(|d| committed <= d.last);
        let count = voters.iter().filter(has).count();
        ensure(voters.len() / 2 < count, || {
            format!("{leader:x} commits {committed}, which {count} of {voters:x?} have durably")
        })
    }

    /// A lease that a member's own engine ends is ended while that leads.
    pub(crate) fn revokes(&self, entries: &[Entry]) -> Result<(), Violation> {
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Normal) {
            let Ok(request) = pb::InternalRaftRequest::decode(entry.data.clone()) else { continue };
            let (Some(revoke), Some(header)) = (request.lease_revoke, request.header) else {
                continue;
            };
            let Some(leader) = self.leaders.get(&entry.term).copied() else { continue };
            // Generator 0 is the engine's; the others are those of clients.
            let by_engine = header.id.is_multiple_of(16);
            let by_leader = RequestIds::lane(leader, header.id, 16).is_some();
            ensure(!by_engine || by_leader, || {
                let (id, term) = (header.id, entry.term);
                format!(
                    "request {id:x} ends lease {:x} in term {term}, which {leader:x} leads, and is another's",
                    revoke.id
                )
            })?;
        }
        Ok(())
    }

    /// Log matching.
    pub(crate) fn written(
        &mut self,
        before: Option<u64>,
        entries: &[Entry],
    ) -> Result<(), Violation> {
        let mut before = before;
        for entry in entries {
            let key = (entry.index, entry.term);
            let (known, other) = self.written.entry(key).or_insert_with(|| (before, entry.clone()));
            let follows = known.is_none() || before.is_none() || *known == before;
            ensure(follows && other == entry, || {
                format!(
                    "entry {} of term {} is {other:?} behind term {known:?} in one log and {entry:?} behind {before:?} in another",
                    entry.index, entry.term
                )
            })?;
            *known = known.or(before);
            before = Some(entry.term);
        }
        Ok(())
    }

    /// What a member says stands on what it has durably, and it votes once.
    pub(crate) fn leaves(&mut self, message: &Message) -> Result<(), Violation> {
        let (from, term) = (message.from(), message.term());
        let durable = self.durable.get(&from).copied().unwrap_or_default();
        let early = |what: &str| {
            Violation(format!("{from:x} {what} before that is durable: {durable:?}, {message:?}"))
        };
        match message.r#type() {
            MessageType::MsgAppResp if !message.reject() => {
                // In a later term the entries may have been replaced; they were there first.
                let kept = term < durable.term || message.index() <= durable.last;
                ensure(kept, || early("confirmed entries").0)
            }
            MessageType::MsgVoteResp if !message.reject() => {
                let kept =
                    term < durable.term || (durable.term, durable.vote) == (term, message.to());
                ensure(kept, || early("voted").0)?;
                self.voted(from, term, message.to())
            }
            MessageType::MsgVote => {
                let kept = term < durable.term || (durable.term, durable.vote) == (term, from);
                ensure(kept, || early("asked for votes").0)?;
                self.voted(from, term, from)
            }
            _ => Ok(()),
        }
    }

    fn voted(&mut self, member: MemberId, term: u64, whom: MemberId) -> Result<(), Violation> {
        let before = *self.votes.entry((member, term)).or_insert(whom);
        ensure(before == whom, || {
            format!("in term {term} {member:x} voted for {before:x} and for {whom:x}")
        })
    }

    /// Same log, same state: compared with whoever came to this entry first.
    pub(crate) fn applied(
        &mut self,
        member: MemberId,
        index: u64,
        state: State,
    ) -> Result<(), Violation> {
        let (other, known) = self.states.entry(index).or_insert_with(|| (member, state.clone()));
        if *known == state {
            return Ok(());
        }
        let difference = known.difference(&state);
        Err(Violation(format!("at entry {index} {other:x} and {member:x} differ: {difference}")))
    }
}

impl State {
    /// Reads all of it.
    pub(crate) fn take(engine: &Engine) -> Result<State, Violation> {
        let applier = engine.applier();
        let view = applier.view();
        let mut attachments: Vec<(i64, Bytes)> = view
            .index
            .attachments()
            .map(|(key, lease)| (lease, Bytes::from(key.to_vec())))
            .collect();
        attachments.sort_unstable();
        let state = applier.stored().state();
        let all = Bucket::ALL.into_iter().flat_map(|bucket| {
            state.iter(bucket).map(move |(key, value)| (bucket, key.clone(), value.clone()))
        });
        let first = 1u64.to_be_bytes();
        let own = |bucket: &Bucket, key: &[u8], value: &[u8]| match bucket {
            Bucket::Meta => OWN.contains(&key) || key == exchange::STORE_IDENTITY,
            // There from the beginning where a snapshot brought it.
            Bucket::Auth => key == b"authRevision" && value == first,
            _ => false,
        };
        Ok(State {
            revision: view.index.current_revision(),
            compacted: view.index.compact_revision(),
            hash: hash(&view)?,
            attachments,
            rows: all.filter(|(bucket, key, value)| !own(bucket, key, value)).collect(),
        })
    }

    fn difference(&self, other: &State) -> String {
        let mut out = format!(
            "revision {} and {}, compacted {} and {}, hash {:08x} and {:08x}",
            self.revision, other.revision, self.compacted, other.compacted, self.hash, other.hash,
        );
        if self.attachments != other.attachments {
            out += &format!("\n  leases {:?}\n  and {:?}", self.attachments, other.attachments);
        }
        let lacks = |one: &State, two: &State| -> Vec<String> {
            let rows = one.rows.iter().filter(|row| !two.rows.contains(row));
            rows.map(|row| format!("{row:?}")).collect()
        };
        if self.rows != other.rows {
            out += &format!("\n  rows {:?}\n  and {:?}", lacks(self, other), lacks(other, self));
        }
        out
    }
}

fn hash(view: &apply::ReadView) -> Result<u32, Violation> {
    let failed = |error: &dyn std::error::Error| Violation(format!("hashing: {}", causes(error)));
    let answer = view.index.hash_kv(0, &CompactionHashes::new()).map_err(|e| failed(&e))?;
    let hasher = match answer {
        HashAnswer::Stored(triple) => return Ok(triple.hash),
        HashAnswer::Compute(hasher) => hasher,
    };
    let mut read = HashRead::new(hasher, &view.log);
    loop {
        if let Some(triple) = read.step(1 << 20).map_err(|e| failed(&e))? {
            return Ok(triple.hash);
        }
    }
}
