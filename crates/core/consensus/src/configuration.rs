//! Who votes, who only listens, and what a majority is.
//!
//! One member changes at a time, so the majorities of two configurations that follow one another always overlap.

use std::collections::BTreeSet;

use planted::planted;
use proto::raftpb::{ConfChange, ConfChangeType};
use types::{ConfState, MemberId};

/// A configuration change that cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpossibleChange {
    /// Nobody would be left to vote.
    #[error("member {0:x} is the last one with a vote")]
    LastVoter(MemberId),
    /// A type of change that does not exist.
    #[error("there is no configuration change of type {0}")]
    UnknownType(i32),
}

/// The members at one point of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    voters: BTreeSet<MemberId>,
    learners: BTreeSet<MemberId>,
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Won,
    Lost,
    Open,
}

impl Configuration {
    pub(crate) fn new(state: &ConfState) -> Configuration {
        let voters: BTreeSet<MemberId> = state.voters.iter().copied().collect();
        let learners = state.learners.iter().filter(|id| !voters.contains(id)).copied().collect();
        Configuration { voters, learners }
    }

    pub(crate) fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.iter().copied().collect(),
            learners: self.learners.iter().copied().collect(),
        }
    }

    pub(crate) fn voters(&self) -> impl ExactSizeIterator<Item = MemberId> {
        self.voters.iter().copied()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = MemberId> {
        self.voters.iter().chain(&self.learners).copied()
    }

    pub(crate) fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id)
    }

    pub(crate) fn is_learner(&self, id: MemberId) -> bool {
        self.learners.contains(&id)
    }

    /// Whether this member alone decides everything.
    pub(crate) fn is_alone(&self, id: MemberId) -> bool {
        self.voters.len() == 1 && self.is_voter(id)
    }

    /// The configuration after this change. Member 0 stands for a change of nothing, as in Go.
    pub(crate) fn after(&self, change: &ConfChange) -> Result<Configuration, ImpossibleChange> {
        let kind = change.r#type.unwrap_or_default();
        let kind =
            ConfChangeType::try_from(kind).map_err(|_| ImpossibleChange::UnknownType(kind))?;
        let id = change.node_id();
        let mut next = self.clone();
        if id == 0 {
            return Ok(next);
        }
        match kind {
            ConfChangeType::ConfChangeUpdateNode => {}
            ConfChangeType::ConfChangeAddNode => {
                next.learners.remove(&id);
                next.voters.insert(id);
            }
            ConfChangeType::ConfChangeAddLearnerNode => {
                next.voters.remove(&id);
                next.learners.insert(id);
            }
            ConfChangeType::ConfChangeRemoveNode => {
                next.voters.remove(&id);
                next.learners.remove(&id);
            }
        }
        if next.voters.is_empty() {
            return Err(ImpossibleChange::LastVoter(id));
        }
        Ok(next)
    }

    /// The highest number that a majority of voters has reached.
    pub(crate) fn majority_reached(&self, reached: impl Fn(MemberId) -> u64) -> u64 {
        if self.voters.len() == 1 {
            return self.voters.first().map_or(0, |id| reached(*id));
        }
        let mut all: Vec<u64> = self.voters().map(&reached).collect();
        if planted!("a learner counted in a quorum") {
            all.extend(self.learners.iter().map(|id| reached(*id)));
        }
        all.sort_unstable();
        if planted!("half counted as a majority") {
            return all[all.len() / 2];
        }
        // Of five, the third from above: it and those above it are a majority.
        all.len().checked_sub(1).map_or(0, |last| all[last / 2])
    }

    /// Who won, by what each voter said; silence may still become either.
    pub(crate) fn tally(&self, said: impl Fn(MemberId) -> Option<bool>) -> Tally {
        let (mut granted, mut silent) = (0, 0);
        for id in self.voters() {
            match said(id) {
                Some(true) => granted += 1,
                Some(false) => {}
                None => silent += 1,
            }
        }
        let majority = self.voters.len() / 2 + 1;
        if majority <= granted {
            Tally::Won
        } else if majority <= granted + silent {
            Tally::Open
        } else {
            Tally::Lost
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: &[u64], learners: &[u64]) -> Configuration {
        Configuration::new(&ConfState { voters: voters.into(), learners: learners.into() })
    }

    fn change(kind: ConfChangeType, node: u64) -> ConfChange {
        ConfChange { r#type: Some(kind as i32), node_id: Some(node), ..ConfChange::default() }
    }

    #[track_caller]
    fn check(change: ConfChange, expected: Result<Configuration, ImpossibleChange>) {
        assert_eq!(of(&[1, 2], &[3]).after(&change), expected);
    }

    #[test]
    fn each_type_of_change_means_what_go_means_by_it() {
        use ConfChangeType as T;
        check(change(T::ConfChangeAddNode, 4), Ok(of(&[1, 2, 4], &[3])));
        check(change(T::ConfChangeAddNode, 3), Ok(of(&[1, 2, 3], &[])));
        check(change(T::ConfChangeAddLearnerNode, 4), Ok(of(&[1, 2], &[3, 4])));
        check(change(T::ConfChangeAddLearnerNode, 2), Ok(of(&[1], &[2, 3])));
        check(change(T::ConfChangeRemoveNode, 3), Ok(of(&[1, 2], &[])));
        check(change(T::ConfChangeUpdateNode, 2), Ok(of(&[1, 2], &[3])));
        check(change(T::ConfChangeRemoveNode, 0), Ok(of(&[1, 2], &[3])));
        let unknown = ConfChange { r#type: Some(9), node_id: Some(1), ..ConfChange::default() };
        check(unknown, Err(ImpossibleChange::UnknownType(9)));
    }

    #[test]
    fn the_last_voter_stays() {
        // T8: raft-rs's caller expected this to be possible, after the membership was stored.
        use ConfChangeType as T;
        let alone = of(&[1], &[2]);
        let removed = alone.after(&change(T::ConfChangeRemoveNode, 1));
        assert_eq!(removed, Err(ImpossibleChange::LastVoter(1)));
        let demoted = alone.after(&change(T::ConfChangeAddLearnerNode, 1));
        assert_eq!(demoted, Err(ImpossibleChange::LastVoter(1)));
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let reached = |id: u64| id * 10;
        assert_eq!(of(&[1], &[9]).majority_reached(reached), 10);
        assert_eq!(of(&[1, 2], &[9]).majority_reached(reached), 10);
        assert_eq!(of(&[1, 2, 3], &[9]).majority_reached(reached), 20);
        assert_eq!(of(&[1, 2, 3, 4], &[9]).majority_reached(reached), 20);
        assert_eq!(of(&[1, 2, 3, 4, 5], &[]).majority_reached(reached), 30);
        let four = of(&[1, 2, 3, 4], &[5]);
        assert_eq!(four.tally(|id| (id != 4).then_some(true)), Tally::Won);
        assert_eq!(four.tally(|id| (id < 3).then_some(true)), Tally::Open);
        assert_eq!(four.tally(|id| (id < 3).then_some(false)), Tally::Lost);
        assert_eq!(four.tally(|id| (id == 5).then_some(true)), Tally::Open);
    }
}
