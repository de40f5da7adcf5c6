//! Streams a snapshot to a client: the state as a bbolt file, and its digest.

use std::future::poll_fn;

use auth::Permitted;
use bolt::{Layout, Plan, SnapshotStream, WriteError};
use bytes::Bytes;
use exchange::Image;
use proto::etcdserverpb as pb;
use rpc::{Call, Sink, Turn, Wanted, aside, let_go};
use tokio::sync::Semaphore;
use types::{Code, Refusal};

use crate::desk::{Desk, ReadsAll};
use crate::holding::Holding;

/// Bytes in one message of a snapshot stream, as etcd cuts them.
const BLOB_BYTES: usize = 32 * 1024;

/// Messages made in one turn, ahead of a slow client.
const BLOBS_AT_ONCE: usize = 8;

/// Snapshots on their way at once. Each keeps the state of its moment.
const SNAPSHOTS_MAX: usize = 8;
static PLACES: Semaphore = Semaphore::const_new(SNAPSHOTS_MAX);

/// Takes the state as it is now.
pub(crate) async fn take<M: ReadsAll>(
    desk: &Desk,
    permitted: &Permitted<M>,
) -> Result<Image, Refusal> {
    let (view, state) = desk.snapshot(permitted).await?;
    Ok(Image::new(view, state))
}

/// Streams the state as it is now and its digest: what `snapshot save` writes to its file.
///
/// It is made piece by piece as the client takes it, each piece in its turn among all long reads: a client
/// that reads nothing holds a place, and no thread.
pub(crate) async fn send(
    desk: &Desk,
    call: &Call,
    permitted: &Permitted<pb::SnapshotRequest>,
    mut sink: Sink,
) -> Result<(), Refusal> {
    let _place = PLACES.try_acquire().map_err(|_| no_place())?;
    // What is made ahead of the client counts as any answer does.
    let _reserved = call.unread().reserve(BLOBS_AT_ONCE * BLOB_BYTES)?;
    let turn = Turn::take(Some(call)).await?;
    let holding = Holding::begin(desk);
    let image = take(desk, permitted).await?;
    let version = image.storage_version();
    let mut making = made(desk, aside(turn, move |_| Making::begin(image)).await?)?;
    loop {
        room(&holding, &mut sink).await?;
        let turn = Turn::take(Some(call)).await?;
        let step = move |wanted: &Wanted| making.step(wanted).map(|blobs| (making, blobs));
        let (rest, blobs) = made(desk, aside(turn, step).await?)?;
        if blobs.is_empty() {
            let_go(rest);
            return Ok(());
        }
        making = rest;
        for (blob, remaining_bytes) in blobs {
            room(&holding, &mut sink).await?;
            let version = version.clone();
            let message = pb::SnapshotResponse { header: None, remaining_bytes, blob, version };
            sink.send(&message).await?;
        }
    }
}

/// Waits until the client takes more, as long as it may take for that.
async fn room(holding: &Holding, sink: &mut Sink) -> Result<(), Refusal> {
    let all_taken = || PLACES.available_permits() == 0;
    Ok(holding.wait(all_taken, poll_fn(|cx| sink.poll_room(cx))).await??)
}

fn no_place() -> Refusal {
    let text = format!("etcdserver: too many snapshots are being sent (max {SNAPSHOTS_MAX})");
    Refusal::Other(Code::ResourceExhausted, text.into())
}

/// A snapshot cannot be made from a store that cannot be read.
fn made<T>(desk: &Desk, made: Result<T, WriteError>) -> Result<T, Refusal> {
    made.map_err(|error| desk.fault("making a snapshot", &error))
}

/// A snapshot of which the rest is still to be made.
struct Making {
    stream: SnapshotStream,
    remaining: u64,
}

impl Making {
    fn begin(image: Image) -> Result<Making, WriteError> {
        let plan: Plan = bolt::plan(&image, Layout::default())?;
        let remaining = plan.image_bytes();
        Ok(Making { stream: SnapshotStream::new(Box::new(image), plan)?, remaining })
    }

    /// The next blobs, each with what remains of the image after it; the digest is the last one, and then
    /// there are none.
    fn step(&mut self, wanted: &Wanted) -> Result<Vec<(Bytes, u64)>, WriteError> {
        let mut blobs = Vec::with_capacity(BLOBS_AT_ONCE);
        while blobs.len() < BLOBS_AT_ONCE && wanted.is_wanted() {
            let Some(blob) = self.stream.next_chunk(BLOB_BYTES)? else { break };
            self.remaining = self.remaining.saturating_sub(blob.len() as u64);
            blobs.push((blob, self.remaining));
        }
        Ok(blobs)
    }
}
