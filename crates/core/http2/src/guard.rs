//! What costs us more than the client, counted until it is too much.

use crate::fault::Fault;

/// Frames without a useful one between them: settings, priorities, unknown ones and empty data. Pings and
/// windows do not count, because a client that only reads may send them for years.
const IDLE_FRAMES_MAX: u32 = 10_000;

/// Counts what a client does to no purpose.
#[derive(Debug)]
pub(crate) struct Guard {
    resets_max: usize,
    /// In parts of a whole early reset.
    resets: usize,
    idle_frames: u32,
}

/// A reset of a call that began and was answered nothing counts a fourth of one that nobody could look at: clients
/// give calls up for good reasons too, and what was done for them is bounded.
const WHOLE: usize = 4;

impl Guard {
    pub fn new(early_resets_max: usize) -> Guard {
        Guard { resets_max: early_resets_max.saturating_mul(WHOLE), resets: 0, idle_frames: 0 }
    }

    /// A stream was opened and reset before anybody could look at it.
    pub fn reset_early(&mut self) -> Result<(), Fault> {
        self.reset(WHOLE)
    }

    /// A stream was reset whose call had begun, before anything was answered.
    pub fn reset_unanswered(&mut self) -> Result<(), Fault> {
        self.reset(1)
    }

    fn reset(&mut self, parts: usize) -> Result<(), Fault> {
        self.resets += parts;
        if self.resets > self.resets_max {
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
        self.resets = self.resets.saturating_sub(WHOLE);
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
