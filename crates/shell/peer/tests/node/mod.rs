//! A raft member that keeps its log in memory: enough to live among real ones.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consensus::{Boot, Consensus};
use holdfast_peer::*;
use metrics::Metrics;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType, Message, MessageType};
use types::{Entry, EntryKind};

use crate::encrypted::Ends;
use crate::support::{FakeFacts, FakeRaft, Heard, Member};

enum Input {
    Message(Box<Message>),
    Unreachable(u64),
    SnapshotSent(u64, bool),
    Transfer(u64),
    Stop,
}

#[derive(Default)]
struct State {
    applied: Vec<Entry>,
    leader: u64,
    term: u64,
}

/// A running member.
pub struct Node {
    pub member: Arc<Member>,
    inputs: Sender<Input>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

struct Inputs(Mutex<Sender<Input>>, FakeRaft);

impl Inputs {
    fn send(&self, input: Input) {
        let _ = self.0.lock().unwrap().send(input);
    }
}

impl Raft for Inputs {
    fn receive(&self, message: Message) -> Inbox {
        self.1.receive(message.clone());
        self.send(Input::Message(Box::new(message)));
        Inbox::Taken
    }
    fn receive_snapshot(&self, message: Message, database: PathBuf) -> Result<(), String> {
        self.1.receive_snapshot(message.clone(), database)?;
        self.send(Input::Message(Box::new(message)));
        Ok(())
    }
    fn is_removed(&self, member: u64) -> bool {
        self.1.is_removed(member)
    }
    fn unreachable(&self, peer: u64) {
        self.1.unreachable(peer);
        self.send(Input::Unreachable(peer));
    }
    fn snapshot_sent(&self, peer: u64, arrived: bool) {
        self.1.snapshot_sent(peer, arrived);
        self.send(Input::SnapshotSent(peer, arrived));
    }
    fn removed_here(&self) {
        self.1.removed_here();
    }
    fn host_gone(&self, peer: u64) {
        self.1.host_gone(peer);
    }
}

impl Node {
    pub fn start(
        id: u64,
        cluster: u64,
        version: Version,
        listener: TcpListener,
        peers: &[(u64, String)],
        encrypted: bool,
    ) -> Node {
        let scheme = if encrypted { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let ends = encrypted.then(|| Ends::new(dir.path()));
        let heard = Arc::new(Heard::default());
        let metrics = Arc::new(Metrics::new(false));
        let config = Config {
            identity: Identity { member: id, cluster, version, peer_urls: vec![url.clone()] },
            election_timeout: Duration::from_secs(1),
            listeners: vec![Listener {
                socket: Socket::Tcp(listener),
                tls: ends.as_ref().map(|ends| ends.accepting.clone()),
            }],
            connector: ends.map(|ends| ends.dialling),
            spool: Arc::new(DiskSpool::new(Arc::new(vfs::OsDisk), dir.path().join("snap"))),
            report: Arc::new(FakeRaft(heard.clone())),
            metrics: metrics.clone(),
            limits: Limits::default(),
        };
        let (inputs, receiver) = channel();
        let raft = Inputs(Mutex::new(inputs.clone()), FakeRaft(heard.clone()));
        let transport = Transport::start(config, Arc::new(raft), Arc::new(FakeFacts)).unwrap();
        for (peer, url) in peers {
            transport.add_peer(*peer, std::slice::from_ref(url));
        }
        let member = Arc::new(Member { id, heard, metrics, transport, url, dir });
        let state = Arc::new(Mutex::new(State::default()));
        let machine = Machine {
            consensus: Consensus::new(&consensus::Config::new(id, 1), Boot::default()).unwrap(),
            log: BTreeMap::new(),
            member: member.clone(),
            state: state.clone(),
        };
        let thread = Some(std::thread::spawn(move || machine.run(&receiver)));
        Node { member, inputs, state, thread }
    }

    /// Whether an entry with these bytes in it was applied.
    pub fn has_applied(&self, part: &[u8]) -> bool {
        let state = self.state.lock().unwrap();
        state.applied.iter().any(|entry| entry.data.windows(part.len()).any(|w| w == part))
    }

    pub fn leader(&self) -> u64 {
        self.state.lock().unwrap().leader
    }

    pub fn term(&self) -> u64 {
        self.state.lock().unwrap().term
    }

    pub fn transfer(&self, to: u64) {
        self.inputs.send(Input::Transfer(to)).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.inputs.send(Input::Stop);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the member panicked");
        }
    }
}

struct Machine {
    consensus: Consensus,
    log: BTreeMap<u64, Entry>,
    member: Arc<Member>,
    state: Arc<Mutex<State>>,
}

impl Machine {
    fn run(mut self, inputs: &Receiver<Input>) {
        let mut next_tick = Instant::now();
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(wait) {
                Ok(Input::Message(message)) => {
                    // A refusal is the peer's matter.
                    let _ = self.consensus.step(*message);
                }
                Ok(Input::Unreachable(peer)) => self.consensus.unreachable(peer),
                Ok(Input::SnapshotSent(peer, ok)) => self.consensus.snapshot_sent(peer, ok),
                Ok(Input::Transfer(to)) => self.consensus.transfer(to),
                Ok(Input::Stop) => return,
                Err(_) => {
                    self.consensus.tick();
                    next_tick += Duration::from_millis(100);
                }
            }
            while let Some(output) = self.consensus.output() {
                self.obey(output);
            }
            let standing = self.consensus.standing();
            let mut state = self.state.lock().unwrap();
            (state.leader, state.term) = (standing.leader, standing.term);
        }
    }

    fn obey(&mut self, output: consensus::Output) {
        let (snapshots, messages): (Vec<_>, Vec<_>) =
            output.messages.into_iter().partition(|m| m.r#type() == MessageType::MsgSnap);
        self.member.transport.send(messages);
        for snapshot in snapshots {
            self.consensus.snapshot_sent(snapshot.to(), false);
        }
        if let Some(persist) = output.persist {
            if persist.snapshot.is_some() {
                self.log.clear();
            }
            if let Some(first) = persist.entries.first() {
                self.log.split_off(&first.index);
            }
            self.log.extend(persist.entries.into_iter().map(|entry| (entry.index, entry)));
            self.consensus.persisted(persist.number);
        }
        for read in output.log_reads {
            let entries = self.log.range(read.first..=read.last).map(|(_, entry)| entry.clone());
            let entries = entries.collect();
            self.consensus.log_read(read.ticket, entries);
        }
        for entry in output.committed {
            if entry.kind == EntryKind::ConfChange {
                self.change(&ConfChange::decode(entry.data.clone()).unwrap());
            }
            self.consensus.applied(entry.index);
            self.state.lock().unwrap().applied.push(entry);
        }
    }

    fn change(&mut self, change: &ConfChange) {
        self.consensus.apply_change(Some(change)).unwrap();
        let id = change.node_id();
        if change.r#type() == ConfChangeType::ConfChangeRemoveNode {
            self.member.heard.removed.lock().unwrap().push(id);
            self.member.transport.remove_peer(id);
        }
    }
}
