//! Streams that hold a view of the store: how long their clients may take.
//!
//! A client that takes nothing for [`PATIENCE_MAX`] loses its stream, and after [`PATIENCE`] already where others wait
//! for what it holds. And where all streams together hold more of the disk than they may, the oldest ends, however
//! diligently it is read. Each of them is told why.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use node::{Held, Reader};
use types::{Code, Refusal};

use crate::desk::Desk;

/// How long a client may take nothing while others wait for its place.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long in any case.
const PATIENCE_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether it has to go.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// A stream that holds a view.
pub(crate) struct Holding {
    desk: Desk,
    reader: Reader,
}

impl Holding {
    /// To be had before the view is.
    pub(crate) fn begin(desk: &Desk) -> Holding {
        Holding { reader: desk.figures().readers.enter(), desk: desk.clone() }
    }

    /// Waits for the client. `pressed` says whether others wait for what this stream holds.
    ///
    /// # Errors
    /// Why the stream ends.
    pub(crate) async fn wait<T>(
        &self,
        pressed: impl Fn() -> bool,
        client: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        let mut client = pin!(client);
        let mut waited = Duration::ZERO;
        loop {
            self.check()?;
            if let Ok(done) = tokio::time::timeout(LOOKS_EVERY, client.as_mut()).await {
                return Ok(done);
            }
            waited += LOOKS_EVERY;
            if PATIENCE_MAX <= waited || (PATIENCE <= waited && pressed()) {
                let text = format!(
                    "etcdserver: the stream ended because its client took nothing of it for {} s",
                    waited.as_secs()
                );
                return Err(Refusal::Other(Code::ResourceExhausted, text.into()));
            }
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        let figures = self.desk.figures();
        let own = figures.file_bytes.load(Ordering::Acquire);
        let held = Held {
            bytes: figures.held_bytes.load(Ordering::Acquire),
            bytes_max: self.desk.limits().held_bytes_max.max(own),
        };
        if !self.reader.must_go(held, self.desk.now_ms()) {
            return Ok(());
        }
        let text = format!(
            "etcdserver: the stream ended because readers hold {} bytes of replaced files (max {})",
            held.bytes, held.bytes_max
        );
        Err(Refusal::Other(Code::ResourceExhausted, text.into()))
    }
}
