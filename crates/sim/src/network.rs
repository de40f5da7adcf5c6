//! The network between members: messages wait, get lost, come twice, overtake each other.
//!
//! A lone member sends nothing; the way is here for those that come.

use consensus::Message;
use types::MemberId;

use crate::chance::Chance;

/// Longest time a message is under way.
const DELAY_MS_MAX: u64 = 200;

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// When, to whom, what.
    flying: Vec<(u64, MemberId, Message)>,
}

impl Network {
    /// Takes what a member sends.
    pub(crate) fn send(&mut self, messages: Vec<Message>, now_ms: u64, chance: &mut Chance) {
        for message in messages {
            if chance.one_in(20) {
                continue;
            }
            if chance.one_in(20) {
                let at = now_ms + chance.between(0, DELAY_MS_MAX);
                self.flying.push((at, message.to(), message.clone()));
            }
            let at = now_ms + chance.between(0, DELAY_MS_MAX);
            self.flying.push((at, message.to(), message));
        }
    }

    /// What arrives now.
    pub(crate) fn arrived(&mut self, now_ms: u64) -> Vec<(MemberId, Message)> {
        let (arrived, flying) =
            std::mem::take(&mut self.flying).into_iter().partition(|(at, _, _)| *at <= now_ms);
        self.flying = flying;
        let arrived: Vec<(u64, MemberId, Message)> = arrived;
        arrived.into_iter().map(|(_, to, message)| (to, message)).collect()
    }
}
