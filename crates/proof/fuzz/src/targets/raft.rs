//! Three members of a cluster of four, and a fourth that says anything: nothing it says ends a process, takes back
//! what was committed, or brings a log out of order. (That all apply the same cannot hold: the fourth may vote twice
//! and lead when nobody elected it.)

use std::collections::VecDeque;

use bytes::Bytes;
use consensus::{Boot, Config, Consensus, LogRead, Message, Persist, Scope};
use prost::Message as _;
use proto::raftpb::{self, ConfChange, MessageType, Snapshot, SnapshotMetadata};
use types::{ConfState, Entry, EntryKind, HardState};

/// The member that says anything.
const LIAR: u64 = 9;

pub(crate) fn raft(data: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(data);
    let mut world = World { members: (1..=3).map(Member::new).collect(), flying: VecDeque::new() };
    while let Some(op) = take(&mut bytes) {
        world.step(op, &mut bytes);
    }
}

fn take(bytes: &mut Bytes) -> Option<u8> {
    (!bytes.is_empty()).then(|| bytes.split_to(1)[0])
}

/// A number near this one, or far from all.
fn near(bytes: &mut Bytes, base: u64) -> u64 {
    match take(bytes).unwrap_or(8) {
        byte @ 0..200 => base.saturating_add(u64::from(byte % 16)).saturating_sub(8),
        byte @ 200..230 => u64::from(byte - 200),
        byte @ 230..240 => (1 << 62) - 5 + u64::from(byte - 230),
        byte => u64::MAX - u64::from(byte - 240),
    }
}

struct World {
    members: Vec<Member>,
    flying: VecDeque<Message>,
}

struct Member {
    config: Config,
    /// Nothing once it has stopped because of a change that cannot be made.
    consensus: Option<Consensus>,
    hard_state: HardState,
    start: (u64, u64),
    entries: Vec<Entry>,
    writing: VecDeque<Persist>,
    applying: VecDeque<Entry>,
    applied: u64,
    conf_state: ConfState,
    reads: Vec<LogRead>,
    newest: u64,
    committed: u64,
    term: u64,
}

impl Member {
    fn new(id: u64) -> Member {
        let conf_state = ConfState { voters: vec![1, 2, 3, LIAR], learners: Vec::new() };
        let config = Config {
            append_bytes_max: 64,
            inflight_messages_max: 4,
            uncommitted_bytes_max: 256,
            ..Config::new(id, 3)
        };
        let mut member = Member {
            config,
            consensus: None,
            hard_state: HardState::default(),
            start: (0, 0),
            entries: Vec::new(),
            writing: VecDeque::new(),
            applying: VecDeque::new(),
            applied: 0,
            conf_state,
            reads: Vec::new(),
            newest: 0,
            committed: 0,
            term: 0,
        };
        member.start();
        member
    }

    /// Starts from what is durable, as after a power cut.
    fn start(&mut self) {
        self.writing.clear();
        self.applying.clear();
        self.reads.clear();
        (self.newest, self.committed, self.term) = (0, 0, self.hard_state.term);
        let boot = Boot {
            hard_state: self.hard_state,
            conf_state: self.conf_state.clone(),
            start: self.start,
            entries: self.entries.clone(),
            applied: self.applied,
            ..Boot::default()
        };
        self.consensus = Some(Consensus::new(&self.config, boot).expect("what it wrote itself"));
    }

    fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    /// Takes what it asks for; looks at what must be true of one member whatever others say.
    fn collect(&mut self, flying: &mut VecDeque<Message>) {
        let Some(consensus) = self.consensus.as_mut() else { return };
        while let Some(output) = consensus.output() {
            flying.extend(output.messages);
            if let Some(persist) = output.persist {
                assert_eq!(persist.number, self.newest + 1, "groups are numbered in order");
                self.newest = persist.number;
                self.writing.push_back(persist);
            }
            self.applying.extend(output.committed);
            self.reads.extend(output.log_reads);
        }
        let standing = consensus.standing();
        assert!(self.committed <= standing.committed, "what is committed stays so");
        assert!(self.term <= standing.term, "a term never goes back");
        (self.committed, self.term) = (standing.committed, standing.term);
    }

    fn sync(&mut self) {
        let (Some(consensus), Some(persist)) = (self.consensus.as_mut(), self.writing.pop_front())
        else {
            return;
        };
        if let Some(point) = &persist.snapshot {
            self.start = (point.index, point.term);
            self.entries.clear();
            if self.applied < point.index {
                self.applied = point.index;
                self.conf_state = point.conf_state.clone();
                self.applying.clear();
            }
        }
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        if let Some(first) = persist.entries.first() {
            assert!(self.applied < first.index, "what is applied is never replaced");
            let keep = (first.index - self.start.0 - 1) as usize;
            assert!(keep <= self.entries.len(), "entries leave no gap");
            self.entries.truncate(keep);
            self.entries.extend(persist.entries);
        }
        consensus.persisted(persist.number);
    }

    fn apply(&mut self) {
        let (Some(consensus), Some(entry)) = (self.consensus.as_mut(), self.applying.pop_front())
        else {
            return;
        };
        assert_eq!(entry.index, self.applied + 1, "entries are applied in order, each once");
        if entry.kind == EntryKind::ConfChange {
            let change = ConfChange::decode(entry.data).expect("the guard looked at it");
            match consensus.apply_change(Some(&change)) {
                Ok(state) => self.conf_state = state,
                // A member that cannot follow stops, with words.
                Err(_) => {
                    self.consensus = None;
                    return;
                }
            }
        }
        self.applied = entry.index;
        consensus.applied(entry.index);
    }

    fn let_go(&mut self, forgets: bool, behind: u64) {
        let Some(consensus) = self.consensus.as_mut() else { return };
        let to = self.applied.saturating_sub(behind);
        if !forgets {
            consensus.release_to(to);
        } else if self.writing.is_empty() && self.start.0 < to {
            let at = (to - self.start.0) as usize;
            self.start = (to, self.entries[at - 1].term);
            self.entries.drain(..at);
            consensus.forget_to(to);
        }
    }

    /// The log's files answer, or have lost what was asked for.
    fn read_files(&mut self, good: bool) {
        let Some(consensus) = self.consensus.as_mut() else { return };
        for read in self.reads.drain(..) {
            let at = |index: u64| index.checked_sub(self.start.0 + 1).map(|at| at as usize);
            let found = match (at(read.first), at(read.last)) {
                (Some(first), Some(last)) if good => self.entries.get(first..=last),
                _ => None,
            };
            consensus.log_read(read.ticket, found.unwrap_or_default().to_vec());
        }
    }
}

impl World {
    fn step(&mut self, op: u8, bytes: &mut Bytes) {
        let at = usize::from(take(bytes).unwrap_or_default()) % 3;
        let message = match op % 16 {
            0..=4 => Some(self.said(at, bytes)),
            5 => raw(bytes),
            6 | 7 => self.delivered(bytes),
            _ => None,
        };
        if let Some(message) = message {
            let to = (message.to() as usize).checked_sub(1).unwrap_or(at);
            let Some(member) = self.members.get_mut(to) else { return };
            if let Some(consensus) = member.consensus.as_mut() {
                // Refused or not: it goes on.
                let _ = consensus.step(message);
            }
            return member.collect(&mut self.flying);
        }
        let arg = u64::from(take(bytes).unwrap_or_default());
        let member = &mut self.members[at];
        match op % 16 {
            8 => (0..=arg % 16).for_each(|_| {
                member.consensus.iter_mut().for_each(Consensus::tick);
            }),
            9 => member.sync(),
            10 => member.apply(),
            11 => drop(member.consensus.as_mut().map(|consensus| {
                let data = Bytes::copy_from_slice(&vec![b'x'; (arg % 40) as usize]);
                let _ = consensus.propose([(EntryKind::Normal, data)], Scope::Anyone);
                consensus.read_index(arg);
            })),
            12 => member.let_go(arg % 2 == 0, arg % 3),
            13 => member.read_files(arg % 4 != 0),
            14 if arg % 8 == 0 && member.consensus.is_some() => member.start(),
            _ => drop(member.consensus.as_mut().map(|consensus| match arg % 5 {
                0 => consensus.campaign(),
                1 => consensus.transfer(arg % 10),
                2 => consensus.unreachable(arg % 10),
                3 => consensus.leader_gone(arg % 10),
                _ => consensus.snapshot_sent(1 + arg % 3, arg % 2 == 0),
            })),
        }
        member.collect(&mut self.flying);
        while 64 < self.flying.len() {
            self.flying.pop_front();
        }
    }

    fn delivered(&mut self, bytes: &mut Bytes) -> Option<Message> {
        let at = usize::from(take(bytes).unwrap_or_default());
        let at = if at < 200 { 0 } else { at % self.flying.len().max(1) };
        self.flying.remove(at)
    }

    /// What the liar says: near enough to what this member knows to be believed now and then.
    fn said(&self, at: usize, bytes: &mut Bytes) -> Message {
        let member = &self.members[at];
        let last =
            member.last() + member.writing.iter().map(|p| p.entries.len() as u64).sum::<u64>();
        let kind = i32::from(take(bytes).unwrap_or_default() % 26);
        let from = match take(bytes).unwrap_or_default() % 16 {
            0 => 0,
            1 => 7,
            from @ 2..=4 => u64::from(from) - 1,
            _ => LIAR,
        };
        let term = near(bytes, member.term);
        let (index, commit) = (near(bytes, last), near(bytes, member.committed));
        let log_term = near(bytes, member.entries.last().map_or(0, |entry| entry.term));
        let flags = take(bytes).unwrap_or_default();
        let mut message = Message {
            r#type: Some(kind),
            to: Some(at as u64 + 1),
            from: Some(from),
            term: Some(term),
            index: Some(index),
            log_term: Some(log_term),
            commit: Some(commit),
            reject: Some(flags & 1 != 0),
            reject_hint: Some(if flags & 2 == 0 { index.saturating_sub(2) } else { term }),
            ..Message::default()
        };
        for n in 0..u64::from(flags >> 2 & 3) {
            message.entries.push(entry(bytes, index.wrapping_add(n + 1), term));
        }
        if flags & 16 != 0 {
            let len = usize::from(take(bytes).unwrap_or_default() % 20).min(bytes.len());
            message.context = Some(bytes.split_to(len));
        }
        if kind == MessageType::MsgSnap as i32 {
            let voters = (1..=u64::from(flags >> 5)).chain([LIAR]).collect();
            let conf_state = raftpb::ConfState { voters, ..Default::default() };
            let metadata = SnapshotMetadata {
                conf_state: Some(conf_state),
                index: Some(index),
                term: Some(log_term),
            };
            message.snapshot = Some(Snapshot { data: None, metadata: Some(metadata) });
        }
        message
    }
}

/// A message as it is on the wire.
fn raw(bytes: &mut Bytes) -> Option<Message> {
    let len = usize::from(take(bytes).unwrap_or_default()).min(bytes.len());
    Message::decode(bytes.split_to(len)).ok()
}

fn entry(bytes: &mut Bytes, index: u64, term: u64) -> raftpb::Entry {
    let shape = take(bytes).unwrap_or_default();
    let kind = match shape % 16 {
        0..=9 => 0,
        10..=13 => 1,
        kind => i32::from(kind) - 12,
    };
    let len = usize::from(shape >> 5).min(bytes.len());
    let data = match kind {
        1 if shape & 16 == 0 => {
            let change = take(bytes).unwrap_or_default();
            let (r#type, node_id) = (Some(i32::from(change % 5)), Some(u64::from(change >> 4)));
            ConfChange { r#type, node_id, ..ConfChange::default() }.encode_to_vec().into()
        }
        _ => bytes.split_to(len),
    };
    let term = if shape == 255 { near(bytes, term) } else { term };
    raftpb::Entry { r#type: Some(kind), term: Some(term), index: Some(index), data: Some(data) }
}
