//! What may not grow, and by how much it may seem to.
//!
//! A figure is compared with itself: its median (of sizes the lowest tenth) in the first third of a time with that in the
//! last. Once over the whole run, with the process ended now and then, which shows what a directory gathers; and once
//! within the last process, which shows what a process gathers. What comes first in either belongs to neither: caches
//! fill.

use std::time::Duration;

use super::samples::Sample;

/// By how much a figure may be larger at the end than at the beginning.
#[derive(Clone, Copy, Debug)]
struct Bound {
    name: &'static str,
    of: fn(&Sample) -> Option<f64>,
    /// Which of a third's values is compared: that which so many percent of them do not reach. Between compactions the
    /// sizes rise and fall, so of them it is the lowest tenth: what a compaction leaves.
    part: usize,
    /// A part of what it was, and so much besides.
    percent: f64,
    besides: f64,
}

static BOUNDS: [Bound; 11] = [
    Bound { name: "disk, MiB", of: |s| Some(s.disk_mib), part: 10, percent: 10.0, besides: 16.0 },
    Bound { name: "store, MiB", of: |s| Some(s.store_mib), part: 10, percent: 10.0, besides: 4.0 },
    Bound { name: "in use, MiB", of: |s| Some(s.in_use_mib), part: 10, percent: 5.0, besides: 1.0 },
    Bound {
        name: "held by readers, MiB",
        of: |s| Some(s.held_mib),
        part: 50,
        percent: 25.0,
        besides: 64.0,
    },
    // With the threads that read for others, each with a heap of the allocator's.
    Bound {
        name: "memory, MiB",
        of: |s| Some(s.memory_mib),
        part: 50,
        percent: 15.0,
        besides: 64.0,
    },
    Bound { name: "open files", of: |s| Some(s.files), part: 50, percent: 0.0, besides: 12.0 },
    // Threads that read for others come when a machine is busy, and go when they had nothing to do for a while.
    Bound { name: "threads", of: |s| Some(s.threads), part: 50, percent: 0.0, besides: 32.0 },
    Bound {
        name: "put, median ms",
        of: |s| s.put_median_ms,
        part: 50,
        percent: 100.0,
        besides: 10.0,
    },
    Bound { name: "put, 95 % ms", of: |s| s.put_most_ms, part: 50, percent: 100.0, besides: 50.0 },
    Bound {
        name: "get, median ms",
        of: |s| s.get_median_ms,
        part: 50,
        percent: 100.0,
        besides: 10.0,
    },
    Bound { name: "get, 95 % ms", of: |s| s.get_most_ms, part: 50, percent: 100.0, besides: 50.0 },
];

/// Beats that belong to no comparison, at the beginning of the run and of the last process.
const WARMING_BEATS: u32 = 2;

/// One figure over one time.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) name: &'static str,
    /// Within the last process, or over the whole run.
    pub(super) is_one_life: bool,
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) last_max: f64,
}

impl Verdict {
    pub(super) fn holds(&self) -> bool {
        self.last <= self.last_max
    }
}

/// All figures, over the whole run and within the last process.
pub(super) fn of(samples: &[Sample], beat: Duration) -> Vec<Verdict> {
    let last_life = samples.last().map_or(0, |sample| sample.life);
    let whole = after(samples, beat * WARMING_BEATS);
    let begins = samples.iter().position(|sample| sample.life == last_life).unwrap_or(0);
    let one = after(&samples[begins..], beat * WARMING_BEATS);
    let both = [(false, whole), (true, one)];
    let verdicts = both.into_iter().flat_map(|(is_one_life, samples)| {
        BOUNDS.iter().map(move |bound| judge(bound, is_one_life, samples))
    });
    verdicts.collect()
}

/// What came later than so long after the first.
fn after(samples: &[Sample], warming: Duration) -> &[Sample] {
    let Some(first) = samples.first() else { return samples };
    let from = samples.partition_point(|sample| sample.at < first.at + warming);
    &samples[from..]
}

fn judge(bound: &Bound, is_one_life: bool, samples: &[Sample]) -> Verdict {
    let third = samples.len() / 3;
    let typical = |samples: &[Sample]| {
        let mut values: Vec<f64> = samples.iter().filter_map(bound.of).collect();
        assert!(!values.is_empty(), "{}: the run is too short for a verdict", bound.name);
        values.sort_by(f64::total_cmp);
        values[values.len() * bound.part / 100]
    };
    let (first, last) = (typical(&samples[..third]), typical(&samples[samples.len() - third..]));
    let last_max = first * (1.0 + bound.percent / 100.0) + bound.besides;
    Verdict { name: bound.name, is_one_life, first, last, last_max }
}

/// 16 beats of 20 samples, of which the last eight are one life.
#[cfg(test)]
fn made_up(memory: impl Fn(u32) -> f64) -> Vec<Sample> {
    let sample = |n: u32| Sample {
        at: Duration::from_secs(n.into()),
        life: (n / 20).min(8),
        memory_mib: memory(n),
        put_median_ms: Some(1.0),
        put_most_ms: Some(1.0),
        get_median_ms: Some(1.0),
        get_most_ms: Some(1.0),
        ..Sample::default()
    };
    (0..320).map(sample).collect()
}

#[cfg(test)]
fn risen(memory: impl Fn(u32) -> f64) -> Vec<bool> {
    let verdicts = of(&made_up(memory), Duration::from_secs(20));
    verdicts.iter().filter(|verdict| !verdict.holds()).map(|verdict| verdict.is_one_life).collect()
}

#[test]
fn what_rises_is_noticed_over_the_run_and_within_one_life() {
    const NOTHING: [bool; 0] = [];
    assert_eq!(risen(|_| 100.0), NOTHING);
    assert_eq!(
        risen(|n| 100.0 + 4.0 * f64::from(n % 20)),
        NOTHING,
        "what comes and goes does not rise"
    );
    assert_eq!(risen(|n| 100.0 + 4.0 * f64::from(n)), [false, true]);
    let forgotten_at_each_start =
        |n: u32| 100.0 + 4.0 * f64::from(if n < 160 { n % 20 } else { n - 160 });
    assert_eq!(risen(forgotten_at_each_start), [false, true]);
    let of_each_start = |n: u32| 100.0 + 80.0 * f64::from((n / 20).min(8));
    assert_eq!(risen(of_each_start), [false], "a directory gathers it, a process does not");
    assert_eq!(risen(|n| if n < 40 { 10.0 } else { 300.0 }), NOTHING, "caches fill");
}
