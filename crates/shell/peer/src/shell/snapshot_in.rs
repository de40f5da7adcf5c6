//! A snapshot from a peer: its message is kept, its database goes to a file on a thread of its own, and only when
//! that is whole and synced does raft hear of it.
//!
//! Nothing in the body says how long the database is. So the only proof that it is whole is that the HTTP body ended
//! as it should: a connection that breaks in the middle is a failure. What has come by then is kept for a sender of ours,
//! which says so in its headers and may go on with it (see `parts`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::raftpb::{Message, MessageType};
use tokio::sync::{mpsc, oneshot};

use super::answers::sending;
use super::event::Event;
use super::link::{SILENCE_MAX, chain};
use super::parts::{Arriving, Coming, KEPT_DURATION, Sending};
use super::shared::Core;
use super::snapshot_out::OnDrop;
use crate::rules::{Refused, header};
use crate::wire::{MessageDecoder, StreamDamage, Unreadable};

/// The longest message part, as in etcd.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Chunks that wait for the disk.
const CHUNKS_AHEAD: usize = 8;

/// One step of a database: a chunk, or its end.
enum Step {
    Chunk(Bytes),
    End,
}

/// Receives a snapshot; the answer is empty, or a refusal.
pub(super) async fn receive(
    core: &Arc<Core>,
    headers: &HeaderMap,
    mut body: Incoming,
) -> Result<(), Refused> {
    let sending = sending(headers);
    let from_byte = headers.get(header::FROM_BYTE).and_then(|bytes| bytes.to_str().ok());
    let from_byte = from_byte.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    // From here on whoever asks for a part of it is told that it comes in.
    let coming = sending.map(|sending| (sending, Coming::new(core, sending)));
    let mut decoder = MessageDecoder::limited(MESSAGE_BYTES_MAX);
    let message = read_message(&mut body, &mut decoder).await.map_err(|why| {
        let text = format!("failed to decode raft message ({why})");
        Refused::new(StatusCode::BAD_REQUEST, text)
    })?;
    if message.r#type() != MessageType::MsgSnap {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "wrong raft message type"));
    }
    let metadata = message.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
    let index = metadata.map(|metadata| metadata.index()).unwrap_or_default();
    let label = core.label_of(message.from());
    let network = &core.metrics.network;
    let (inflight, began) = (network.snapshot_receive_inflights.with(&[&label]), Instant::now());
    inflight.inc();
    let _inflight = OnDrop(|| inflight.dec());
    let said = |event: Event| {
        event.with("local-member-id", &core.own_label).with("incoming-snapshot-index", index)
    };
    core.report.event(said(Event::info("receiving database snapshot", &label)));
    let incoming = Arrival { message, index, from_byte, coming };
    let outcome = spool(core, incoming, body, decoder).await;
    if outcome.is_err() && sending.is_some() {
        let core = core.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(KEPT_DURATION).await;
            core.parts.expire();
        });
    }
    match &outcome {
        Ok(bytes) => {
            network.snapshot_receive_successes.with(&[&label]).inc();
            let took = network.snapshot_receive_duration.with(&[&label]);
            took.observe_duration(began.elapsed());
            let event = Event::info("received and saved database snapshot", &label);
            core.report.event(said(event).with("incoming-snapshot-size-bytes", *bytes));
        }
        Err(refused) => {
            network.snapshot_receive_failures.with(&[&label]).inc();
            let event = Event::warn("failed to save incoming database snapshot", &label);
            core.report.event(said(event).with("error", &refused.text));
        }
    }
    outcome.map(|_| ())
}

/// Waits for more of a body, but not in silence.
pub(super) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Err(_) => return Err("i/o timeout".into()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(chain(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

async fn read_message(
    body: &mut Incoming,
    decoder: &mut MessageDecoder,
) -> Result<Message, String> {
    loop {
        match decoder.next_message() {
            Ok(Some((message, _))) => return Ok(message),
            Ok(None) => {}
            Err(StreamDamage::Unreadable(Unreadable::Malformed(why))) => return Err(why),
            Err(damage) => return Err(damage.to_string()),
        }
        match next_piece(body).await? {
            Some(piece) => decoder.push(piece),
            None if decoder.waiting_bytes() == 0 => return Err("EOF".into()),
            None => return Err("unexpected EOF".into()),
        }
    }
}

/// A snapshot of which the message has come.
struct Arrival {
    message: Message,
    index: u64,
    from_byte: u64,
    coming: Option<(Sending, Coming)>,
}

async fn spool(
    core: &Arc<Core>,
    incoming: Arrival,
    mut body: Incoming,
    decoder: MessageDecoder,
) -> Result<u64, Refused> {
    let (steps, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let (done, outcome) = oneshot::channel();
    let on_thread = core.clone();
    let thread = std::thread::Builder::new().name("peer-spool".into());
    let spawned = thread.spawn(move || {
        // If nobody waits any more, the connection was cut.
        let _ = done.send(write_and_step(&on_thread, incoming, receiver));
    });
    spawned.map_err(|error| cannot_save(&error.to_string()))?;
    let mut bytes = 0;
    let mut pieces = decoder.rest().collect::<Vec<_>>().into_iter();
    loop {
        let piece = match pieces.next() {
            Some(piece) => Some(piece),
            None => match next_piece(&mut body).await {
                Ok(piece) => piece,
                Err(why) => {
                    drop(steps);
                    let _ = outcome.await;
                    return Err(cannot_save(&why));
                }
            },
        };
        let Some(piece) = piece else { break };
        bytes += piece.len() as u64;
        if steps.send(Step::Chunk(piece)).await.is_err() {
            // The thread has an error to tell.
            break;
        }
    }
    let _ = steps.send(Step::End).await;
    drop(steps);
    match outcome.await {
        Ok(Ok(())) => Ok(bytes),
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(cannot_save("its thread has ended early")),
    }
}

fn cannot_save(why: &str) -> Refused {
    let text = format!("failed to save KV snapshot ({why})");
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}

fn write_and_step(
    core: &Core,
    incoming: Arrival,
    receiver: mpsc::Receiver<Step>,
) -> Result<(), Refused> {
    let path = write(core, &incoming, receiver).map_err(|error| cannot_save(&error.to_string()))?;
    core.raft.receive_snapshot(incoming.message, path.clone()).map_err(|why| {
        core.spool.forget(&path);
        let text = format!("failed to process raft message ({why})");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

fn write(
    core: &Core,
    incoming: &Arrival,
    mut receiver: mpsc::Receiver<Step>,
) -> std::io::Result<PathBuf> {
    let sending = incoming.coming.as_ref().map(|(sending, _)| *sending);
    let kept = sending.and_then(|sending| core.parts.take(sending, incoming.from_byte));
    let mut file = match kept {
        Some(kept) if 0 < incoming.from_byte => kept,
        _ if 0 < incoming.from_byte => {
            return Err(std::io::Error::other("what it goes on with is not kept"));
        }
        _ => Arriving::new(core.spool.begin(incoming.index)?),
    };
    loop {
        match receiver.blocking_recv() {
            Some(Step::Chunk(bytes)) => file.write(&bytes)?,
            Some(Step::End) => return file.finish(),
            None => {
                if let Some(sending) = sending {
                    core.parts.keep(sending, file);
                }
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
