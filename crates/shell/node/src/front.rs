//! The front and who may use it: its own thread, which gathers what was sent, and any thread that finds it idle.
//!
//! A step never waits for the disk. A group that is written here (see [`LogDoor::claim`]) is written after the
//! front was let go, so others may take steps meanwhile; the claim on the log keeps the groups in their order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use member::{ApplyingInput as Do, Front, FrontEffect, FrontInput, Gathered, RequestIds};
use types::Refusal;

use crate::Event;
use crate::door::EngineDoor;
use crate::engine::EngineMessage;
use crate::lane::LaneMessage;
use crate::log::{Claim, LogDoor, Patience};
use crate::shared::Shared;
use crate::upkeep::UpkeepJob;

/// What reaches the front's thread.
#[derive(Debug)]
pub(crate) enum FrontMessage {
    Do(FrontInput),
    Stop,
}

/// Messages gathered into one step, so that a flood of proposals cannot starve the rest.
const MESSAGES_PER_STEP_MAX: usize = 1024;

/// The way to the front's thread.
pub(crate) struct FrontSender {
    sender: Sender<FrontMessage>,
    /// Messages on their way to its thread: nobody may overtake them.
    waiting: AtomicUsize,
}

/// The front's thread has ended, and the member with it.
#[derive(Debug)]
pub(crate) struct FrontGone;

impl FrontSender {
    pub(crate) fn new(sender: Sender<FrontMessage>) -> FrontSender {
        FrontSender { sender, waiting: AtomicUsize::new(0) }
    }

    pub(crate) fn send(&self, message: FrontMessage) -> Result<(), FrontGone> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.sender.send(message).map_err(|_| FrontGone)
    }

    fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }
}

/// A front that several threads may use, one at a time.
pub(crate) struct FrontRef {
    state: Mutex<State>,
    log: LogDoor,
    engine: EngineDoor,
    upkeep: Sender<UpkeepJob>,
    shared: Arc<Shared>,
}

/// What others may hold of a front without keeping it.
pub(crate) type WeakFront = Weak<FrontRef>;

struct State {
    front: Front,
    /// It was told to stop: nobody may use it any more.
    stopped: bool,
}

/// A front that its user has to itself.
pub(crate) struct FrontNow<'a> {
    whole: &'a FrontRef,
    state: MutexGuard<'a, State>,
}

impl FrontRef {
    pub(crate) fn new(
        front: Front,
        log: LogDoor,
        engine: EngineDoor,
        upkeep: Sender<UpkeepJob>,
        shared: Arc<Shared>,
    ) -> Arc<FrontRef> {
        let state = Mutex::new(State { front, stopped: false });
        Arc::new(FrontRef { state, log, engine, upkeep, shared })
    }

    /// The front, if nobody has it at this moment, it has not stopped, and this message may be its next.
    ///
    /// A read may overtake whatever is on its way to the front: what was acknowledged before it was asked is
    /// committed, and the front knows that already. So no read waits for a disk for which the front's thread
    /// waits. Nothing else overtakes anything.
    pub(crate) fn now(&self, next: &FrontMessage) -> Option<FrontNow<'_>> {
        let may_overtake = matches!(next, FrontMessage::Do(FrontInput::Read { .. }));
        if !may_overtake && !self.shared.front.is_idle() {
            return None;
        }
        let state = self.state.try_lock().ok().filter(|state| !state.stopped)?;
        Some(FrontNow { whole: self, state })
    }

    /// Runs until told to stop. A poisoned lock means that another thread has panicked, and the process is
    /// ending.
    pub(crate) fn run(&self, inbox: &Receiver<FrontMessage>) {
        let Ok(mut state) = self.state.lock() else { return };
        let effects = state.front.start();
        let patience = state.patience();
        self.follow(state, effects, patience);
        while let Ok(first) = inbox.recv() {
            let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(MESSAGES_PER_STEP_MAX);
            let mut count = 0;
            let messages = std::iter::once(first).chain(more).inspect(|_| count += 1);
            let Ok(mut state) = self.state.lock() else { return };
            let (effects, stop) = state.take(messages, &self.shared);
            self.shared.front.waiting.fetch_sub(count, Ordering::AcqRel);
            state.stopped = stop;
            let patience = state.patience();
            self.follow(state, effects, patience);
            if stop {
                return;
            }
        }
    }

    /// Does what a step asked for, and what follows from that, as far as it is done on this thread.
    fn follow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut effects: Vec<FrontEffect>,
        patience: Patience,
    ) {
        loop {
            let mut claim = None;
            // All of it is on its way before the front is let go, or another's steps could overtake it.
            while !effects.is_empty() {
                let mut next = Vec::new();
                for effect in effects {
                    self.effect(effect, patience, &mut claim, &mut next);
                }
                effects = next.into_iter().flat_map(|input| state.front.step(input)).collect();
            }
            let Some(claim) = claim else { return };
            let written = if claim.waits_for_the_disk() {
                drop(state);
                let written = claim.write();
                let Ok(again) = self.state.lock() else { return };
                state = again;
                written
            } else {
                claim.write()
            };
            let Some(number) = written else { return };
            effects = state.front.step(FrontInput::Persisted { number });
        }
    }

    /// A thread that has ended is on its way down with the whole member; nothing more is owed to it.
    fn effect<'a>(
        &'a self,
        effect: FrontEffect,
        patience: Patience,
        claim: &mut Option<Claim<'a>>,
        next: &mut Vec<FrontInput>,
    ) {
        let shared = &self.shared;
        match effect {
            FrontEffect::Log(input) => self.log.claim(input, patience, claim),
            FrontEffect::Send(messages) => shared.peers.send(messages),
            FrontEffect::SnapshotUnused { index } => {
                let file = member::spooled(&shared.snap_dir, index);
                drop(self.upkeep.send(UpkeepJob::RemoveFile(file)));
            }
            FrontEffect::Applying(Do::Apply(entries)) => {
                let Some((index, changes)) = self.engine.apply(entries) else { return };
                if shared.front.is_idle() {
                    next.push(FrontInput::Applied { index, changes });
                } else {
                    // What the engine's thread applied before may still be on its way here.
                    let applied = FrontInput::Applied { index, changes };
                    let _ = shared.front.send(FrontMessage::Do(applied));
                }
            }
            FrontEffect::Applying(Do::Standing(standing)) => {
                let _ = shared.engine.send(EngineMessage::Do(Do::Standing(standing)));
                shared.report.report(Event::Standing(standing));
            }
            FrontEffect::Applying(input) => drop(shared.engine.send(EngineMessage::Do(input))),
            FrontEffect::ReadReady { tickets, index } => {
                for ticket in tickets {
                    let message = LaneMessage::ReadReady { ticket, index };
                    shared.lanes.send(shared.lanes.of_ticket(ticket), message);
                }
            }
            FrontEffect::Refuse { id, refusal } => self.refuse(id, refusal),
            FrontEffect::LogLost(refused) => {
                let error = refused.to_string();
                shared.report.report(Event::Fatal { what: "following the leader", error });
            }
            FrontEffect::Standing(standing) => {
                let before = shared.standing.load();
                if standing.leader != 0 && standing.leader != before.leader {
                    shared.led_since_ms.store(shared.now_ms().max(1), Ordering::Release);
                }
                shared.standing.store(standing);
            }
        }
    }

    fn refuse(&self, id: u64, refusal: Refusal) {
        self.shared.metrics.server.proposals_failed.inc();
        if let Some(lane) = RequestIds::lane(self.shared.member, id, self.shared.lanes.max()) {
            self.shared.lanes.send(lane, LaneMessage::Decided(vec![(id, Err(refusal))]));
        }
    }
}

impl FrontNow<'_> {
    /// Takes one step and does what follows. With long patience a group that is alone is written, and
    /// waited for, on this thread.
    pub(crate) fn step(mut self, message: FrontMessage, patience: Patience) {
        let (effects, _) = self.state.take(std::iter::once(message), &self.whole.shared);
        self.whole.follow(self.state, effects, patience);
    }
}

impl State {
    /// With others in the cluster no thread that waits for the disk may be the one whose heart beats.
    fn patience(&self) -> Patience {
        if self.front.is_alone() { Patience::Short } else { Patience::None }
    }

    /// Shows what a leader knows of the others.
    fn publish(&self, shared: &Shared) {
        let progress = self.front.progress();
        if !progress.is_empty() || !shared.progress.load().is_empty() {
            shared.progress.store(Arc::new(progress));
        }
        if let Some(ticks) = self.front.quorum_silence() {
            let tick_ms = u64::try_from(shared.config.heartbeat.as_millis()).unwrap_or(u64::MAX);
            let heard = shared.now_ms().saturating_sub(ticks.saturating_mul(tick_ms));
            shared.quorum_heard_ms.store(heard, Ordering::Release);
        }
    }

    /// One step for everything that arrived; whether it was told to stop.
    fn take(
        &mut self,
        messages: impl Iterator<Item = FrontMessage>,
        shared: &Shared,
    ) -> (Vec<FrontEffect>, bool) {
        let mut stop = false;
        let inputs = messages.map_while(|message| match message {
            FrontMessage::Do(input) => Some(input),
            FrontMessage::Stop => {
                stop = true;
                None
            }
        });
        let inputs = inputs.inspect(|input| {
            if let FrontInput::Received(message) = input {
                shared.received.leave(message);
            }
        });
        let Gathered { effects, ticked } = self.front.step_all(inputs);
        if ticked {
            self.publish(shared);
        }
        (effects, stop)
    }
}
