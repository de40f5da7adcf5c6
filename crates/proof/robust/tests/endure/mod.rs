//! A member that goes on for long: what it takes of the machine, and how long it lets wait, does not grow.
//!
//! Everything that ever made a store grow goes on at once, on a member whose quota is three fifths full of what lives:
//! keys that are overwritten and deleted, transactions whose condition never holds, leases that end and are revoked,
//! snapshots, lists and watches that nobody reads. Once in a *beat* all of it is compacted. In the first half of the run
//! the process is killed or stopped now and then; the second half is one life.
//!
//! `HOLDFAST_ENDURE` says for how many seconds, `HOLDFAST_ENDURE_REPORT` where to write what was seen: that is
//! `cargo xtask endure`. Without them it is a run of less than a minute.
//!
//! Here: the order of things. The clients stand in [`loads`], what is done once a beat in [`house`], what is measured in
//! [`samples`], what may not grow and by how much in [`verdict`].

mod house;
mod loads;
mod report;
mod samples;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use holdfast_robust::process::{Home, Server};
use holdfast_robust::random;

use crate::corners;
use loads::Beliefs;
use samples::{Sample, Waits};

/// How much of everything, which follows from how long.
#[derive(Clone, Copy, Debug)]
struct Plan {
    duration: Duration,
    /// From one compaction to the next.
    beat: Duration,
    quota_bytes: u64,
}

/// Values are so long, in bytes: the mean of what is drawn.
const VALUE_BYTES_MEAN: u64 = 4 << 10;
/// The live part of the quota.
const LIVE_PERCENT: u64 = 60;
/// What is written in a beat, of the quota. The rest of it belongs to what cleaning has not reached yet.
const CHURN_PERCENT: u64 = 12;
/// How many samples are taken in a beat.
const SAMPLES: u32 = 20;
/// The process ends once in so many beats, as long as it does.
const LIFE_BEATS: u64 = 3;

impl Plan {
    fn of(seconds: u64) -> Plan {
        let duration = Duration::from_secs(seconds);
        match seconds {
            600.. => Plan { duration, beat: Duration::from_secs(60), quota_bytes: 512 << 20 },
            _ => Plan { duration, beat: duration / 16, quota_bytes: 64 << 20 },
        }
    }

    fn keys(self) -> u64 {
        self.quota_bytes * LIVE_PERCENT / 100 / VALUE_BYTES_MEAN
    }

    /// How many keys are overwritten in a beat.
    fn churn(self) -> u64 {
        self.quota_bytes * CHURN_PERCENT / 100 / VALUE_BYTES_MEAN
    }

    /// Whether the process ends at the end of this beat, which is the `count`th.
    fn ends_life(self, count: u64) -> bool {
        count.is_multiple_of(LIFE_BEATS) && self.beat * count as u32 <= self.duration / 2
    }
}

/// What all clients know of the run.
#[derive(Debug)]
struct Run {
    plan: Plan,
    seed: u64,
    began: Instant,
    stop: AtomicBool,
    /// While the process is being ended and started: waits are not the server's then.
    away: AtomicBool,
    /// How many processes have ended.
    ended: AtomicU32,
    waits: Waits,
}

impl Run {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    fn lives(&self) -> u32 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Which beat it is.
    fn beat(&self) -> u64 {
        (self.began.elapsed().as_millis() / self.plan.beat.as_millis()) as u64
    }
}

#[test]
fn whatever_goes_on_for_long_disk_memory_files_and_waits_stay_as_they_were() {
    let Some(subject) = corners::holdfast("endure") else { return };
    let seconds = std::env::var("HOLDFAST_ENDURE").ok().and_then(|text| text.parse().ok());
    let plan = Plan::of(seconds.unwrap_or(48));
    let quota = format!("--quota-backend-bytes={}", plan.quota_bytes);
    let server = Home::new(&subject, &[&quota]).start();
    let seed = random::seed("endure", 11);
    let loads_before = report::load_of_machine();
    let mut beliefs = loads::fill(&server.address(), plan, seed);

    let run = Arc::new(Run {
        plan,
        seed,
        began: Instant::now(),
        stop: AtomicBool::new(false),
        away: AtomicBool::new(false),
        ended: AtomicU32::new(0),
        waits: Waits::default(),
    });
    let clients = loads::start(&run, &server.address(), &mut beliefs);
    let house = house::start(&run, &server.address());
    let (mut server, samples) = watch_over(&run, server);
    run.stop.store(true, Ordering::Relaxed);
    let done = clients.finish();
    let done = done.with_house(&join(house));
    assert!(server.is_alive(), "the server is gone:\n{}", server.log());
    let lost = loads::lost(&server.address(), &done.beliefs);

    let verdicts = verdict::of(&samples, plan.beat);
    let text = report::page(plan, &samples, &verdicts, &done, &loads_before);
    println!("{text}");
    if let Ok(path) = std::env::var("HOLDFAST_ENDURE_REPORT") {
        std::fs::write(&path, &text).expect("the report can be written");
    }
    assert_eq!(done.complaints, Vec::<String>::new(), "nothing is refused");
    assert_eq!(lost, Vec::<String>::new(), "everything acknowledged is there, and nothing else");
    let risen: Vec<_> = verdicts.iter().filter(|verdict| !verdict.holds()).collect();
    assert!(risen.is_empty(), "{risen:#?}");
}

/// Takes samples until the time is up, and ends the process when its time has come.
fn watch_over(run: &Run, mut server: Server) -> (Server, Vec<Sample>) {
    let plan = run.plan;
    let (mut samples, mut life, mut beats) = (Vec::new(), 0, 0);
    let mut next = run.began;
    while run.began.elapsed() < plan.duration {
        next += plan.beat / SAMPLES;
        sleep(next.saturating_duration_since(Instant::now()));
        samples.extend(Sample::take(run, &server, life));
        let beat = run.beat();
        if beats < beat && plan.ends_life(beat) {
            run.away.store(true, Ordering::SeqCst);
            run.ended.fetch_add(1, Ordering::SeqCst);
            server = match life % 2 {
                0 => server.kill_and_restart(),
                _ => {
                    let (home, status) = server.stop();
                    assert!(
                        status.success() || status.code().is_none(),
                        "it ended in order: {status}"
                    );
                    home.start()
                }
            };
            run.away.store(false, Ordering::SeqCst);
            life += 1;
            next = Instant::now();
        }
        beats = beat;
        if !server.is_alive() {
            break;
        }
    }
    (server, samples)
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("a client does not panic")
}

/// What the clients did, told at the end.
#[derive(Debug, Default)]
struct Done {
    /// What each key must hold.
    beliefs: Vec<Beliefs>,
    /// What should not have been answered.
    complaints: Vec<String>,
    /// How much of what was done.
    counts: Vec<(&'static str, u64)>,
}

impl Done {
    fn count(&mut self, what: &'static str, how_many: u64) {
        match self.counts.iter_mut().find(|(counted, _)| *counted == what) {
            Some((_, sum)) => *sum += how_many,
            None => self.counts.push((what, how_many)),
        }
    }

    fn with_house(mut self, house: &Done) -> Done {
        self.complaints.extend(house.complaints.clone());
        for (what, how_many) in &house.counts {
            self.count(what, *how_many);
        }
        self
    }
}

/// Starts a thread that does one thing again and again until the run is over.
fn again(
    run: &Arc<Run>,
    address: &str,
    pause: Duration,
    mut once: impl FnMut(&Run, &mut loads::Asker, &mut Done) + Send + 'static,
) -> JoinHandle<Done> {
    let (run, address) = (run.clone(), address.to_string());
    thread::spawn(move || {
        let (mut asker, mut done) = (loads::Asker::new(&address), Done::default());
        let mut next = Instant::now();
        while run.goes_on() {
            once(&run, &mut asker, &mut done);
            // Who was kept waiting does not make up for it.
            next = (next + pause).max(Instant::now());
            sleep(next.saturating_duration_since(Instant::now()));
        }
        done.complaints.append(&mut asker.complaints);
        done
    })
}
