//! What must always be true, looked at after each step.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_consensus::{Message, Role};
use proto::raftpb::MessageType;
use types::Entry;

use super::{Machine, World, kind};

/// What was seen so far.
#[derive(Default)]
pub struct Judge {
    /// Who led in each term.
    leaders: BTreeMap<u64, u64>,
    /// For whom each member voted in each term.
    votes: BTreeMap<(u64, u64), u64>,
    /// What was applied at each index, by anybody.
    pub applied: BTreeMap<u64, (u64, Bytes)>,
    /// How far each member's log was known to be committed, in its present life.
    pub steps: u64,
}

impl Judge {
    /// Guarantee: nothing leaves a member before it is durable there.
    pub fn leaves(&mut self, machine: &Machine, message: &Message) {
        let (from, to, term) = (message.from(), message.to(), message.term());
        let state = machine.disk.hard_state;
        match kind(message) {
            MessageType::MsgVote => {
                let voted = (state.term, state.vote) == (term, from);
                assert!(voted || term < state.term, "{from} asks before it has voted");
                self.vote(from, term, from);
            }
            MessageType::MsgVoteResp if !message.reject() => {
                assert!(
                    term < state.term || (state.term, state.vote) == (term, to),
                    "{from} votes before it has written that down"
                );
                self.vote(from, term, to);
            }
            MessageType::MsgAppResp if !message.reject() => {
                let index = message.index();
                assert!(
                    term <= state.term,
                    "{from} answers in term {term}, which is not written down"
                );
                assert!(
                    index <= machine.disk.last() || term < state.term,
                    "{from} confirms {index}, and its disk ends at {}",
                    machine.disk.last()
                );
                let log = machine.log();
                let expected = log.term(index);
                let durable = expected.is_none() || machine.disk.term(index) == expected;
                // What is being written in a later term may replace it again.
                let same_term = term == log.hard_state.term;
                assert!(durable || !same_term, "{from} confirms {index} before it is durable");
            }
            _ => {}
        }
    }

    /// Guarantee: one vote per member and term, over all its lives.
    fn vote(&mut self, from: u64, term: u64, to: u64) {
        let before = *self.votes.entry((from, term)).or_insert(to);
        assert_eq!(before, to, "{from} voted twice in term {term}");
    }

    /// Guarantee (state machine safety): all members apply the same entry at the same index.
    pub fn applies(&mut self, id: u64, entry: &Entry) {
        let this = (entry.term, entry.data.clone());
        let first = self.applied.entry(entry.index).or_insert_with(|| this.clone());
        assert_eq!(*first, this, "{id} applies another entry at {}", entry.index);
    }

    /// Looks at all members.
    pub fn look(world: &mut World) {
        world.judge.steps += 1;
        let mut newly_leading = Vec::new();
        for (id, machine) in &world.machines {
            let Some(consensus) = &machine.consensus else { continue };
            let standing = consensus.standing();
            if standing.role == Role::Leader {
                let first = *world.judge.leaders.entry(standing.term).or_insert_with(|| {
                    newly_leading.push(*id);
                    *id
                });
                assert_eq!(first, *id, "two leaders in term {}", standing.term);
            }
        }
        for id in newly_leading {
            world.leader_has_all(id);
        }
    }
}

impl World {
    /// Guarantee (leader completeness): who is elected holds all that was applied anywhere.
    fn leader_has_all(&self, id: u64) {
        let log = self.machines[&id].log();
        for (index, (term, _)) in self.judge.applied.range(log.start.0..) {
            assert_eq!(log.term(*index), Some(*term), "{id} leads without entry {index}");
        }
    }

    /// Guarantee (log matching): where two logs have the same term at an index, they are the same up to there.
    pub fn logs_match(&self) {
        let logs: Vec<_> = self.machines.values().map(Machine::log).collect();
        for (at, one) in logs.iter().enumerate() {
            for other in &logs[at + 1..] {
                let first = one.start.0.max(other.start.0) + 1;
                let last = one.last().min(other.last());
                let same = |index: &u64| one.term(*index) == other.term(*index);
                let Some(common) = (first..=last).rev().find(same) else { continue };
                for index in first..=common {
                    assert_eq!(one.entry(index), other.entry(index), "entry {index} differs");
                }
            }
        }
    }

    /// What a member says is committed is on the disks of a majority, with the same term. (Looked at while nobody
    /// has thrown a disk away.)
    pub fn committed_is_durable(&self) {
        for (id, machine) in &self.machines {
            let Some(consensus) = &machine.consensus else { continue };
            let standing = consensus.standing();
            if standing.role != Role::Leader {
                continue;
            }
            let voters = &machine.conf_state.voters;
            let index = standing.committed;
            let Some(term) = machine.log().term(index) else { continue };
            let holds = |voter: &&u64| {
                self.machines
                    .get(voter)
                    .is_some_and(|m| m.disk.term(index) == Some(term) || index < m.disk.start.0)
            };
            let count = voters.iter().filter(holds).count();
            // A change that is applied later may have made the majority larger or smaller by one.
            assert!(
                voters.len() / 2 <= count,
                "{id} committed {index}, which {count} of {voters:?} hold"
            );
        }
    }
}
