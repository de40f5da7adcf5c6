//! What all parts of a transport know.
//!
//! Circle: the tasks of one transport: each is started by `transport` and reaches the others through what they share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use metrics::Metrics;
use proto::raftpb::{Message, MessageType};
use tokio::sync::mpsc;

use super::event::{Event, Report};
use super::parts::Parts;
use super::peers::{Peer, Sent, name_of};
use super::snapshot_out::SnapshotBody;
use super::sockets::Connector;
use super::spool::Spool;
use super::timed::Patience;
use super::traits::{Inbox, PeerFacts, Raft};
use super::transport::{Identity, Limits};
use crate::rules::{Change, Channel, Checks, Failure, Known, PeerUrl, REMOTES_MAX};
use crate::wire::is_link_heartbeat;

/// What the thread of the peers is told.
pub(super) enum Command {
    /// A peer or remote is there.
    Begin(Arc<Peer>),
    /// It is not any more.
    End(u64),
    /// Messages to it were lost.
    Lost(Arc<Peer>),
    /// A snapshot is to be sent.
    Snapshot(Box<Message>, Box<dyn SnapshotBody>),
    /// Everything ends.
    Stop,
}

/// A refusal that lasts is said this often.
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// The most refusals remembered; past them none is said.
const REFUSALS_MAX: usize = 64;

/// Peers and remotes by id.
type Peers = BTreeMap<u64, Arc<Peer>>;

pub(super) struct Core {
    pub identity: Identity,
    pub checks: Checks,
    pub limits: Limits,
    pub dial_timeout: Duration,
    pub raft: Arc<dyn Raft>,
    pub facts: Arc<dyn PeerFacts>,
    pub report: Arc<dyn Report>,
    pub metrics: Arc<Metrics>,
    pub connector: Option<Arc<dyn Connector>>,
    pub spool: Arc<dyn Spool>,
    pub commands: mpsc::UnboundedSender<Command>,
    pub own_label: String,
    /// Bytes of messages that are not complete, of streams and POSTs together.
    partial_bytes: AtomicUsize,
    /// Each snapshot being sent holds one of these.
    pub snapshots: Arc<()>,
    /// Snapshots that broke off on their way here.
    pub parts: Parts,
    /// Refusals that were said: sender, text, when.
    refused: Mutex<Vec<(String, String, Instant)>>,
    peers: ArcSwap<Peers>,
    /// Held by whoever changes `peers`.
    changing: Mutex<()>,
}

/// The outer parts of a core.
pub(super) struct Outer {
    pub raft: Arc<dyn Raft>,
    pub facts: Arc<dyn PeerFacts>,
    pub report: Arc<dyn Report>,
    pub metrics: Arc<Metrics>,
    pub connector: Option<Arc<dyn Connector>>,
    pub spool: Arc<dyn Spool>,
}

impl Core {
    pub fn new(
        identity: Identity,
        limits: Limits,
        election_timeout: Duration,
        outer: Outer,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Core {
        let Identity { member, cluster, version, .. } = identity;
        Core {
            checks: Checks { member, cluster, version },
            own_label: format!("{member:x}"),
            identity,
            limits,
            dial_timeout: Duration::from_secs(1) + election_timeout,
            raft: outer.raft,
            facts: outer.facts,
            report: outer.report,
            metrics: outer.metrics,
            connector: outer.connector,
            spool: outer.spool,
            commands,
            partial_bytes: AtomicUsize::new(0),
            snapshots: Arc::new(()),
            parts: Parts::default(),
            refused: Mutex::default(),
            peers: ArcSwap::default(),
            changing: Mutex::new(()),
        }
    }

    /// How long a connection may stand still.
    pub fn patience(&self) -> Patience {
        Patience { read: self.limits.silence_read_max, write: self.limits.silence_write_max }
    }

    pub fn peer(&self, id: u64) -> Option<Arc<Peer>> {
        self.peers.load().get(&id).cloned()
    }

    /// Puts a peer, or a remote, in place of what was there under its id.
    pub fn add(&self, id: u64, urls: &[String], remote: bool) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peers = Peers::clone(&self.peers.load());
        if id == self.identity.member || id == 0 {
            return;
        }
        if let Some(there) = peers.get(&id)
            && (remote || !there.remote)
        {
            return;
        }
        let network = &self.metrics.network;
        let peer = Arc::new(Peer::new(id, urls, remote, &self.limits, network));
        if peer.urls().is_empty() {
            self.report.event(Event::warn("no peer URL can be dialled", &peer.label));
            if remote {
                return;
            }
        }
        if remote && peers.values().filter(|peer| peer.remote).count() >= REMOTES_MAX {
            self.report.event(Event::warn("too many unknown members, ignoring one", &peer.label));
            return;
        }
        if !remote {
            network.known_peers.with(&[&self.own_label, &peer.label]).set(1);
        }
        if let Some(remote) = peers.insert(id, peer.clone()) {
            remote.close();
            self.command(Command::End(id));
        }
        self.peers.store(Arc::new(peers));
        let text = if remote { "added new remote peer" } else { "added remote peer" };
        self.report.event(Event::info(text, &peer.label).with("remote-peer-urls", urls.to_vec()));
        self.command(Command::Begin(peer));
    }

    pub fn remove(&self, id: u64) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peers = Peers::clone(&self.peers.load());
        let Some(peer) = peers.remove(&id) else { return };
        self.peers.store(Arc::new(peers));
        peer.close();
        let labels: &[&str] = &[&self.own_label, &peer.label];
        self.metrics.network.known_peers.with(labels).set(0);
        if peer.activity().failed().is_some() {
            self.metrics.network.active_peers.with(labels).dec();
        }
        self.report.event(Event::info("removed remote peer", &peer.label));
        self.command(Command::End(id));
    }

    /// Whether this refusal of this sender is worth a line: it was not said for a while.
    pub fn says_refused(&self, sender: &str, text: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|(_, _, said)| said.elapsed() < SAID_AGAIN);
        let known = refused.iter().any(|(who, what, _)| who == sender && what == text);
        if known || refused.len() >= REFUSALS_MAX {
            return false;
        }
        refused.push((sender.to_string(), text.to_string(), Instant::now()));
        true
    }

    pub fn command(&self, command: Command) {
        // After the end nobody listens, and nothing needs to be done.
        let _ = self.commands.send(command);
    }

    /// Queues a message; never waits.
    pub fn send(&self, message: Message) {
        let Some(peer) = self.peer(message.to()) else { return };
        match peer.send(message) {
            Sent::Fine => {}
            Sent::RoomAgain(channel, dropped) => self.report.event(
                Event::info("sending buffer has room again", &peer.label)
                    .with("remote-peer-name", name_of(channel))
                    .with("dropped", dropped),
            ),
            Sent::Dropped { channel, kind, again } => {
                peer.counters.sent_failures.inc();
                self.lost(&peer);
                if !again {
                    self.report.event(self.dropping(&peer, channel, kind));
                }
            }
        }
    }

    fn dropping(&self, peer: &Peer, channel: Channel, kind: &'static str) -> Event {
        Event::warn("dropped internal Raft message since sending buffer is full", &peer.label)
            .with("message-type", kind)
            .with("local-member-id", &self.own_label)
            .with("remote-peer-name", name_of(channel))
            .with("remote-peer-active", peer.activity().since().is_some())
    }

    /// Messages to the peer were lost. Raft hears of it on the thread of the peers, so that whoever sends may hold
    /// what raft needs; and once, however many they were.
    pub fn lost(&self, peer: &Arc<Peer>) {
        if peer.report_loss() {
            self.command(Command::Lost(peer.clone()));
        }
    }

    /// Something worked with the peer.
    pub fn worked(&self, peer: &Peer) {
        if peer.activity().worked(Instant::now()) == Some(Change::BecameActive) && !peer.remote {
            self.metrics.network.active_peers.with(&[&self.own_label, &peer.label]).inc();
            self.report.event(Event::info("peer became active", &peer.label));
        }
    }

    /// Something did not.
    pub fn failed(&self, peer: &Peer, failure: &Failure) {
        if peer.activity().failed() == Some(Change::BecameInactive) && !peer.remote {
            let labels: &[&str] = &[&self.own_label, &peer.label];
            self.metrics.network.active_peers.with(labels).dec();
            self.metrics.network.disconnected_peers.with(labels).inc();
            let Failure { action, way, reason } = failure;
            let text = "peer became inactive (message send to peer failed)";
            let error = format!("failed to {action} {} on {way} ({reason})", peer.label);
            self.report.event(Event::warn(text, &peer.label).with("error", error));
        }
    }

    /// This URL of the peer did not answer.
    pub fn url_failed(&self, peer: &Peer, url: &PeerUrl) {
        peer.urls().failed(url);
    }

    /// Hands a message on to raft. False if it was for somebody else, from somebody removed, or of a kind that does
    /// not come this way. `peer` is who brought it, if it is known.
    pub fn receive(&self, message: Message, peer: Option<&Peer>) -> bool {
        if is_link_heartbeat(&message) {
            return true;
        }
        let kind = message.r#type();
        let right = message.to() == self.identity.member
            && kind != MessageType::MsgSnap
            && !self.raft.is_removed(message.from());
        let taken = right && self.raft.receive(message) == Inbox::Taken;
        let Some(peer) = peer else { return right };
        if !taken {
            peer.counters.received_failures.inc();
        }
        match (right, peer.inbox(taken)) {
            (true, Some(0)) => {
                let text = "dropped internal Raft message since receiving buffer is full (overloaded network)";
                let event = Event::warn(text, &peer.label);
                self.report.event(event.with("message-type", kind.as_str_name()));
            }
            (true, Some(dropped)) => {
                let event = Event::info("receiving buffer has room again", &peer.label);
                self.report.event(event.with("dropped", dropped));
            }
            _ => {}
        }
        right
    }

    /// A share of what unfinished messages may take.
    pub fn partial(&self) -> Partial<'_> {
        Partial { core: self, held: 0 }
    }

    /// How metrics and logs name a sender. Whoever is no peer has one name for all: it could call itself anything.
    pub fn label_of(&self, id: u64) -> String {
        self.peer(id).map_or_else(|| "0".to_string(), |peer| peer.label.clone())
    }
}

/// Bytes of one message of which the end has not come.
pub(super) struct Partial<'a> {
    core: &'a Core,
    held: usize,
}

impl Partial<'_> {
    /// So many are held now; false if all together are too many.
    pub fn set(&mut self, held: usize) -> bool {
        let all = &self.core.partial_bytes;
        let before = all.fetch_add(held, Ordering::AcqRel);
        all.fetch_sub(self.held, Ordering::AcqRel);
        let total = before + held - self.held;
        self.held = held;
        held == 0 || total <= self.core.limits.partial_bytes_max
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        self.core.partial_bytes.fetch_sub(self.held, Ordering::AcqRel);
    }
}

impl Known for Core {
    fn removed(&self, id: u64) -> bool {
        self.raft.is_removed(id)
    }

    fn peer(&self, id: u64) -> bool {
        self.peers.load().get(&id).is_some_and(|peer| !peer.remote)
    }
}
