//! Fresh seeds, seeds that found something once, and that a seed is all there is to know.

use holdfast_sim::{Play, run, seeds};

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in [1, 2, 3, 40, 41] {
        let (first, second) = (run(Play::alone(seed), false), run(Play::alone(seed), false));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.steps, second.steps, "seed {seed}");
    }
    assert_ne!(run(Play::alone(1), false).trace_hash, run(Play::alone(2), false).trace_hash);
}

#[test]
fn seeds_that_found_something_once_find_nothing_now() {
    for (seed, found) in seeds::FOUND {
        let report = run(Play::alone(*seed), false);
        assert!(report.failure.is_none(), "{report}\nonce it found: {found}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_of_a_cluster_too() {
    for (members, seed) in [(3, 1), (3, 2), (5, 3)] {
        let play = || run(Play::cluster(seed, members), false);
        assert_eq!(play().trace_hash, play().trace_hash, "{members} members, seed {seed}");
    }
}

#[test]
fn seeds_of_clusters_that_found_something_once_find_nothing_now() {
    for (members, seed, found) in seeds::FOUND_IN_CLUSTERS {
        let report = run(Play::cluster(*seed, *members), false);
        assert!(report.failure.is_none(), "{report}\nonce it found: {found}");
    }
}

#[test]
fn a_run_of_some_seeds_of_clusters_breaks_no_promise() {
    for (members, seeds) in [(3, 40), (5, 10)] {
        for seed in 0..seeds {
            let report = run(Play::cluster(seed, members), false);
            assert!(report.failure.is_none(), "{report}");
        }
    }
}

#[test]
fn a_run_of_some_seeds_breaks_no_promise() {
    for seed in 0..100 {
        let report = run(Play::alone(seed), false);
        assert!(report.failure.is_none(), "{report}");
    }
}
