//! Auto compaction: which revision to compact to, and when (`docs/etcd/server-flags.md` 6.6).
//!
//! A machine like the others: the time and the current revision are handed in, the revision to
//! compact comes out. The caller proposes it and reports how it went.
//!
//! *Periodic* keeps history for a period: it remembers the revision at ten points of each period
//! (of each hour, if the period is longer) and compacts once a period (once an hour) to the last one
//! it saw more than a period ago. *Revision* keeps a number of revisions: every five minutes it compacts to the
//! current one less that number.
//!
//! Every member runs it, so that a new leader has its samples already; only the leader's request is
//! made ([`AutoCompaction::pause`]).

use std::collections::VecDeque;

/// What `--auto-compaction-mode` and `--auto-compaction-retention` say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Keep history for this long.
    Periodic {
        /// In milliseconds, at least 1.
        period_ms: u64,
    },
    /// Keep this many revisions.
    Revisions {
        /// At least 1.
        count: i64,
    },
}

/// What is wrong with the two flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// The mode is empty.
    #[error("undefined auto-compaction-mode")]
    Undefined,
    /// The mode is neither `periodic` nor `revision`.
    #[error("unknown auto-compaction-mode {0:?}")]
    UnknownMode(String),
    /// The retention is neither a number nor a duration.
    #[error("error parsing CompactionRetention: {0}")]
    Malformed(DurationError),
    /// A negative retention would compact without pause.
    #[error("error parsing CompactionRetention: {0:?} is negative")]
    Negative(String),
}

/// What Go's `time.ParseDuration` says of a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one should be, or one that is too large.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that is none.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// How a compaction went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied, or another had gone as far already.
    Done,
    /// It was refused or got lost.
    Failed,
}

/// Says what to compact, and when.
#[derive(Debug)]
pub struct AutoCompaction {
    schedule: Schedule,
    /// When it looks at the revision next.
    wakes_at_ms: u64,
    paused: bool,
    /// The revision asked for and not reported back yet.
    asked: Option<i64>,
    /// The last revision compacted to.
    compacted: i64,
}

#[derive(Debug)]
enum Schedule {
    Periodic(Periodic),
    Revisions {
        /// How many to keep.
        count: i64,
    },
}

#[derive(Debug)]
struct Periodic {
    /// Between samples, and until a failed compaction is tried again.
    sample_ms: u64,
    /// Between compactions.
    interval_ms: u64,
    /// Revisions seen, the oldest first.
    samples: VecDeque<i64>,
    samples_max: usize,
    last_success_ms: u64,
    /// From the last success to the next request: the whole period at first, then the interval.
    wait_ms: u64,
}

const HOUR_MS: u64 = 3_600_000;
const REVISION_INTERVAL_MS: u64 = 300_000;
const NANOS_PER_MS: i64 = 1_000_000;

impl Retention {
    /// Reads the two flags; `None` when auto compaction is off. A bare number means hours or
    /// revisions, as the mode says; anything else is a duration as Go spells it. (A duration in
    /// revision mode counts its nanoseconds, which etcd does too.)
    ///
    /// # Errors
    /// [`RetentionError`], in etcd's words.
    pub fn parse(mode: &str, retention: &str) -> Result<Option<Retention>, RetentionError> {
        let is_periodic = match mode {
            "periodic" => true,
            "revision" => false,
            "" => return Err(RetentionError::Undefined),
            other => return Err(RetentionError::UnknownMode(other.to_owned())),
        };
        let number = retention.parse::<i64>().ok().filter(|number| 0 <= *number);
        let amount = match number {
            Some(hours) if is_periodic => hours.saturating_mul(HOUR_MS as i64 * NANOS_PER_MS),
            Some(count) => count,
            None => parse_duration(retention).map_err(RetentionError::Malformed)?,
        };
        match u64::try_from(amount) {
            Err(_) => Err(RetentionError::Negative(retention.to_owned())),
            Ok(0) => Ok(None),
            Ok(nanos) if is_periodic => {
                Ok(Some(Retention::Periodic { period_ms: nanos.div_ceil(NANOS_PER_MS as u64) }))
            }
            Ok(_) => Ok(Some(Retention::Revisions { count: amount })),
        }
    }
}

impl AutoCompaction {
    /// Starts at a time and revision. `now_ms` is any clock that only moves forward.
    pub fn new(retention: Retention, now_ms: u64, revision: i64) -> AutoCompaction {
        let schedule = match retention {
            Retention::Periodic { period_ms } => {
                Schedule::Periodic(Periodic::new(period_ms, now_ms, revision))
            }
            Retention::Revisions { count } => Schedule::Revisions { count },
        };
        let wakes_at_ms = now_ms.saturating_add(schedule.sleep_ms());
        AutoCompaction { schedule, wakes_at_ms, paused: false, asked: None, compacted: 0 }
    }

    /// This member is not the leader (any more): it goes on taking samples and asks for nothing.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// This member is the leader.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// When to call [`AutoCompaction::tick`] at the latest. Earlier calls do no harm.
    pub fn wakes_at_ms(&self) -> u64 {
        self.wakes_at_ms
    }

    /// Lets time pass. Returns the revision to propose a compaction to, if one is due; then
    /// [`AutoCompaction::finished`] is to be called before it asks again.
    pub fn tick(&mut self, now_ms: u64, revision: i64) -> Option<i64> {
        if now_ms < self.wakes_at_ms {
            return None;
        }
        self.wakes_at_ms = now_ms.saturating_add(self.schedule.sleep_ms());
        let may_ask = !self.paused && self.asked.is_none();
        let target = match &mut self.schedule {
            Schedule::Periodic(periodic) => periodic.wake(now_ms, revision)?,
            Schedule::Revisions { count } => revision.saturating_sub(*count),
        };
        if may_ask && 0 < target && target != self.compacted {
            self.asked = Some(target);
            self.schedule.asked();
            Some(target)
        } else {
            None
        }
    }

    /// The compaction it asked for has been applied or has failed. A failed one is asked for again
    /// at the next sample.
    pub fn finished(&mut self, outcome: Outcome, now_ms: u64) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        match outcome {
            Outcome::Failed => {}
            Outcome::Done => {
                self.compacted = asked;
                if let Schedule::Periodic(periodic) = &mut self.schedule {
                    periodic.last_success_ms = now_ms;
                }
            }
        }
    }
}

impl Schedule {
    /// Until it looks at the revision again.
    fn sleep_ms(&self) -> u64 {
        match self {
            Schedule::Periodic(periodic) => periodic.sample_ms,
            Schedule::Revisions { .. } => REVISION_INTERVAL_MS,
        }
    }

    /// The first request waits for a whole period of history; the ones after it come regularly.
    fn asked(&mut self) {
        if let Schedule::Periodic(periodic) = self {
            periodic.wait_ms = periodic.interval_ms;
        }
    }
}

impl Periodic {
    fn new(period_ms: u64, now_ms: u64, revision: i64) -> Periodic {
        let interval_ms = period_ms.min(HOUR_MS);
        let sample_ms = (interval_ms / 10).max(1);
        Periodic {
            sample_ms,
            interval_ms,
            samples: VecDeque::from([revision]),
            samples_max: usize::try_from(period_ms / sample_ms).unwrap_or(usize::MAX - 1) + 1,
            last_success_ms: now_ms,
            wait_ms: period_ms,
        }
    }

    /// Takes a sample. Returns the oldest there was before it if the time for a compaction has come:
    /// one of a sampling interval more than a period ago, so that a whole period is kept always.
    fn wake(&mut self, now_ms: u64, revision: i64) -> Option<i64> {
        let oldest = self.samples[0];
        self.samples.push_back(revision);
        if self.samples_max < self.samples.len() {
            self.samples.pop_front();
        }
        let is_due = self.last_success_ms.saturating_add(self.wait_ms) <= now_ms;
        is_due.then_some(oldest)
    }
}

/// Reads a duration as Go's `time.ParseDuration` does, `1h30m` or `-1.5s`, into nanoseconds.
///
/// # Errors
/// [`DurationError`], in Go's words.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    let mut rest = unsigned;
    let mut nanos: i128 = 0;
    while !rest.is_empty() || std::ptr::eq(rest, unsigned) {
        let whole = digits(&mut rest);
        let fraction = if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            digits(&mut rest)
        } else {
            ""
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit = unit_nanos(&mut rest, text)?;
        nanos += amount(whole, fraction, unit).ok_or_else(invalid)?;
        if i128::from(i64::MAX) < nanos {
            return Err(invalid());
        }
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    i64::try_from(sign * nanos).map_err(|_| invalid())
}

/// Cuts leading digits off.
fn digits<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    digits
}

/// Cuts a unit off and returns its length in nanoseconds.
fn unit_nanos(rest: &mut &str, text: &str) -> Result<i128, DurationError> {
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(end);
    *rest = after;
    match unit {
        "" => Err(DurationError::MissingUnit(text.to_owned())),
        "ns" => Ok(1),
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(1000),
        "ms" => Ok(1_000_000),
        "s" => Ok(1_000_000_000),
        "m" => Ok(60_000_000_000),
        "h" => Ok(3_600_000_000_000),
        _ => Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() }),
    }
}

/// `whole.fraction` times `unit`; `None` when it is far too large.
fn amount(whole: &str, fraction: &str, unit: i128) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
    // Digits beyond a nanosecond's share of an hour cannot count.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = fraction.bytes().fold((0i128, 1i128), |(part, scale), digit| {
        (part * 10 + i128::from(digit - b'0'), scale * 10)
    });
    Some(whole * unit + part.0 * unit / part.1)
}

#[cfg(test)]
mod tests;
