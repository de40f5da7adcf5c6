//! Bytes from nowhere, for everything that reads bytes: each target is a plain function that takes any bytes and
//! panics when something that may never happen does.
//!
//! Who makes the bytes is somebody else's business. `fuzz/` hands the functions to libFuzzer, which watches what
//! code they reach; [`mutate`] and the program of this crate change what is in the corpus without looking; and a
//! plain test in CI plays the corpus once.
//!
//! Checksums keep mutated bytes from getting far. So each reader of files can be asked (by the first byte) to have
//! the checksums put right before it is called: then it meets what no disk would do, but a mistaken writer might.

mod archive;
pub mod mutate;
mod seeds;
mod targets;

pub use archive::{pack, unpack};

/// One reader of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Reads; panics when it must not be.
    pub run: fn(&[u8]),
    /// What to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "wal", run: targets::wal, seeds: seeds::wal },
    Target { name: "store", run: targets::store, seeds: seeds::store },
    Target { name: "bolt", run: targets::bolt, seeds: seeds::bolt },
    Target { name: "request", run: targets::request, seeds: seeds::request },
    Target { name: "json", run: targets::json, seeds: seeds::json },
    Target { name: "http2", run: targets::http2, seeds: seeds::http2 },
    Target { name: "frames", run: targets::frames, seeds: seeds::frames },
    Target { name: "rpc", run: targets::rpc, seeds: seeds::rpc },
    Target { name: "peer", run: targets::peer, seeds: seeds::peer },
    Target { name: "raft", run: targets::raft, seeds: seeds::raft },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
