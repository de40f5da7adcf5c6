//! The hub under random operations beside a plain list of everything that ever happened: slow
//! streams, late starts, compaction that overtakes readers, snapshots, drivers that load nothing.
//!
//! Run one seed again with `HOLDFAST_SEED=n cargo test -p holdfast-watch --test model`.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod world;

use holdfast_watch::{Create, Filters, Input, Limits};
use types::Refusal;
use world::{World, Write, range};

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

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len() as u64) as usize]
    }
}

const KEYS: [&str; 8] = ["a/1", "a/2", "a/3", "b/1", "b/2", "c", "d", "e"];
const RANGES: [&str; 10] = ["a/1", "b/2", "c", "nobody", "a/*", "a*", "b/*", "..", "b..", "z.."];
const VALUES: [&str; 3] = ["", "x", "a value that is a little longer than the others"];
const STREAMS: u64 = 5;

/// Bounds so small that every one of them is hit.
fn limits(dice: &mut Dice) -> Limits {
    Limits {
        stream_bytes_max: dice.of(&[300, 5000]),
        stream_responses_max: dice.of(&[1, 4, 100]),
        pending_bytes_max: dice.of(&[500, 100_000]),
        recent_bytes_max: dice.of(&[0, 1000, 100_000]),
        recent_revisions_max: dice.of(&[3, 1000]),
        response_bytes_max: dice.of(&[1, 1000]),
        history_bytes_max: dice.of(&[1, 2000]),
        scan_bytes_max: dice.of(&[1, 10_000]),
        watchers_per_read_max: dice.of(&[1, 3, 512]),
        fragment_bytes: dice.of(&[100, 250]),
        watches_max: 60,
    }
}

struct Run {
    dice: Dice,
    world: World,
    now_ms: u64,
    /// A compaction the store has done and the hub has not heard of.
    unheard: bool,
    /// Streams whose clients take nothing until the end.
    stuck: bool,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut dice = Dice(seed);
        let mut world = World::new(limits(&mut dice));
        world.loads_previous = !dice.one_in(4);
        for stream in 0..STREAMS {
            world.open(stream);
        }
        Run { stuck: dice.one_in(2), dice, world, now_ms: 0, unheard: false }
    }

    fn step(&mut self) {
        let stream = self.dice.roll(STREAMS);
        match self.dice.roll(20) {
            0..=6 => self.write(),
            7..=9 => self.create(stream),
            10 => self.cancel(stream),
            11 => self.world.step(Input::ProgressRequested { stream }),
            12..=14 => self.drain(stream),
            15..=16 => self.world.answer(),
            17 => self.tick(),
            18 if self.dice.one_in(5) => self.compact(),
            19 if self.dice.one_in(20) => self.reconnect(stream),
            19 if self.dice.one_in(20) => self.restore(),
            _ if self.unheard => self.hear(),
            _ => {}
        }
    }

    fn writes(&mut self) -> Vec<Write> {
        let count = 1 + self.dice.roll(4);
        let write = |dice: &mut Dice| {
            let value = (!dice.one_in(3)).then(|| dice.of(&VALUES));
            (dice.of(&KEYS), value)
        };
        (0..count).map(|_| write(&mut self.dice)).collect()
    }

    fn write(&mut self) {
        let writes = self.writes();
        if self.dice.one_in(12) {
            self.world.write_much(&writes);
        } else {
            self.world.write(&writes);
        }
    }

    fn create(&mut self, stream: u64) {
        let dice = &mut self.dice;
        let revision = self.world.revision();
        let start = match dice.roll(6) {
            0 | 1 => 0,
            2 => dice.roll(revision as u64 + 1) as i64,
            3 => self.world.compacted.max(1) + dice.roll(3) as i64 - 1,
            4 => revision + dice.roll(5) as i64,
            _ => (revision - dice.roll(6) as i64).max(-1),
        };
        let denied = dice.one_in(30);
        let create = Create {
            watch: if dice.one_in(3) { dice.roll(12) as i64 - 3 } else { 0 },
            range: range(dice.of(&RANGES)),
            start,
            progress_notify: dice.one_in(2),
            previous: dice.one_in(2),
            filters: Filters { no_put: dice.one_in(4), no_delete: dice.one_in(4) },
            fragment: dice.one_in(2),
            permission: if denied { Err(Refusal::PermissionDenied) } else { Ok(()) },
        };
        self.world.create(stream, create);
    }

    fn cancel(&mut self, stream: u64) {
        let watch = self.dice.roll(15) as i64 - 3;
        self.world.step(Input::Cancel { stream, watch });
    }

    fn drain(&mut self, stream: u64) {
        if !self.stuck || stream != 0 {
            let count = self.dice.of(&[1, 2, 100]);
            self.world.drain(stream, count);
        }
    }

    fn tick(&mut self) {
        self.now_ms += self.dice.roll(800);
        self.world.step(Input::Ticked { now_ms: self.now_ms });
    }

    /// The store compacts; the hub may hear of it late, even after the next history read.
    fn compact(&mut self) {
        let (from, to) = (self.world.compacted.max(0), self.world.revision());
        let back = self.dice.of(&[0, 3, 20, 100]);
        self.world.compacted = (to - back).max(from);
        self.unheard = true;
        if self.dice.one_in(2) {
            self.hear();
        }
    }

    fn hear(&mut self) {
        self.unheard = false;
        self.world.step(Input::Compacted { revision: self.world.compacted });
    }

    fn reconnect(&mut self, stream: u64) {
        self.world.close(stream);
        self.world.open(stream);
    }

    /// A snapshot brings revisions nobody handed to the hub.
    fn restore(&mut self) {
        for _ in 0..self.dice.roll(4) {
            let writes = self.writes();
            self.world.write_unseen(&writes);
        }
        let (revision, compacted) = (self.world.revision(), self.world.compacted);
        self.world.step(Input::Restored { revision, compacted });
    }
}

#[test]
fn every_watcher_gets_what_the_list_says_however_slow_and_late() {
    let chosen = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> = chosen.map_or_else(|| (1..=150).collect(), |seed| vec![seed]);
    let (mut events, mut reads, mut cancelled) = (0, 0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for _ in 0..600 {
            run.step();
        }
        run.world.settle();
        run.world.check_complete();
        events += run.world.hub.sizes().events_sent;
        reads += run.world.reads;
        let watches = run.world.streams.values().flat_map(|client| client.watches.values());
        cancelled += watches.filter(|watched| watched.compacted.is_some()).count();
    }
    println!("{events} events, {reads} history reads, {cancelled} watches overtaken by compaction");
    assert!(0 < reads);
    assert!(0 < cancelled);
}
