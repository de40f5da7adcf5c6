//! The tree's own promises, checked on every node while it grows, is shared and is pruned.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use types::{KeyRange, Revision};

use super::*;

/// splitmix64.
fn roll(state: &mut u64, sides: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % sides
}

fn write(tree: &mut Tree, key: &[u8], main: i64, tombstone: bool) {
    let (created, version) = if tombstone { (0, 0) } else { (main, 1) };
    tree.write(key, |_| (Record { main, created, version, sub: 0 }, 0));
}

fn prune(tree: &mut Tree, revision: i64, budget: usize) -> Vec<Revision> {
    let (mut dead, mut from) = (Vec::new(), Vec::new());
    loop {
        let mut step = Pruning { revision, budget, dead: Vec::new(), stopped_at: None };
        tree.prune(&from, &mut step);
        tree.check();
        dead.append(&mut step.dead);
        match step.stopped_at {
            Some(next) => from = next,
            None => return dead,
        }
    }
}

fn keys_of(tree: &Tree) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let _: ControlFlow<()> = tree.walk_all(b"", &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    });
    keys
}

#[test]
fn a_tree_that_grows_and_shrinks_keeps_its_shape() {
    for seed in 1..=8 {
        println!("seed {seed}");
        let mut state = seed;
        let mut tree = Tree::new();
        let mut newest: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        let mut held = Vec::new();
        let mut main = 1;
        for _ in 0..12 {
            // A tenth of the keys is long enough to fill a leaf with three of them.
            for _ in 0..roll(&mut state, 3000) {
                main += 1;
                let n = roll(&mut state, 5000);
                let mut key = format!("/registry/{}/{n:04}", n % 7).into_bytes();
                if n.is_multiple_of(10) {
                    key.resize(6000, b'x');
                }
                let tombstone = newest.get(&key) == Some(&true) && roll(&mut state, 3) == 0;
                write(&mut tree, &key, main, tombstone);
                newest.insert(key, !tombstone);
            }
            tree.check();
            // Now and then everything under one prefix is deleted, so that nodes run empty.
            let prefix = format!("/registry/{}/", roll(&mut state, 7)).into_bytes();
            let doomed =
                newest.iter_mut().filter(|(key, alive)| **alive && key.starts_with(&prefix));
            for (key, alive) in doomed {
                main += 1;
                write(&mut tree, key, main, true);
                *alive = false;
            }
            held.push((tree.clone(), keys_of(&tree)));
            prune(&mut tree, main + 1, 1 + roll(&mut state, 2000) as usize);
            newest.retain(|_, alive| *alive);
            assert_eq!(keys_of(&tree), newest.keys().cloned().collect::<Vec<_>>());
            assert_eq!(tree.summary().live as usize, newest.len());
            assert_eq!(tree.summary().collectible, i64::MAX, "all that was dead is gone");
        }
        for (tree, keys) in held {
            tree.check();
            assert_eq!(keys_of(&tree), keys, "a snapshot stays as it was");
        }
    }
}

#[test]
fn pruning_everything_leaves_the_empty_tree() {
    let mut tree = Tree::new();
    let keys: Vec<Vec<u8>> = (0..5000).map(|n| format!("{n:05}").into_bytes()).collect();
    keys.iter().for_each(|key| write(&mut tree, key, 2, false));
    keys.iter().for_each(|key| write(&mut tree, key, 3, true));
    assert_eq!(prune(&mut tree, 4, 777).len(), 10_000);
    assert!(keys_of(&tree).is_empty());
    assert_eq!(tree.memory_bytes(), Tree::new().memory_bytes());
    write(&mut tree, b"again", 5, false);
    tree.check();
}

#[test]
fn a_built_tree_is_the_tree_that_grew() {
    for count in [0, 1, 41, 42, 43, 3000] {
        let (mut tree, mut builder) = (Tree::new(), Builder::default());
        for n in 0..count {
            let key = format!("/registry/{:05}", n * 3).into_bytes();
            let record = Record { main: n + 2, created: n + 2, version: 1, sub: 0 };
            tree.write(&key, |_| (record, n));
            builder.push(&key, Item::new(record, n));
        }
        let built = builder.finish();
        built.check();
        assert_eq!(keys_of(&built), keys_of(&tree));
        assert_eq!(built.summary(), tree.summary());
        for n in 0..count {
            let key = format!("/registry/{:05}", n * 3).into_bytes();
            assert_eq!(built.get(&key).map(|item| item.lease), Some(n));
            assert!(built.get(&[&key[..], b"0"].concat()).is_none());
        }
        let half = Bounds::of(&KeyRange::From { start: "/registry/04500".into() });
        assert_eq!(built.count(&half, count + 9), (count as u64).saturating_sub(1500));
    }
}

#[test]
fn a_million_revisions_of_one_key_are_dropped_without_deep_recursion() {
    let mut tree = Tree::new();
    let mut held = Vec::new();
    for main in 2..1_000_002 {
        if main % 1000 == 0 {
            held.push(tree.clone());
        }
        write(&mut tree, b"hot", main, false);
    }
    let item = tree.get(b"hot").expect("it was just written");
    assert_eq!(item.len(), 1_000_000);
    assert_eq!(item.record_at(500_000).map(|record| record.main), Some(500_000));
    drop(held);
    assert_eq!(prune(&mut tree, 1_000_000, 1000).len(), 999_998);
    drop(tree);
}
