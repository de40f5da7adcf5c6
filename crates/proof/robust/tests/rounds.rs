//! Clusters in network namespaces, harmed by seed: a short form here, as many rounds as wanted with
//! `cargo xtask cluster --rounds N --seed S --minutes M`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::random::{self, Random};
use holdfast_robust::rounds::network::Network;
use holdfast_robust::rounds::{Programs, Report, episode};

/// Rounds on one cluster.
const ROUNDS_EACH: usize = 8;
/// Rounds in CI, and how long they may take together.
const ROUNDS_IN_CI: usize = 5;
const DURATION_IN_CI: Duration = Duration::from_secs(45);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Which programs make up the cluster of a seed; what is foreign and missing is replaced by ours.
fn programs(ours: PathBuf, seed: u64) -> Programs {
    let parts: &[Part] = match Random::new(seed ^ 0x5eed).below(10) {
        0 => &[Part::EtcdNew],
        1 => &[Part::EtcdNew, Part::EtcdNew],
        2 => &[Part::Etcd35],
        3 => &[Part::Etcd34],
        _ => &[],
    };
    let five = Random::new(seed ^ 0x5eed).below(10) == 4;
    let theirs: Vec<_> = parts.iter().filter_map(|part| need("cluster", *part)).collect();
    let ours_count = if five { 5 } else { 3 - theirs.len() };
    let progress = parts.iter().all(|part| *part == Part::EtcdNew);
    let fragile = parts.contains(&Part::Etcd35);
    Programs { ours, theirs, ours_count, progress, fragile }
}

#[test]
fn a_harmed_cluster_keeps_every_promise() {
    let name = "cluster";
    let Some(ours) = foreign::subject(name) else { return };
    let network = match Network::new(6) {
        Ok(network) => network,
        // Where this test has to run, CI sees to it that it can: as root, with iproute2.
        Err(said) => return foreign::skip(name, &format!("no network namespaces: {said}")),
    };
    let (rounds, minutes) = (number("HOLDFAST_ROUNDS"), number("HOLDFAST_MINUTES"));
    let seed = random::seed(name, std::process::id().into());
    let short = rounds.is_none() && minutes.is_none();
    let limit =
        if short { DURATION_IN_CI } else { Duration::from_secs(minutes.unwrap_or(600) * 60) };
    let until = Instant::now() + limit;
    let mut left = rounds.map_or(if short { ROUNDS_IN_CI } else { usize::MAX }, |n| n as usize);
    let (mut done, mut seeds) = (0, seed..);
    while 0 < left && Instant::now() < until {
        let seed = seeds.next().expect("seeds do not end");
        let rounds = left.min(ROUNDS_EACH);
        let programs = programs(ours.clone(), seed);
        let report = episode(seed, rounds, until, &programs, &network);
        tell(name, seed, &programs, &report);
        (left, done) = (left - rounds, done + rounds);
    }
    println!("{name}: {done} rounds from seed {seed} on, no complaint");
}

#[track_caller]
fn tell(name: &str, seed: u64, programs: &Programs, report: &Report) {
    println!(
        "{name}: seed {seed}: {} of ours, {} of Go's: {} answers and {} unknown, {} events, {} of leases, well again \
         after {:?} at most",
        programs.ours_count,
        programs.theirs.len(),
        report.answered,
        report.unknown,
        report.events,
        report.leases,
        report.recovery_max
    );
    let again = format!("again: cargo xtask cluster --seed {seed} --rounds {ROUNDS_EACH}");
    let (complaints, mishaps) = (report.complaints.join("\n"), report.mishaps.join("\n"));
    assert!(report.complaints.is_empty(), "{complaints}\n{mishaps}\n{again}");
}
