//! Every operation of a workload as the last before a power cut, or as the one that fails, and every
//! way a disk may look afterwards: what was synced is there, in order, and of what was not, a beginning.

mod common;

use std::collections::BTreeMap;

use common::*;
use holdfast_wal::{Marker, Recovered, Wal, WriteError};
use types::{Entry, HardState};
use vfs::{CrashPolicy, FaultKind, Faults, MemoryDisk};

/// One step of a workload.
#[derive(Debug)]
enum Action {
    Append(HardState, Vec<Entry>),
    Mark(Marker),
    Sync,
    Release(u64),
    Prepare,
}

/// One record that was handed to the log.
#[derive(Clone, Debug)]
enum Logged {
    Entry(Entry),
    State(HardState),
    Marker(Marker),
}

/// What was handed to the log, and how much of it must survive.
#[derive(Default)]
struct Ledger {
    records: Vec<Logged>,
    synced: usize,
    created: bool,
}

/// What a log with just these records holds.
#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    state: HardState,
    markers: Vec<Marker>,
}

impl Model {
    fn take(&mut self, record: &Logged) {
        match record {
            Logged::Entry(entry) => {
                self.entries.split_off(&entry.index);
                self.entries.insert(entry.index, entry.clone());
            }
            Logged::State(state) => self.state = *state,
            Logged::Marker(marker) => self.markers.push(marker.clone()),
        }
    }

    fn holds(&self, from: &Marker, found: &Recovered) -> bool {
        let valid = self.markers.iter().rev().find(|marker| marker.index <= self.state.commit);
        let after = self.entries.range(from.index + 1..).map(|(_, entry)| entry);
        let start_agrees = valid.map_or(0, |marker| marker.index) == from.index;
        start_agrees && self.state == found.hard_state && after.eq(found.entries.iter())
    }
}

impl Ledger {
    fn brief(&self) -> String {
        let brief = |record: &Logged| match record {
            Logged::Entry(entry) => format!("{}/{} ", entry.index, entry.term),
            Logged::State(state) => format!("state {}/{} ", state.commit, state.term),
            Logged::Marker(marker) => format!("marker {}/{} ", marker.index, marker.term),
        };
        let (synced, rest) = self.records.split_at(self.synced);
        let [synced, rest] =
            [synced, rest].map(|records| records.iter().map(brief).collect::<String>());
        format!("{synced}and perhaps {rest}")
    }

    /// Whether the log holds all that was synced and a beginning of the rest.
    fn allows(&self, from: &Marker, found: &Recovered) -> bool {
        let mut model = Model::default();
        self.records[..self.synced].iter().for_each(|record| model.take(record));
        let mut rest = self.records[self.synced..].iter();
        loop {
            if model.holds(from, found) {
                return true;
            }
            match rest.next() {
                Some(record) => model.take(record),
                None => return false,
            }
        }
    }
}

/// A workload that follows raft's rules: terms rise, conflicts replace what is not committed.
fn workload(seed: u64, steps: usize) -> Vec<Action> {
    let mut chance = Chance(seed);
    let (mut term, mut last, mut commit, mut marked) = (1, 0, 0, 0);
    let mut terms = BTreeMap::new();
    let mut actions = Vec::new();
    for _ in 0..steps {
        actions.push(match chance.below(12) {
            0..=4 => {
                if chance.below(6) == 0 {
                    term += 1;
                    last -= chance.below(last - commit + 1);
                }
                let count = chance.below(4);
                let bytes = [0, 5, 300, 700, 1400][chance.below(5) as usize];
                let group = entries(term, last + 1..last + 1 + count, bytes);
                terms.extend(group.iter().map(|entry| (entry.index, entry.term)));
                last += count;
                commit += chance.below(last - commit + 1);
                Action::Append(state(term, commit), group)
            }
            5 | 6 if marked < commit => {
                marked = commit;
                Action::Mark(marker(commit, terms[&commit]))
            }
            7 => Action::Release(marked),
            8 | 9 => Action::Prepare,
            _ => Action::Sync,
        });
    }
    actions
}

fn records_of(action: &Action) -> Vec<Logged> {
    match action {
        Action::Append(state, entries) => {
            let entries = entries.iter().cloned().map(Logged::Entry);
            entries.chain([Logged::State(*state)]).collect()
        }
        Action::Mark(marker) => vec![Logged::Marker(marker.clone())],
        Action::Sync | Action::Release(_) | Action::Prepare => Vec::new(),
    }
}

fn act(wal: &mut Wal, action: &Action) -> Result<(), WriteError> {
    match action {
        Action::Append(state, entries) => wal.append(Some(state), entries),
        Action::Mark(marker) => wal.append_marker(marker),
        Action::Sync => wal.sync(),
        Action::Release(index) => wal.release_to(*index, 2),
        Action::Prepare => wal.prepare_next().map(|_| ()),
    }
}

/// Runs a workload on a new log until it is through or the log ends.
fn run(disk: &MemoryDisk, actions: &[Action]) -> Ledger {
    let mut ledger = Ledger::default();
    let created = Wal::create_with(std::sync::Arc::new(disk.clone()), &dir(), METADATA, SMALL);
    let Ok(mut wal) = created else { return ledger };
    ledger.created = true;
    go_on(&mut wal, actions, &mut ledger);
    ledger
}

fn go_on(wal: &mut Wal, actions: &[Action], ledger: &mut Ledger) {
    for action in actions {
        ledger.records.extend(records_of(action));
        match act(wal, action) {
            Ok(()) if matches!(action, Action::Sync) => ledger.synced = ledger.records.len(),
            Ok(()) | Err(WriteError::Prepare { .. }) => {}
            Err(_) => {
                let after = wal.append(None, &[]);
                assert!(matches!(after, Err(WriteError::Ended)), "no error is survived");
                return;
            }
        }
    }
}

fn policies(number: u64) -> Vec<CrashPolicy> {
    let seeds = (0..4).map(|n| number * 4 + n);
    let torn = seeds.clone().map(|seed| CrashPolicy::Torn { seed });
    let reordered = seeds.map(|seed| CrashPolicy::Reordered { seed });
    [CrashPolicy::KeepAll, CrashPolicy::LoseUnsynced]
        .into_iter()
        .chain(torn)
        .chain(reordered)
        .collect()
}

/// Boots on a disk and checks that the log holds what it must. `None` if there is no log yet.
#[track_caller]
fn check_boot(disk: &MemoryDisk, ledger: &Ledger, story: &str) -> Option<(Wal, Recovered)> {
    if !Wal::exists(disk, &dir()).expect("alive") {
        assert!(!ledger.created, "the log is gone: {story}");
        return None;
    }
    // A hole below is harmless to us, but a Go member reads from the first segment.
    let numbers = files(disk).into_iter().map(|name| u64::from_str_radix(&name[..16], 16));
    let numbers: Vec<u64> = numbers.map(|number| number.expect("hex digits")).collect();
    let unbroken = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(unbroken, "a hole in {numbers:?}: {story}");
    let markers = Wal::valid_markers(disk, &dir());
    let markers = markers.unwrap_or_else(|error| panic!("{error}: {story}"));
    let from = markers.last().unwrap_or_else(|| panic!("no marker: {story}"));
    let (wal, found) = open(disk, from).unwrap_or_else(|error| panic!("{error}: {story}"));
    if !ledger.allows(from, &found) {
        let indexes: Vec<_> = found.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        let state = found.hard_state;
        panic!("{indexes:?} and {state:?} from {from:?} are not {}: {story}", ledger.brief());
    }
    Some((wal, found))
}

/// Boots, goes on, and loses power again: what the first boot found is there, and what followed.
fn check_life_after(disk: &MemoryDisk, ledger: &Ledger, story: &str) {
    let Some((mut wal, found)) = check_boot(disk, ledger, story) else { return };
    // Nothing new is synced yet, but others may already have been told what was found.
    let again = disk.crash(CrashPolicy::LoseUnsynced);
    let (_, still) = check_boot(&again, ledger, story).expect("there was a log");
    assert_eq!(still.entries, found.entries, "{story}");
    assert_eq!(still.hard_state, found.hard_state, "{story}");

    let term = found.hard_state.term + 1;
    let next = wal.last_index() + 1;
    let more = entries(term, next..next + 5, 900);
    wal.append(Some(&HardState { term, ..found.hard_state }), &more).expect("no fault");
    wal.sync().expect("no fault");
    let after = disk.crash(CrashPolicy::LoseUnsynced);
    let from =
        Wal::valid_markers(&after, &dir()).unwrap_or_else(|error| panic!("{error}: {story}"));
    let read = read(&after, from.last().expect("there was one"));
    let read = read.unwrap_or_else(|error| panic!("{error}: {story}"));
    assert_eq!(read.entries[found.entries.len()..], more, "{story}");
}

fn check_workload(seed: u64) {
    let actions = workload(seed, 80);
    let disk = new_disk();
    let before = disk.operations();
    run(&disk, &actions);
    let operations = disk.operations() - before;
    println!("seed {seed}: {operations} operations, files {:?}", files(&disk));
    assert!(operations > 100, "a workload worth its name");
    for number in 0..=operations {
        let disk = new_disk();
        let stop_after = Some(disk.operations() + number);
        disk.set_faults(Faults { stop_after, ..Faults::default() });
        let ledger = run(&disk, &actions);
        for policy in policies(number) {
            let story = format!("seed {seed}, power cut after operation {number}, {policy:?}");
            check_life_after(&disk.crash(policy), &ledger, &story);
        }
    }
}

#[test]
fn whatever_operation_is_the_last_before_a_power_cut_what_was_synced_is_read_back() {
    for seed in 0..6 {
        check_workload(seed);
    }
}

#[test]
fn whatever_operation_fails_the_log_ends_and_what_was_synced_is_read_back() {
    for seed in [11, 12] {
        let actions = workload(seed, 80);
        let disk = new_disk();
        run(&disk, &actions);
        for number in 2..=disk.operations() {
            for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
                let disk = new_disk();
                disk.set_faults(Faults { fail_at: Some((number, kind)), ..Faults::default() });
                let ledger = run(&disk, &actions);
                disk.set_faults(Faults::default());
                for policy in policies(number) {
                    let story = format!("seed {seed}, {kind:?} at operation {number}, {policy:?}");
                    check_life_after(&disk.crash(policy), &ledger, &story);
                }
            }
        }
    }
}

#[test]
fn a_power_cut_during_start_up_changes_nothing() {
    let seed = 21;
    let actions = workload(seed, 80);
    let disk = new_disk();
    run(&disk, &actions);
    for number in (1..=disk.operations()).step_by(3) {
        let disk = new_disk();
        disk.set_faults(Faults { stop_after: Some(number), ..Faults::default() });
        let ledger = run(&disk, &actions);
        for policy in policies(number) {
            let first = disk.crash(policy);
            let boots = {
                let probe = first.crash(CrashPolicy::KeepAll);
                check_boot(&probe, &ledger, "probe");
                probe.operations()
            };
            for stop in 0..boots {
                let disk = first.crash(CrashPolicy::KeepAll);
                disk.set_faults(Faults { stop_after: Some(stop), ..Faults::default() });
                if let Ok(markers) = Wal::valid_markers(&disk, &dir())
                    && let Some(from) = markers.last()
                {
                    let _ = open(&disk, from);
                }
                for second in policies(stop) {
                    let story = format!(
                        "seed {seed}, operation {number}, {policy:?}, then {stop} of start-up, {second:?}"
                    );
                    check_life_after(&disk.crash(second), &ledger, &story);
                }
            }
        }
    }
}

#[test]
fn a_killed_process_finds_its_unsynced_writes_and_keeps_them() {
    for seed in 31..35 {
        let actions = workload(seed, 80);
        let disk = new_disk();
        let mut ledger = run(&disk, &actions);
        // The kernel lives: the next process reads all of it, and from then on it must stay.
        ledger.synced = ledger.records.len();
        let story = format!("seed {seed}, killed");
        check_life_after(&disk, &ledger, &story);
    }
}

#[test]
fn a_full_disk_ends_the_log_and_loses_nothing() {
    let actions = workload(41, 80);
    for capacity in (0..30_000).step_by(512) {
        let disk = new_disk();
        disk.set_faults(Faults { capacity_bytes: Some(capacity), ..Faults::default() });
        let ledger = run(&disk, &actions);
        disk.set_faults(Faults::default());
        let story = format!("{capacity} bytes of room");
        check_life_after(&disk.crash(CrashPolicy::LoseUnsynced), &ledger, &story);
    }
}
