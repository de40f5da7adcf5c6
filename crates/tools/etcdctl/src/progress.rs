//! A bar with rate and remaining time, on a terminal only. What is piped is read by scripts.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
const BAR_WIDTH: usize = 30;

/// Some work of known or unknown size.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    what: &'static str,
    show: fn(u64) -> String,
    total: Option<u64>,
    done: u64,
    began: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// Work counted with `show`.
    pub fn new(what: &'static str, total: Option<u64>, show: fn(u64) -> String) -> Progress {
        let shown = io::stderr().is_terminal();
        Progress { shown, what, show, total, done: 0, began: Instant::now(), drawn: None }
    }

    /// Now the size is known.
    pub fn set_total(&mut self, total: u64) {
        self.total = Some(total);
    }

    /// So much is done in all.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW_INTERVAL);
        if self.shown && due {
            self.drawn = Some(Instant::now());
            self.draw();
        }
    }

    /// So much more is done.
    pub fn add(&mut self, more: u64) {
        self.set(self.done + more);
    }

    fn draw(&self) {
        let text = line(self.what, self.show, self.done, self.total, self.began.elapsed());
        let mut stderr = io::stderr().lock();
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
        }
    }
}

fn line(
    what: &str,
    show: fn(u64) -> String,
    done: u64,
    total: Option<u64>,
    elapsed: Duration,
) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let speed = format!("{}/s", show(rate as u64));
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{what} {} {speed}", show(done));
    };
    let part = (done as f64 / total as f64).clamp(0.0, 1.0);
    let full = (part * BAR_WIDTH as f64) as usize;
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(BAR_WIDTH - full));
    let left = (total.saturating_sub(done) as f64 / rate.max(0.001)).ceil() as u64;
    let (minutes, seconds) = (left / 60, left % 60);
    let percent = part * 100.0;
    format!(
        "{what} [{bar}] {percent:3.0}% {} of {} {speed} {minutes}:{seconds:02} left",
        show(done),
        show(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_part_rate_and_remaining_time() {
        let text = line("save", |n| n.to_string(), 50, Some(200), Duration::from_secs(10));
        assert_eq!(text, "save [#######-----------------------]  25% 50 of 200 5/s 0:30 left");
    }

    #[test]
    fn without_a_total_there_is_only_a_count() {
        let text = line("mirror", |n| n.to_string(), 50, None, Duration::from_secs(10));
        assert_eq!(text, "mirror 50 5/s");
    }
}
