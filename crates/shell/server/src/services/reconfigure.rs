//! Whether members may be changed now: etcd's strict reconfiguration checks, in its order and with its refusals
//! (`docs/etcd/peer-protocol.md` 8).
//!
//! Not here: what is refused whatever the cluster's health (see `apply`), and who may ask at all (see `auth`).

use std::time::Duration;

use apply::{Member, Members};
use consensus::Progress;
use types::{MemberId, Refusal};

/// How long a member must have been reached without a break to count as connected.
const CONNECTED_DURATION_MIN: Duration = Duration::from_secs(5);

/// The part of the leader's log that a learner must have before it votes.
const READY_PERCENT: u64 = 90;

/// What the checks look at.
pub(crate) struct Health<'a> {
    /// Who belongs to the cluster.
    pub members: &'a Members,
    /// For how long each other member has been reached without a break; `None` while it is not.
    pub reached_for: &'a dyn Fn(MemberId) -> Option<Duration>,
}

impl Health<'_> {
    /// Whether a member may be added. It is counted as absent: nobody knows whether it will ever come.
    ///
    /// # Errors
    /// `MemberNotEnoughStarted` and `Unhealthy`.
    pub(crate) fn may_add(&self, is_learner: bool) -> Result<(), Refusal> {
        let (voters, started) = (self.voters().count(), self.started().count());
        // From one to two: how a cluster that lost its others begins again.
        let second = voters == 1 && started == 1;
        if !is_learner && !second && started < quorum(voters + 1) {
            return Err(Refusal::MemberNotEnoughStarted);
        }
        if 1 < voters && self.connected() < quorum(voters + 1) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// Whether a member may be removed.
    ///
    /// # Errors
    /// `MemberNotEnoughStarted` and `Unhealthy`.
    pub(crate) fn may_remove(&self, id: MemberId) -> Result<(), Refusal> {
        if self.members.get(id).is_some_and(|member| member.is_learner) {
            return Ok(());
        }
        let left = self.voters().filter(|member| member.id != id).count();
        let started = self.started().filter(|member| member.id != id).count();
        if started < quorum(left) {
            return Err(Refusal::MemberNotEnoughStarted);
        }
        // Whoever is away is no part of those that agree now.
        if id != self.members.own() && (self.reached_for)(id).is_none() {
            return Ok(());
        }
        let left = self.voters().count().saturating_sub(1);
        if self.connected().saturating_sub(1) < quorum(left) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// Whether a learner may be made a voter, as far as who has started counts. It is counted as started.
    ///
    /// # Errors
    /// `MemberNotEnoughStarted`.
    pub(crate) fn may_promote(&self) -> Result<(), Refusal> {
        if self.started().count() + 1 < quorum(self.voters().count() + 1) {
            return Err(Refusal::MemberNotEnoughStarted);
        }
        Ok(())
    }

    fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.members().filter(|member| !member.is_learner)
    }

    /// A member that has started has told its name.
    fn started(&self) -> impl Iterator<Item = &Member> {
        self.voters().filter(|member| !member.name.is_empty())
    }

    /// Voters that are connected, this member among them.
    fn connected(&self) -> usize {
        let own = self.members.own();
        let long = |id| (self.reached_for)(id).is_some_and(|since| CONNECTED_DURATION_MIN < since);
        self.voters().filter(|member| member.id == own || long(member.id)).count()
    }
}

/// Whether a learner has nearly all of the log that its leader, `own`, has. One that has just come has nothing yet.
///
/// # Errors
/// `LearnerNotReady`.
pub(crate) fn is_ready(
    progress: &[Progress],
    own: MemberId,
    learner: MemberId,
) -> Result<(), Refusal> {
    let matched = |id| progress.iter().find(|one| one.member == id).map(|one| one.matched);
    let has = matched(learner).unwrap_or_default();
    let all = matched(own).unwrap_or_default();
    if u128::from(has) * 100 < u128::from(all) * u128::from(READY_PERCENT) {
        return Err(Refusal::LearnerNotReady);
    }
    Ok(())
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use apply::Membership;
    use consensus::Replication;
    use proto::raftpb::{ConfChange, ConfChangeType};

    use super::*;

    const OWN: MemberId = 1;

    /// A cluster in a word: each letter a member, from id 1 on. `s` has started, `n` has not, `l` is a learner.
    fn cluster(word: &str) -> Membership {
        let mut membership = Membership::new(OWN, 9);
        for (id, letter) in (OWN..).zip(word.chars()) {
            let kind = match letter {
                'l' => ConfChangeType::ConfChangeAddLearnerNode,
                _ => ConfChangeType::ConfChangeAddNode,
            };
            let context = format!(r#"{{"id":{id},"peerURLs":["http://m{id}:1"]}}"#);
            let add = ConfChange {
                id: Some(id),
                r#type: Some(kind as i32),
                node_id: Some(id),
                context: Some(context.into()),
            };
            membership.change(&add).expect("it is new");
            if letter == 's' {
                membership.set_attributes(id, format!("m{id}"), Vec::new());
            }
        }
        membership
    }

    /// Each digit is for how many seconds a member has been reached; `-` is not reached. The first is oneself.
    fn reached(word: &str) -> impl Fn(MemberId) -> Option<Duration> + use<'_> {
        move |id| {
            let at = usize::try_from(id - OWN).expect("ids are small");
            let letter = word.chars().nth(at)?;
            letter.to_digit(10).map(|seconds| Duration::from_secs(seconds.into()))
        }
    }

    fn on(word: &str, times: &str, ask: impl Fn(&Health<'_>) -> Result<(), Refusal>) -> String {
        let (membership, times) = (cluster(word), reached(times));
        let health = Health { members: membership.now(), reached_for: &times };
        match ask(&health) {
            Ok(()) => "yes".to_owned(),
            Err(Refusal::MemberNotEnoughStarted) => "started".to_owned(),
            Err(Refusal::Unhealthy) => "unhealthy".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn a_voter_is_added_where_those_that_are_here_stay_a_quorum() {
        for (word, times, answer) in [
            ("s", "-", "yes"),
            ("n", "-", "started"),
            ("sn", "--", "started"),
            ("ss", "-9", "yes"),
            ("ss", "--", "unhealthy"),
            ("ss", "-5", "unhealthy"),
            ("sss", "-99", "yes"),
            ("sss", "-9-", "unhealthy"),
            ("sss", "-94", "unhealthy"),
            ("ssn", "-9-", "started"),
            ("ssss", "-99-", "yes"),
            ("sssss", "-999-", "yes"),
            ("sssss", "-99--", "unhealthy"),
            // Learners do not count.
            ("ssl", "-99", "yes"),
            ("sl", "--", "yes"),
        ] {
            assert_eq!(on(word, times, |health| health.may_add(false)), answer, "{word} {times}");
        }
    }

    #[test]
    fn a_learner_is_added_whoever_has_started_but_not_to_a_cluster_that_is_torn() {
        for (word, times, answer) in [
            ("s", "-", "yes"),
            ("sn", "--", "unhealthy"),
            ("ss", "-9", "yes"),
            ("sss", "-9-", "unhealthy"),
            ("sss", "-99", "yes"),
        ] {
            assert_eq!(on(word, times, |health| health.may_add(true)), answer, "{word} {times}");
        }
    }

    #[test]
    fn a_member_is_removed_where_those_that_stay_are_a_quorum() {
        for (word, times, id, answer) in [
            // The last one never.
            ("s", "-", 1, "started"),
            ("sl", "-9", 1, "started"),
            // A learner always.
            ("sl", "--", 2, "yes"),
            ("snl", "---", 3, "yes"),
            // Last but one: the other, or oneself.
            ("ss", "-9", 2, "yes"),
            ("ss", "-9", 1, "yes"),
            ("ss", "--", 2, "yes"),
            ("ss", "--", 1, "unhealthy"),
            ("sn", "--", 1, "started"),
            ("sn", "--", 2, "yes"),
            // One of three.
            ("sss", "-99", 2, "yes"),
            ("sss", "-99", 1, "yes"),
            ("sss", "-9-", 3, "yes"),
            ("sss", "-9-", 2, "unhealthy"),
            ("sss", "-9-", 1, "unhealthy"),
            ("sss", "-93", 2, "unhealthy"),
            ("ssn", "-9-", 2, "started"),
            ("ssn", "-9-", 3, "yes"),
            // One nobody knows is no matter of health.
            ("sss", "-99", 9, "yes"),
        ] {
            let told = on(word, times, |health| health.may_remove(id));
            assert_eq!(told, answer, "{word} {times} {id}");
        }
    }

    #[test]
    fn a_learner_is_promoted_where_enough_have_started() {
        for (word, answer) in [("sl", "yes"), ("snl", "yes"), ("snnl", "started"), ("ssnl", "yes")]
        {
            assert_eq!(on(word, "-", |health| health.may_promote()), answer, "{word}");
        }
    }

    #[test]
    fn a_learner_is_ready_with_nine_tenths_of_the_log() {
        let one = |member, matched| Progress {
            member,
            matched,
            next: matched + 1,
            replication: Replication::Probe,
            recently_active: true,
            learner: member != OWN,
        };
        let told = |matched| is_ready(&[one(OWN, 100), one(2, matched)], OWN, 2);
        assert_eq!(told(90), Ok(()));
        assert_eq!(told(100), Ok(()));
        assert_eq!(told(89), Err(Refusal::LearnerNotReady));
        assert_eq!(is_ready(&[one(OWN, 100)], OWN, 2), Err(Refusal::LearnerNotReady));
    }
}
