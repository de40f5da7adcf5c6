//! Three fronts in one thread: whom a proposal may reach, what a silent disk leads to, how reads are asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{Boot, Config, Consensus, Message, Role, Scope};
use holdfast_member::{
    ApplyingInput, Front, FrontEffect, FrontInput, FrontOptions, LogInput, LogWork, Proposal,
    RequestIds, Run, Stored,
};
use prost::Message as _;
use proto::raftpb::{self, MessageType};
use types::{ConfState, Entry, EntryKind, Refusal};

const ELECTION_TICKS: u64 = 10;
const RUN: Run = Run { number: 3, unix_ms: 1_700_000_000_000 };

/// Members 1, 2 and 3, whose disks answer at once unless they are silent.
struct Three {
    fronts: BTreeMap<u64, Front>,
    inboxes: BTreeMap<u64, VecDeque<FrontInput>>,
    /// Groups that their silent disks have not written.
    unwritten: BTreeMap<u64, u64>,
    silent: BTreeSet<u64>,
    cut: BTreeSet<u64>,
    applied: BTreeMap<u64, Vec<Entry>>,
    refused: Vec<(u64, Refusal)>,
    reads: Vec<(u64, Vec<u64>, u64)>,
    contexts: Vec<Bytes>,
}

impl Three {
    fn new() -> Three {
        let members = 1..=3;
        let front = |id| {
            let conf_state = ConfState { voters: vec![1, 2, 3], learners: Vec::new() };
            let boot = Boot { conf_state, ..Boot::default() };
            let consensus = Consensus::new(&Config::new(id, 7), boot).expect("an empty log");
            let ids = RequestIds::new(id, RUN, 0, 1);
            (id, Front::new(consensus, options(), (id, ids), 0, 0))
        };
        Three {
            fronts: members.clone().map(front).collect(),
            inboxes: members.clone().map(|id| (id, VecDeque::new())).collect(),
            unwritten: BTreeMap::new(),
            silent: BTreeSet::new(),
            cut: BTreeSet::new(),
            applied: members.map(|id| (id, Vec::new())).collect(),
            refused: Vec::new(),
            reads: Vec::new(),
            contexts: Vec::new(),
        }
    }

    /// As [`Three::new`], and this one leads.
    fn led_by(id: u64) -> Three {
        let mut three = Three::new();
        for _ in 0..100 * ELECTION_TICKS {
            three.input(id, FrontInput::Ticked);
            if three.role(id) == Role::Leader {
                return three;
            }
        }
        panic!("only one has a clock, and it was not elected");
    }

    fn role(&self, id: u64) -> Role {
        self.fronts[&id].standing().role
    }

    fn input(&mut self, id: u64, input: FrontInput) {
        self.inboxes.get_mut(&id).expect("one of three").push_back(input);
        self.pump();
    }

    fn tick_all(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for id in 1..=3 {
                self.input(id, FrontInput::Ticked);
            }
        }
    }

    fn propose(&mut self, at: u64, id: u64, scope: Scope) {
        let proposal = Proposal { id, kind: EntryKind::Normal, data: name(id), scope };
        self.input(at, FrontInput::Propose(vec![proposal]));
    }

    fn pump(&mut self) {
        while let Some((id, input)) =
            self.inboxes.iter_mut().find_map(|(id, inbox)| Some((*id, inbox.pop_front()?)))
        {
            let effects = self.fronts.get_mut(&id).expect("one of three").step(input);
            effects.into_iter().for_each(|effect| self.effect(id, effect));
        }
    }

    fn effect(&mut self, id: u64, effect: FrontEffect) {
        match effect {
            FrontEffect::Log(LogInput::Work(LogWork::Persist(persist)))
                if self.silent.contains(&id) =>
            {
                self.unwritten.insert(id, persist.number);
            }
            FrontEffect::Log(LogInput::Work(LogWork::Persist(persist))) => {
                let number = persist.number;
                self.own(id, FrontInput::Persisted { number });
            }
            FrontEffect::Applying(ApplyingInput::Apply(entries)) => {
                let index = entries.last().expect("never none").index;
                self.applied.get_mut(&id).expect("one of three").extend(entries);
                self.own(id, FrontInput::Applied { index, changes: Vec::new() });
            }
            FrontEffect::Send(messages) => {
                messages.into_iter().for_each(|message| self.send(id, message));
            }
            FrontEffect::Refuse { id, refusal } => self.refused.push((id, refusal)),
            FrontEffect::ReadReady { tickets, index } => self.reads.push((id, tickets, index)),
            _ => {}
        }
    }

    fn own(&mut self, id: u64, input: FrontInput) {
        self.inboxes.get_mut(&id).expect("one of three").push_back(input);
    }

    fn send(&mut self, from: u64, message: Message) {
        if message.r#type() == MessageType::MsgReadIndex {
            self.contexts.extend(message.entries[0].data.clone());
        }
        let to = message.to();
        if !self.cut.contains(&from) && !self.cut.contains(&to) {
            self.own(to, FrontInput::Received(Box::new(message)));
        }
    }

    fn is_applied(&self, at: u64, proposal: u64) -> bool {
        self.applied[&at].iter().any(|entry| entry.data == name(proposal))
    }
}

fn name(proposal: u64) -> Bytes {
    Bytes::copy_from_slice(&proposal.to_be_bytes())
}

fn options() -> FrontOptions {
    FrontOptions {
        proposals_pending_max: 100,
        committed_applied_gap_max: 5000,
        reads_waiting_max: 4,
        read_retry_ticks: 5,
        leader_wait_ticks: 70,
        election_ticks: ELECTION_TICKS,
        snapshot_count: 10_000,
        catchup_entries: 5,
        log_bytes_max: 1 << 20,
        lagging_bytes_max: 1 << 20,
        log_file_bytes_max: 1 << 28,
        snapshot_hold_ticks: 300,
    }
}

/// Spec: a lease never ends early, whoever leads.
#[test]
fn what_a_leader_decided_is_never_given_to_the_next() {
    let mut three = Three::led_by(1);
    let term = three.fronts[&1].standing().term;
    three.propose(1, 10, Scope::LeaderOf(term));
    three.tick_all(1);
    assert!(three.is_applied(2, 10), "while it leads it decides");

    three.input(1, FrontInput::Transfer { to: 2 });
    three.tick_all(2);
    assert_eq!(three.role(2), Role::Leader);
    three.propose(1, 11, Scope::LeaderOf(term));
    three.propose(2, 12, Scope::LeaderOf(term));
    three.propose(1, 13, Scope::Anyone);
    three.tick_all(200);
    assert!(!three.is_applied(1, 11) && !three.is_applied(1, 12));
    assert!(three.is_applied(1, 13), "what anyone may take is passed on");
    let lost = |id| three.refused.contains(&(id, Refusal::LeaderChanged));
    assert!(lost(11) && lost(12), "{:?}", three.refused);
}

#[test]
fn a_leader_whose_disk_is_silent_hands_over_its_office() {
    let mut three = Three::led_by(1);
    three.tick_all(2);
    three.silent.insert(1);
    three.propose(1, 10, Scope::Anyone);
    assert!(three.is_applied(2, 10) || three.role(1) == Role::Leader);
    three.tick_all(ELECTION_TICKS + 5);
    assert_ne!(three.role(1), Role::Leader, "it leads without a disk");
    assert!(three.role(2) == Role::Leader || three.role(3) == Role::Leader);
}

#[test]
fn a_leader_whose_disk_is_silent_and_that_nobody_relieves_falls_silent_itself() {
    let mut three = Three::led_by(1);
    three.tick_all(2);
    three.silent.extend([1, 2, 3]);
    three.propose(1, 10, Scope::Anyone);
    three.tick_all(2 * ELECTION_TICKS + 3);
    // Nobody can vote without a disk; the others' answer again, and they do not wait for the first any more.
    three.silent = BTreeSet::from([1]);
    for id in [2, 3] {
        if let Some(number) = three.unwritten.remove(&id) {
            three.input(id, FrontInput::Persisted { number });
        }
    }
    three.tick_all(4 * ELECTION_TICKS);
    assert_ne!(three.role(1), Role::Leader);
    assert!(three.role(2) == Role::Leader || three.role(3) == Role::Leader);
}

#[test]
fn a_lone_members_disk_may_be_silent_as_long_as_it_likes() {
    let conf_state = ConfState { voters: vec![1], learners: Vec::new() };
    let boot = Boot { conf_state, ..Boot::default() };
    let consensus = Consensus::new(&Config::new(1, 7), boot).expect("an empty log");
    let ids = RequestIds::new(1, RUN, 0, 1);
    let mut front = Front::new(consensus, options(), (1, ids), 0, 0);
    let effects = front.start();
    let number = |effects: &[FrontEffect]| {
        effects.iter().find_map(|effect| match effect {
            FrontEffect::Log(LogInput::Work(LogWork::Persist(persist))) => Some(persist.number),
            _ => None,
        })
    };
    let mut written = number(&effects);
    while let Some(number) = written.take() {
        let effects = front.step(FrontInput::Persisted { number });
        written = effects.iter().rev().find_map(|effect| match effect {
            FrontEffect::Log(LogInput::Work(LogWork::Persist(persist))) => Some(persist.number),
            _ => None,
        });
    }
    assert_eq!(front.standing().role, Role::Leader);
    let proposal = Proposal { id: 5, kind: EntryKind::Normal, data: name(5), scope: Scope::Anyone };
    front.step(FrontInput::Propose(vec![proposal]));
    for _ in 0..20 * ELECTION_TICKS {
        front.step(FrontInput::Ticked);
    }
    assert_eq!(front.standing().role, Role::Leader);
}

#[test]
fn questions_have_names_that_no_other_run_and_no_other_member_uses() {
    let mut three = Three::led_by(1);
    three.tick_all(1);
    for member in [2, 3] {
        for ticket in 0..3 {
            three.input(member, FrontInput::Read { ticket });
        }
    }
    assert_eq!(three.reads.len(), 6);
    let names: BTreeSet<&Bytes> = three.contexts.iter().collect();
    assert_eq!(names.len(), 6, "{names:x?}");
    assert!(names.iter().all(|name| 1 << 32 < u64::from_be_bytes(name[..].try_into().unwrap())));
}

#[test]
fn reads_that_nobody_can_answer_are_bounded_and_forgotten() {
    let mut three = Three::new();
    three.cut.insert(3);
    for ticket in 0..100 {
        three.input(3, FrontInput::Read { ticket });
    }
    three.cut.clear();
    three.tick_all(60);
    let answered: Vec<u64> =
        three.reads.iter().flat_map(|(_, tickets, _)| tickets.clone()).collect();
    assert_eq!(answered, [96, 97, 98, 99], "the newest, as many as may wait");

    three.cut.insert(3);
    three.tick_all(40);
    three.reads.clear();
    three.input(3, FrontInput::Read { ticket: 7 });
    three.tick_all(options().leader_wait_ticks + 2);
    three.cut.clear();
    three.tick_all(60);
    assert!(three.reads.is_empty(), "whoever asked has been told long ago: {:?}", three.reads);
}

#[test]
fn the_log_is_kept_for_a_follower_that_answers() {
    let mut three = Three::led_by(1);
    three.tick_all(2);
    for id in 0..100 {
        three.propose(1, 1000 + id, Scope::Anyone);
    }
    // The third is a moment behind when the store has all of it.
    three.cut.insert(3);
    for id in 0..50 {
        three.propose(1, 2000 + id, Scope::Anyone);
    }
    let last = three.applied[&1].last().expect("many").clone();
    let conf_state = ConfState { voters: vec![1, 2, 3], learners: Vec::new() };
    let stored = Stored { index: last.index, term: last.term, conf_state };
    three.input(1, FrontInput::Stored(stored));
    three.cut.clear();
    three.tick_all(5);
    assert!(three.is_applied(3, 2049), "it needs no snapshot");
}

/// A snapshot at this entry, from a leader of this term.
fn snapshot(index: u64, term: u64) -> FrontInput {
    let conf_state = raftpb::ConfState { voters: vec![1, 2, 3], ..Default::default() };
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(conf_state),
        index: Some(index),
        term: Some(term),
    };
    FrontInput::Received(Box::new(Message {
        r#type: Some(MessageType::MsgSnap as i32),
        from: Some(2),
        to: Some(1),
        term: Some(term),
        snapshot: Some(raftpb::Snapshot { data: Some(Bytes::new()), metadata: Some(metadata) }),
        ..Default::default()
    }))
}

fn unused(effects: &[FrontEffect]) -> Vec<u64> {
    let index = |effect: &FrontEffect| match effect {
        FrontEffect::SnapshotUnused { index } => Some(*index),
        _ => None,
    };
    effects.iter().filter_map(index).collect()
}

#[test]
fn the_file_of_a_snapshot_that_is_refused_goes_at_once() {
    let mut three = Three::new();
    let front = three.fronts.get_mut(&1).expect("one of three");
    let taken = front.step(snapshot(20, 5));
    assert_eq!(unused(&taken), [0; 0], "it is being taken over");
    // From a leader whose term is over, however far ahead.
    assert_eq!(unused(&front.step(snapshot(90, 4))), [90]);
    // One that is behind.
    assert_eq!(unused(&front.step(snapshot(10, 5))), [10]);
}

#[test]
fn the_commit_index_of_a_change_of_members_is_synced_and_others_wait_for_the_next_group() {
    let mut three = Three::led_by(1);
    let mut committed_by = |kind: EntryKind| {
        three.cut = BTreeSet::from([2, 3]);
        let change = raftpb::ConfChange { node_id: Some(3), ..Default::default() };
        let change = raftpb::ConfChange {
            r#type: Some(raftpb::ConfChangeType::ConfChangeUpdateNode as i32),
            ..change
        };
        let data = Bytes::from(change.encode_to_vec());
        let scope = Scope::Anyone;
        three.input(1, FrontInput::Propose(vec![Proposal { id: 9, kind, data, scope }]));
        let leader = three.fronts.get_mut(&1).expect("one of three");
        let (term, index) = (leader.standing().term, leader.last_index());
        let appended = Message {
            r#type: Some(MessageType::MsgAppResp as i32),
            from: Some(2),
            to: Some(1),
            term: Some(term),
            index: Some(index),
            ..Default::default()
        };
        let effects = leader.step(FrontInput::Received(Box::new(appended)));
        let persist = |effect: &FrontEffect| match effect {
            FrontEffect::Log(LogInput::Work(LogWork::Persist(persist))) => {
                Some((persist.entries.len(), persist.must_sync))
            }
            _ => None,
        };
        let persisted: Vec<_> = effects.iter().filter_map(persist).collect();
        effects.into_iter().for_each(|effect| three.effect(1, effect));
        three.pump();
        persisted
    };
    assert_eq!(committed_by(EntryKind::Normal), [(0, false)]);
    assert_eq!(committed_by(EntryKind::ConfChange), [(0, true)]);
}
