//! Requests on their way: asked, answered, given up.

use apply::Answer as Given;
use consensus::{Role, Scope, Standing};
use history::lease::LeaseEvent;
use history::{Answer, Operation, Outcome, Request, Violation};
use lease::KeepAlive;
use member::{ApplyingInput as Do, FrontInput, Proposal};
use proto::etcdserverpb as pb;
use types::Refusal;

use crate::client::{Waits, What, proposal};
use crate::convert::{outcome, range, range_answer};
use crate::out::nobody;
use crate::plan::urls;
use crate::running::{Running, ToEngine};
use crate::world::World;

/// How long a client waits.
const PATIENCE_MS: u64 = 8000;
/// After so many requests all clients wait until nothing is under way.
const BREATH: usize = 20;

impl World {
    pub(crate) fn client_could_act(&self, place: usize) -> bool {
        let client = &self.clients[place];
        let at = client.waits.as_ref().map_or(client.at, |waits| waits.at);
        let machine = &self.machines[at];
        let running = machine.running.as_ref().filter(|_| !machine.is_paused(self.now_ms));
        match &client.waits {
            Some(waits) => {
                let late = waits.asked_ms + PATIENCE_MS <= self.now_ms;
                let applied = running.map_or(0, |running| running.view.applied_index);
                late || waits.read_index.is_some_and(|index| index <= applied)
            }
            None => {
                let may_ask = self.asked_in_one_breath < BREATH || self.nobody_waits();
                let served = running.is_some() || self.is_cluster();
                !self.settling && may_ask && client.next_ms <= self.now_ms && served
            }
        }
    }

    fn nobody_waits(&self) -> bool {
        let open = !self.is_cluster() && !self.abandoned.is_empty();
        !open && self.clients.iter().all(|client| client.waits.is_none())
    }

    pub(crate) fn client(&mut self, place: usize) -> Result<(), Violation> {
        let Some(waits) = &self.clients[place].waits else {
            self.ask(place);
            return Ok(());
        };
        let machine = &self.machines[waits.at];
        let running = machine.running.as_ref().filter(|_| !machine.is_paused(self.now_ms));
        let applied = running.map(|running| running.view.applied_index);
        if waits.read_index.zip(applied).is_some_and(|(index, applied)| index <= applied) {
            return self.read(place);
        }
        self.give_up(place);
        Ok(())
    }

    fn ask(&mut self, place: usize) {
        if self.is_cluster() && !self.turn_to_somebody(place) {
            self.clients[place].next_ms = self.now_ms + 100;
            return;
        }
        if self.nobody_waits() && BREATH <= self.asked_in_one_breath {
            self.asked_in_one_breath = 0;
        }
        (self.asked, self.asked_in_one_breath) = (self.asked + 1, self.asked_in_one_breath + 1);
        let pause = self.chance.pick(&[0, 0, 10, 200]);
        self.clients[place].next_ms = self.now_ms + pause;
        let what = self.knows.ask(&self.plan, &mut self.chance);
        self.ask_for(place, what);
    }

    /// A client stays with its member as long as that runs, and changes now and then.
    fn turn_to_somebody(&mut self, place: usize) -> bool {
        let at = self.clients[place].at;
        let stays = self.machines[at].running.is_some() && !self.chance.one_in(5);
        if !stays {
            let Some(next) = self.any_running() else { return false };
            self.clients[place].at = next;
        }
        true
    }

    /// Asks for this, at the client's member.
    pub(crate) fn ask_for(&mut self, place: usize, what: What) {
        let number = self.number();
        let at = self.clients[place].at;
        let alone = !self.is_cluster();
        let (now_ms, election_ms) = (self.now_ms, self.plan.election_ms());
        let machine = &mut self.machines[at];
        let own_ms = machine.pace(&self.plan, now_ms).own_ms;
        let member = machine.member;
        let Some(running) = &mut machine.running else { return };
        let mut id = number;
        let mut read_index = None;
        let mut led_in = 0;
        match (&what, proposal(&what, member)) {
            (_, Some(request)) => {
                id = propose(running, place, request);
            }
            (What::Keys(Request::Serializable(_)), None) => read_index = Some(0),
            (What::Keys(_), None) => running.to_front.push_back(FrontInput::Read { ticket: id }),
            (What::KeepAlive { lease }, None) => {
                let (client, lease) = (place, *lease);
                let standing = running.front.standing();
                let sure = member::is_sure_to_lead(running.quorum_heard_ms, own_ms, election_ms);
                if alone || standing.role != Role::Leader || sure {
                    let led_in = standing.term;
                    let asked = id;
                    running.to_engine.push_back(ToEngine::KeepAlive {
                        client,
                        asked,
                        lease,
                        led_in,
                    });
                } else {
                    led_in = standing.term;
                    running.to_front.push_back(FrontInput::Read { ticket: id });
                }
            }
            (_, None) => {
                // Nobody waits for a store to be clean.
                running.to_engine.push_back(ToEngine::Do(Do::Defragment));
                return;
            }
        }
        let whom = if alone { String::new() } else { format!(" m{at} for") };
        self.note(&format!("c{place} asks{whom} {id:x}: {what:?}"));
        if let What::Grant { lease, .. } = &what {
            self.knows.leases.push(*lease);
        }
        if let What::Revoke { lease } = &what {
            self.record.leases.push(LeaseEvent::RevokeAsked { lease: *lease });
        }
        let (invoked, asked_ms) = (self.steps, self.now_ms);
        self.clients[place].waits =
            Some(Waits { id, at, led_in, what, invoked, asked_ms, read_index });
    }

    /// A read whose state is there.
    fn read(&mut self, place: usize) -> Result<(), Violation> {
        let Some(waits) = self.clients[place].waits.take() else { return Ok(()) };
        if let What::KeepAlive { lease } = waits.what {
            self.leads_still(place, waits, lease);
            return Ok(());
        }
        let at = waits.at;
        let Some(running) = &self.machines[at].running else { return Ok(()) };
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
            Err(mvcc::ReadError::Fault(fault)) if self.machines[at].armed.is_some() => {
                let what = format!("a reader found: {fault}");
                return self.died(at, &what);
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

    /// A majority has confirmed the leader that a keep-alive was asked of, as in `Node::keep_alive`.
    fn leads_still(&mut self, place: usize, waits: Waits, lease: i64) {
        let Some(running) = &mut self.machines[waits.at].running else { return };
        let standing = running.front.standing();
        if standing.role == Role::Leader && standing.term == waits.led_in {
            let (client, asked, led_in) = (place, waits.id, waits.led_in);
            running.to_engine.push_back(ToEngine::KeepAlive { client, asked, lease, led_in });
            self.clients[place].waits = Some(Waits { read_index: None, ..waits });
        }
    }

    /// How long a lease lives at least by the world's clock.
    fn by_fast_clocks(&self, ttl_ms: u64) -> u64 {
        let (part, whole) = self.lease_slack;
        ttl_ms * part / whole
    }

    /// A member that has started says who it is, as etcd's do; one of 3.4 in its own way.
    pub(crate) fn publish_who_it_is(&mut self, place: usize) {
        let machine = &mut self.machines[place];
        if self.plan.members == 1 {
            return;
        }
        let (member, name, go) = (machine.member, machine.name.clone(), machine.go);
        let Some(running) = &mut machine.running else { return };
        let id = running.ids.next_id();
        let proposal = if go {
            let (path, value) = crate::go::attributes(member, &name);
            Proposal::of_v2_put(path, value, id)
        } else {
            let attributes =
                proto::membershippb::Attributes { name: name.clone(), client_urls: urls(&name) };
            let set = proto::membershippb::ClusterMemberAttrSetRequest {
                member_id: member,
                member_attributes: Some(attributes),
            };
            let request = pb::InternalRaftRequest {
                cluster_member_attr_set: Some(set),
                ..Default::default()
            };
            Proposal::of(request, id, Scope::Anyone, nobody())
        };
        running.to_front.push_back(FrontInput::Propose(vec![proposal]));
    }

    /// A proposal was decided.
    pub(crate) fn decided(&mut self, at: usize, id: u64, result: Result<Given, Refusal>) {
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
                    let ttl = self.by_fast_clocks(granted as u64 * 1000);
                    let (lease, asked) = (*lease, waits.asked_ms);
                    self.record.leases.push(LeaseEvent::Granted { lease, asked, ttl });
                }
            }
            What::Clear { lease } if result.is_ok() => {
                // As node does: the lease may have ended meanwhile.
                let lease = *lease;
                if let Some(running) = self.machines[at].running.as_mut() {
                    let led_in = running.front.standing().term;
                    running.to_engine.push_back(ToEngine::KeepAlive {
                        client: place,
                        asked: id,
                        lease,
                        led_in,
                    });
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

    pub(crate) fn kept(&mut self, place: usize, asked: u64, kept: KeepAlive) {
        let waits = self.clients[place].waits.as_ref().filter(|waits| waits.id == asked);
        let Some(waits) = waits else { return };
        let What::KeepAlive { lease } = waits.what else { return };
        let (since, at) = (waits.asked_ms, waits.at);
        self.note(&format!("c{place} keep-alive of {lease}: {kept:?}"));
        let KeepAlive::Renewed { ttl_seconds, clear } = kept else {
            self.clients[place].waits = None;
            return;
        };
        let ttl = self.by_fast_clocks(ttl_seconds as u64 * 1000);
        let running = self.machines[at].running.as_mut();
        match (clear, running) {
            // As node does: the client is told when the checkpoint is cleared.
            (Some(checkpoint), Some(running)) => {
                let request = member::checkpoint_request(vec![checkpoint]);
                let scope = match running.front.standing() {
                    Standing { role: Role::Leader, term, .. } => Scope::LeaderOf(term),
                    _ => Scope::Anyone,
                };
                let id = running.client_ids[place].next_id();
                let proposal = Proposal::of(request, id, scope, nobody());
                running.to_front.push_back(FrontInput::Propose(vec![proposal]));
                if let Some(waits) = &mut self.clients[place].waits {
                    (waits.id, waits.what) = (id, What::Clear { lease });
                }
            }
            _ => {
                self.clients[place].waits = None;
                self.record.leases.push(LeaseEvent::KeptAlive { lease, asked: since, ttl });
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
    pub(crate) fn forget_requests(&mut self, at: usize) {
        for place in 0..self.clients.len() {
            let here = self.clients[place].waits.take_if(|waits| waits.at == at);
            if let Some(waits) = here {
                if self.is_cluster() {
                    // Others may decide it all the same.
                    if let Some(operation) = unknown(place, &waits, self.steps) {
                        self.abandoned.insert(waits.id, operation);
                    }
                    continue;
                }
                self.record.operations.extend(unknown(place, &waits, self.steps));
            }
        }
        if self.is_cluster() {
            return;
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
    let proposal = Proposal::of(request, id, Scope::Anyone, nobody());
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
