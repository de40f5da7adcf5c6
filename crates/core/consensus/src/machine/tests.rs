use bytes::Bytes;
use types::{ConfState, Entry};

use super::*;
use crate::Scope;

fn boot(voters: &[u64]) -> Boot {
    let conf_state = ConfState { voters: voters.into(), learners: vec![] };
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    Boot { hard_state, conf_state, start: (1, 1), applied: 1, ..Boot::default() }
}

fn alone() -> Consensus {
    let config = Config::new(1, 7);
    let mut consensus = Consensus::new(&config, boot(&[1])).expect("the log is empty");
    consensus.campaign_if_alone();
    consensus
}

/// Runs until nothing is left to do, with a log writer that is done at once.
fn settle(consensus: &mut Consensus) -> Vec<Entry> {
    let mut committed = Vec::new();
    while let Some(output) = consensus.output() {
        committed.extend(output.committed);
        if let Some(persist) = output.persist {
            consensus.persisted(persist.number);
        }
    }
    committed
}

fn put(data: &'static str) -> (EntryKind, Bytes) {
    (EntryKind::Normal, Bytes::from_static(data.as_bytes()))
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { term, index, kind: EntryKind::Normal, data: Bytes::from_static(b"x") }
}

#[test]
fn a_lone_voter_elects_itself_without_waiting() {
    let mut consensus = alone();
    settle(&mut consensus);
    assert_eq!(consensus.standing().role, Role::Leader);
    assert_eq!(consensus.standing().leader, 1);
}

#[test]
fn an_entry_is_committed_only_after_the_log_has_it() {
    let mut consensus = alone();
    settle(&mut consensus);
    consensus.propose([put("a"), put("b")], Scope::Anyone).expect("it leads");
    let output = consensus.output().expect("there is something to write");
    let persist = output.persist.expect("two entries");
    assert_eq!(persist.entries.len(), 2);
    assert!(persist.must_sync);
    assert_eq!(output.committed, []);
    while let Some(output) = consensus.output() {
        assert_eq!(output.committed, []);
    }
    consensus.persisted(persist.number);
    let committed = settle(&mut consensus);
    assert_eq!(committed, persist.entries);
}

#[test]
fn a_read_does_not_wait_for_a_write_and_does_not_vouch_for_it() {
    let mut consensus = alone();
    settle(&mut consensus);
    consensus.propose([put("a")], Scope::Anyone).expect("it leads");
    let first = consensus.output().and_then(|o| o.persist).expect("an entry to write");
    consensus.read_index(9);
    let reads: Vec<Read> = std::iter::from_fn(|| consensus.output())
        .flat_map(|output| {
            assert_eq!(output.committed, []);
            output.reads
        })
        .collect();
    assert_eq!(reads, [Read { context: 9, index: first.entries[0].index - 1 }]);
    consensus.persisted(first.number);
    assert_eq!(settle(&mut consensus), first.entries);
}

#[test]
fn a_lone_voter_that_has_not_committed_in_its_term_keeps_a_read_until_it_has() {
    // The commit index in a log may lag behind what was acknowledged: a read at it would be stale.
    let mut consensus = alone();
    let vote = consensus.output().and_then(|o| o.persist).expect("its own vote");
    consensus.persisted(vote.number);
    let first = consensus.output().and_then(|o| o.persist).expect("its first entry");
    consensus.read_index(9);
    assert!(consensus.output().is_none());
    consensus.persisted(first.number);
    let output = consensus.output().expect("the entry is committed");
    assert_eq!(output.reads, [Read { context: 9, index: first.entries[0].index }]);
}

#[test]
fn a_restarted_member_hands_out_again_what_was_not_applied() {
    let boot = Boot {
        hard_state: HardState { term: 2, vote: 1, commit: 2 },
        entries: vec![entry(2, 2), entry(3, 2), entry(4, 2)],
        applied: 3,
        ..boot(&[1])
    };
    let mut consensus = Consensus::new(&Config::new(1, 7), boot).expect("the log is well formed");
    consensus.campaign_if_alone();
    let committed = settle(&mut consensus);
    let indexes: Vec<u64> = committed.iter().map(|e| e.index).collect();
    assert_eq!(indexes, [4, 5], "the entry left over, and the new leader's own");
}

#[test]
fn the_term_is_lifted_to_the_last_entrys() {
    // T6: entries are written before the state of their term, so a torn end may leave some of a term that the
    // state does not know; electing itself in that term again would be its second election.
    let boot = Boot {
        hard_state: HardState { term: 4, vote: 3, commit: 1 },
        entries: vec![entry(2, 4), entry(3, 5)],
        ..boot(&[1, 2, 3])
    };
    let mut consensus = Consensus::new(&Config::new(1, 7), boot).expect("the log is well formed");
    assert_eq!(consensus.standing().term, 5);
    let persist = consensus.output().and_then(|o| o.persist).expect("the term must be durable");
    assert_eq!(persist.hard_state, Some(HardState { term: 5, vote: 0, commit: 1 }));
    assert!(persist.must_sync);
}

#[test]
fn a_log_that_nobody_can_start_from_is_refused_by_name() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Boot), expected: BootError) {
        let mut boot = Boot { entries: vec![entry(2, 2), entry(3, 2)], ..boot(&[1]) };
        change(&mut boot);
        assert_eq!(Consensus::new(&Config::new(1, 7), boot).err(), Some(expected));
    }
    check(
        |boot| boot.entries[1].index = 4,
        BootError::OutOfOrder { expected: 3, found: 4, term: 2 },
    );
    check(
        |boot| boot.entries[1].term = 1,
        BootError::OutOfOrder { expected: 3, found: 3, term: 1 },
    );
    check(
        |boot| boot.entries[0].kind = EntryKind::ConfChange,
        BootError::MalformedChange { index: 2 },
    );
    check(
        |boot| boot.entries[0].kind = EntryKind::ConfChangeV2,
        BootError::JointChange { index: 2 },
    );
    check(|boot| boot.applied = 4, BootError::AppliedOutside { applied: 4, first: 2, last: 3 });
    check(|boot| boot.applied = 0, BootError::AppliedOutside { applied: 0, first: 2, last: 3 });
    check(|boot| boot.hard_state.term = u64::MAX, BootError::TermTooHigh { term: u64::MAX });
}

#[test]
fn the_jitter_follows_from_seed_member_term_and_attempt() {
    let timeouts = |id, seed| {
        let config = Config::new(id, seed);
        let mut consensus = Consensus::new(&config, boot(&[1, 2, 3])).expect("the log is empty");
        (0..200)
            .map(|_| {
                consensus.tick();
                settle(&mut consensus);
                consensus.election_timeout
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(timeouts(1, 3), timeouts(1, 3));
    assert_ne!(timeouts(1, 3), timeouts(1, 4));
    assert_ne!(timeouts(1, 3), timeouts(2, 3));
    assert!(timeouts(1, 3).iter().all(|timeout| (10..20).contains(timeout)));
}

#[test]
fn the_oldest_write_under_way_and_its_age_are_known() {
    // C16: the front gives leadership up when the disk is silent for longer than an election timeout.
    let mut consensus = alone();
    settle(&mut consensus);
    assert_eq!(consensus.oldest_unpersisted(), None);
    consensus.propose([put("a")], Scope::Anyone).expect("it leads");
    let first = consensus.output().and_then(|o| o.persist).expect("an entry to write").number;
    consensus.tick();
    consensus.propose([put("b")], Scope::Anyone).expect("it leads");
    let second = consensus.output().and_then(|o| o.persist).expect("an entry to write").number;
    consensus.tick();
    assert_eq!(consensus.oldest_unpersisted(), Some((first, 2)));
    consensus.persisted(first);
    assert_eq!(consensus.oldest_unpersisted(), Some((second, 1)));
}

#[test]
fn what_is_handed_out_and_not_applied_is_bounded_in_bytes() {
    let config = Config { applying_bytes_max: 10, ..Config::new(1, 7) };
    let mut consensus = Consensus::new(&config, boot(&[1])).expect("the log is empty");
    consensus.campaign_if_alone();
    let first = settle(&mut consensus);
    consensus.applied(first.last().expect("its own entry").index);
    let group = (0..5).map(|_| put("four"));
    consensus.propose(group, Scope::Anyone).expect("it leads");
    let committed = settle(&mut consensus);
    assert_eq!(committed.len(), 3, "the third passes the bound");
    consensus.applied(committed[0].index);
    assert_eq!(settle(&mut consensus).len(), 1);
    consensus.applied(committed[2].index);
    assert_eq!(settle(&mut consensus).len(), 1);
}

#[test]
fn proposals_that_are_not_applied_are_bounded_in_bytes() {
    let config = Config { uncommitted_bytes_max: 10, ..Config::new(1, 7) };
    let mut consensus = Consensus::new(&config, boot(&[1])).expect("the log is empty");
    consensus.campaign_if_alone();
    settle(&mut consensus);
    consensus.propose([put("more than ten")], Scope::Anyone).expect("one always fits");
    let refused = consensus.propose([put("b")], Scope::Anyone);
    assert_eq!(refused, Err(io::NotProposed::TooMuchUncommitted));
    let committed = settle(&mut consensus);
    consensus.applied(committed.last().expect("it is committed").index);
    consensus.propose([put("b")], Scope::Anyone).expect("there is room again");
}
