//! One generated run.

use super::*;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of(&mut self, all: &[u64]) -> u64 {
        all[self.below(all.len())]
    }
}

const STEPS: usize = 4_000;

struct Run<'a> {
    pair: Pair<'a>,
    chance: Chance,
    cut: BTreeSet<(u64, u64)>,
    habits: Config,
    changes: bool,
    next_id: u64,
    written: u64,
    kinds: BTreeMap<&'static str, u64>,
}

/// Plays a run and returns how many inputs were compared, and how many messages of each kind were taken.
pub fn play(go: &mut Go, seed: u64) -> (u64, BTreeMap<&'static str, u64>) {
    go.ask("clear");
    let mut chance = Chance(seed);
    let voters: &[u64] = if chance.one_in(2) { &[1, 2, 3] } else { &[1, 2, 3, 4, 5] };
    // An empty entry that stands for a refused change is spelled with its type there and without it here, which takes
    // two bytes: where changes are made, an append holds one entry or all there are.
    let changes = !chance.one_in(3);
    let append_bytes_max = match changes {
        true if chance.one_in(2) => 1,
        true => 1 << 20,
        false => 1 + chance.below(80) as u64,
    };
    let habits = Config {
        jitter_ticks: 0,
        pre_vote: !chance.one_in(3),
        inflight_messages_max: 1 + chance.below(5),
        append_bytes_max,
        inflight_bytes_max: append_bytes_max.max(100 + chance.below(100) as u64),
        // A change that there is no room for still keeps others away there (0012).
        uncommitted_bytes_max: if changes { 1 << 30 } else { 20 + chance.below(200) as u64 },
        applying_bytes_max: u64::MAX,
        ..Config::new(0, 0)
    };
    let members = BTreeMap::new();
    let pair = Pair {
        go,
        members,
        flying: VecDeque::new(),
        inputs: 0,
        history: VecDeque::new(),
        over: false,
    };
    let mut run = Run {
        pair,
        chance,
        cut: BTreeSet::new(),
        habits,
        changes,
        next_id: 10,
        written: 0,
        kinds: BTreeMap::new(),
    };
    let state = ConfState { voters: voters.into(), learners: Vec::new() };
    for id in voters {
        run.create(*id, state.clone());
    }
    for _ in 0..STEPS {
        run.step();
        if run.pair.over {
            break;
        }
    }
    (run.pair.inputs, run.kinds)
}

impl Run<'_> {
    fn create(&mut self, id: u64, conf_state: ConfState) {
        let config = Config { id, ..self.habits.clone() };
        let line = format!(
            "create {id} {}+ {}+ {} {} {} {} {} {}",
            list(&conf_state.voters),
            list(&conf_state.learners),
            config.election_ticks,
            config.pre_vote,
            config.inflight_messages_max,
            config.append_bytes_max,
            config.inflight_bytes_max,
            config.uncommitted_bytes_max
        );
        self.pair.go.ask(&line);
        let member = Member {
            config,
            consensus: None,
            hard_state: HardState::default(),
            start: (0, 0),
            entries: Vec::new(),
            writing: VecDeque::new(),
            applying: VecDeque::new(),
            applied: 0,
            conf_state,
            removed: BTreeSet::new(),
            leads_since: None,
            early_read: false,
        };
        self.pair.members.insert(id, member);
        self.start(id);
    }

    fn start(&mut self, id: u64) {
        self.pair.input(id, &format!("start {id}"), |member| {
            let consensus = Consensus::new(&member.config, member.boot());
            member.consensus = Some(consensus.expect("a log of ours"));
            true
        });
    }

    fn is_up(&self, id: u64) -> bool {
        self.pair.members.get(&id).is_some_and(|member| member.consensus.is_some())
    }

    /// Something that every member takes and the reference too.
    fn tell(&mut self, id: u64, line: &str, what: impl FnOnce(&mut Consensus)) {
        if self.is_up(id) {
            self.pair.input(id, line, |member| {
                what(member.consensus.as_mut().expect("it is up"));
                true
            });
        }
    }

    fn step(&mut self) {
        let ids: Vec<u64> = self.pair.members.keys().copied().collect();
        let id = self.chance.of(&ids);
        match self.chance.below(100) {
            0..40 => self.message(),
            40..52 => self.tell(id, &format!("tick {id}"), Consensus::tick),
            52..66 => self.ack(id),
            66..78 => self.apply(id),
            78..86 => self.propose(id),
            86..89 => self.read(id),
            89..91 => self.link(&ids),
            91..92 => self.life(id),
            92..95 => ids.iter().for_each(|id| self.compact(*id)),
            95..97 => self.reconfigure(id),
            _ => self.nudge(id, &ids),
        }
    }

    fn message(&mut self) {
        let waiting = self.pair.flying.len();
        if waiting == 0 {
            return;
        }
        let at = if self.chance.one_in(5) { self.chance.below(waiting) } else { 0 };
        match self.chance.below(25) {
            0 => self.lose(at),
            1 => self.pair.flying.push_back(self.pair.flying[at].clone()),
            _ => self.deliver(at),
        }
        while 300 < self.pair.flying.len() {
            self.lose(0);
        }
    }

    fn deliver(&mut self, at: usize) {
        let message = self.pair.flying.remove(at).expect("a message on its way");
        let (from, to) = (message.from(), message.to());
        if self.cut.contains(&(from, to)) || !self.is_up(to) {
            return self.snapshot_over(&message, false);
        }
        let sent = (message.r#type() == MessageType::MsgSnap).then(|| message.clone());
        if message.r#type() == MessageType::MsgReadIndex && !self.may_ask(to) {
            return;
        }
        *self.kinds.entry(message.r#type().as_str_name()).or_default() += 1;
        let early = message.r#type() == MessageType::MsgReadIndex && self.pair.is_early(to);
        let line = format!("step {to} {}", hex(&message.encode_to_vec()));
        self.pair.input(to, &line, |member| {
            member.early_read |= early;
            match member.consensus.as_mut().expect("it is up").step(message) {
                Ok(()) => true,
                // The reference says nothing either: it knows no such peer, or there is no leader.
                Err(RefusedMessage::Unknown { .. } | RefusedMessage::NotProposed(_)) => true,
                Err(RefusedMessage::Removed { .. }) => false,
                Err(refused) => panic!("a sane peer was refused: {refused}"),
            }
        });
        if let Some(sent) = sent {
            self.snapshot_over(&sent, true);
        }
    }

    fn lose(&mut self, at: usize) {
        if let Some(message) = self.pair.flying.remove(at) {
            self.snapshot_over(&message, false);
        }
    }

    /// The sender of a snapshot is told what became of it, mostly.
    fn snapshot_over(&mut self, message: &Message, ok: bool) {
        if message.r#type() == MessageType::MsgSnap && !self.chance.one_in(4) {
            let (from, to) = (message.from(), message.to());
            self.tell(from, &format!("snapshot-sent {from} {to} {ok}"), |c| {
                c.snapshot_sent(to, ok)
            });
        }
    }

    /// A lone leader answers reads earlier there than here (0012).
    fn may_ask(&self, id: u64) -> bool {
        let consensus = self.pair.members[&id].consensus.as_ref();
        consensus.is_some_and(|consensus| 1 < consensus.conf_state().voters.len())
    }

    fn ack(&mut self, id: u64) {
        if !self.is_up(id) || self.pair.members[&id].writing.is_empty() {
            return;
        }
        self.pair.input(id, &format!("ack {id}"), |member| {
            let persist = member.writing.pop_front().expect("looked at just above");
            member.write(&persist);
            member.consensus.as_mut().expect("it is up").persisted(persist.number);
            true
        });
    }

    fn apply(&mut self, id: u64) {
        if !self.is_up(id) || self.pair.members[&id].applying.is_empty() {
            return;
        }
        self.pair.input(id, &format!("apply {id}"), |member| {
            let entry = member.applying.pop_front().expect("looked at just above");
            let consensus = member.consensus.as_mut().expect("it is up");
            if entry.kind == EntryKind::ConfChange {
                let change = ConfChange::decode(entry.data).expect("one of ours");
                let changed = consensus.apply_change(Some(&change));
                member.conf_state = changed.expect("nobody removes the last voter here");
                if change.r#type() == ConfChangeType::ConfChangeRemoveNode {
                    member.removed.insert(change.node_id());
                }
            }
            member.applied = entry.index;
            consensus.applied(entry.index);
            true
        });
    }

    fn propose(&mut self, id: u64) {
        if !self.is_up(id) {
            return;
        }
        let count = 1 + self.chance.below(2);
        let mut group = Vec::new();
        for _ in 0..count {
            self.written += 1;
            let text = self.written.to_string().repeat(1 + self.chance.below(6));
            group.push((EntryKind::Normal, Bytes::from(text)));
        }
        self.give(id, group);
    }

    /// Proposes to both. What ours does not take because of a change is not given to the reference, which would
    /// put an empty entry in its place.
    fn give(&mut self, id: u64, group: Vec<(EntryKind, Bytes)>) {
        let word = |(kind, data): &(EntryKind, Bytes)| format!("{}:{}", *kind as u8, hex(data));
        let words: Vec<_> = group.iter().map(word).collect();
        let line = format!("propose {id} {}", words.join(" "));
        self.pair.input(id, &line, |member| {
            let consensus = member.consensus.as_mut().expect("it is up");
            let taken = consensus.propose(group, Scope::Anyone);
            !matches!(taken, Err(NotProposed::ChangePending | NotProposed::Impossible(_)))
        });
    }

    fn read(&mut self, id: u64) {
        if !self.is_up(id) || !self.may_ask(id) {
            return;
        }
        self.written += 1;
        let context = self.written;
        let early = self.pair.is_early(id);
        self.pair.input(id, &format!("read {id} {context:016x}"), |member| {
            member.early_read |= early;
            member.consensus.as_mut().expect("it is up").read_index(context);
            true
        });
    }

    fn link(&mut self, ids: &[u64]) {
        let (from, to) = (self.chance.of(ids), self.chance.of(ids));
        match self.chance.below(4) {
            0 => drop(self.cut.insert((from, to))),
            1 => ids.iter().for_each(|other| self.cut.extend([(from, *other), (*other, from)])),
            _ => self.cut.clear(),
        }
    }

    fn life(&mut self, id: u64) {
        if !self.is_up(id) {
            self.start(id);
        } else if self.chance.one_in(3) {
            self.pair.input(id, &format!("crash {id}"), |member| {
                member.consensus = None;
                member.writing.clear();
                member.applying.clear();
                (member.leads_since, member.early_read) = (None, false);
                true
            });
        }
    }

    /// Only with nothing in writing, so that the log that is let go of is the one on the disk.
    fn compact(&mut self, id: u64) {
        let behind = self.chance.below(2) as u64;
        let member = &self.pair.members[&id];
        let to = member.applied.saturating_sub(behind).min(member.last());
        if !self.is_up(id) || !member.writing.is_empty() || to <= member.start.0 {
            return;
        }
        self.pair.input(id, &format!("compact {id} {to}"), |member| {
            let at = (to - member.start.0) as usize;
            member.start = (to, member.entries[at - 1].term);
            member.entries.drain(..at);
            member.consensus.as_mut().expect("it is up").forget_to(to);
            true
        });
    }

    /// Whoever is asked passes it on, or takes it.
    fn reconfigure(&mut self, id: u64) {
        let Some(consensus) = self.pair.members[&id].consensus.as_ref() else { return };
        if !self.changes {
            return;
        }
        let state = consensus.conf_state();
        let members: Vec<u64> = state.voters.iter().chain(&state.learners).copied().collect();
        let some = self.chance.of(&members);
        let (kind, node) = match self.chance.below(5) {
            0 | 1 if members.len() < 6 && self.pair.members.len() < 9 => {
                let new = self.next_id;
                self.next_id += 1;
                self.create(new, ConfState { voters: state.voters.clone(), learners: vec![new] });
                (ConfChangeType::ConfChangeAddLearnerNode, new)
            }
            2 => (ConfChangeType::ConfChangeAddNode, some),
            // Never below two: then a lone leader would answer reads at another time.
            3 if 3 < state.voters.len() => (ConfChangeType::ConfChangeRemoveNode, some),
            4 if 3 < state.voters.len() => (ConfChangeType::ConfChangeAddLearnerNode, some),
            _ => (ConfChangeType::ConfChangeUpdateNode, some),
        };
        let change =
            ConfChange { r#type: Some(kind as i32), node_id: Some(node), ..Default::default() };
        self.give(id, vec![(EntryKind::ConfChange, change.encode_to_vec().into())]);
    }

    fn nudge(&mut self, id: u64, ids: &[u64]) {
        let other = self.chance.of(ids);
        match self.chance.below(6) {
            0 | 1 => self.tell(id, &format!("campaign {id}"), Consensus::campaign),
            2 => {
                let leads = self.is_up(id)
                    && self.pair.members[&id]
                        .consensus
                        .as_ref()
                        .is_some_and(|c| c.standing().role == Role::Leader);
                if leads {
                    self.tell(id, &format!("transfer {id} {other}"), |c| c.transfer(other));
                }
            }
            3 => self.tell(id, &format!("unreachable {id} {other}"), |c| c.unreachable(other)),
            _ => {
                let ok = self.chance.one_in(2);
                let line = format!("snapshot-sent {id} {other} {ok}");
                self.tell(id, &line, |c| c.snapshot_sent(other, ok));
            }
        }
    }
}
