use super::*;

fn alone() -> Consensus {
    let config = Config { id: 1, election_ticks: 10, heartbeat_ticks: 1, pre_vote: true, seed: 7 };
    let conf_state = ConfState { voters: vec![1], learners: vec![] };
    let boot = Boot { conf_state, start: (1, 1), applied: 1, ..Boot::default() };
    let mut consensus = Consensus::new(&config, boot).expect("the log is empty");
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
    consensus.propose([put("a"), put("b")]).expect("it leads");
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
fn a_later_group_with_nothing_to_write_does_not_vouch_for_an_earlier_one() {
    let mut consensus = alone();
    settle(&mut consensus);
    consensus.propose([put("a")]).expect("it leads");
    let first = consensus.output().and_then(|o| o.persist).expect("an entry to write");
    consensus.read_index(9);
    let reads: Vec<Read> = std::iter::from_fn(|| consensus.output())
        .flat_map(|output| {
            assert_eq!(output.committed, []);
            output.reads
        })
        .collect();
    assert_eq!(reads, [Read { ticket: 9, index: first.entries[0].index - 1 }]);
    consensus.persisted(first.number);
    assert_eq!(settle(&mut consensus), first.entries);
}

#[test]
fn a_restarted_member_hands_out_again_what_was_not_applied() {
    let entry =
        |index| Entry { term: 2, index, kind: EntryKind::Normal, data: Bytes::from_static(b"x") };
    let config = Config { id: 1, election_ticks: 10, heartbeat_ticks: 1, pre_vote: true, seed: 7 };
    let boot = Boot {
        hard_state: HardState { term: 2, vote: 1, commit: 2 },
        conf_state: ConfState { voters: vec![1], learners: vec![] },
        start: (1, 1),
        entries: vec![entry(2), entry(3), entry(4)],
        applied: 3,
    };
    let mut consensus = Consensus::new(&config, boot).expect("the log is well formed");
    consensus.campaign_if_alone();
    let committed = settle(&mut consensus);
    let indexes: Vec<u64> = committed.iter().map(|e| e.index).collect();
    assert_eq!(indexes, [4, 5], "the entry left over, and the new leader's own");
}

#[test]
fn two_runs_with_the_same_seed_draw_the_same_jitter() {
    let timeouts = |seed| {
        let config = Config { id: 1, election_ticks: 10, heartbeat_ticks: 1, pre_vote: true, seed };
        let conf_state = ConfState { voters: vec![1, 2, 3], learners: vec![] };
        let boot = Boot { conf_state, start: (1, 1), applied: 1, ..Boot::default() };
        let mut consensus = Consensus::new(&config, boot).expect("the log is empty");
        (0..200)
            .map(|_| {
                consensus.tick();
                while consensus.output().is_some() {}
                consensus.node.raft.randomized_election_timeout()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(timeouts(3), timeouts(3));
    assert_ne!(timeouts(3), timeouts(4));
}
