//! Random schedules of three and five members: whatever happens, the judges hold.
//!
//! Loss, doubling, reordering, cuts, crashes, stalled disks and appliers, compaction with snapshots, learners,
//! changes, transfers. `HOLDFAST_SEED=N cargo test -p holdfast-consensus --test schedule` plays one seed again,
//! `HOLDFAST_SEEDS=N` plays so many.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod world;

use holdfast_consensus::{Consensus, Role, Scope};
use proto::raftpb::ConfChangeType;
use types::ConfState;
use world::{World, change, put};

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of(&mut self, all: &[u64]) -> u64 {
        all[self.below(all.len())]
    }
}

struct Run {
    world: World,
    chance: Chance,
    /// Ids for members that join later.
    next_id: u64,
    written: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut chance = Chance(seed);
        let voters: &[u64] = if chance.one_in(2) { &[1, 2, 3] } else { &[1, 2, 3, 4, 5] };
        let (pre_vote, inflight) = (!chance.one_in(4), 1 + chance.below(6));
        let append = 1 + chance.below(60) as u64;
        let world = World::new(voters, &[], |config| {
            config.pre_vote = pre_vote;
            config.seed = seed;
            config.inflight_messages_max = inflight;
            config.append_bytes_max = append;
        });
        Run { world, chance, next_id: 10, written: 0 }
    }

    fn step(&mut self) {
        let ids: Vec<u64> = self.world.machines.keys().copied().collect();
        let id = self.chance.of(&ids);
        match self.chance.below(100) {
            0..65 => self.message(),
            65..75 => {
                if self.world.is_up(id) {
                    self.world.on(id, Consensus::tick);
                }
            }
            75..85 => self.propose(id),
            85..90 => self.storage(id),
            90..94 => self.link(&ids),
            94..96 => self.life(id),
            96..98 => self.reconfigure(),
            _ => self.nudge(id, &ids),
        }
    }

    fn message(&mut self) {
        let waiting = self.world.flying.len();
        if waiting == 0 {
            return;
        }
        // Mostly in order.
        let at = if self.chance.one_in(4) { self.chance.below(waiting) } else { 0 };
        match self.chance.below(20) {
            0 => self.world.lose(at),
            1 => {
                let again = self.world.flying[at].clone();
                self.world.flying.push_back(again);
            }
            _ => drop(self.world.deliver(at)),
        }
        while 400 < self.world.flying.len() {
            self.world.lose(0);
        }
    }

    fn propose(&mut self, id: u64) {
        if !self.world.is_up(id) {
            return;
        }
        self.written += 1;
        let text = self.written.to_string();
        let scope = if self.chance.one_in(3) {
            Scope::LeaderOf(self.world.consensus(id).standing().term)
        } else {
            Scope::Anyone
        };
        let _ = self.world.on(id, |c| c.propose([put(&text)], scope));
        if self.chance.one_in(3) {
            let context = self.written;
            self.world.on(id, |c| c.read_index(context));
        }
    }

    fn storage(&mut self, id: u64) {
        match self.chance.below(5) {
            0 => self.world.machine(id).disk_stalls = true,
            1 => self.world.machine(id).apply_stalls = true,
            2 => self.world.sync(id, 1),
            _ => {
                let machine = self.world.machine(id);
                (machine.disk_stalls, machine.apply_stalls) = (false, false);
                let behind = self.chance.below(6) as u64;
                let applied = self.world.machine(id).applied;
                if self.world.is_up(id) {
                    self.world.progress(id);
                    if self.chance.one_in(3) {
                        self.world.forget(id, applied.saturating_sub(behind));
                    } else {
                        self.world.on(id, |c| c.release_to(applied.saturating_sub(behind)));
                    }
                }
            }
        }
        self.world.follow(id);
    }

    fn link(&mut self, ids: &[u64]) {
        let (from, to) = (self.chance.of(ids), self.chance.of(ids));
        match self.chance.below(4) {
            0 => drop(self.world.cut.insert((from, to))),
            1 if self.chance.one_in(2) => ids.iter().for_each(|other| {
                self.world.cut.extend([(from, *other), (*other, from)]);
            }),
            _ => self.world.cut.clear(),
        }
    }

    fn life(&mut self, id: u64) {
        if !self.world.is_up(id) {
            self.world.start(id);
        } else if self.chance.one_in(3) {
            self.world.crash(id);
        }
    }

    fn reconfigure(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        let state = self.world.consensus(leader).conf_state();
        let members: Vec<u64> = state.voters.iter().chain(&state.learners).copied().collect();
        let some = self.chance.of(&members);
        let proposed = match self.chance.below(5) {
            0 | 1 if members.len() < 6 => {
                let id = self.next_id;
                self.next_id += 1;
                let empty = ConfState { voters: state.voters.clone(), learners: vec![id] };
                self.world.join(id, empty, &|_| {});
                change(ConfChangeType::ConfChangeAddLearnerNode, id)
            }
            2 => change(ConfChangeType::ConfChangeAddNode, some),
            3 if 2 < state.voters.len() => change(ConfChangeType::ConfChangeRemoveNode, some),
            _ => change(ConfChangeType::ConfChangeUpdateNode, some),
        };
        let _ = self.world.on(leader, |c| c.propose([proposed], Scope::Anyone));
    }

    fn nudge(&mut self, id: u64, ids: &[u64]) {
        let other = self.chance.of(ids);
        if !self.world.is_up(id) {
            return;
        }
        match self.chance.below(5) {
            0 => self.world.on(id, Consensus::campaign),
            1 => self.world.on(id, |c| c.transfer(other)),
            2 => self.world.on(id, |c| c.unreachable(other)),
            3 => self.world.on(id, |c| c.leader_gone(other)),
            _ => {
                let ok = self.chance.one_in(2);
                self.world.on(id, |c| c.snapshot_sent(other, ok));
            }
        }
    }

    /// Everything heals, and a leader, a new entry and all that are members come to the same.
    fn heal(&mut self) {
        self.world.cut.clear();
        for id in self.world.machines.keys().copied().collect::<Vec<_>>() {
            let machine = self.world.machine(id);
            (machine.disk_stalls, machine.apply_stalls) = (false, false);
            if !machine.is_up() {
                self.world.start(id);
            }
            self.world.progress(id);
            self.world.follow(id);
        }
        for _ in 0..300 {
            self.world.tick_all();
            self.world.settle();
        }
        let leader = self.world.leader().expect("somebody leads once everything is well");
        let done = self.world.on(leader, |c| c.propose([put("end")], Scope::Anyone));
        assert_eq!(done, Ok(()), "the leader takes a proposal");
        for _ in 0..30 {
            self.world.tick_all();
            self.world.settle();
        }
        let state = self.world.consensus(leader).conf_state();
        let applied = self.world.machines[&leader].applied;
        for id in state.voters.iter().chain(&state.learners) {
            let machine = &self.world.machines[id];
            assert_eq!(machine.applied, applied, "{id} follows");
            assert_eq!(machine.conf_state, state, "{id} knows who is a member");
        }
    }
}

fn play(seed: u64) {
    println!("seed {seed}: HOLDFAST_SEED={seed} cargo test -p holdfast-consensus --test schedule");
    let mut run = Run::new(seed);
    for step in 0..4_000 {
        run.step();
        run.world.events.clear();
        if step % 20 == 0 {
            run.world.logs_match();
            run.world.committed_is_durable();
        }
    }
    let applied = run.world.judge.applied.len();
    run.heal();
    println!("{applied} entries applied before all healed");
    let led = run.world.machines.values().any(|machine| machine.role.2 == Role::Leader);
    assert!(led, "somebody leads in the end");
}

#[test]
fn whatever_happens_no_promise_of_raft_is_broken() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HOLDFAST_SEED") {
        return play(seed);
    }
    for seed in 0..number("HOLDFAST_SEEDS").unwrap_or(60) {
        play(seed);
    }
}
