//! What goes wrong in a cluster besides disks and processes: links and threads.

use history::Violation;
use member::FrontInput;
use types::MemberId;

use crate::network::{Arrival, Trouble, TroubleKind, told};
use crate::running::Actor;
use crate::world::World;

/// Inputs that wait for a front, at most: what others send beyond is dropped, as their queues would.
const INBOX_MAX: usize = 300;

impl World {
    /// Something goes wrong that a lone member does not know.
    pub(crate) fn cluster_mishap(&mut self) -> Result<(), Violation> {
        let ids: Vec<MemberId> = self.machines.iter().map(|machine| machine.member).collect();
        let place = self.chance.below(ids.len());
        let (lasts, kind) = (self.chance.between(200, 12_000), self.chance.below(9));
        let until = self.now_ms + lasts;
        let others = ids.iter().copied().filter(|id| *id != ids[place]);
        let others: Vec<MemberId> = others.collect();
        if others.is_empty() {
            return Ok(());
        }
        let other = self.chance.pick(&others);
        let both = |other: &MemberId| [(ids[place], *other), (*other, ids[place])];
        let (kind, links) = match kind {
            0 => (TroubleKind::Cut, vec![(ids[place], other)]),
            1 => (TroubleKind::Cut, both(&other).to_vec()),
            2 => (TroubleKind::Cut, others.iter().flat_map(both).collect()),
            3 => {
                let side: Vec<bool> = ids.iter().map(|_| self.chance.one_in(2)).collect();
                let pairs = (0..ids.len()).flat_map(|a| (0..ids.len()).map(move |b| (a, b)));
                let apart = pairs.filter(|(a, b)| side[*a] != side[*b]);
                (TroubleKind::Cut, apart.map(|(a, b)| (ids[a], ids[b])).collect())
            }
            // Only to it, or only from it.
            4 => (TroubleKind::Cut, others.iter().map(|other| (*other, ids[place])).collect()),
            5 => (TroubleKind::Slow, others.iter().flat_map(both).collect()),
            6 => (TroubleKind::Bad, others.iter().flat_map(both).collect()),
            7 => {
                let all = [Actor::Front, Actor::Log, Actor::Engine, Actor::StoreSync];
                let actor = self.chance.pick(&all);
                self.machines[place].stalled = Some((actor, until));
                self.note(&format!("m{place}'s {actor:?} stalls for {lasts} ms"));
                return Ok(());
            }
            _ => {
                self.pause(place, lasts);
                return Ok(());
            }
        };
        if !self.may.network {
            return Ok(());
        }
        self.note(&format!("{kind:?} for {lasts} ms: {links:x?}"));
        self.network.trouble(Trouble { links, kind, until });
        Ok(())
    }

    /// A member does not run for a while, as often as not the leader; and it may take somewhat longer until others reach
    /// it again, as after the move of a virtual machine. Then it believes for a moment that it still leads.
    fn pause(&mut self, place: usize, lasts: u64) {
        let leader = self.leader().filter(|_| self.chance.one_in(2));
        let place = leader.unwrap_or(place);
        let until = self.now_ms + lasts;
        self.machines[place].paused_until = until;
        self.note(&format!("m{place} is paused for {lasts} ms"));
        if !self.may.network || self.chance.one_in(2) {
            return;
        }
        let here = self.machines[place].member;
        let others = self.machines.iter().map(|machine| machine.member).filter(|id| *id != here);
        let links = others.flat_map(|other| [(here, other), (other, here)]).collect();
        let until = until + self.chance.between(0, 3000);
        self.network.trouble(Trouble { links, kind: TroubleKind::Cut, until });
        self.note(&format!("and nobody reaches it until {until} ms"));
    }

    /// What comes over the network.
    pub(crate) fn deliver(&mut self) -> Result<(), Violation> {
        for (to, arrival) in self.network.arrived(self.now_ms) {
            let Some(place) = self.place_of(to) else { continue };
            let input = match arrival {
                Arrival::Message(message) => {
                    if !self.takes(place, &message)? {
                        continue;
                    }
                    FrontInput::Received(message)
                }
                Arrival::Unreachable(peer) => FrontInput::Unreachable { peer },
                Arrival::HostGone(_) if self.machines[place].go => continue,
                Arrival::HostGone(peer) => FrontInput::HostGone { peer },
            };
            if let Some(running) = &mut self.machines[place].running {
                running.to_front.push_back(input);
            }
        }
        Ok(())
    }

    /// Whether somebody takes a message that has arrived at a machine.
    fn takes(&mut self, place: usize, message: &consensus::Message) -> Result<bool, Violation> {
        let from = message.from();
        let machine = &self.machines[place];
        let full = machine.running.as_ref().is_none_or(|r| INBOX_MAX < r.to_front.len());
        if full {
            self.network.refused(from, message.to(), self.now_ms);
            return Ok(false);
        }
        let here = machine.member;
        let membership = machine.running.as_ref().map(|r| r.engine().applier().membership());
        let was_removed = membership.is_some_and(|members| members.was_removed(from));
        if was_removed && !self.network.is_cut(here, from) && self.chance.one_in(3) {
            // Its streams are refused with 410: it ends.
            if let Some(other) = self.place_of(from) {
                self.removed(other)?;
            }
        }
        let beats = matches!(
            message.r#type(),
            proto::raftpb::MessageType::MsgHeartbeat | proto::raftpb::MessageType::MsgHeartbeatResp
        );
        if !beats {
            self.note(&format!("m{place} gets from {from:x}: {}", told(message)));
        }
        Ok(true)
    }
}
