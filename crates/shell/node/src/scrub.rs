//! When the store is scrubbed, and what becomes of what is found.
//!
//! A pass a day, below everything else that is done for the store, and no faster than a disk gives without anybody's
//! notice. The first begins when the member has been up for a while: a start has enough to read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use store::{Scrub, StoreError};

use crate::Event;
use crate::engine::EngineThread;
use crate::report::chain;
use crate::upkeep::UpkeepJob;

/// Bytes read at a time.
const STEP_BYTES: u64 = 4 << 20;
/// Bytes read in a second, at most.
const BYTES_PER_SECOND: u64 = 16 << 20;
/// From the end of one pass to the beginning of the next.
const REST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a member has been up before it scrubs.
const UPTIME_MIN: Duration = Duration::from_secs(60);

/// A piece of a pass that is being read, and when it may go on.
pub(crate) struct ScrubJob {
    pub(crate) scrub: Box<Scrub>,
    pub(crate) due: Instant,
}

impl ScrubJob {
    pub(crate) fn new(scrub: Box<Scrub>) -> ScrubJob {
        ScrubJob { scrub, due: Instant::now() }
    }

    /// Reads a little; true when the piece is through.
    pub(crate) fn step(&mut self) -> Result<bool, StoreError> {
        let done = self.scrub.step(STEP_BYTES)?;
        let share = Duration::from_secs(1) * STEP_BYTES as u32 / BYTES_PER_SECOND as u32;
        self.due = Instant::now() + share;
        Ok(done)
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl EngineThread {
    /// Begins the next piece of a pass, if it is time.
    pub(crate) fn scrub(&mut self) {
        self.show_scrubbed();
        if self.shared.started.elapsed() < UPTIME_MIN || self.applying.is_installing() {
            return;
        }
        if let Some(scrub) =
            self.applying.engine_mut().upkeep().begin_scrub(unix_s(), REST.as_secs())
        {
            let _ = self.upkeep.send(UpkeepJob::Scrub(Box::new(scrub)));
        }
    }

    /// A piece has come to its end.
    pub(crate) fn scrubbed(&mut self, scrub: Scrub, failed: Option<StoreError>) {
        let done = self.applying.engine_mut().upkeep().finish_scrub(scrub, unix_s());
        self.shared.metrics.mvcc.scrubbed_bytes.add(done.bytes);
        for damage in &done.healed {
            let what = format!("{damage}; it is written anew from memory");
            self.shared.report.report(Event::Ignored { what });
        }
        if let Some(error) = failed {
            let what = "scrubbing the store";
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
        }
    }

    /// Shows what is known of the store's soundness.
    fn show_scrubbed(&self) {
        let store = self.engine().applier().stored();
        let figures = &self.shared.figures;
        figures.scrubbed_s.store(store.scrubbed().clean_s, Ordering::Release);
    }
}
