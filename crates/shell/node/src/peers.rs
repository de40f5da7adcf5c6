//! The other members, as this one reaches them and as they reach it.
//!
//! Outwards, [`Peers`] is what the shell implements over the wire: it is called with the front or the engine in
//! hand, so it never waits. Inwards, whatever comes goes into one of two bounded queues, proposals apart from the
//! rest, so that followers' clients cannot crowd out heartbeats; what finds no room is dropped, as on a bad network.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use consensus::Progress;
use exchange::{Image, MemberSnapshot};
use member::{ApplyingInput as Do, FrontInput};
use proto::raftpb::{Message, MessageType};
use types::MemberId;

use crate::engine::EngineMessage;
use crate::front::FrontMessage;
use crate::{ClusterView, Event, Node};

/// A snapshot's database in pieces, to be read on a thread that may wait.
pub type SnapshotChunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// A snapshot's database, which may be read again from its beginning: always the same bytes.
pub type SnapshotBody = Box<dyn Fn() -> SnapshotChunks + Send>;

/// The way to the other members. Every call returns at once.
pub trait Peers: Send + Sync + 'static {
    /// Sends messages, each to its `to`, in order. No snapshot is among them.
    fn send(&self, messages: Vec<Message>);

    /// Sends a snapshot. [`Node::snapshot_sent`] is due.
    fn send_snapshot(&self, message: Message, body: SnapshotBody);

    /// Who belongs to the cluster now. Also told once at the start.
    fn members(&self, cluster: &ClusterView);
}

/// The peers of a member that has none.
struct Nobody;

impl Peers for Nobody {
    fn send(&self, _: Vec<Message>) {}
    fn send_snapshot(&self, _: Message, _: SnapshotBody) {}
    fn members(&self, _: &ClusterView) {}
}

/// No peers: for a cluster of one.
pub fn alone() -> Arc<dyn Peers> {
    Arc::new(Nobody)
}

/// There was no room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

/// Messages of others on their way to the front, of one kind, at most.
const MESSAGES_MAX: usize = 4096;

/// Bytes of them, at most; one message always fits.
const BYTES_MAX: usize = 128 << 20;

/// A queue of what came from others. The messages themselves go to the front with all else; here they are counted.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Queue {
    fn enter(&self, bytes: usize) -> Result<(), Overloaded> {
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if messages < MESSAGES_MAX && (before == 0 || before + bytes <= BYTES_MAX) {
            return Ok(());
        }
        self.leave(bytes);
        Err(Overloaded)
    }

    fn leave(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// What came from others and is not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Received {
    proposals: Queue,
    rest: Queue,
}

impl Received {
    fn queue(&self, message: &Message) -> &Queue {
        match message.r#type() {
            MessageType::MsgProp => &self.proposals,
            _ => &self.rest,
        }
    }

    fn enter(&self, message: &Message) -> Result<(), Overloaded> {
        self.queue(message).enter(bytes(message))
    }

    /// The front has it now.
    pub(crate) fn leave(&self, message: &Message) {
        self.queue(message).leave(bytes(message));
    }
}

/// What a message takes in memory, roughly.
fn bytes(message: &Message) -> usize {
    let entries = message.entries.iter();
    let entries: usize = entries.map(|e| 64 + e.data.as_ref().map_or(0, Bytes::len)).sum();
    let snapshot = message.snapshot.as_ref().and_then(|s| s.data.as_ref()).map_or(0, Bytes::len);
    256 + entries + snapshot
}

/// What other members say, and what is asked about them.
impl Node {
    /// Takes a message of another member.
    ///
    /// # Errors
    /// [`Overloaded`]: it was dropped.
    pub fn receive(&self, message: Message) -> Result<(), Overloaded> {
        if message.r#type() == MessageType::MsgSnap {
            // Without its database it is of no use.
            return Ok(());
        }
        self.shared.received.enter(&message)?;
        let _ = self.shared.front.send(FrontMessage::Do(FrontInput::Received(Box::new(message))));
        Ok(())
    }

    /// Takes a snapshot's message. Its database is synced in this file, which must be the one [`member::spooled`]
    /// names.
    ///
    /// # Errors
    /// What its sender is told.
    pub fn receive_snapshot(&self, message: Message, database: PathBuf) -> Result<(), String> {
        let metadata = message.snapshot.as_ref().and_then(|s| s.metadata.as_ref());
        let index = metadata.map_or(0, |metadata| metadata.index());
        if database != member::spooled(&self.shared.snap_dir, index) {
            return Err(format!("{} is not where snapshots arrive", database.display()));
        }
        let full = |Overloaded| "too many messages wait".to_owned();
        self.shared.received.enter(&message).map_err(full)?;
        let sent =
            self.shared.front.send(FrontMessage::Do(FrontInput::Received(Box::new(message))));
        sent.map_err(|_| "the member is stopping".to_owned())
    }

    /// A message to this member was lost.
    pub fn unreachable(&self, peer: MemberId) {
        let _ = self.shared.front.send(FrontMessage::Do(FrontInput::Unreachable { peer }));
    }

    /// A snapshot to this member arrived, or did not.
    pub fn snapshot_sent(&self, peer: MemberId, arrived: bool) {
        let _ =
            self.shared.front.send(FrontMessage::Do(FrontInput::SnapshotSent { peer, arrived }));
    }

    /// The host of this member closed its connections: the member is probably gone.
    pub fn host_gone(&self, peer: MemberId) {
        let _ = self.shared.front.send(FrontMessage::Do(FrontInput::HostGone { peer }));
    }

    /// Sends the applied state to a member that has none and asked for it. It is no matter of raft's, so the message
    /// is of no term, and whoever takes part in raft refuses it.
    pub fn offer_snapshot(&self, to: MemberId) {
        let message = Message {
            r#type: Some(MessageType::MsgSnap as i32),
            to: Some(to),
            from: Some(self.member()),
            ..Message::default()
        };
        let _ = self.shared.engine.send(EngineMessage::Do(Do::SendSnapshot(Box::new(message))));
    }

    /// Lets raft's clock tick so many times at once.
    pub fn advance(&self, ticks: usize) {
        for _ in 0..ticks {
            let _ = self.shared.front.send(FrontMessage::Do(FrontInput::Ticked));
        }
    }

    /// Hands leadership to this member; 0 for the one that is furthest. What came of it shows in
    /// [`Node::standing`], within an election timeout.
    pub fn transfer(&self, to: MemberId) {
        let _ = self.shared.front.send(FrontMessage::Do(FrontInput::Transfer { to }));
    }

    /// Whether this id was a member and is not any more.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.cluster().members.was_removed(id)
    }

    /// Another member says that this one was removed.
    pub fn removed_here(&self) {
        self.shared.report.report(Event::Removed);
    }

    /// What this member knows of each, as its leader; nothing if it does not lead. A tick old at most.
    pub fn progress(&self) -> Arc<Vec<Progress>> {
        self.shared.progress.load_full()
    }
}

/// An image's database. As long as somebody may read it, the files behind it stay.
pub(crate) fn snapshot_body(image: Image) -> SnapshotBody {
    Box::new(move || Box::new(Body::Waits(Box::new(image.clone()))))
}

/// Bytes of a snapshot that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A body that begins with its first piece: planning it is a walk through all rows.
enum Body {
    Waits(Box<Image>),
    Flows(Box<MemberSnapshot>),
    Ended,
}

impl Iterator for Body {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut stream = match std::mem::replace(self, Body::Ended) {
            Body::Waits(image) => match image.stream(CHUNK_BYTES) {
                Ok(stream) => Box::new(stream),
                Err(error) => return Some(Err(io::Error::other(error))),
            },
            Body::Flows(stream) => stream,
            Body::Ended => return None,
        };
        let chunk = stream.next()?.map_err(io::Error::other);
        if chunk.is_ok() {
            *self = Body::Flows(stream);
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use proto::raftpb;

    use super::*;

    #[test]
    fn a_flood_of_proposals_leaves_room_for_a_heartbeat() {
        let received = Received::default();
        let of = |kind: MessageType| Message { r#type: Some(kind as i32), ..Default::default() };
        let proposal = of(MessageType::MsgProp);
        for _ in 0..MESSAGES_MAX {
            assert_eq!(received.enter(&proposal), Ok(()));
        }
        assert_eq!(received.enter(&proposal), Err(Overloaded));
        let heartbeat = of(MessageType::MsgHeartbeat);
        assert_eq!(received.enter(&heartbeat), Ok(()));
        received.leave(&proposal);
        assert_eq!(received.enter(&proposal), Ok(()));
    }

    #[test]
    fn bytes_are_bounded_and_one_message_always_fits() {
        let received = Received::default();
        let data = Some(Bytes::from(vec![0; BYTES_MAX]));
        let entry = raftpb::Entry { data, ..Default::default() };
        let large = Message {
            r#type: Some(MessageType::MsgApp as i32),
            entries: vec![entry],
            ..Default::default()
        };
        assert_eq!(received.enter(&large), Ok(()));
        assert_eq!(received.enter(&large), Err(Overloaded));
        received.leave(&large);
        assert_eq!(received.enter(&large), Ok(()));
    }
}
