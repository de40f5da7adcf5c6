//! The receiving end of a stream: this member asks the peer for it, and asks again when it ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::raftpb::Message;

use super::event::Event;
use super::link::{NoAnswer, ask, begin, connect, nothing, read_answer};
use super::peers::Peer;
use super::shared::Core;
use crate::rules::{
    CLUSTER_MISMATCH, Failure, INCOMPATIBLE_VERSION, Pace, PeerUrl, REDIAL_MAX, REDIAL_MIN,
    StreamKind, header,
};
use crate::wire::{MessageDecoder, MsgAppDecoder, StreamDamage};

/// Both streams from one peer, to notice when its host closes both.
#[derive(Default)]
pub(super) struct Links {
    msgapp: Cell<Link>,
    message: Cell<Link>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    /// Never there, or lost in silence.
    #[default]
    Unknown,
    Up,
    /// Closed or refused by the peer's host.
    Closed,
}

impl Links {
    /// Notes how one stream is; says whether now both are closed, the first time.
    fn note(&self, kind: StreamKind, link: Link) -> bool {
        let (this, other) = match kind {
            StreamKind::MsgApp => (&self.msgapp, &self.message),
            StreamKind::Message => (&self.message, &self.msgapp),
        };
        let before = this.replace(link);
        link == Link::Closed && before == Link::Up && other.get() == Link::Closed
    }
}

/// Why a stream did not begin.
enum NoStream {
    /// This member was removed.
    Removed,
    /// The peer will not, for now.
    Refused(String),
    /// Nobody answered.
    NoAnswer(NoAnswer),
}

/// A decoder of one of the two framings.
enum Decoder {
    MsgApp(MsgAppDecoder),
    Message(MessageDecoder),
}

impl Decoder {
    fn push(&mut self, piece: Bytes) {
        match self {
            Decoder::MsgApp(decoder) => decoder.push(piece),
            Decoder::Message(decoder) => decoder.push(piece),
        }
    }

    fn waiting_bytes(&self) -> usize {
        match self {
            Decoder::MsgApp(decoder) => decoder.waiting_bytes(),
            Decoder::Message(decoder) => decoder.waiting_bytes(),
        }
    }

    fn next_message(&mut self) -> Result<Option<(Message, usize)>, StreamDamage> {
        match self {
            Decoder::MsgApp(decoder) => decoder.next_message(),
            Decoder::Message(decoder) => decoder.next_message(),
        }
    }
}

/// Reads streams of this kind from the peer, one after the other, for as long as it is a peer.
pub(super) async fn read_streams(
    core: Arc<Core>,
    peer: Arc<Peer>,
    kind: StreamKind,
    links: Rc<Links>,
) {
    let mut pace = Pace::default();
    loop {
        rest(&mut pace, &peer).await;
        pace.dialled(Instant::now());
        let url = peer.urls().pick();
        let Some(url) = url else {
            pace.failed();
            continue;
        };
        let (lost, action) = match open(&core, &peer, kind, &url).await {
            Ok(body) => {
                core.worked(&peer);
                links.note(kind, Link::Up);
                core.report.event(said(ESTABLISHED, kind, &core, &peer));
                let began = Instant::now();
                let lost = read(&core, &peer, kind, body).await;
                // A stream that ends at once is as good as none.
                match began.elapsed() < REDIAL_MAX {
                    true => pace.failed(),
                    false => pace.succeeded(),
                }
                let event = said(LOST, kind, &core, &peer).with("error", &lost.reason);
                core.report.event(Event { level: super::event::Level::Warn, ..event });
                (lost, "read")
            }
            Err(NoStream::Removed) => {
                core.raft.removed_here();
                return;
            }
            Err(NoStream::Refused(reason)) => {
                pace.failed();
                core.url_failed(&peer, &url);
                (NoAnswer::because(reason), "dial")
            }
            Err(NoStream::NoAnswer(lost)) => {
                pace.failed();
                core.url_failed(&peer, &url);
                (lost, "dial")
            }
        };
        // A stream that its host closed may be back in a moment; a dial tells.
        if action == "dial" || !lost.by_host {
            let way = kind.name();
            core.failed(&peer, &Failure { action, way, reason: lost.reason.clone() });
        }
        let link = if lost.by_host { Link::Closed } else { Link::Unknown };
        if links.note(kind, link) {
            core.raft.host_gone(peer.id);
        }
    }
}

/// Waits until the peer may be dialled: not for long once it came to us itself.
async fn rest(pace: &mut Pace, peer: &Peer) {
    let before = peer.heard();
    loop {
        if peer.heard() != before {
            pace.succeeded();
        }
        let wait = pace.wait(Instant::now());
        if wait.is_zero() {
            return;
        }
        tokio::time::sleep(wait.min(REDIAL_MIN)).await;
    }
}

const ESTABLISHED: &str = "established TCP streaming connection with remote peer";
const LOST: &str = "lost TCP streaming connection with remote peer";

fn said(text: &'static str, kind: StreamKind, core: &Core, peer: &Peer) -> Event {
    Event::info(text, &peer.label)
        .with("stream-reader-type", kind.name())
        .with("local-member-id", &core.own_label)
}

async fn open(
    core: &Arc<Core>,
    peer: &Peer,
    kind: StreamKind,
    url: &PeerUrl,
) -> Result<Incoming, NoStream> {
    let connector = core.connector.as_ref();
    let connected = connect(url, connector, core.dial_timeout, core.patience()).await;
    let mut connection = connected.map_err(NoStream::NoAnswer)?;
    let path = format!("{}/{}", kind.path(), core.own_label);
    let request = begin(core, Method::GET, url, &path).header(header::TO, &peer.label);
    let request = request.body(nothing());
    let request = request.map_err(|error| NoStream::Refused(error.to_string()))?;
    let answer = ask(&mut connection, request).await.map_err(NoStream::NoAnswer)?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer.into_body());
    }
    if status == StatusCode::GONE {
        return Err(NoStream::Removed);
    }
    let text = read_answer(answer).await.map_err(NoStream::NoAnswer)?;
    Err(NoStream::Refused(refusal(core, peer, status, &text)))
}

/// What a refusal means, in etcd's words.
pub(super) fn refusal(core: &Core, peer: &Peer, status: StatusCode, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).trim().chars().take(200).collect::<String>();
    let incompatible = match (status, text.as_str()) {
        (StatusCode::PRECONDITION_FAILED, INCOMPATIBLE_VERSION) => {
            Some("request sent was ignored by remote peer due to server version incompatibility")
        }
        (StatusCode::PRECONDITION_FAILED, CLUSTER_MISMATCH) => {
            Some("request sent was ignored by remote peer due to cluster ID mismatch")
        }
        _ => None,
    };
    if let Some(said) = incompatible
        && peer.says_refused(&text)
    {
        core.report.event(
            Event::warn(said, &peer.label)
                .with("local-member-id", &core.own_label)
                .with("local-member-cluster-id", format!("{:x}", core.identity.cluster))
                .with("error", &text),
        );
    }
    match status {
        StatusCode::NOT_FOUND => {
            format!("peer {} failed to find local node {}", peer.label, core.own_label)
        }
        StatusCode::PRECONDITION_FAILED => text,
        _ => format!("unhandled http status {}: {text}", status.as_u16()),
    }
}

/// Reads until the stream ends, and says why it did.
async fn read(core: &Core, peer: &Peer, kind: StreamKind, mut body: Incoming) -> NoAnswer {
    peer.refusal_over();
    let mut decoder = match kind {
        StreamKind::MsgApp => Decoder::MsgApp(MsgAppDecoder::new(peer.id, core.identity.member)),
        StreamKind::Message => Decoder::Message(MessageDecoder::default()),
    };
    let mut unfinished = core.partial();
    loop {
        let frame = match tokio::time::timeout(core.limits.silence_read_max, body.frame()).await {
            Err(_) => return NoAnswer::because("read: i/o timeout"),
            Ok(None) => return NoAnswer { reason: "EOF".into(), by_host: true },
            Ok(Some(Err(error))) => return NoAnswer::of(&error),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = frame.into_data() else { continue };
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some((message, bytes))) => {
                    peer.counters.received_bytes.add(bytes as u64);
                    core.receive(message, Some(peer));
                }
                Ok(None) => break,
                Err(damage) => {
                    peer.counters.received_failures.inc();
                    return NoAnswer::because(damage.to_string());
                }
            }
        }
        if !unfinished.set(decoder.waiting_bytes()) {
            return NoAnswer::because("too many bytes of unfinished messages");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_gone_when_it_closed_both_streams_and_not_before() {
        let links = Links::default();
        let both = [StreamKind::MsgApp, StreamKind::Message];
        assert!(both.map(|kind| links.note(kind, Link::Up)).iter().all(|gone| !gone));
        assert!(!links.note(StreamKind::MsgApp, Link::Closed));
        assert!(links.note(StreamKind::Message, Link::Closed));
        // Refused dials afterwards say nothing new.
        assert!(!links.note(StreamKind::MsgApp, Link::Closed));
        assert!(!links.note(StreamKind::Message, Link::Closed));
    }

    #[test]
    fn silence_is_not_a_closed_door() {
        let links = Links::default();
        links.note(StreamKind::MsgApp, Link::Up);
        links.note(StreamKind::Message, Link::Up);
        assert!(!links.note(StreamKind::MsgApp, Link::Unknown));
        assert!(!links.note(StreamKind::Message, Link::Closed));
        // One that came back in between is there again.
        links.note(StreamKind::MsgApp, Link::Up);
        links.note(StreamKind::Message, Link::Up);
        assert!(!links.note(StreamKind::Message, Link::Closed));
    }
}
