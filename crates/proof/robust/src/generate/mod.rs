//! Requests by seed: every option in every combination, and what no client would send.
//!
//! A generator knows only its random numbers and the revision the servers were last seen at, so both
//! servers of a comparison get the very same bytes. Requests that end a real etcd (`docs/etcd/observed.md`
//! part A) are never made; what holdfast does with those has tests of its own.

mod gateway;
mod kv;
mod lease;
mod services;
mod watch;
mod wire;

use prost::Message;

use crate::grpc::Call;
use crate::random::Random;

/// One thing done to both servers.
#[derive(Clone, Debug)]
pub enum Step {
    /// One call; the answer is read to its end, or to so many messages when it has no end.
    Call {
        /// What is sent.
        call: Call,
        /// How many messages to read at most.
        messages_max: usize,
    },
    /// One message on a long-lived watch stream.
    Watch {
        /// Which of the episode's streams.
        stream: usize,
        /// The encoded `WatchRequest`.
        message: Vec<u8>,
        /// Whether an answer of its own must come before the next step.
        answered: Answered,
    },
    /// Waits until the watch streams are silent, and compares what came.
    Drain,
    /// Keep-alives on a stream of their own, one answer each.
    KeepAlive {
        /// The encoded requests.
        messages: Vec<Vec<u8>>,
    },
    /// A request over HTTP/1.1, as it is sent.
    Http {
        /// Everything after the connection is open.
        request: String,
    },
}

/// Which answer a message on a watch stream has for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A `created` one.
    Created,
    /// Perhaps one, perhaps none.
    Perhaps,
}

/// A kind of episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Puts, ranges, deletes, compactions, hashes.
    Kv,
    /// Transactions among them.
    Txn,
    /// Leases and keys on them.
    Lease,
    /// Watches of all kinds while keys change.
    Watch,
    /// Cluster, maintenance, alarms, health.
    Services,
    /// Locks and elections.
    Locks,
    /// Malformed messages and HTTP/2 requests.
    Wire,
    /// HTTP/1.1: health, version, the JSON gateway.
    Http,
}

impl Area {
    /// All areas.
    pub const ALL: [Area; 8] = [
        Area::Kv,
        Area::Txn,
        Area::Lease,
        Area::Watch,
        Area::Services,
        Area::Locks,
        Area::Wire,
        Area::Http,
    ];

    /// The area of a name, as in `HOLDFAST_ORACLE_AREA=kv`.
    pub fn from_name(name: &str) -> Option<Area> {
        Area::ALL.into_iter().find(|area| format!("{area:?}").eq_ignore_ascii_case(name))
    }
}

/// What a generator knows: its random numbers and the servers' revision.
#[derive(Clone, Debug)]
pub struct World {
    /// Where the choices come from.
    pub random: Random,
    /// The newest revision seen in an answer.
    pub revision: i64,
    /// The newest compaction asked for and granted.
    pub compacted: i64,
    /// True when the reference is an old etcd, which lacks RangeStream and ends on unknown enum values.
    pub old: bool,
}

/// The member's id, which follows from its advertised peer URL and the cluster token
/// (`docs/etcd/api.md` 7).
pub const MEMBER_ID: u64 = 0x8e9e_05c5_2164_694d;

impl World {
    /// A world at its first revision.
    pub fn new(seed: u64, old: bool) -> World {
        World { random: Random::new(seed), revision: 1, compacted: 0, old }
    }

    /// The next steps of an episode. Steps that only make sense together come together.
    pub fn next(&mut self, area: Area) -> Vec<Step> {
        match area {
            Area::Kv => vec![kv::step(self)],
            Area::Txn => vec![kv::txn_step(self)],
            Area::Lease => lease::steps(self),
            Area::Watch => watch::steps(self),
            Area::Services => vec![services::step(self)],
            Area::Locks => vec![services::lock_step(self)],
            Area::Wire => vec![wire::step(self)],
            Area::Http => vec![gateway::step(self)],
        }
    }

    fn key(&mut self) -> Vec<u8> {
        const KEYS: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"a/1", b"a/2", b"b/\x00\xff"];
        match self.random.below(40) {
            0 => Vec::new(),
            1 => vec![0],
            2 => vec![b'z'; 300],
            _ => self.random.pick(&KEYS).to_vec(),
        }
    }

    fn sound_key(&mut self) -> Vec<u8> {
        const KEYS: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"a/1", b"a/2"];
        self.random.pick(&KEYS).to_vec()
    }

    fn range_end(&mut self, key: &[u8]) -> Vec<u8> {
        match self.random.below(10) {
            0..4 => Vec::new(),
            4 => vec![0],
            5 | 6 => prefix_end(key),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => Vec::new(),
            1 => self.random.bytes(20),
            2 => vec![b'v'; 2000],
            _ => self.random.below(10).to_string().into_bytes(),
        }
    }

    /// Mostly none, else any from a little below the compaction to a little above the present.
    fn at_revision(&mut self) -> i64 {
        if self.random.one_in(2) {
            return 0;
        }
        let first = (self.compacted - 2).max(-2);
        self.random.between(first, self.revision + 2)
    }

    /// Mostly none, else one of a few that may or may not exist.
    fn lease(&mut self) -> i64 {
        match self.random.below(8) {
            0 => self.random.between(1, 5),
            1 => -7,
            _ => 0,
        }
    }
}

/// The smallest key above all that begin with this prefix.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn call(path: &str, message: &impl Message) -> Step {
    Step::Call { call: Call::unary(path, &message.encode_to_vec()), messages_max: usize::MAX }
}
