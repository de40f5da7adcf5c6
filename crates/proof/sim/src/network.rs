//! The network between members: streams that keep their order and break, posts that overtake each other, and links
//! that are cut, slow or bad for a while.
//!
//! As between real members (`docs/etcd/peer-protocol.md` 1), appends and everything else travel on two streams for each direction.
//! What is on a stream arrives in order, or not at all when the stream breaks; its sender then hears that the member
//! cannot be reached, and sends by post until there is a new stream. A post may be held up for a minute and arrive
//! when its receiver has been restarted. A cut link delivers nothing, and its streams break after some seconds.

use std::collections::{BTreeMap, VecDeque};

use consensus::Message;
use proto::raftpb::MessageType;
use types::MemberId;

use crate::chance::Chance;

/// Messages that wait on one stream, at most: what finds no room is dropped, and its sender is told.
const STREAM_MESSAGES_MAX: usize = 64;
/// A stream on which nothing arrives for so long breaks.
const PATIENCE_MS: u64 = 5000;

/// What reaches a member.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message of another member.
    Message(Box<Message>),
    /// A message to this member was lost.
    Unreachable(MemberId),
    /// The host of this member closed its connections.
    HostGone(MemberId),
}

/// What is wrong with some links, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// From whom to whom.
    pub(crate) links: Vec<(MemberId, MemberId)>,
    pub(crate) kind: TroubleKind,
    pub(crate) until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    Cut,
    Slow,
    Bad,
}

#[derive(Debug, Default)]
struct Stream {
    /// When each message arrives; never before the one ahead of it.
    messages: VecDeque<(u64, Message)>,
    /// Until then there is no stream, and posts are used.
    broken_until: u64,
}

type Link = (MemberId, MemberId);

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Network {
    streams: BTreeMap<(Link, bool), Stream>,
    posts: Vec<(u64, Link, Message)>,
    notices: Vec<(u64, MemberId, Arrival)>,
    troubles: Vec<Trouble>,
    /// All is well: no stream breaks.
    calm: bool,
}

impl Network {
    /// Something is wrong for a while.
    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
    }

    /// Nothing is wrong any more.
    pub(crate) fn heal(&mut self) {
        self.troubles.clear();
        self.calm = true;
    }

    pub(crate) fn is_cut(&self, from: MemberId, to: MemberId) -> bool {
        self.has(TroubleKind::Cut, (from, to))
    }

    fn has(&self, kind: TroubleKind, link: Link) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind == kind && trouble.links.contains(&link))
    }

    /// Takes what a member sends.
    pub(crate) fn send(&mut self, messages: Vec<Message>, now_ms: u64, chance: &mut Chance) {
        for message in messages {
            self.send_one(message, now_ms, chance);
        }
    }

    fn send_one(&mut self, message: Message, now_ms: u64, chance: &mut Chance) {
        let link = (message.from(), message.to());
        let (slow, bad) = (self.has(TroubleKind::Slow, link), self.has(TroubleKind::Bad, link));
        let delay = if slow { chance.between(100, 1500) } else { chance.between(0, 8) };
        // Nobody posts a proposal twice: it would be made twice.
        let may_double = message.r#type() != MessageType::MsgProp;
        if may_double && chance.one_in(60) {
            let held_up = if chance.one_in(8) { 60_000 } else { 3000 };
            let at = now_ms + chance.between(0, held_up);
            self.posts.push((at, link, message.clone()));
        }
        let is_append = message.r#type() == MessageType::MsgApp;
        let breaks = chance.one_in(if bad { 6 } else { 300 }) && !self.calm;
        let stream = self.streams.entry((link, is_append)).or_default();
        if now_ms < stream.broken_until {
            if bad && chance.one_in(3) {
                self.notices.push((now_ms + delay, link.0, Arrival::Unreachable(link.1)));
            } else {
                self.posts.push((now_ms + delay + chance.between(0, 60), link, message));
            }
            return;
        }
        let at = (now_ms + delay).max(stream.messages.back().map_or(0, |(at, _)| *at));
        if stream.messages.len() < STREAM_MESSAGES_MAX {
            stream.messages.push_back((at, message));
        } else {
            self.notices.push((now_ms, link.0, Arrival::Unreachable(link.1)));
        }
        if breaks {
            stream.broken_until = now_ms + chance.between(100, 1000);
            stream.messages.clear();
            self.notices.push((now_ms, link.0, Arrival::Unreachable(link.1)));
        }
    }

    /// This member's process is gone, and with it all connections; others may be told by its host.
    pub(crate) fn gone(&mut self, member: MemberId, others: &[MemberId], now_ms: u64) {
        for other in others {
            if !self.is_cut(member, *other) {
                self.notices.push((now_ms + 1, *other, Arrival::HostGone(member)));
            }
        }
        for (((_, to), _), stream) in &mut self.streams {
            if *to == member {
                stream.messages.clear();
                stream.broken_until = now_ms + 100;
            }
        }
    }

    /// The receiver was not there.
    pub(crate) fn refused(&mut self, from: MemberId, to: MemberId, now_ms: u64) {
        self.notices.push((now_ms, from, Arrival::Unreachable(to)));
    }

    /// What arrives now, and where.
    pub(crate) fn arrived(&mut self, now_ms: u64) -> Vec<(MemberId, Arrival)> {
        self.troubles.retain(|trouble| now_ms < trouble.until);
        let mut arrived = Vec::new();
        let mut broken = Vec::new();
        let cut: Vec<Link> = self
            .troubles
            .iter()
            .filter(|trouble| trouble.kind == TroubleKind::Cut)
            .flat_map(|trouble| trouble.links.iter().copied())
            .collect();
        for ((link, _), stream) in &mut self.streams {
            if cut.contains(link) {
                let stuck =
                    stream.messages.front().is_some_and(|(at, _)| at + PATIENCE_MS < now_ms);
                if stuck {
                    stream.messages.clear();
                    stream.broken_until = now_ms + 100;
                    broken.push(*link);
                }
                continue;
            }
            while let Some((_, message)) = stream.messages.pop_front_if(|(at, _)| *at <= now_ms) {
                arrived.push((link.1, Arrival::Message(Box::new(message))));
            }
        }
        for (_, link, message) in self.posts.extract_if(.., |(at, ..)| *at <= now_ms) {
            if cut.contains(&link) {
                broken.push(link);
            } else {
                arrived.push((link.1, Arrival::Message(Box::new(message))));
            }
        }
        arrived.extend(broken.into_iter().map(|(from, to)| (from, Arrival::Unreachable(to))));
        let notices = self.notices.extract_if(.., |(at, ..)| *at <= now_ms);
        arrived.extend(notices.map(|(_, to, notice)| (to, notice)));
        arrived
    }
}

/// A message in few words.
pub(crate) fn told(message: &Message) -> String {
    let mut text = format!("{:?} term {}", message.r#type(), message.term());
    let numbers = [
        ("index", message.index()),
        ("of term", message.log_term()),
        ("commit", message.commit()),
        ("hint", message.reject_hint()),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        text.push_str(&format!(" {name} {number}"));
    }
    if !message.entries.is_empty() {
        text.push_str(&format!(" +{}", message.entries.len()));
    }
    if message.reject() {
        text.push_str(" rejected");
    }
    text
}
