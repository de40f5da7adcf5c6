//! The lessor beside a plain list of leases that is searched from end to end, under random
//! operations, leader changes and lost proposals.
//!
//! Run one seed again with `HOLDFAST_SEED=n cargo test -p holdfast-lease --test model`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_lease::{Effect, KeepAlive, Leases, Options, Primary};

/// A lease of the model. `ends_at_ms` is when the primary may end it at the earliest.
#[derive(Debug)]
struct Listed {
    id: i64,
    ttl_seconds: i64,
    ends_at_ms: u64,
    keys: Vec<Bytes>,
}

#[derive(Debug, Default)]
struct Model {
    leases: Vec<Listed>,
    primary: bool,
}

impl Model {
    fn find(&mut self, id: i64) -> Option<&mut Listed> {
        self.leases.iter_mut().find(|lease| lease.id == id)
    }

    fn detach(&mut self, key: &Bytes) {
        for lease in &mut self.leases {
            lease.keys.retain(|known| known != key);
        }
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

const ELECTION_MS: u64 = 1000;

struct World {
    dice: Dice,
    leases: Leases,
    primary: Option<Primary>,
    term: u64,
    model: Model,
    now_ms: u64,
    /// Proposed revokes and when; applied later, or lost.
    proposed: BTreeMap<i64, u64>,
    /// When each lease was proposed for revoking last, in this life and under this leader.
    last_proposed: BTreeMap<i64, u64>,
    revoked: usize,
}

impl World {
    fn step(&mut self) {
        self.now_ms += self.dice.roll(400);
        let id = self.dice.roll(30) as i64 - 5;
        match self.dice.roll(12) {
            0 | 1 => self.grant(id),
            2 => self.revoke(id),
            3..=5 => self.attach(id),
            6 => self.detach(),
            7..=9 => self.keep_alive(id),
            10 if self.dice.roll(20) == 0 => self.change_leader(),
            _ => self.apply_proposed(),
        }
        self.tick();
        self.compare();
    }

    fn grant(&mut self, id: i64) {
        let ttl_seconds = self.dice.roll(30) as i64 - 2;
        let refused = id == 0 || self.model.find(id).is_some();
        let granted = self.leases.grant(id, ttl_seconds);
        assert_eq!(granted.is_err(), refused);
        if let (Ok(lease), Some(primary)) = (granted, &mut self.primary) {
            primary.granted(&lease, self.now_ms);
        }
        if !refused {
            let ttl_seconds = ttl_seconds.max(2);
            let ends_at_ms = self.now_ms + ttl_seconds as u64 * 1000;
            self.model.leases.push(Listed { id, ttl_seconds, ends_at_ms, keys: Vec::new() });
        }
    }

    fn revoke(&mut self, id: i64) {
        let listed = self.model.leases.iter().position(|lease| lease.id == id);
        let expected = listed.map(|at| {
            let mut keys = self.model.leases.remove(at).keys;
            keys.sort();
            keys
        });
        assert_eq!(self.leases.revoke(id).ok(), expected);
        if let Some(primary) = &mut self.primary {
            primary.revoked(id);
        }
        self.proposed.remove(&id);
        self.last_proposed.remove(&id);
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("key{}", self.dice.roll(40)))
    }

    fn attach(&mut self, id: i64) {
        let key = self.key();
        let known = self.model.find(id).is_some();
        assert_eq!(self.leases.attach(id, &key).is_ok(), known);
        if known {
            self.model.detach(&key);
            self.model.find(id).expect("just found").keys.push(key);
        }
    }

    fn detach(&mut self) {
        let key = self.key();
        self.leases.detach(&key);
        self.model.detach(&key);
    }

    fn keep_alive(&mut self, id: i64) {
        let (now_ms, primary) = (self.now_ms, self.model.primary);
        let expected = match self.model.find(id) {
            _ if !primary => KeepAlive::NotPrimary,
            None => KeepAlive::NotFound,
            Some(lease) if lease.ends_at_ms <= now_ms => KeepAlive::Expired,
            Some(lease) => {
                lease.ends_at_ms = now_ms + lease.ttl_seconds as u64 * 1000;
                KeepAlive::Renewed { ttl_seconds: lease.ttl_seconds, clear: None }
            }
        };
        let kept = match &mut self.primary {
            Some(primary) => primary.keep_alive(&self.leases, id, now_ms),
            None => KeepAlive::NotPrimary,
        };
        assert_eq!(kept, expected);
    }

    fn change_leader(&mut self) {
        self.proposed.clear();
        self.last_proposed.clear();
        self.model.primary = !self.model.primary;
        if self.model.primary {
            self.term += 1;
            self.primary = Some(Primary::new(Options::new(2), self.term, ELECTION_MS, self.now_ms));
            for lease in &mut self.model.leases {
                lease.ends_at_ms = self.now_ms + ELECTION_MS + lease.ttl_seconds as u64 * 1000;
            }
        } else {
            self.primary = None;
        }
    }

    fn apply_proposed(&mut self) {
        if let Some((id, _)) = self.proposed.pop_first() {
            let lost = self.dice.roll(3) == 0;
            if !lost {
                self.revoked += 1;
                self.revoke(id);
            }
        }
    }

    /// Nothing is proposed too early, twice within the retry, or too late.
    fn tick(&mut self) {
        let now_ms = self.now_ms;
        let Some(primary) = &mut self.primary else { return };
        // A new leader gets round to its leases little by little.
        let through = !primary.step(&self.leases, 1 + self.dice.roll(5) as usize, now_ms);
        for effect in primary.tick(&self.leases, now_ms) {
            let Effect::ProposeRevoke { lease: id } = effect else {
                panic!("checkpoints are off");
            };
            let lease = self.model.find(id).expect("only what exists is revoked");
            assert!(lease.ends_at_ms <= now_ms, "lease {id} was proposed too early");
            let again_after_ms = self.last_proposed.insert(id, now_ms).map(|at| now_ms - at);
            assert!(again_after_ms.is_none_or(|ms| 3000 <= ms), "lease {id} came again too early");
            self.proposed.insert(id, now_ms);
        }
        for lease in &self.model.leases {
            let left_ms = lease.ends_at_ms as i64 - now_ms as i64;
            let left = primary.time_to_live(&self.leases, lease.id, now_ms).expect("it exists");
            assert_eq!(left.remaining_seconds, left_ms / 1000);
            let proposed = self.last_proposed.get(&lease.id).is_some_and(|at| now_ms - at < 3400);
            assert!(
                0 < left_ms || proposed || !through,
                "lease {} is over and nobody says so",
                lease.id
            );
        }
    }

    fn compare(&mut self) {
        assert_eq!(self.leases.sizes().leases, self.model.leases.len());
        for lease in &self.model.leases {
            let mut expected = lease.keys.clone();
            expected.sort();
            assert!(self.leases.keys(lease.id).eq(expected.iter()));
            assert!(expected.iter().all(|key| self.leases.lease_of(key) == Some(lease.id)));
        }
        if let Some(primary) = &self.primary {
            let ends = |id: &i64| {
                let lease = self.model.leases.iter().find(|lease| lease.id == *id);
                lease.expect("it exists").ends_at_ms
            };
            assert!(primary.by_remaining_time(&self.leases).iter().map(ends).is_sorted());
        }
    }
}

#[test]
fn the_lessor_does_what_a_plain_list_of_leases_does() {
    let chosen = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> = chosen.map_or_else(|| (1..=40).collect(), |seed| vec![seed]);
    let mut revoked = 0;
    for seed in seeds {
        println!("seed {seed}");
        let mut world = World {
            dice: Dice(seed),
            leases: Leases::new(2, []),
            primary: None,
            term: 0,
            model: Model::default(),
            now_ms: 0,
            proposed: BTreeMap::new(),
            last_proposed: BTreeMap::new(),
            revoked: 0,
        };
        for _ in 0..3000 {
            world.step();
        }
        revoked += world.revoked;
    }
    assert!(0 < revoked, "the test has seen leases expire");
}

/// Prints what an operation costs with 100,000 leases: `cargo test --release -- --ignored costs`.
#[test]
#[ignore = "a measurement"]
fn costs_with_a_hundred_thousand_leases() {
    let mut leases = Leases::new(2, []);
    let mut primary = Primary::new(Options::new(2), 1, ELECTION_MS, 0);
    primary.step(&leases, 1, 0);
    let count = 100_000;
    let time = |what: &str, f: &mut dyn FnMut()| {
        let begin = std::time::Instant::now();
        f();
        println!("{what}: {} ns each", begin.elapsed().as_nanos() / count as u128);
    };
    let mut dice = Dice(1);
    time("grant", &mut || {
        for id in 1..=count {
            let ttl_seconds = 100 + dice.roll(100) as i64;
            let lease = leases.grant(id, ttl_seconds).expect("new");
            primary.granted(&lease, 0);
        }
    });
    time("attach", &mut || {
        for id in 1..=count {
            let key = Bytes::from(format!("/registry/leases/{id}"));
            leases.attach(id, &key).expect("there");
        }
    });
    time("keep alive", &mut || {
        for _ in 0..count {
            let id = 1 + dice.roll(count as u64) as i64;
            primary.keep_alive(&leases, id, 1000);
        }
    });
    time("promote, per lease", &mut || {
        primary = Primary::new(Options::new(2), 2, ELECTION_MS, 2000);
        while primary.step(&leases, 10_000, 2000) {}
    });
    time("expire and revoke", &mut || {
        let mut now_ms = 0;
        while 0 < leases.sizes().leases {
            now_ms += 500;
            for effect in primary.tick(&leases, now_ms) {
                if let Effect::ProposeRevoke { lease } = effect {
                    leases.revoke(lease).expect("there");
                    primary.revoked(lease);
                }
            }
        }
    });
}
