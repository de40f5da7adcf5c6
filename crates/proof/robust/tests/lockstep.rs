//! Our raft and etcd's own, step by step: the same inputs, and after each the same of everything.
//!
//! `clients/go-raft-lockstep` runs members of `go.etcd.io/raft`; here run ours. A generated run of three or five
//! members goes through loss, reordering, doubling, restarts, compaction, snapshots, learners, changes and transfers.
//! After each input the two are compared: messages, writes, committed entries, reads, term, leader, role, commit
//! index, and what a leader knows of each follower. Where ours differs on purpose is in docs/decisions/0012; such
//! inputs are not given, or end the run.
//!
//! `HOLDFAST_LOCKSTEP_INPUTS=100000` plays so many, `HOLDFAST_SEED=N` one run again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;
use consensus::{
    Boot, Config, Consensus, Message, NotProposed, Persist, RefusedMessage, Replication, Role,
    Scope, SnapshotPoint,
};
use holdfast_robust::foreign::{self, Part};
use prost::Message as _;
use proto::raftpb::{self, ConfChange, ConfChangeType, MessageType};
use types::{ConfState, Entry, EntryKind, HardState};

/// The reference.
struct Go {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Go {
    fn start(path: &Path) -> Go {
        let mut process = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was found");
        let to = process.stdin.take().expect("it is piped");
        let from = BufReader::new(process.stdout.take().expect("it is piped"));
        Go { process, to, from }
    }

    fn ask(&mut self, line: &str) -> Vec<String> {
        writeln!(self.to, "{line}").expect("it listens");
        let mut answer = Vec::new();
        loop {
            let mut text = String::new();
            let read = self.from.read_line(&mut text).expect("it speaks text");
            assert_ne!(read, 0, "the reference has ended at: {line}");
            match text.trim_end() {
                "." => return answer,
                text => answer.push(text.to_owned()),
            }
        }
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One member of ours, with what belongs to it.
struct Member {
    config: Config,
    consensus: Option<Consensus>,
    hard_state: HardState,
    start: (u64, u64),
    entries: Vec<Entry>,
    writing: VecDeque<Persist>,
    applying: VecDeque<Entry>,
    applied: u64,
    conf_state: ConfState,
    removed: BTreeSet<u64>,
    /// The first entry of the term it leads in, and the term.
    leads_since: Option<(u64, u64)>,
    /// It holds a read that came before its first commit of that term.
    early_read: bool,
}

impl Member {
    fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    fn write(&mut self, persist: &Persist) {
        if let Some(SnapshotPoint { index, term, conf_state }) = &persist.snapshot {
            self.start = (*index, *term);
            self.entries.clear();
            if self.applied < *index {
                self.applied = *index;
                self.conf_state = conf_state.clone();
                self.applying.clear();
            }
        }
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        if let Some(first) = persist.entries.first() {
            self.entries.truncate((first.index - self.start.0 - 1) as usize);
            self.entries.extend(persist.entries.iter().cloned());
        }
    }

    fn boot(&self) -> Boot {
        Boot {
            hard_state: self.hard_state,
            conf_state: self.conf_state.clone(),
            removed: self.removed.clone(),
            start: self.start,
            entries: self.entries.clone(),
            applied: self.applied,
        }
    }
}

/// Both, and what is between them.
struct Pair<'a> {
    go: &'a mut Go,
    members: BTreeMap<u64, Member>,
    flying: VecDeque<Message>,
    inputs: u64,
    history: VecDeque<String>,
    /// What follows is not comparable any more, for this reason.
    over: bool,
}

impl Pair<'_> {
    /// Gives one input to both and compares. The input to ours returns whether the reference gets it too.
    fn input(&mut self, id: u64, line: &str, ours: impl FnOnce(&mut Member) -> bool) {
        let member = self.members.get_mut(&id).expect("a member");
        self.history.push_back(line.to_owned());
        if 60 < self.history.len() {
            self.history.pop_front();
        }
        let wanted = ours(member);
        let mut out = Vec::new();
        collect(member, &mut out, &mut self.flying);
        if !wanted {
            // What ours refuses by design changes nothing here, and is not said there.
            return;
        }
        let theirs = self.go.ask(line);
        self.inputs += 1;
        let (ours, theirs) = (sorted(out), sorted(theirs));
        if ours != theirs {
            let told: Vec<_> = self.history.iter().map(String::as_str).collect();
            panic!(
                "after input {}:\n{}\n\nours:\n{}\n\ntheirs:\n{}\n",
                self.inputs,
                told.join("\n"),
                ours.join("\n"),
                theirs.join("\n")
            );
        }
        self.note(id);
    }

    /// Keeps in mind whether this leader holds early reads; they end a run when its term does (see 0012).
    fn note(&mut self, id: u64) {
        let member = self.members.get_mut(&id).expect("a member");
        let Some(consensus) = &member.consensus else { return };
        let standing = consensus.standing();
        let leads = standing.role == Role::Leader;
        let same = member.leads_since.is_some_and(|(term, _)| leads && term == standing.term);
        if member.leads_since.is_some() && !same && member.early_read {
            self.over = true;
        }
        if !same {
            member.early_read = false;
            let last = member.log_last();
            member.leads_since = leads.then_some((standing.term, last));
        }
        if member.leads_since.is_some_and(|(_, first)| first <= standing.committed) {
            member.early_read = false;
        }
    }

    fn is_early(&self, id: u64) -> bool {
        let member = &self.members[&id];
        let committed = member.consensus.as_ref().map_or(0, |c| c.standing().committed);
        member.leads_since.is_some_and(|(_, first)| committed < first)
    }
}

impl Member {
    /// The last entry, written or not.
    fn log_last(&self) -> u64 {
        let newest = self.writing.iter().rev().find_map(|persist| persist.entries.last());
        newest.map_or(self.last(), |entry| entry.index)
    }
}

/// Everything a member asks for, as text.
fn collect(member: &mut Member, out: &mut Vec<String>, flying: &mut VecDeque<Message>) {
    let Some(consensus) = member.consensus.as_mut() else { return };
    let mut committed = Vec::new();
    while let Some(output) = consensus.output() {
        for message in output.messages {
            out.push(format!("m {}", message_text(&message)));
            flying.push_back(message);
        }
        for read in &output.reads {
            out.push(format!("r {:016x} {}", read.context, read.index));
        }
        if let Some(persist) = output.persist {
            out.push(format!("p {}", persist_text(&persist)));
            member.writing.push_back(persist);
        }
        committed.extend(output.committed);
        assert!(output.log_reads.is_empty(), "nothing was let go from memory");
    }
    if !committed.is_empty() {
        out.push(format!("c {}", entries_text(&committed)));
        member.applying.extend(committed);
    }
    let standing = consensus.standing();
    let role = match standing.role {
        Role::Follower => 0,
        Role::Candidate => 1,
        Role::Leader => 2,
        Role::PreCandidate => 3,
    };
    out.push(format!("s {} {} {role} {}", standing.term, standing.leader, standing.committed));
    for progress in consensus.progress() {
        let state = match progress.replication {
            Replication::Probe => 0,
            Replication::Replicate => 1,
            Replication::Snapshot => 2,
        };
        out.push(format!(
            "g {} {} {} {state} {} {}",
            progress.member,
            progress.matched,
            progress.next,
            progress.recently_active,
            progress.learner
        ));
    }
}

/// Messages by whom they are for, in order; then the rest, in order.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    let key = |line: &String| {
        let mut words = line.split(' ');
        let kind = words.next().map(|kind| "mpcrsg".find(kind));
        let to =
            if line.starts_with('m') { words.next().and_then(|to| to.parse().ok()) } else { None };
        (kind, to.unwrap_or(0u64))
    };
    lines.sort_by_key(key);
    lines
}

fn message_text(m: &Message) -> String {
    let snapshot =
        m.snapshot.as_ref().and_then(|s| s.metadata.as_ref()).map_or("-".into(), |meta| {
            let state = meta.conf_state.clone().unwrap_or_default();
            let (voters, learners) = (list(&state.voters), list(&state.learners));
            format!("{}.{}.{voters}.{learners}", meta.index(), meta.term())
        });
    let entries: Vec<Entry> = m.entries.iter().map(own_entry).collect();
    format!(
        "{} {} {} term={} of={} at={} commit={} reject={} hint={} context={} snapshot={snapshot} entries={}",
        m.to(),
        m.from(),
        m.r#type.unwrap_or_default(),
        m.term(),
        m.log_term(),
        m.index(),
        m.commit(),
        m.reject(),
        m.reject_hint(),
        hex(m.context.as_deref().unwrap_or_default()),
        entries_text(&entries)
    )
}

fn own_entry(entry: &raftpb::Entry) -> Entry {
    let kind = match entry.r#type() {
        raftpb::EntryType::EntryNormal => EntryKind::Normal,
        raftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
        raftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    let data = entry.data.clone().unwrap_or_default();
    Entry { term: entry.term(), index: entry.index(), kind, data }
}

fn persist_text(persist: &Persist) -> String {
    let hard =
        persist.hard_state.map_or("-".into(), |s| format!("{}.{}.{}", s.term, s.vote, s.commit));
    let snapshot = persist.snapshot.as_ref().map_or("-".into(), |point| {
        let (voters, learners) = (list(&point.conf_state.voters), list(&point.conf_state.learners));
        format!("{}.{}.{voters}.{learners}", point.index, point.term)
    });
    format!("hard={hard} snapshot={snapshot} entries={}", entries_text(&persist.entries))
}

fn entries_text(entries: &[Entry]) -> String {
    let text = |e: &Entry| format!("{}.{}.{}.{}", e.kind as u8, e.term, e.index, hex(&e.data));
    entries.iter().map(text).collect::<Vec<_>>().join(",")
}

fn list(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join("+")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

mod run;

#[test]
fn ours_and_etcds_raft_go_in_step() {
    let Some(path) = foreign::need("ours_and_etcds_raft_go_in_step", Part::GoRaft) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = number("HOLDFAST_LOCKSTEP_INPUTS").unwrap_or(30_000);
    let mut go = Go::start(&path);
    if let Some(seed) = number("HOLDFAST_SEED") {
        run::play(&mut go, seed);
        return;
    }
    let (mut done, mut seed, mut seen) = (0, 0, BTreeMap::new());
    while done < wanted {
        println!("seed {seed}");
        let (inputs, kinds) = run::play(&mut go, seed);
        done += inputs;
        seed += 1;
        for (kind, count) in kinds {
            *seen.entry(kind).or_insert(0) += count;
        }
    }
    println!("{done} inputs in {seed} runs: {seen:?}");
    for kind in [MessageType::MsgSnap, MessageType::MsgTimeoutNow, MessageType::MsgReadIndexResp] {
        assert!(seen.contains_key(kind.as_str_name()), "no run had a {}", kind.as_str_name());
    }
}
