//! The simulation: a whole member, its clients, its clock and its disk in one thread, from one seed.
//!
//! What runs is what production runs: [`member::recover`], [`member::Front`], [`member::Engine`], the log
//! writer, the housekeeping, `wal` and `store` on a disk in memory. Only the threads are missing: each is an actor
//! with an inbox, and chance says whose turn it is. So chance can bring about every order that threads can, and
//! power cuts, failing and full disks, pauses and slow clients besides; and the seed brings it about again.
//!
//! One member today. More need no second start: a `World` has machines, and what a member sends
//! goes through a network that loses, delays and doubles.

mod chance;
mod client;
mod convert;
mod machine;
mod mishap;
mod network;
mod plan;
mod record;
mod requests;
mod running;
pub mod seeds;
mod trace;
mod watcher;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 60;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A number that differs when anything in the trace does.
    pub trace_hash: u64,
    /// Steps taken.
    pub steps: u64,
    /// Requests made by clients.
    pub requests: usize,
    /// How often the member's process ended.
    pub ends: usize,
    /// What went wrong, and what happened before it.
    pub failure: Option<Failure>,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which, in words.
    pub what: String,
    /// The last lines of the trace.
    pub trace: String,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { seed, trace_hash, steps, requests, ends, failure } = self;
        if let Some(Failure { what, trace }) = failure {
            writeln!(
                f,
                "{trace}\n\nseed {seed} failed: {what}\nagain: cargo xtask sim --seed {seed}"
            )?;
        }
        write!(f, "seed {seed}: {steps} steps, {requests} requests, {ends} ends, ")?;
        write!(f, "trace {trace_hash:016x}")
    }
}

/// Plays one seed. With `shown`, each line of the trace is printed as it comes.
pub fn run(seed: u64, shown: bool) -> Report {
    let mut world = World::new(seed);
    world.trace.shown = shown;
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match ended {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation.0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    Report {
        seed,
        trace_hash: world.trace.hash(),
        steps: world.steps,
        requests: world.asked,
        ends: world.ends,
        failure: what.map(|what| Failure { what, trace: world.trace.tail(LINES_SHOWN) }),
    }
}
