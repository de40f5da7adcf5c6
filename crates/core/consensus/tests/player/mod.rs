//! The commands of the scenarios.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use holdfast_consensus::{Config, Message, Persist, Replication, Scope};
use prost::Message as _;
use proto::raftpb::{self, ConfChangeType, MessageType, Snapshot, SnapshotMetadata};
use types::{ConfState, EntryKind};

use crate::world::{World, change, kind, put};

/// The world of one story.
#[derive(Default)]
pub struct Player {
    world: Option<World>,
}

/// `name subject word word key=value`.
struct Command<'a> {
    name: &'a str,
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Command<'a> {
        let mut words = line.split_whitespace();
        let name = words.next().expect("blank lines end a block");
        let (options, words) = words.partition::<Vec<_>, _>(|word| word.contains('='));
        let options = options.iter().filter_map(|word| word.split_once('=')).collect();
        Command { name, words, options }
    }

    fn id(&self, at: usize) -> u64 {
        number(self.words[at])
    }

    fn option(&self, name: &str) -> Option<u64> {
        self.options.get(name).map(|text| number(text))
    }

    fn list(&self, name: &str) -> Vec<u64> {
        self.options.get(name).map(|text| numbers(text)).unwrap_or_default()
    }
}

fn number(text: &str) -> u64 {
    if text == "max" {
        u64::MAX
    } else {
        text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(',').filter(|text| !text.is_empty()).map(number).collect()
}

impl Player {
    /// Does what a line says, and tells what happened.
    pub fn command(&mut self, line: &str) -> String {
        let command = Command::parse(line);
        let mut out = String::new();
        if command.name == "cluster" {
            self.world = Some(cluster(&command));
        } else {
            let world = self.world.as_mut().expect("a story begins with its cluster");
            play(world, &command, &mut out);
        }
        let world = self.world.as_mut().expect("it was just begun");
        world.logs_match();
        let events: String = world.events.drain(..).map(|event| format!("{event}\n")).collect();
        events + &out
    }
}

fn cluster(command: &Command<'_>) -> World {
    let voters: Vec<u64> = (1..=command.id(0)).collect();
    let habits = habits(command);
    World::new(&voters, &command.list("learners"), habits)
}

fn habits(command: &Command<'_>) -> impl Fn(&mut Config) {
    let pre_vote = command.options.get("pre_vote") != Some(&"off");
    let check_quorum = command.options.get("check_quorum") != Some(&"off");
    let (inflight, append) = (command.option("inflight"), command.option("append_bytes"));
    let bytes = command.option("uncommitted_bytes");
    move |config: &mut Config| {
        config.pre_vote = pre_vote;
        config.check_quorum = check_quorum;
        config.inflight_messages_max =
            inflight.map_or(config.inflight_messages_max, |n| n as usize);
        config.append_bytes_max = append.unwrap_or(config.append_bytes_max);
        config.uncommitted_bytes_max = bytes.unwrap_or(config.uncommitted_bytes_max);
    }
}

fn play(world: &mut World, command: &Command<'_>, out: &mut String) {
    match command.name {
        "campaign" => world.on(command.id(0), |c| c.campaign()),
        "campaign-if-alone" => world.on(command.id(0), |c| c.campaign_if_alone()),
        "tick" => {
            for _ in 0..command.words.get(1).map_or(1, |text| number(text)) {
                world.on(command.id(0), |c| c.tick());
            }
        }
        "time" => {
            for _ in 0..command.id(0) {
                world.tick_all();
                world.settle();
            }
        }
        "settle" => world.settle(),
        "deliver" | "drop" | "twice" => ways(world, command),
        "messages" => world.flying.iter().for_each(|message| line(out, &shown(message))),
        "cut" | "heal" => cut(world, command),
        "propose" => propose(world, command, out),
        "change" => propose_change(world, command, out),
        "read" => {
            let context = command.id(1);
            world.on(command.id(0), |c| c.read_index(context));
        }
        "may-read" => line(out, &world.consensus(command.id(0)).may_read().to_string()),
        "transfer" => world.on(command.id(0), |c| c.transfer(command.id(1))),
        "unreachable" => world.on(command.id(0), |c| c.unreachable(command.id(1))),
        "gone" => world.on(command.id(0), |c| c.leader_gone(command.id(1))),
        "snapshot-sent" => {
            let ok = command.words[2] == "ok";
            world.on(command.id(0), |c| c.snapshot_sent(command.id(1), ok));
        }
        "crash" => world.crash(command.id(0)),
        "start" => world.start(command.id(0)),
        "join" => {
            let state =
                ConfState { voters: command.list("voters"), learners: command.list("learners") };
            world.join(command.id(0), state, &habits(command));
        }
        "say" => say(world, command, out),
        _ => play_rest(world, command, out),
    }
}

fn play_rest(world: &mut World, command: &Command<'_>, out: &mut String) {
    let id = command.id(0);
    match command.name {
        "disk" => {
            world.machine(id).disk_stalls = command.words[1] == "stalls";
            if command.words[1] == "syncs" {
                world.follow(id);
                world.progress(id);
                world.follow(id);
            }
        }
        "sync" => {
            world.sync(id, command.words.get(1).map_or(usize::MAX, |text| number(text) as usize));
            world.follow(id);
        }
        "writing" => {
            let groups: Vec<String> = world.machine(id).writing.iter().map(group).collect();
            groups.iter().for_each(|group| line(out, group));
        }
        "apply" => {
            let machine = world.machine(id);
            machine.apply_stalls = command.words[1] == "stalls";
            if !machine.apply_stalls {
                world.progress(id);
                world.follow(id);
            }
        }
        "forget" => world.forget(id, command.id(1)),
        "release" => world.on(id, |c| c.release_to(command.id(1))),
        "lose-disk-after" => {
            let machine = world.machine(id);
            let last = command.id(1);
            machine.disk.entries.retain(|entry| entry.index <= last);
            machine.applied = machine.applied.min(last);
        }
        "lose-state" => world.machine(id).disk.hard_state.term = command.id(1),
        "status" => status(world, id, out),
        "progress" => progress(world, id, out),
        "log" => {
            let log = world.machine(id).log();
            let entries = log
                .entries
                .iter()
                .map(|entry| entry_text(entry.index, entry.term, &entry.data, entry.kind));
            let entries: Vec<String> = entries.collect();
            line(out, &format!("{id}: behind {} {}", log.start.0, entries.join(" ")));
        }
        other => panic!("no such command: {other}"),
    }
}

fn group(persist: &Persist) -> String {
    let mut text = format!("group {}", persist.number);
    if let Some(state) = persist.hard_state {
        let _ = write!(text, " term {} vote {} commit {}", state.term, state.vote, state.commit);
    }
    for entry in &persist.entries {
        let _ = write!(text, " {}", entry_text(entry.index, entry.term, &entry.data, entry.kind));
    }
    text + if persist.must_sync { "" } else { " (no sync)" }
}

fn entry_text(index: u64, term: u64, data: &Bytes, kind: EntryKind) -> String {
    let data = match kind {
        EntryKind::Normal => String::from_utf8_lossy(data).into_owned(),
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => "change".into(),
    };
    format!("{index}:{term}{}{data}", if data.is_empty() { "" } else { ":" })
}

/// `deliver 1->2 MsgApp count=1`: those of the queue that fit, oldest first.
fn ways(world: &mut World, command: &Command<'_>) {
    let (from, to) = command.words[0].split_once("->").expect("a way");
    let fits = |message: &Message| {
        message.from() == number(from)
            && (to == "*" || message.to() == number(to))
            && command.words.get(1).is_none_or(|name| kind(message).as_str_name() == *name)
    };
    let mut left = command.option("count").unwrap_or(u64::MAX);
    // Answers to what is delivered here are not delivered with it.
    let mut at = 0;
    let mut end = world.flying.len();
    while at < end && left != 0 {
        if !fits(&world.flying[at]) {
            at += 1;
            continue;
        }
        left -= 1;
        match command.name {
            "deliver" => {
                let _ = world.deliver(at);
                end -= 1;
            }
            "drop" => {
                world.lose(at);
                end -= 1;
            }
            _ => {
                let again = world.flying[at].clone();
                world.flying.push_back(again);
                at += 1;
            }
        }
    }
}

/// `cut 3`, `cut 1->2`, `heal` for all, `heal 3`.
fn cut(world: &mut World, command: &Command<'_>) {
    let ids: Vec<u64> = world.machines.keys().copied().collect();
    let ways: Vec<(u64, u64)> = match command.words.first() {
        None => world.cut.iter().copied().collect(),
        Some(word) => match word.split_once("->") {
            Some((from, to)) => vec![(number(from), number(to))],
            None => {
                let id = number(word);
                ids.iter().flat_map(|other| [(id, *other), (*other, id)]).collect()
            }
        },
    };
    for way in ways {
        if command.name == "cut" {
            world.cut.insert(way);
        } else {
            world.cut.remove(&way);
        }
    }
}

fn propose(world: &mut World, command: &Command<'_>, out: &mut String) {
    let scope = command.option("leader_of").map_or(Scope::Anyone, Scope::LeaderOf);
    let puts: Vec<_> = command.words[1..].iter().map(|text| put(text)).collect();
    if let Err(refused) = world.on(command.id(0), |c| c.propose(puts, scope)) {
        line(out, &format!("not proposed: {refused}"));
    }
}

/// `change 1 add 4`, with several: in one group.
fn propose_change(world: &mut World, command: &Command<'_>, out: &mut String) {
    let changes: Vec<_> = command.words[1..]
        .chunks(2)
        .map(|pair| {
            let kind = match pair[0] {
                "add" => ConfChangeType::ConfChangeAddNode,
                "learner" => ConfChangeType::ConfChangeAddLearnerNode,
                "update" => ConfChangeType::ConfChangeUpdateNode,
                "remove" => ConfChangeType::ConfChangeRemoveNode,
                "joint" => return (EntryKind::ConfChangeV2, Bytes::new()),
                other => panic!("no such change: {other}"),
            };
            change(kind, number(pair[1]))
        })
        .collect();
    if let Err(refused) = world.on(command.id(0), |c| c.propose(changes, Scope::Anyone)) {
        line(out, &format!("not proposed: {refused}"));
    }
}

/// A message that nobody of ours made: `say MsgHeartbeat from=9 to=1 term=3 commit=7 entries=8:3,9:3`.
fn say(world: &mut World, command: &Command<'_>, out: &mut String) {
    let to = command.option("to").expect("somebody hears it");
    let entries = command.options.get("entries").map(|text| {
        let entry = |text: &str| {
            let (index, term) = text.split_once(':').expect("index:term");
            raftpb::Entry {
                index: Some(number(index)),
                term: Some(number(term)),
                data: Some(Bytes::from_static(b"8 bytes!")),
                ..Default::default()
            }
        };
        text.split(',').map(entry).collect()
    });
    let kind = MessageType::from_str_name(command.words[0]).expect("a kind of message");
    let snapshot = command.option("snapshot").map(|index| Snapshot {
        data: None,
        metadata: Some(SnapshotMetadata {
            conf_state: Some(raftpb::ConfState {
                voters: command.list("voters"),
                ..Default::default()
            }),
            index: Some(index),
            term: command.option("snapshot_term"),
        }),
    });
    let context =
        command.options.get("context").map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let message = Message {
        r#type: Some(kind as i32),
        to: Some(to),
        from: command.option("from"),
        term: command.option("term"),
        log_term: command.option("log_term"),
        index: command.option("index"),
        commit: command.option("commit"),
        entries: entries.unwrap_or_default(),
        reject: command.options.get("reject").map(|_| true),
        reject_hint: command.option("hint"),
        context,
        snapshot,
        ..Default::default()
    };
    // Over the wire, as it would come.
    let message = Message::decode(message.encode_to_vec().as_slice()).expect("just encoded");
    if let Err(refused) = world.on(to, |c| c.step(message)) {
        line(out, &format!("refused: {refused}"));
    }
}

fn status(world: &mut World, id: u64, out: &mut String) {
    let machine = world.machine(id);
    let Some(consensus) = &machine.consensus else { return line(out, &format!("{id}: down")) };
    let standing = consensus.standing();
    let state = consensus.conf_state();
    let role = crate::world::role((standing.term, standing.leader, standing.role));
    let oldest = consensus.oldest_unpersisted();
    let mut text = format!(
        "{id}: {role}, committed {}, applied {}, voters {:?}",
        standing.committed, machine.applied, state.voters
    );
    if !state.learners.is_empty() {
        let _ = write!(text, ", learners {:?}", state.learners);
    }
    if let Some((number, ticks)) = oldest {
        let _ = write!(text, ", group {number} in writing for {ticks} ticks");
    }
    if let Some(ticks) = consensus.quorum_silence() {
        let _ = write!(text, ", quorum heard {ticks} ticks ago");
    }
    line(out, &text);
}

fn progress(world: &mut World, id: u64, out: &mut String) {
    for progress in world.consensus(id).progress() {
        let how = match progress.replication {
            Replication::Probe => "probe",
            Replication::Replicate => "replicate",
            Replication::Snapshot => "snapshot",
        };
        let active = if progress.recently_active { "" } else { ", silent" };
        let learner = if progress.learner { ", learner" } else { "" };
        let (member, matched, next) = (progress.member, progress.matched, progress.next);
        line(out, &format!("{member}: {how}, matched {matched}, next {next}{active}{learner}"));
    }
}

/// A message in one line; what is zero is left out.
fn shown(message: &Message) -> String {
    let mut text = format!("{}->{} {}", message.from(), message.to(), kind(message).as_str_name());
    let numbers = [
        ("term", message.term()),
        ("at", message.index()),
        ("of", message.log_term()),
        ("commit", message.commit()),
        ("hint", message.reject_hint()),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        let _ = write!(text, " {name} {number}");
    }
    if message.reject() {
        text += " refused";
    }
    for entry in &message.entries {
        let kind = if entry.r#type() == raftpb::EntryType::EntryNormal {
            EntryKind::Normal
        } else {
            EntryKind::ConfChange
        };
        let data = entry.data.clone().unwrap_or_default();
        let data = match kind_of_read(message) {
            true => {
                Bytes::from(u64::from_be_bytes(data[..].try_into().expect("8 bytes")).to_string())
            }
            false => data,
        };
        let _ = write!(text, " [{}]", entry_text(entry.index(), entry.term(), &data, kind));
    }
    if let Some(metadata) = message.snapshot.as_ref().and_then(|s| s.metadata.as_ref()) {
        let _ = write!(text, " snapshot {}:{}", metadata.index(), metadata.term());
    }
    if let Some(context) = &message.context {
        match <[u8; 8]>::try_from(&context[..]) {
            Ok(position) => {
                let _ = write!(text, " position {}", u64::from_le_bytes(position));
            }
            Err(_) => text += &format!(" {}", context.escape_ascii()),
        }
    }
    text
}

fn kind_of_read(message: &Message) -> bool {
    matches!(kind(message), MessageType::MsgReadIndex | MessageType::MsgReadIndexResp)
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes everything");
}
