//! The end of a run: rest, then leases run out, then power goes, then the judges read the record.

use history::{Action, Outcome, Request, Violation};
use vfs::CrashPolicy;

use crate::client::What;
use crate::machine::{Armed, End, Machine};
use crate::mishap::policy;
use crate::world::World;

impl World {
    /// Lets everything come to rest.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        self.settling = true;
        self.heal();
        for machine in &mut self.machines {
            if machine.armed != Some(Armed::Power) {
                machine.disarm();
            }
        }
        let limit = self.steps + if self.is_cluster() { 400_000 } else { 60_000 };
        while !self.is_settled() || self.machines.iter().any(Machine::is_dark) {
            self.notice_the_dark()?;
            if limit < self.steps {
                let waits: Vec<_> = self.clients.iter().map(|client| &client.waits).collect();
                let why = self.unsettled();
                return Err(Violation(format!("it does not come to rest: {why:?}, {waits:?}")));
            }
            if self.is_cluster() {
                self.start_joiners();
            }
            self.step()?;
            for machine in &mut self.machines {
                // Power that was to go at some operation goes when it comes to it, or never.
                if machine.armed.is_some() && self.chance.one_in(200) {
                    machine.disarm();
                }
            }
        }
        if self.is_cluster() {
            self.retire_strangers();
        }
        Ok(())
    }

    /// A process that has nothing to write may never notice that power is gone.
    fn notice_the_dark(&mut self) -> Result<(), Violation> {
        for place in 0..self.machines.len() {
            if self.machines[place].is_dark() && self.machines[place].running.is_some() {
                let policy = policy(&mut self.chance);
                self.end(place, End::Power(policy), "power had gone unnoticed")?;
            }
        }
        Ok(())
    }

    /// The end of a run: rest, then leases run out, then power goes once more, then everything is judged.
    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        self.note("no more requests");
        self.settle()?;
        self.check_all()?;
        self.everybody_serves()?;
        self.leases_run_out()?;
        self.settle()?;
        let revision = self.published.iter().copied().max().unwrap_or_default();
        for watcher in &mut self.watchers {
            self.record.watches.extend(watcher.settled(revision));
        }
        for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::KeepAll] {
            for place in 0..self.machines.len() {
                if !self.machines[place].retired && self.machines[place].running.is_some() {
                    self.end(place, End::Power(policy), "power goes at the end")?;
                }
            }
            self.settle()?;
            self.check_all()?;
        }
        self.note("judged");
        let abandoned = std::mem::take(&mut self.abandoned);
        self.record.explain_abandoned(abandoned);
        self.record.judge()
    }

    /// Nobody keeps any lease alive: all end in time.
    fn leases_run_out(&mut self) -> Result<(), Violation> {
        let limit = self.now_ms + if self.is_cluster() { 120_000 } else { 40_000 };
        loop {
            self.settle()?;
            let running = self.machines.iter().filter_map(|machine| machine.running.as_ref());
            let left: Vec<i64> = running.flat_map(|running| running.engine().leases()).collect();
            if left.is_empty() {
                return Ok(());
            }
            if limit < self.now_ms {
                return Err(Violation(format!("leases that do not end: {left:?}")));
            }
            self.let_time_pass()?;
        }
    }

    /// Half a second, in which members of a cluster go on talking: a leap would be an election.
    fn let_time_pass(&mut self) -> Result<(), Violation> {
        let until = self.now_ms + 500;
        while self.is_cluster() && self.now_ms < until {
            self.step()?;
        }
        self.now_ms = self.now_ms.max(until);
        let now_ms = self.now_ms;
        self.machines.iter_mut().for_each(|machine| machine.tick(now_ms));
        Ok(())
    }

    /// Links, threads and disks are well again: a disk whose syncs take as long as an election has no leader for
    /// long, whoever leads.
    fn heal(&mut self) {
        self.network.heal();
        if self.is_cluster() {
            self.plan.sync_ms_max = self.plan.sync_ms_max.min(self.plan.election_ms() / 6);
        }
        for machine in &mut self.machines {
            (machine.paused_until, machine.stalled) = (0, None);
        }
        if self.is_cluster() {
            self.retire_strangers();
        }
    }

    /// Whoever was removed and never heard of it does not count.
    fn retire_strangers(&mut self) {
        let Some(state) = self.newest_configuration() else { return };
        let members: Vec<u64> = state.voters.iter().chain(&state.learners).copied().collect();
        let knows_better = |machine: &Machine, id: u64| {
            let running = machine.running.as_ref();
            running.is_some_and(|r| r.engine().applier().membership().was_removed(id))
        };
        for place in 0..self.machines.len() {
            let id = self.machines[place].member;
            let removed = self.machines.iter().any(|machine| knows_better(machine, id));
            if removed && !members.contains(&id) {
                self.machines[place].retired = true;
                self.machines[place].end(End::Killed);
                self.forget_requests(place);
            }
        }
    }

    /// What a cluster still has to do; nothing when it has come to rest.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let Some(leader) = self.leader() else { return Some("nobody leads".to_owned()) };
        let front = |machine: &Machine| machine.running.as_ref().map(|r| r.front.standing());
        let Some(standing) = front(&self.machines[leader]) else { return Some("no leader".into()) };
        let committed = standing.committed;
        let last = self.machines[leader].running.as_ref().map_or(0, |r| r.front.last_index());
        if committed != last || committed < self.record.committed() {
            return Some(format!("committed is {committed} of {last}"));
        }
        let state = self.newest_configuration().unwrap_or_default();
        for id in state.voters.iter().chain(&state.learners) {
            let machine = self.place_of(*id).map(|place| &self.machines[place]);
            let Some(machine) = machine.filter(|machine| !machine.retired) else { continue };
            let Some(running) = &machine.running else { return Some(format!("{id:x} is down")) };
            let standing = running.front.standing();
            let applied = running.view.applied_index;
            if applied != committed || standing.committed != committed || standing.leader == 0 {
                return Some(format!("{id:x} has applied {applied} of {committed}: {standing:?}"));
            }
            if !running.is_quiet() || 0 < running.engine().watch_sizes().unsynced {
                return Some(format!("{id:x} is busy"));
            }
        }
        let waits = self.clients.iter().any(|client| client.waits.is_some());
        let queued = self.watchers.iter().any(|watcher| 0 < watcher.queued());
        let open = !self.transfers.is_empty();
        (waits || queued || open).then(|| format!("clients {waits} watchers {queued} sends {open}"))
    }

    pub(crate) fn cluster_is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    /// All members hold everything, and the configuration raft goes by is the one that was applied.
    fn check_all(&mut self) -> Result<(), Violation> {
        for place in 0..self.machines.len() {
            self.check_state(place)?;
            let Some(running) = &self.machines[place].running else { continue };
            let (raft, stored) =
                (running.front.conf_state(), running.engine().applier().conf_state());
            if raft != stored {
                let what = format!("m{place} votes by {raft:x?}, and its members are {stored:x?}");
                return Err(Violation(what));
            }
            if self.is_cluster() {
                let (index, _) = running.engine().applier().applied();
                let state = crate::judges::State::take(running.engine())?;
                self.judges.applied(self.machines[place].member, index, state)?;
            }
        }
        Ok(())
    }

    /// After everything is well again, each member takes a write.
    fn everybody_serves(&mut self) -> Result<(), Violation> {
        if !self.is_cluster() || self.plan.quota_bytes.is_some() {
            return Ok(());
        }
        self.machines.iter_mut().for_each(Machine::disarm);
        for place in 0..self.machines.len() {
            if self.machines[place].running.is_none() {
                continue;
            }
            let mut told = None;
            // An election may come in between, and takes a proposal with it.
            for number in 0..5 {
                told = self.serves(place, number)?;
                if matches!(told, Some(Outcome::Done { .. })) {
                    break;
                }
            }
            if !matches!(told, Some(Outcome::Done { .. })) {
                let what = format!("m{place} does not serve a write after all is well: {told:?}");
                return Err(Violation(what));
            }
        }
        Ok(())
    }

    /// What a client is told who writes through this member; nothing if it gave up.
    fn serves(&mut self, place: usize, number: usize) -> Result<Option<Outcome>, Violation> {
        self.clients[0].at = place;
        let key = format!("k{:02}", 1).into();
        let value = format!("served by m{place} {number}").into();
        let put = Action::Put { key, value, lease: 0, previous: false };
        let request = Request::One(put);
        self.ask_for(0, What::Keys(request.clone()));
        self.settle()?;
        let asked = self.record.operations.iter().rfind(|o| o.request == request);
        Ok(asked.map(|operation| operation.outcome.clone()))
    }
}
