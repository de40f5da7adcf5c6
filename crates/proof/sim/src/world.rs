//! The world: machines, clients, watchers, network and clock, and whose turn it is.
//!
//! One step is one turn of one actor, one thing a client does, a leap of the clock, or a mishap. After each step
//! what must always hold is looked at; at the end everything settles, power goes once more, and the judges read
//! the record.
//!
//! Circle: `cluster` and `snapshots` are blocks of the world's methods.

use std::collections::BTreeMap;

use history::{Operation, Violation};

use crate::chance::Chance;
use crate::client::{Client, Knowledge, Waits};
use crate::cluster::Operator;
use crate::judges::Judges;
use crate::machine::Machine;
use crate::network::Network;
use crate::out::Death;
use crate::plan::{FAST_CLOCK, Plan, name};
use crate::record::Record;
use crate::running::Actor;
use crate::shrink::{Cuts, May};
use crate::snapshots::Transfer;
use crate::trace::Trace;
use crate::watcher::Watcher;

/// A run that takes longer is stuck.
const STEPS_MAX: u64 = 400_000;
const STEPS_MAX_OF_A_CLUSTER: u64 = 3_000_000;

/// A world in one thread.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
    pub(crate) now_ms: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    /// Snapshots on their way.
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) operator: Operator,
    pub(crate) judges: Judges,
    /// What may go wrong at all.
    pub(crate) may: May,
    pub(crate) clients: Vec<Client>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) knows: Knowledge,
    pub(crate) record: Record,
    /// Requests whose clients gave up: they may still be decided.
    pub(crate) abandoned: BTreeMap<u64, Operation>,
    /// Reads, streams and generators of ids get their numbers here.
    pub(crate) numbers: u64,
    /// Requests made.
    pub(crate) asked: usize,
    /// Requests made since all clients last held their breath.
    pub(crate) asked_in_one_breath: usize,
    /// Nothing new is asked for and nothing goes wrong any more.
    pub(crate) settling: bool,
    /// The newest revision published since each machine's boot.
    pub(crate) published: Vec<i64>,
    /// Whether each machine has applied what it had before its last end.
    pub(crate) caught_up: Vec<bool>,
    pub(crate) ends: usize,
    /// Clocks that run fast end leases so much earlier, as a fraction.
    pub(crate) lease_slack: (u64, u64),
}

/// What happens in a step.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Advance,
    Turn(usize, Actor),
    Client(usize),
    Watcher(usize),
    Boot(usize),
    Transfer(usize),
    Operate,
}

impl World {
    pub(crate) fn new(seed: u64, members: usize, cuts: &Cuts) -> World {
        let mut chance = Chance::new(seed);
        let mut plan = if members == 1 {
            Plan::draw(&mut chance)
        } else {
            Plan::draw_cluster(&mut chance, members, seed)
        };
        cuts.shorten(&mut plan);
        let begin = plan.found();
        let machine = |place| {
            let mut machine = Machine::new(&name(place), Plan::founder_id(place), begin.clone());
            machine.go = place < plan.go;
            machine
        };
        let machines: Vec<Machine> = (0..members).map(machine).collect();
        World {
            seed,
            trace: Trace::new(),
            steps: 0,
            now_ms: 0,
            network: Network::default(),
            transfers: Vec::new(),
            operator: Operator::default(),
            judges: Judges::default(),
            may: cuts.may,
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            watchers: (0..plan.watchers).map(|_| Watcher::default()).collect(),
            knows: Knowledge::default(),
            record: Record::default(),
            abandoned: BTreeMap::new(),
            numbers: 0,
            asked: 0,
            asked_in_one_breath: 0,
            settling: false,
            published: vec![1; machines.len()],
            caught_up: vec![false; machines.len()],
            ends: 0,
            lease_slack: if members == 1 { (1, 1) } else { (1000, FAST_CLOCK) },
            machines,
            chance,
            plan,
        }
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.trace.note(self.steps, self.now_ms, text);
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The whole life of a world.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        let plan = format!("{:?}", self.plan);
        self.note(&plan);
        while self.asked < self.plan.operations {
            self.step()?;
        }
        self.finish()
    }

    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.steps += 1;
        let most = if self.is_cluster() { STEPS_MAX_OF_A_CLUSTER } else { STEPS_MAX };
        if most < self.steps {
            return Err(Violation("the world is stuck: too many steps".to_owned()));
        }
        self.deliver()?;
        if !self.settling && self.chance.one_in(self.plan.fault_one_in) {
            if self.is_cluster() && self.chance.one_in(2) {
                return self.cluster_mishap();
            }
            return self.mishap();
        }
        match self.choose() {
            Doing::Advance => self.advance(),
            Doing::Turn(place, actor) => self.turn(place, actor),
            Doing::Client(place) => self.client(place),
            Doing::Watcher(place) => self.watcher(place),
            Doing::Boot(place) => self.boot(place),
            Doing::Transfer(number) => self.transfer(number),
            Doing::Operate => self.operate(),
        }
    }

    /// Everybody who could do something, the busier ones more often.
    fn choose(&mut self) -> Doing {
        let mut could = Vec::new();
        for (place, machine) in self.machines.iter().enumerate() {
            let due = machine.boot_at <= self.now_ms && !machine.retired;
            if machine.running.is_some() {
                let ready = machine.ready(self.now_ms);
                let weight =
                    |actor| if actor == Actor::Engine { self.plan.engine_weight } else { 4 };
                could.extend(
                    ready.into_iter().map(|actor| (weight(actor), Doing::Turn(place, actor))),
                );
            } else if due {
                could.push((4, Doing::Boot(place)));
            }
        }
        let transfers = self.transfers.iter().enumerate();
        let due = transfers.filter(|(_, transfer)| transfer.due <= self.now_ms);
        could.extend(due.map(|(number, _)| (3, Doing::Transfer(number))));
        if self.operator_could_act() {
            could.push((2, Doing::Operate));
        }
        let clients = (0..self.clients.len()).filter(|place| self.client_could_act(*place));
        could.extend(clients.map(|place| (3, Doing::Client(place))));
        let watchers = 0..self.watchers.len();
        could.extend(watchers.map(|place| (1, Doing::Watcher(place))));
        let idle = could.iter().all(|(_, doing)| matches!(doing, Doing::Watcher(_)));
        if !self.settling || idle {
            could.push((2, Doing::Advance));
        }
        let total: usize = could.iter().map(|(weight, _)| weight).sum();
        let mut left = self.chance.below(total);
        for (weight, doing) in could {
            if left < weight {
                return doing;
            }
            left -= weight;
        }
        Doing::Advance
    }

    fn advance(&mut self) -> Result<(), Violation> {
        let most = match (self.settling, self.is_cluster()) {
            (false, _) => 40,
            (true, false) => 100,
            // A heartbeat, its sync and its answer are several steps: an election must not be due before.
            (true, true) => self.plan.election_ms() / 12,
        };
        self.now_ms += self.chance.between(1, most);
        let now_ms = self.now_ms;
        for machine in &mut self.machines {
            machine.tick(now_ms);
        }
        Ok(())
    }

    fn turn(&mut self, place: usize, actor: Actor) -> Result<(), Violation> {
        let machine = &mut self.machines[place];
        let pace = machine.pace(&self.plan, self.now_ms);
        let Some(running) = &mut machine.running else { return Ok(()) };
        let done = running.turn(actor, pace, &mut self.chance);
        let out = running.take_out();
        let operations = machine.disk.operations();
        self.note(&format!("m{place} {actor:?} (disk operation {operations})"));
        for out in out {
            self.out(place, out)?;
        }
        match done {
            Ok(()) => self.invariants(place),
            Err(Death(why)) => self.died(place, &why),
        }
    }

    pub(crate) fn published(&mut self, place: usize) -> Result<(), Violation> {
        let dark = self.machines[place].is_dark();
        let Some(running) = &self.machines[place].running else { return Ok(()) };
        if dark {
            // Whatever is shown now, nobody can read it any more.
            return Ok(());
        }
        let view = &running.view;
        let (revision, before) = (view.index.current_revision(), self.published[place]);
        if revision < before {
            let what = format!("the published revision went back from {before} to {revision}");
            return Err(Violation(what));
        }
        self.record.published(view, before)?;
        self.published[place] = revision;
        self.knows.revision = self.knows.revision.max(revision);
        self.knows.compacted = self.knows.compacted.max(view.index.compact_revision());
        let well = self.machines[place].armed.is_none();
        if self.chance.one_in(40) && self.caught_up[place] && well {
            let oldest = view.index.compact_revision().max(1) as u64;
            let at = self.chance.between(oldest, revision as u64) as i64;
            self.record.state_at(view, at)?;
        }
        Ok(())
    }

    pub(crate) fn look_whether_caught_up(&mut self, place: usize) -> Result<(), Violation> {
        let dark = self.machines[place].is_dark();
        let Some(running) = &self.machines[place].running else { return Ok(()) };
        if dark || self.caught_up[place] || running.view.applied_index < self.record.committed() {
            return Ok(());
        }
        self.caught_up[place] = true;
        self.check_state(place)
    }

    /// All revisions that can be read give what they gave before.
    pub(crate) fn check_state(&mut self, place: usize) -> Result<(), Violation> {
        let Some(running) = &mut self.machines[place].running else { return Ok(()) };
        self.record.caught_up(&running.view)?;
        let oldest = running.view.index.compact_revision().max(1);
        let newest = running.view.index.current_revision();
        for at in [oldest, (oldest + newest) / 2, newest - 1, newest] {
            if oldest <= at {
                self.record.state_at(&running.view, at)?;
            }
        }
        let there = running.engine().leases();
        for lease in 1001..=1000 + self.knows.leases_made {
            let there = there.contains(&lease);
            self.record.leases.push(history::lease::LeaseEvent::Seen { lease, there });
        }
        // Looked at now, while the trace still shows where it came from.
        history::lease::judge(&self.record.leases)
    }

    /// Memory and queues are bounded, and nothing claims to be further than what it stands on.
    fn invariants(&mut self, place: usize) -> Result<(), Violation> {
        let machine = &self.machines[place];
        let Some(running) = &machine.running else { return Ok(()) };
        let fail = |what: String| Err(Violation(what));
        let store = running.engine().applier().stored();
        let (applied, _) = running.engine().applier().applied();
        if store.applied_index() != applied {
            return fail(format!("applied {applied}, but the store {}", store.applied_index()));
        }
        if applied < store.synced_index() {
            return fail(format!("synced {} of {applied}", store.synced_index()));
        }
        if applied < running.view.applied_index {
            return fail(format!("shown {} of {applied}", running.view.applied_index));
        }
        let log_last = running.log.log().last_index();
        if log_last < applied && !running.applying.is_installing() {
            return fail(format!("applied {applied}, but the log ends at {log_last}"));
        }
        let pending = running.engine().watch_sizes().pending_bytes;
        let limits = &self.plan.watch;
        if limits.pending_bytes_max + 200_000 < pending {
            return fail(format!("{pending} bytes wait for watching clients"));
        }
        let log_bytes = running.front.log_bytes();
        if self.plan.log_bytes_max.max(self.plan.lagging_bytes_max) + 400_000 < log_bytes {
            return fail(format!("{log_bytes} bytes of log are kept in memory"));
        }
        let inboxes = running.to_front.len() + running.to_engine.len();
        if 5000 < inboxes {
            return fail(format!("{inboxes} messages wait for the machines"));
        }
        self.watchers.iter().try_for_each(|watcher| watcher.check(limits))
    }

    /// Whether everything that was asked for is answered and nobody has anything to do.
    pub(crate) fn is_settled(&self) -> bool {
        if self.is_cluster() {
            return self.cluster_is_settled();
        }
        let busy = |machine: &Machine| match &machine.running {
            Some(running) => !running.is_idle() || 0 < running.engine().watch_sizes().unsynced,
            None => true,
        };
        let waits = |client: &Client| client.waits.is_some();
        !self.machines.iter().any(busy)
            && !self.clients.iter().any(waits)
            && self.abandoned.is_empty()
            && self.watchers.iter().all(|watcher| watcher.queued() == 0)
            && self.caught_up.iter().all(|caught_up| *caught_up)
    }

    /// Takes a request's number to whoever waits for it.
    pub(crate) fn waiting(&mut self, id: u64) -> Option<Waits> {
        let waits = |client: &Client| client.waits.as_ref().is_some_and(|waits| waits.id == id);
        let client = self.clients.iter_mut().find(|client| waits(client))?;
        client.waits.take()
    }
}
