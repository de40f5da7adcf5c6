//! What is done to a cluster on purpose: members come, are promoted and removed, leadership is handed over, disks are
//! lost and their members replaced.
//!
//! An operator does one thing at a time and waits until it is decided: of a change that may still be lurking in a log
//! nobody knows when it counts, and a lost disk on top could take the majority with it.

use std::collections::BTreeSet;

use apply::{ChangeContext, Member};
use consensus::{Replication, Role};
use history::Violation;
use member::{Begin, FrontInput, Proposal, added_member_id, cluster_id};
use proto::raftpb::{ConfChange, ConfChangeType};
use types::{ConfState, MemberId};
use vfs::CrashPolicy;

use crate::machine::{End, Machine};
use crate::plan::{Plan, name, urls};
use crate::world::World;

/// What the operator of a cluster has under way.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    /// A change that was proposed and not decided yet.
    pub(crate) open: Option<u64>,
    /// When it does something next.
    next_ms: u64,
    /// Members whose disk is lost, and that must be replaced.
    lost: BTreeSet<MemberId>,
}

/// Members there may ever be: more are not added.
const MACHINES_MAX: usize = 9;

impl World {
    pub(crate) fn is_cluster(&self) -> bool {
        1 < self.plan.members
    }

    pub(crate) fn place_of(&self, member: MemberId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.member == member)
    }

    /// The machine that leads in the newest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let led = |machine: &Machine| {
            let standing = machine.running.as_ref()?.front.standing();
            (standing.role == Role::Leader).then_some(standing.term)
        };
        let leaders = self.machines.iter().enumerate().filter_map(|(at, m)| Some((led(m)?, at)));
        leaders.max().map(|(_, at)| at)
    }

    pub(crate) fn operator_could_act(&self) -> bool {
        self.is_cluster() && !self.settling && self.operator.next_ms <= self.now_ms
    }

    /// The operator looks around and does something.
    pub(crate) fn operate(&mut self) -> Result<(), Violation> {
        self.operator.next_ms = self.now_ms + self.chance.between(300, 6000);
        self.start_joiners();
        let Some(leader) = self.leader() else { return Ok(()) };
        if self.chance.one_in(3) {
            self.transfer_leadership(leader);
            return Ok(());
        }
        if self.operator.open.is_some() || !self.may.membership {
            return Ok(());
        }
        let Some(state) = self.newest_configuration() else { return Ok(()) };
        let (voters, learners) = (state.voters, state.learners);
        let Some(running) = &self.machines[leader].running else { return Ok(()) };
        let progress = running.front.progress();
        self.operator.lost.retain(|id| voters.contains(id));
        if let Some(lost) = self.operator.lost.iter().copied().find(|id| voters.contains(id)) {
            self.propose_change(ConfChangeType::ConfChangeRemoveNode, lost, None);
            return Ok(());
        }
        let level = progress.iter().filter(|p| learners.contains(&p.member));
        let level = level.filter(|p| p.replication == Replication::Replicate).map(|p| p.member);
        if let Some(learner) = level.min().filter(|_| !self.chance.one_in(3)) {
            let member = Member { id: learner, ..Default::default() };
            let context = ChangeContext { member, is_promote: true };
            self.propose_change(ConfChangeType::ConfChangeAddNode, learner, Some(context));
            return Ok(());
        }
        match self.chance.below(8) {
            0..3 if voters.len() <= self.plan.members && learners.is_empty() => {
                let as_learner = !self.chance.one_in(3);
                self.add_member(as_learner);
            }
            // Of two voters none goes: whoever is left may lose power before its disk knows that it is alone, and wait
            // for the other's vote for ever.
            3 if 2 < voters.len() || !learners.is_empty() => {
                let voters = if 2 < voters.len() { &voters[..] } else { &[] };
                let all: Vec<MemberId> = voters.iter().chain(&learners).copied().collect();
                let gone = self.chance.pick(&all);
                self.propose_change(ConfChangeType::ConfChangeRemoveNode, gone, None);
            }
            4 => {
                let member = self.chance.pick(&voters);
                let peer_urls = vec![format!("http://other{}:2380", self.number())];
                let member = Member { id: member, peer_urls, ..Default::default() };
                let (id, context) = (member.id, ChangeContext { member, is_promote: false });
                self.propose_change(ConfChangeType::ConfChangeUpdateNode, id, Some(context));
            }
            // A removal that is committed and that nobody has applied yet leaves fewer voters than it seems.
            5 | 6
                if self.operator.lost.is_empty() && 3 <= voters.len() && self.all_is_applied() =>
            {
                let member = self.chance.pick(&voters);
                return self.lose_disk(member);
            }
            _ => {}
        }
        Ok(())
    }

    /// Who votes, as the member sees it that has applied most.
    pub(crate) fn newest_configuration(&self) -> Option<ConfState> {
        let appliers = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        let newest = appliers.map(|r| r.engine().applier()).max_by_key(|a| a.applied().0);
        newest.map(|applier| applier.conf_state())
    }

    /// Whether somebody who runs has applied all that is known to be committed.
    fn all_is_applied(&self) -> bool {
        let committed = self.record.last_committed().map_or(0, |entry| entry.index);
        let appliers = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        appliers.map(|r| r.engine().applier().applied().0).max().is_some_and(|at| committed <= at)
    }

    fn transfer_leadership(&mut self, leader: usize) {
        let to = if self.chance.one_in(2) {
            0
        } else {
            let place = self.chance.below(self.machines.len());
            self.machines[place].member
        };
        self.note(&format!("m{leader} is to hand over to {to:x}"));
        if let Some(running) = &mut self.machines[leader].running {
            running.to_front.push_back(FrontInput::Transfer { to });
        }
    }

    /// Somebody new is added, under the name and the place of the next machine.
    fn add_member(&mut self, as_learner: bool) {
        let place = self.machines.len();
        if MACHINES_MAX <= place {
            return;
        }
        let (name, unix_seconds) = (name(place), 1_700_000_000 + self.now_ms / 1000);
        let peer_urls = urls(&name);
        let id = added_member_id(&peer_urls, unix_seconds);
        let founders: Vec<MemberId> = (0..self.plan.members).map(Plan::founder_id).collect();
        let begin = Begin::Join { cluster: cluster_id(&founders), member: id };
        let mut machine = Machine::new(&name, id, begin);
        // It starts when others know it.
        machine.boot_at = u64::MAX;
        self.machines.push(machine);
        self.published.push(1);
        self.caught_up.push(false);
        let member = Member { id, peer_urls, is_learner: as_learner, ..Default::default() };
        let kind = if as_learner {
            ConfChangeType::ConfChangeAddLearnerNode
        } else {
            ConfChangeType::ConfChangeAddNode
        };
        let context = ChangeContext { member, is_promote: false };
        self.propose_change(kind, id, Some(context));
    }

    fn propose_change(
        &mut self,
        kind: ConfChangeType,
        member: MemberId,
        context: Option<ChangeContext>,
    ) {
        let Some(place) = self.any_running() else { return };
        let json =
            |context| serde_json::to_vec(&context).expect("names and numbers always serialize");
        let change = ConfChange {
            id: None,
            r#type: Some(kind as i32),
            node_id: Some(member),
            context: context.map(|context| json(context).into()),
        };
        let Some(running) = &mut self.machines[place].running else { return };
        let id = running.ids.next_id();
        let proposal = Proposal::of_change(change, id);
        running.to_front.push_back(FrontInput::Propose(vec![proposal]));
        self.operator.open = Some(id);
        self.note(&format!("operator asks m{place} for {kind:?} of {member:x} ({id:x})"));
    }

    /// A request was decided, or refused before it was made.
    pub(crate) fn operator_hears(&mut self, id: u64, told: &str) {
        if self.operator.open == Some(id) {
            self.operator.open = None;
            self.note(&format!("operator is told {id:x}: {told}"));
        }
    }

    /// A member's disk is gone for good, and it is to be replaced.
    fn lose_disk(&mut self, member: MemberId) -> Result<(), Violation> {
        let Some(place) = self.place_of(member) else { return Ok(()) };
        self.operator.lost.insert(member);
        if self.machines[place].running.is_some() {
            self.end(place, End::Power(CrashPolicy::LoseUnsynced), "its disk is lost")?;
        }
        self.machines[place].retired = true;
        Ok(())
    }

    /// Whoever is known as a member by somebody starts.
    pub(crate) fn start_joiners(&mut self) {
        let waiting: Vec<usize> = (0..self.machines.len())
            .filter(|place| self.machines[*place].boot_at == u64::MAX)
            .filter(|place| !self.machines[*place].retired)
            .collect();
        for place in waiting {
            let id = self.machines[place].member;
            let knows = |machine: &Machine| {
                let running = machine.running.as_ref();
                running.is_some_and(|r| r.engine().applier().membership().get(id).is_some())
            };
            if self.machines.iter().any(knows) {
                self.machines[place].boot_at = self.now_ms;
                self.note(&format!("m{place} ({id:x}) may join"));
            }
        }
    }

    /// A member knows that it was removed: it ends, for good.
    pub(crate) fn removed(&mut self, place: usize) -> Result<(), Violation> {
        if self.machines[place].running.is_some() {
            self.end(place, End::Killed, "it was removed")?;
        }
        self.machines[place].retired = true;
        Ok(())
    }

    /// Some running member that a client may turn to.
    pub(crate) fn any_running(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.machines.len())
            .filter(|place| self.machines[*place].running.is_some())
            .collect();
        match running[..] {
            [] => None,
            [only] => Some(only),
            _ => Some(self.chance.pick(&running)),
        }
    }
}
