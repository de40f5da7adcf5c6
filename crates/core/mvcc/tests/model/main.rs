//! The store beside a plain map of lists, under random operations.
//!
//! Every seed is one story: puts, deletes and transactions, reads of every kind at every revision,
//! compactions that prune a little at a time between writes, views held across all of it, restarts
//! from images and rows. Everything the store says is compared with the reference.
//!
//! `HOLDFAST_SEED=n cargo test -p holdfast-mvcc --test model` plays one seed again;
//! `HOLDFAST_SEEDS=n` plays n of them.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod dice;
mod reference;
mod world;

use world::World;

/// How many keys, and how many steps: few keys with long histories, and thousands with short ones,
/// which make a deep tree.
const PROFILES: [(usize, usize); 3] = [(8, 1200), (120, 1200), (6000, 3000)];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_store_answers_everything_as_the_reference_does() {
    let seeds = match number("HOLDFAST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("HOLDFAST_SEEDS").unwrap_or(6),
    };
    for seed in seeds {
        for (keys, steps) in PROFILES {
            println!("HOLDFAST_SEED={seed} with {keys} keys");
            World::new(seed, keys).live(steps);
        }
    }
}
