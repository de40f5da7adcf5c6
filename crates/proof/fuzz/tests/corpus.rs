//! Everything that ever was worth keeping, played once: `fuzz/corpus`, and what mutation begins with.

use std::path::Path;

use holdfast_fuzz::{TARGETS, Target, mutate};
use proof::Chance;

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target.name);
    let entries = std::fs::read_dir(folder).expect("each target has a folder");
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            (path.display().to_string(), std::fs::read(&path).expect("it can be read"))
        })
        .collect();
    inputs.sort();
    inputs
}

fn play(name: &str, mutations: u64) {
    let target = holdfast_fuzz::target(name).expect("a target of this name");
    let inputs = corpus(target);
    assert!(!inputs.is_empty());
    for (path, input) in &inputs {
        println!("{path}");
        (target.run)(input);
    }
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    let inputs: Vec<_> = inputs.into_iter().map(|(_, input)| input).chain(seeds).collect();
    for seed in 0..mutations {
        println!("mutation {seed}");
        (target.run)(&mutate::mutate(&inputs, &mut Chance(seed)));
    }
}

#[test]
fn the_corpus_of_the_raft_logs_reader_is_harmless() {
    play("wal", 400);
}

#[test]
fn the_corpus_of_the_stores_reader_is_harmless() {
    play("store", 400);
}

#[test]
fn the_corpus_of_the_bbolt_reader_is_harmless() {
    play("bolt", 400);
}

#[test]
fn the_corpus_of_requests_is_harmless() {
    play("request", 300);
}

#[test]
fn the_corpus_of_what_a_raft_peer_says_is_harmless() {
    play("raft", 3000);
}

#[test]
fn the_corpus_of_peers_is_harmless() {
    play("peer", 2000);
}

#[test]
fn the_corpus_of_json_is_harmless() {
    play("json", 100);
}

#[test]
fn the_corpus_of_connections_without_a_socket_is_harmless() {
    play("http2", 400);
}

#[test]
fn the_corpus_of_frames_is_harmless() {
    play("rpc", 60);
}

#[test]
fn ours_and_the_h2_crates_server_mean_the_same() {
    play("frames", 600);
}

#[test]
fn every_target_has_a_test() {
    assert_eq!(TARGETS.len(), 10, "and this file has as many");
}
