//! The front's thread: gathers what came in, takes one step for all of it, and passes on what follows.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use member::{Front, FrontEffect, FrontInput, LogWork, Proposal, RequestIds, Stored};
use proto::raftpb::ConfChange;
use types::Refusal;

use crate::Event;
use crate::engine::{EngineDoor, EngineMessage};
use crate::lane::LaneMessage;
use crate::log::LogDoor;
use crate::shared::Shared;

/// What reaches the front's thread.
#[derive(Debug)]
pub(crate) enum FrontMessage {
    Propose(Vec<Proposal>),
    Read { ticket: u64 },
    Persisted { number: u64 },
    Applied { index: u64, changes: Vec<Option<ConfChange>> },
    Stored(Stored),
    Tick,
    Stop,
}

/// Messages gathered into one step, so that a flood of proposals cannot starve the rest.
const MESSAGES_PER_STEP_MAX: usize = 1024;

/// Runs until told to stop.
pub(crate) fn run(
    mut front: Front,
    inbox: &Receiver<FrontMessage>,
    log: &LogDoor,
    engine: &EngineDoor,
    shared: &Arc<Shared>,
) {
    let out = Out { shared, log, engine };
    out.effects(front.start());
    while let Ok(first) = inbox.recv() {
        let mut proposals = Vec::new();
        let mut effects = Vec::new();
        let mut stop = false;
        let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(MESSAGES_PER_STEP_MAX);
        for message in std::iter::once(first).chain(more) {
            let input = match message {
                FrontMessage::Propose(more) => {
                    proposals.extend(more);
                    continue;
                }
                FrontMessage::Read { ticket } => FrontInput::Read { ticket },
                FrontMessage::Persisted { number } => FrontInput::Persisted { number },
                FrontMessage::Applied { index, changes } => FrontInput::Applied { index, changes },
                FrontMessage::Stored(Stored { index, term, conf_state }) => {
                    FrontInput::Stored { index, term, conf_state }
                }
                FrontMessage::Tick => FrontInput::Ticked,
                FrontMessage::Stop => {
                    stop = true;
                    break;
                }
            };
            effects.extend(front.step(input));
        }
        if !proposals.is_empty() {
            effects.extend(front.step(FrontInput::Propose(proposals)));
        }
        out.effects(effects);
        if stop {
            return;
        }
    }
}

struct Out<'a> {
    shared: &'a Arc<Shared>,
    log: &'a LogDoor,
    engine: &'a EngineDoor,
}

impl Out<'_> {
    /// A thread that has ended is on its way down with the whole member; nothing more is owed to it.
    fn effects(&self, effects: Vec<FrontEffect>) {
        for effect in effects {
            match effect {
                FrontEffect::Persist(persist) => self.log.send(LogWork::Persist(persist)),
                FrontEffect::Mark { index, term, conf_state } => {
                    self.log.send(LogWork::Mark { index, term, conf_state });
                }
                // A lone member has nobody to send to.
                FrontEffect::Send(_) => {}
                FrontEffect::Apply(entries) => self.engine.apply(entries),
                FrontEffect::SyncStore => {
                    let _ = self.shared.engine.send(EngineMessage::SyncStore);
                }
                FrontEffect::ReadReady { tickets, index } => {
                    for ticket in tickets {
                        let message = LaneMessage::ReadReady { ticket, index };
                        self.shared.lanes.send(self.shared.lanes.of_ticket(ticket), message);
                    }
                }
                FrontEffect::Refuse { id, refusal } => self.refuse(id, refusal),
                FrontEffect::Standing(standing) => {
                    let before = self.shared.standing.load();
                    self.shared.standing.store(standing);
                    if (before.leader, before.term, before.role)
                        != (standing.leader, standing.term, standing.role)
                    {
                        let _ = self.shared.engine.send(EngineMessage::Standing(standing));
                        self.shared.report.report(Event::Standing(standing));
                    }
                }
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
