//! Requests on their way: asked, answered, given up.

use apply::{Answer as Given, Asker};
use consensus::Scope;
use history::lease::LeaseEvent;
use history::{Answer, Operation, Outcome, Request, Violation};
use lease::KeepAlive;
use member::{FrontInput, Proposal};
use proto::etcdserverpb as pb;
use types::Refusal;

use crate::client::{Waits, What, proposal};
use crate::convert::{outcome, range, range_answer};
use crate::running::{Running, ToEngine};
use crate::world::World;

/// How long a client waits.
const PATIENCE_MS: u64 = 8000;
/// After so many requests all clients wait until nothing is under way.
const BREATH: usize = 20;

impl World {
    pub(crate) fn client_could_act(&self, place: usize) -> bool {
        let client = &self.clients[place];
        let running = self.machines[0].running.as_ref();
        match &client.waits {
            Some(waits) => {
                let late = waits.asked_ms + PATIENCE_MS <= self.now_ms;
                let applied = running.map_or(0, |running| running.view.applied_index);
                late || waits.read_index.is_some_and(|index| index <= applied)
            }
            None => {
                let may_ask = self.asked_in_one_breath < BREATH || self.nobody_waits();
                !self.settling && may_ask && client.next_ms <= self.now_ms && running.is_some()
            }
        }
    }

    fn nobody_waits(&self) -> bool {
        self.abandoned.is_empty() && self.clients.iter().all(|client| client.waits.is_none())
    }

    pub(crate) fn client(&mut self, place: usize) -> Result<(), Violation> {
        let Some(waits) = &self.clients[place].waits else {
            self.ask(place);
            return Ok(());
        };
        let running = self.machines[0].running.as_ref();
        let applied = running.map(|running| running.view.applied_index);
        if waits.read_index.zip(applied).is_some_and(|(index, applied)| index <= applied) {
            return self.read(place);
        }
        self.give_up(place);
        Ok(())
    }

    fn ask(&mut self, place: usize) {
        if self.nobody_waits() && BREATH <= self.asked_in_one_breath {
            self.asked_in_one_breath = 0;
        }
        (self.asked, self.asked_in_one_breath) = (self.asked + 1, self.asked_in_one_breath + 1);
        let pause = self.chance.pick(&[0, 0, 10, 200]);
        self.clients[place].next_ms = self.now_ms + pause;
        let what = self.knows.ask(&self.plan, &mut self.chance);
        let number = self.number();
        let machine = &mut self.machines[0];
        let member = machine.member;
        let Some(running) = &mut machine.running else { return };
        let mut id = number;
        let mut read_index = None;
        match (&what, proposal(&what, member)) {
            (_, Some(request)) => {
                id = propose(running, place, request);
            }
            (What::Keys(Request::Serializable(_)), None) => read_index = Some(0),
            (What::Keys(_), None) => running.to_front.push_back(FrontInput::Read { ticket: id }),
            (What::KeepAlive { lease }, None) => {
                let (client, lease) = (place, *lease);
                running.to_engine.push_back(ToEngine::KeepAlive { client, lease });
            }
            (_, None) => {
                // Nobody waits for a store to be clean.
                running.to_engine.push_back(ToEngine::Defragment);
                return;
            }
        }
        self.note(&format!("c{place} asks {id:x}: {what:?}"));
        if let What::Grant { lease, .. } = &what {
            self.knows.leases.push(*lease);
        }
        if let What::Revoke { lease } = &what {
            self.record.leases.push(LeaseEvent::RevokeAsked { lease: *lease });
        }
        let (invoked, asked_ms) = (self.steps, self.now_ms);
        self.clients[place].waits = Some(Waits { id, what, invoked, asked_ms, read_index });
    }

    /// A read whose state is there.
    fn read(&mut self, place: usize) -> Result<(), Violation> {
        let Some(waits) = self.clients[place].waits.take() else { return Ok(()) };
        let Some(running) = &self.machines[0].running else { return Ok(()) };
        let What::Keys(request) = &waits.what else { return Ok(()) };
        let (Request::One(action) | Request::Serializable(action)) = request else {
            return Ok(());
        };
        let view = &running.view;
        let outcome = match apply::read_range(&view.index, &view.rows(), &range(action)) {
            Ok(answer) => {
                let answers: Vec<Answer> = vec![range_answer(&answer)];
                Outcome::Done { revision: answer.revision, held: true, answers }
            }
            Err(mvcc::ReadError::Refused(refusal)) => {
                Outcome::Refused(refusal.message().to_owned())
            }
            // Only a disk that has stopped may do that.
            Err(mvcc::ReadError::Fault(fault)) if self.machines[0].armed.is_some() => {
                let what = format!("a reader found: {fault}");
                return self.died(0, &what);
            }
            Err(mvcc::ReadError::Fault(fault)) => {
                let cause = std::error::Error::source(&fault).map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                return Err(Violation(format!("{request:?} on a good disk: {fault}: {cause}")));
            }
        };
        self.finished(place, waits, outcome);
        Ok(())
    }

    /// A proposal was decided.
    pub(crate) fn decided(&mut self, id: u64, result: Result<Given, Refusal>) {
        if let Some(mut operation) = self.abandoned.remove(&id) {
            operation.returned = self.steps;
            self.record.operations.push(operation);
            return;
        }
        let place = self.clients.iter().position(|c| c.waits.as_ref().is_some_and(|w| w.id == id));
        let Some(place) = place else { return };
        let Some(waits) = self.waiting(id) else { return };
        match &waits.what {
            What::Grant { lease, ttl } => {
                self.note(&format!("c{place} lease {lease}: {result:?}"));
                if let Ok(Given::LeaseGrant { ttl: granted, .. }) = result {
                    assert!(*ttl <= granted, "a lease lives as long as was asked for");
                    let (lease, asked, ttl) = (*lease, waits.asked_ms, granted as u64 * 1000);
                    self.record.leases.push(LeaseEvent::Granted { lease, asked, ttl });
                }
            }
            What::Clear { lease } if result.is_ok() => {
                // As node does: the lease may have ended meanwhile.
                let lease = *lease;
                if let Some(running) = self.machines[0].running.as_mut() {
                    running.to_engine.push_back(ToEngine::KeepAlive { client: place, lease });
                    let what = What::KeepAlive { lease };
                    self.clients[place].waits = Some(Waits { what, ..waits });
                }
            }
            What::Keys(_) => self.finished(place, waits, outcome(result)),
            _ => self.note(&format!("c{place} {:?}: {result:?}", waits.what)),
        }
    }

    fn finished(&mut self, place: usize, waits: Waits, outcome: Outcome) {
        self.note(&format!("c{place} is told {:x}: {outcome:?}", waits.id));
        let What::Keys(request) = waits.what else { return };
        if let (Request::Compact { revision }, Outcome::Done { .. }) = (&request, &outcome) {
            self.record.compacted = self.record.compacted.max(*revision);
        }
        let (invoked, returned) = (waits.invoked, self.steps);
        let operation = Operation { client: place, invoked, returned, request, outcome };
        self.record.operations.push(operation);
    }

    pub(crate) fn kept(&mut self, place: usize, kept: KeepAlive) {
        let Some(waits) = &self.clients[place].waits else { return };
        let What::KeepAlive { lease } = waits.what else { return };
        let asked = waits.asked_ms;
        self.note(&format!("c{place} keep-alive of {lease}: {kept:?}"));
        let KeepAlive::Renewed { ttl_seconds, clear } = kept else {
            self.clients[place].waits = None;
            return;
        };
        let ttl = ttl_seconds as u64 * 1000;
        let running = self.machines[0].running.as_mut();
        match (clear, running) {
            // As node does: the client is told when the checkpoint is cleared.
            (Some(checkpoint), Some(running)) => {
                let request = member::checkpoint_request(vec![checkpoint]);
                let id = propose(running, place, request);
                if let Some(waits) = &mut self.clients[place].waits {
                    (waits.id, waits.what) = (id, What::Clear { lease });
                }
            }
            _ => {
                self.clients[place].waits = None;
                self.record.leases.push(LeaseEvent::KeptAlive { lease, asked, ttl });
            }
        }
    }

    /// A client does not wait any longer. What it proposed may be done all the same.
    fn give_up(&mut self, place: usize) {
        let Some(waits) = self.clients[place].waits.take() else { return };
        self.note(&format!("c{place} gives up {:x}", waits.id));
        if let Some(operation) = unknown(place, &waits, self.steps) {
            self.abandoned.insert(waits.id, operation);
        }
    }

    /// The process is gone: nobody is told anything any more.
    pub(crate) fn forget_requests(&mut self) {
        for place in 0..self.clients.len() {
            if let Some(waits) = self.clients[place].waits.take() {
                self.record.operations.extend(unknown(place, &waits, self.steps));
            }
        }
        for (_, mut operation) in std::mem::take(&mut self.abandoned) {
            operation.returned = self.steps;
            self.record.operations.push(operation);
        }
    }
}

/// Proposes for a client; returns the request's id.
fn propose(running: &mut Running, place: usize, request: pb::InternalRaftRequest) -> u64 {
    let id = running.client_ids[place].next_id();
    let proposal = Proposal::of(request, id, Scope::Anyone, Asker::default());
    running.to_front.push_back(FrontInput::Propose(vec![proposal]));
    id
}

/// What is known of a request that was not answered; nothing if it could not have changed anything.
fn unknown(client: usize, waits: &Waits, returned: u64) -> Option<Operation> {
    let What::Keys(request) = &waits.what else { return None };
    let changes = crate::convert::proposal(request).is_some();
    let (invoked, request) = (waits.invoked, request.clone());
    let outcome = Outcome::Unknown;
    changes.then_some(Operation { client, invoked, returned, request, outcome })
}
