//! How far long work has come: a line on standard error that is drawn over and over, on a terminal only.
//!
//! Work is counted in bytes read. A file that is gone through twice counts twice; pages that nobody needs
//! are skipped, so the end may come before the hundredth part of a hundred.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Work that is over sooner shows nothing.
const SHOW_AFTER: Duration = Duration::from_millis(300);
const BAR_LETTERS: usize = 30;

/// Work under way.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total_bytes: u64,
    began: Instant,
    /// `None` where nobody looks.
    state: Option<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    done_bytes: u64,
    drawn: Option<Instant>,
}

impl Progress {
    /// Work of so many bytes.
    pub fn new(what: &'static str, total_bytes: u64) -> Progress {
        let state = State { done_bytes: 0, drawn: None };
        let watched = std::io::stderr().is_terminal();
        let state = watched.then(|| Mutex::new(state));
        Progress { what, total_bytes, began: Instant::now(), state }
    }

    /// So many more are done.
    pub fn add(&self, bytes: u64) {
        let Some(state) = &self.state else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done_bytes += bytes;
        let elapsed = self.began.elapsed();
        let due = state.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY);
        if due && elapsed >= SHOW_AFTER {
            state.drawn = Some(Instant::now());
            let line = line(self.what, state.done_bytes, self.total_bytes, elapsed);
            // A terminal that went away is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        }
    }
}

impl Drop for Progress {
    /// Leaves the terminal as it was.
    fn drop(&mut self) {
        let Some(state) = &self.state else { return };
        if state.lock().unwrap_or_else(PoisonError::into_inner).drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, done_bytes: u64, total_bytes: u64, elapsed: Duration) -> String {
    let done_bytes = done_bytes.min(total_bytes);
    let share = if total_bytes == 0 { 1.0 } else { done_bytes as f64 / total_bytes as f64 };
    let rate = done_bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let left_seconds = (total_bytes - done_bytes) as f64 / rate.max(1.0);
    let full = (share * BAR_LETTERS as f64) as usize;
    let bar = format!("{}{}", "=".repeat(full), " ".repeat(BAR_LETTERS - full));
    let percent = (share * 100.0) as u32;
    let (done, total, rate) = (go::size(done_bytes), go::size(total_bytes), go::size(rate as u64));
    let left = left_seconds.min(359_999.0) as u64;
    let left = match (left / 3600, left / 60 % 60, left % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    };
    format!("{what} [{bar}] {percent:>3}% {done} of {total}, {rate}/s, {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_share_rate_and_the_time_left() {
        let bar = "===============               ";
        let expected = format!("restoring [{bar}]  50% 1.0 GB of 2.0 GB, 100 MB/s, 10s left");
        let half = line("restoring", 1_000_000_000, 2_000_000_000, Duration::from_secs(10));
        assert_eq!(half, expected);
        let late = line("checking", 1_000_000, 5_000_000_000, Duration::from_secs(1));
        assert!(late.ends_with("1.0 MB/s, 1h23m left"), "{late}");
        let all = line("checking", 9, 5, Duration::ZERO);
        assert!(all.contains("100%") && all.ends_with("0s left"), "{all}");
        assert!(line("x", 0, 0, Duration::ZERO).contains("100%"));
    }
}
