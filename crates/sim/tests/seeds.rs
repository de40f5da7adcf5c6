//! Fresh seeds, seeds that found something once, and that a seed is all there is to know.

use holdfast_sim::{run, seeds};

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in [1, 2, 3, 40, 41] {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.steps, second.steps, "seed {seed}");
    }
    assert_ne!(run(1, false).trace_hash, run(2, false).trace_hash);
}

#[test]
fn seeds_that_found_something_once_find_nothing_now() {
    for (seed, found) in seeds::FOUND {
        let report = run(*seed, false);
        assert!(report.failure.is_none(), "{report}\nonce it found: {found}");
    }
}

#[test]
fn a_run_of_some_seeds_breaks_no_promise() {
    for seed in 0..100 {
        let report = run(seed, false);
        assert!(report.failure.is_none(), "{report}");
    }
}
