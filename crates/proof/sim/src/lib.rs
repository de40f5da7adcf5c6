//! The simulation: whole members, their clients, clocks, disks and network in one thread, from one seed.
//!
//! What runs is what production runs: [`member::recover`], [`member::Front`], [`member::Applying`], the log
//! writer, the housekeeping, `wal` and `store` on a disk in memory. Only the threads are missing: each is an actor
//! with an inbox, and chance says whose turn it is. So chance can bring about every order that threads can, and
//! power cuts, failing and full disks, pauses and slow clients besides; and the seed brings it about again.
//!
//! One member, or a cluster of three or five, which then knows cut, slow and bad links, stalled threads and paused
//! machines, clocks that run at different speeds, lost disks, members that come and go, and members with the habits of Go's.
//!
//! In reading order: `plan` (what a seed decides beforehand), `world` (whose turn it is), `machine`, `running`, `jobs`,
//! `out`, `outcomes` (a member's turn and what follows), `client`, `requests`, `watcher`, `watching`, `mishap`, `links`,
//! `network`, `snapshots`, `cluster`, `go`, `settle`, `record`, `judges`, `shrink`.

mod chance;
mod client;
mod cluster;
mod convert;
mod go;
mod jobs;
mod judges;
mod links;
mod machine;
mod mishap;
mod network;
mod out;
mod outcomes;
mod plan;
mod record;
mod requests;
mod running;
pub mod seeds;
mod settle;
mod shrink;
mod snapshots;
mod trace;
mod watcher;
mod watching;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use shrink::{Cuts, KINDS, May, shrink};
use world::World;

/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 60;

/// What to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Play {
    /// The seed.
    pub seed: u64,
    /// How many members the cluster begins with.
    pub members: usize,
    /// What is left out.
    pub cuts: Cuts,
}

impl Play {
    /// A lone member.
    pub fn alone(seed: u64) -> Play {
        Play::cluster(seed, 1)
    }

    /// So many members.
    pub fn cluster(seed: u64, members: usize) -> Play {
        Play { seed, members, cuts: Cuts::default() }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was played.
    pub play: Play,
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
        let Report { play, trace_hash, steps, requests, ends, failure } = self;
        let Play { seed, members, cuts } = play;
        if let Some(Failure { what, trace }) = failure {
            writeln!(
                f,
                "{trace}\n\nseed {seed} failed: {what}\nagain: cargo xtask sim --members {members} --seed {seed}{}",
                cuts.options()
            )?;
        }
        write!(f, "seed {seed}: {steps} steps, {requests} requests, {ends} ends, ")?;
        write!(f, "trace {trace_hash:016x}")
    }
}

/// Plays one seed. With `shown`, each line of the trace is printed as it comes.
pub fn run(play: Play, shown: bool) -> Report {
    let mut world = World::new(play.seed, play.members, &play.cuts);
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
        play,
        trace_hash: world.trace.hash(),
        steps: world.steps,
        requests: world.asked,
        ends: world.ends,
        failure: what.map(|what| Failure { what, trace: world.trace.tail(LINES_SHOWN) }),
    }
}
