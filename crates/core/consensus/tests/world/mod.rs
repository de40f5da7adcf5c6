//! Several members over a network and disks that do what they are told.
//!
//! Each machine has a disk that holds what was synced, groups that were asked to be written and are not yet, and a
//! state that is simply the list of entries applied. After each step the judges of `judge.rs` look at all of it.
#![allow(dead_code, reason = "each test uses the part it needs")]

pub mod judge;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{
    Boot, Config, Consensus, LogRead, Message, Output, Persist, Read, RefusedMessage, Role,
    SnapshotPoint,
};
use holdfast_consensus as consensus;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType, MessageType};
use types::{ConfState, Entry, EntryKind, HardState};

use judge::Judge;

/// What a member's log holds, synced.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub start: (u64, u64),
    pub entries: Vec<Entry>,
    /// The newest snapshot taken from another member.
    pub snapshot: Option<SnapshotPoint>,
}

impl Disk {
    pub fn write(&mut self, persist: &Persist) {
        if let Some(point) = &persist.snapshot {
            self.start = (point.index, point.term);
            self.entries.clear();
            self.snapshot = Some(point.clone());
        }
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        if let Some(first) = persist.entries.first() {
            let keep =
                first.index.checked_sub(self.start.0 + 1).expect("entries are behind the start");
            assert!(keep as usize <= self.entries.len(), "entries leave no gap");
            self.entries.truncate(keep as usize);
            self.entries.extend(persist.entries.iter().cloned());
        }
    }

    pub fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.start.0 + 1)? as usize)
    }

    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.start.0 { Some(self.start.1) } else { self.entry(index).map(|e| e.term) }
    }

    fn forget_to(&mut self, index: u64) {
        if let Some(term) = self.term(index).filter(|_| self.start.0 < index) {
            self.entries.drain(..(index - self.start.0) as usize);
            self.start = (index, term);
        }
    }
}

/// One member and what belongs to it.
pub struct Machine {
    pub config: Config,
    pub consensus: Option<Consensus>,
    pub disk: Disk,
    /// Asked to be written, in order, and not yet synced.
    pub writing: VecDeque<Persist>,
    pub disk_stalls: bool,
    pub applying: VecDeque<Entry>,
    pub apply_stalls: bool,
    pub applied: u64,
    pub conf_state: ConfState,
    pub removed: BTreeSet<u64>,
    pub reads: Vec<Read>,
    /// What the test should hear of.
    pub role: (u64, u64, Role),
    file_reads: Vec<LogRead>,
}

impl Machine {
    /// The log as it will be when all writes are done.
    pub fn log(&self) -> Disk {
        let mut disk = self.disk.clone();
        self.writing.iter().for_each(|persist| disk.write(persist));
        disk
    }

    pub fn is_up(&self) -> bool {
        self.consensus.is_some()
    }
}

/// All members.
pub struct World {
    pub machines: BTreeMap<u64, Machine>,
    /// Messages on their way, oldest first.
    pub flying: VecDeque<Message>,
    /// Ways on which nothing arrives.
    pub cut: BTreeSet<(u64, u64)>,
    pub judge: Judge,
    /// What happened, for the scenarios.
    pub events: Vec<String>,
    /// Configurations by the index at which they came to be.
    confs: BTreeMap<u64, ConfState>,
}

pub fn kind(message: &Message) -> MessageType {
    message.r#type()
}

impl World {
    /// A cluster of members that voted for nobody yet.
    pub fn new(voters: &[u64], learners: &[u64], habits: impl Fn(&mut Config)) -> World {
        let conf_state = ConfState { voters: voters.into(), learners: learners.into() };
        let mut world = World {
            machines: BTreeMap::new(),
            flying: VecDeque::new(),
            cut: BTreeSet::new(),
            judge: Judge::default(),
            events: Vec::new(),
            confs: BTreeMap::from([(0, conf_state.clone())]),
        };
        for id in voters.iter().chain(learners) {
            world.join(*id, conf_state.clone(), &habits);
        }
        world
    }

    /// Starts a member with an empty log.
    pub fn join(&mut self, id: u64, conf_state: ConfState, habits: &impl Fn(&mut Config)) {
        let mut config = Config::new(id, 1);
        habits(&mut config);
        let machine = Machine {
            config,
            consensus: None,
            disk: Disk::default(),
            writing: VecDeque::new(),
            disk_stalls: false,
            applying: VecDeque::new(),
            apply_stalls: false,
            applied: 0,
            conf_state,
            removed: BTreeSet::new(),
            reads: Vec::new(),
            role: (0, 0, Role::Follower),
            file_reads: Vec::new(),
        };
        self.machines.insert(id, machine);
        self.start(id);
    }

    pub fn machine(&mut self, id: u64) -> &mut Machine {
        self.machines.get_mut(&id).expect("a member of the world")
    }

    pub fn consensus(&mut self, id: u64) -> &mut Consensus {
        self.machine(id).consensus.as_mut().expect("the member is up")
    }

    pub fn is_up(&self, id: u64) -> bool {
        self.machines.get(&id).is_some_and(Machine::is_up)
    }

    /// What is not synced is lost, and what was on its way to the member too.
    pub fn crash(&mut self, id: u64) {
        let machine = self.machine(id);
        machine.consensus = None;
        machine.writing.clear();
        machine.applying.clear();
        machine.file_reads.clear();
        machine.reads.clear();
        machine.role = (0, 0, Role::Follower);
    }

    /// Starts from what the disk holds. Like a store that syncs lazily, the state may be newer than the log's commit.
    pub fn start(&mut self, id: u64) {
        let machine = self.machine(id);
        let boot = Boot {
            hard_state: machine.disk.hard_state,
            conf_state: machine.conf_state.clone(),
            removed: machine.removed.clone(),
            start: machine.disk.start,
            entries: machine.disk.entries.clone(),
            applied: machine.applied,
        };
        machine.consensus = Some(Consensus::new(&machine.config, boot).expect("a log of ours"));
        self.follow(id);
    }

    /// Does something to a member and all that follows from it there.
    pub fn on<T>(&mut self, id: u64, what: impl FnOnce(&mut Consensus) -> T) -> T {
        let done = what(self.consensus(id));
        self.follow(id);
        done
    }

    /// Takes what a member asks for until it asks for nothing more.
    pub fn follow(&mut self, id: u64) {
        loop {
            let Some(consensus) = self.machine(id).consensus.as_mut() else { return };
            let Some(output) = consensus.output() else { break };
            self.take(id, output);
            self.progress(id);
        }
        self.note_role(id);
        Judge::look(self);
    }

    fn take(&mut self, id: u64, output: Output) {
        let Output { persist, messages, committed, reads, log_reads } = output;
        let machine = self.machines.get_mut(&id).expect("a member of the world");
        for message in &messages {
            self.judge.leaves(machine, message);
        }
        machine.writing.extend(persist);
        machine.applying.extend(committed);
        for read in &reads {
            self.events.push(format!("{id}: read {} at {}", read.context, read.index));
        }
        machine.reads.extend(reads);
        machine.file_reads.extend(log_reads);
        self.flying.extend(messages);
    }

    /// Disk and applying half, unless they stall.
    pub fn progress(&mut self, id: u64) {
        if !self.machine(id).disk_stalls {
            self.sync(id, usize::MAX);
        }
        if !self.machine(id).apply_stalls {
            self.apply(id, usize::MAX);
        }
        self.read_files(id);
    }

    /// The log's files answer.
    fn read_files(&mut self, id: u64) {
        let machine = self.machines.get_mut(&id).expect("a member of the world");
        let Some(consensus) = machine.consensus.as_mut() else { return };
        for read in machine.file_reads.drain(..) {
            let entries = (read.first..=read.last).map_while(|at| machine.disk.entry(at)).cloned();
            let mut bytes = 0;
            let fits = |entry: &Entry| {
                let first = bytes == 0;
                bytes += entry.data.len() as u64 + 1;
                first || bytes <= read.bytes_max
            };
            consensus.log_read(read.ticket, entries.take_while(fits).collect());
        }
    }

    /// Syncs so many groups.
    pub fn sync(&mut self, id: u64, count: usize) {
        for _ in 0..count {
            let machine = self.machines.get_mut(&id).expect("a member of the world");
            let Some(consensus) = machine.consensus.as_mut() else { return };
            let Some(persist) = machine.writing.pop_front() else { return };
            machine.disk.write(&persist);
            if let Some(point) = &persist.snapshot
                && machine.applied < point.index
            {
                machine.applied = point.index;
                machine.conf_state = point.conf_state.clone();
                machine.applying.clear();
                self.events.push(format!("{id}: installs the snapshot at {}", point.index));
            }
            consensus.persisted(persist.number);
        }
    }

    /// Applies so many entries.
    pub fn apply(&mut self, id: u64, count: usize) {
        for _ in 0..count {
            let machine = self.machines.get_mut(&id).expect("a member of the world");
            let Some(consensus) = machine.consensus.as_mut() else { return };
            let Some(entry) = machine.applying.pop_front() else { return };
            assert_eq!(entry.index, machine.applied + 1, "entries are applied in order, each once");
            self.judge.applies(id, &entry);
            let index = entry.index;
            let mut shown = String::from_utf8_lossy(&entry.data).into_owned();
            if entry.kind == EntryKind::ConfChange {
                let change = ConfChange::decode(entry.data).expect("the guard looked at it");
                let changed = consensus.apply_change(Some(&change));
                machine.conf_state = changed.expect("it was looked at before it was proposed");
                if change.r#type() == ConfChangeType::ConfChangeRemoveNode {
                    machine.removed.insert(change.node_id());
                }
                self.confs.insert(index, machine.conf_state.clone());
                let ConfState { voters, learners } = &machine.conf_state;
                shown = format!("voters {voters:?} learners {learners:?}");
            }
            machine.applied = index;
            consensus.applied(index);
            if !shown.is_empty() {
                self.events.push(format!("{id}: applies {index} {shown}"));
            }
        }
    }

    fn note_role(&mut self, id: u64) {
        let machine = self.machines.get_mut(&id).expect("a member of the world");
        let Some(consensus) = &machine.consensus else { return };
        let standing = consensus.standing();
        let now = (standing.term, standing.leader, standing.role);
        if now != machine.role {
            machine.role = now;
            self.events.push(format!("{id}: {}", role(now)));
        }
    }

    /// Delivers the message at this place of the queue, unless its way is cut or its receiver down.
    pub fn deliver(&mut self, at: usize) -> Result<(), RefusedMessage> {
        let mut message = self.flying.remove(at).expect("a message on its way");
        let (from, to) = (message.from(), message.to());
        let snapshot = kind(&message) == MessageType::MsgSnap;
        if self.cut.contains(&(from, to)) || !self.is_up(to) {
            self.flying.push_front(message);
            self.lose(0);
            return Ok(());
        }
        if snapshot {
            self.fill_snapshot(from, &mut message);
        }
        let taken = self.on(to, |consensus| consensus.step(message));
        if snapshot && self.is_up(from) {
            self.on(from, |consensus| consensus.snapshot_sent(to, true));
        }
        if let Err(refused) = &taken {
            self.events.push(format!("{to}: refused: {refused}"));
        }
        taken
    }

    /// The message at this place of the queue is lost. Of a snapshot its sender hears.
    pub fn lose(&mut self, at: usize) {
        let message = self.flying.remove(at).expect("a message on its way");
        if kind(&message) == MessageType::MsgSnap && self.is_up(message.from()) {
            self.on(message.from(), |consensus| consensus.snapshot_sent(message.to(), false));
        }
    }

    /// A snapshot is made of what the sender has applied when it is sent.
    fn fill_snapshot(&mut self, from: u64, message: &mut Message) {
        let Some(machine) = self.machines.get(&from).filter(|machine| machine.is_up()) else {
            return;
        };
        let Some(metadata) = message.snapshot.as_mut().and_then(|s| s.metadata.as_mut()) else {
            return;
        };
        if let Some(term) = machine.disk.term(machine.applied) {
            metadata.index = Some(machine.applied);
            metadata.term = Some(term);
            let ConfState { voters, learners } = machine.conf_state.clone();
            let state = metadata.conf_state.get_or_insert_default();
            (state.voters, state.learners) = (voters, learners);
        }
    }

    /// Delivers everything, in order, until nothing is on its way.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while !self.flying.is_empty() {
            let _ = self.deliver(0);
            steps += 1;
            assert!(steps < 100_000, "the members do not come to rest");
        }
    }

    /// Lets time pass for all that are up.
    pub fn tick_all(&mut self) {
        for id in self.machines.keys().copied().collect::<Vec<_>>() {
            if self.is_up(id) {
                self.on(id, Consensus::tick);
            }
        }
    }

    /// Lets the log's files go of what was applied up to here.
    pub fn forget(&mut self, id: u64, index: u64) {
        let machine = self.machine(id);
        let index = index.min(machine.applied).min(machine.disk.last());
        if machine.writing.is_empty() {
            machine.disk.forget_to(index);
            self.on(id, |consensus| consensus.forget_to(index));
        }
    }

    /// The highest index that anybody has applied.
    pub fn leader(&self) -> Option<u64> {
        let leads = |machine: &&Machine| {
            machine.consensus.as_ref().is_some_and(|c| c.standing().role == Role::Leader)
        };
        let by_term = |machine: &&Machine| machine.role.0;
        self.machines.values().filter(leads).max_by_key(by_term).map(|machine| machine.config.id)
    }
}

pub fn role((term, leader, role): (u64, u64, Role)) -> String {
    match (role, leader) {
        (Role::Leader, _) => format!("leader of term {term}"),
        (Role::Follower, 0) => format!("follower of nobody in term {term}"),
        (Role::Follower, leader) => format!("follower of {leader} in term {term}"),
        (Role::PreCandidate, _) => format!("asks around in term {term}"),
        (Role::Candidate, _) => format!("candidate in term {term}"),
    }
}

pub fn change(kind: ConfChangeType, node: u64) -> (EntryKind, Bytes) {
    let change =
        ConfChange { r#type: Some(kind as i32), node_id: Some(node), ..Default::default() };
    (EntryKind::ConfChange, change.encode_to_vec().into())
}

pub fn put(text: &str) -> (EntryKind, Bytes) {
    (EntryKind::Normal, Bytes::copy_from_slice(text.as_bytes()))
}
