//! A snapshot from a peer: its message is kept, its database goes to a file on a thread of its own, and only when
//! that is whole and synced does raft hear of it.
//!
//! Nothing in the body says how long the database is. So the only proof that it is whole is that the HTTP body ended
//! as it should: a connection that breaks in the middle is a failure.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::raftpb::{Message, MessageType};
use tokio::sync::{mpsc, oneshot};

use super::event::Event;
use super::link::{SILENCE_MAX, chain};
use super::shared::Core;
use super::snapshot_out::OnDrop;
use crate::rules::Refused;
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
pub(super) async fn receive(core: &Arc<Core>, mut body: Incoming) -> Result<(), Refused> {
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
    let outcome = spool(core, message, index, body, decoder).await;
    match &outcome {
        Ok(bytes) => {
            network.snapshot_receive_successes.with(&[&label]).inc();
            let took = network.snapshot_receive_duration.with(&[&label]);
            took.observe_duration(began.elapsed());
            let event = Event::info("received and saved database snapshot", &label);
            core.report.event(said(event).with("incoming-snapshot-size-bytes", bytes));
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

async fn spool(
    core: &Arc<Core>,
    message: Message,
    index: u64,
    mut body: Incoming,
    decoder: MessageDecoder,
) -> Result<u64, Refused> {
    let (steps, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let (done, outcome) = oneshot::channel();
    let on_thread = core.clone();
    let thread = std::thread::Builder::new().name("peer-spool".into());
    let spawned = thread.spawn(move || {
        // If nobody waits any more, the connection was cut.
        let _ = done.send(write_and_step(&on_thread, message, index, receiver));
    });
    spawned.map_err(|error| cannot_save(&error.to_string()))?;
    let mut bytes = 0;
    let mut pieces = decoder.rest().collect::<Vec<_>>().into_iter();
    loop {
        let piece = match pieces.next() {
            Some(piece) => Some(piece),
            None => next_piece(&mut body).await.map_err(|why| cannot_save(&why))?,
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
    message: Message,
    index: u64,
    receiver: mpsc::Receiver<Step>,
) -> Result<(), Refused> {
    let path = write(core, index, receiver).map_err(|error| cannot_save(&error.to_string()))?;
    core.raft.receive_snapshot(message, path).map_err(|why| {
        let text = format!("failed to process raft message ({why})");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

fn write(core: &Core, index: u64, mut receiver: mpsc::Receiver<Step>) -> std::io::Result<PathBuf> {
    let mut file = core.spool.begin(index)?;
    loop {
        match receiver.blocking_recv() {
            Some(Step::Chunk(bytes)) => file.write(&bytes)?,
            Some(Step::End) => return file.finish(),
            None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
