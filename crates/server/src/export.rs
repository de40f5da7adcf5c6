//! Streams a snapshot to a client: the state as a bbolt file, and its digest.

use auth::Permitted;
use bolt::{Layout, Plan, SnapshotStream};
use bytes::Bytes;
use exchange::Image;
use proto::etcdserverpb as pb;
use rpc::Sink;
use tokio::sync::mpsc;
use types::Refusal;

use crate::desk::{Desk, ReadsAll};

/// Bytes in one message of a snapshot stream, as etcd cuts them.
const BLOB_BYTES: usize = 32 * 1024;

/// Messages made ahead of a slow client.
const BLOBS_AHEAD: usize = 32;

/// Takes the state as it is now.
pub(crate) async fn take<M: ReadsAll>(
    desk: &Desk,
    permitted: &Permitted<M>,
) -> Result<Image, Refusal> {
    let (view, state) = desk.snapshot(permitted).await?;
    Ok(Image::new(view, state))
}

/// Streams an image and its digest: what `snapshot save` writes to its file. The file is made on a
/// thread of its own, a few messages ahead of the client.
pub(crate) async fn send(desk: &Desk, image: Image, mut sink: Sink) -> Result<(), Refusal> {
    let version = image.storage_version();
    let (sender, mut blobs) = mpsc::channel(BLOBS_AHEAD);
    let made = tokio::task::spawn_blocking(move || make(image, &sender));
    while let Some((blob, remaining_bytes)) = blobs.recv().await {
        let version = version.clone();
        sink.send(&pb::SnapshotResponse { header: None, remaining_bytes, blob, version }).await?;
    }
    match made.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            desk.fault("making a snapshot", &error);
            Err(Refusal::Stopped)
        }
        Err(_) => Err(Refusal::Stopped),
    }
}

/// Blobs with what remains of the image after each; the digest is the last one.
fn make(image: Image, sender: &mpsc::Sender<(Bytes, u64)>) -> Result<(), bolt::WriteError> {
    let plan: Plan = bolt::plan(&image, Layout::default())?;
    let mut remaining = plan.image_bytes();
    let mut stream = SnapshotStream::new(Box::new(image), plan)?;
    while let Some(blob) = stream.next_chunk(BLOB_BYTES)? {
        remaining = remaining.saturating_sub(blob.len() as u64);
        if sender.blocking_send((blob, remaining)).is_err() {
            // The client has gone.
            return Ok(());
        }
    }
    Ok(())
}
