//! What costs us more than the client, counted until it is too much.

use crate::fault::Fault;

/// Frames without a useful one between them: settings, priorities, unknown ones and empty data. Pings and
/// windows do not count, because a client that only reads may send them for years.
const IDLE_FRAMES_MAX: u32 = 10_000;

/// Counts what a client does to no purpose.
#[derive(Debug)]
pub(crate) struct Guard {
    early_resets_max: usize,
    early_resets: usize,
    idle_frames: u32,
}

impl Guard {
    pub fn new(early_resets_max: usize) -> Guard {
        Guard { early_resets_max, early_resets: 0, idle_frames: 0 }
    }

    /// A stream was opened and reset before anybody could look at it.
    pub fn reset_early(&mut self) -> Result<(), Fault> {
        self.early_resets += 1;
        if self.early_resets > self.early_resets_max {
            return Err(Fault::calm("too_many_resets"));
        }
        Ok(())
    }

    /// A stream was reset for what the client did on it: it made us begin and give up.
    pub fn lost(&mut self) -> Result<(), Fault> {
        self.reset_early()
    }

    /// A call was answered, which makes good for a reset.
    pub fn answered(&mut self) {
        self.early_resets = self.early_resets.saturating_sub(1);
    }

    /// A frame brought nothing.
    pub fn idle_frame(&mut self) -> Result<(), Fault> {
        self.idle_frames += 1;
        if self.idle_frames > IDLE_FRAMES_MAX {
            return Err(Fault::calm("too_many_idle_frames"));
        }
        Ok(())
    }

    /// A frame brought something.
    pub fn busy(&mut self) {
        self.idle_frames = 0;
    }
}
