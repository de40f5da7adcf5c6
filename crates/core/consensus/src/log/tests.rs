use bytes::Bytes;
use types::EntryKind;

use super::*;

fn entry(index: u64, term: u64) -> Entry {
    Entry { term, index, kind: EntryKind::Normal, data: Bytes::from_static(b"0123") }
}

/// Entries 11 to 20 behind (10, 2): up to 13 of term 2, up to 16 of term 4, the rest of term 5.
fn log() -> Log {
    let terms = [2, 2, 2, 4, 4, 4, 5, 5, 5, 5];
    let entries = (11..).zip(terms).map(|(index, term)| entry(index, term)).collect();
    let mut log = Log::new((10, 2), entries, 10, 10);
    log.commit_to(18);
    log.take_appliable(u64::MAX);
    log.applied_to(18);
    log
}

#[test]
fn terms_are_known_from_the_start_to_the_end() {
    let log = log();
    let terms: Vec<_> = (9..=21).map(|index| log.term(index)).collect();
    let known = [2, 2, 2, 2, 4, 4, 4, 5, 5, 5, 5].map(Some);
    assert_eq!(terms[1..12], known);
    assert_eq!((terms[0], terms[12]), (None, None));
}

#[test]
fn the_search_for_the_last_common_entry_leaps_over_whole_terms() {
    let log = log();
    assert_eq!(log.conflict_by_term(20, 5), (20, 5));
    assert_eq!(log.conflict_by_term(20, 4), (16, 4));
    assert_eq!(log.conflict_by_term(20, 3), (13, 2));
    assert_eq!(log.conflict_by_term(15, 3), (13, 2));
    assert_eq!(log.conflict_by_term(20, 1), (9, 0), "before the start nothing is known");
    assert_eq!(log.conflict_by_term(30, 9), (30, 0), "nor behind the end");
    assert_eq!(Log::new((0, 0), vec![], 0, 0).conflict_by_term(0, 7), (0, 0));
}

#[test]
fn released_entries_are_still_known_by_their_terms_and_asked_for_in_the_files() {
    let mut log = log();
    let bytes = log.bytes();
    log.release_to(15);
    assert_eq!(log.bytes(), bytes / 2);
    assert_eq!((log.first(), log.term(12)), (11, Some(2)));
    assert!(matches!(log.entries(12, 1000), Found::InFiles { last: 15 }));
    assert!(matches!(log.entries(16, 1000), Found::Here(found) if found.len() == 5));
    log.release_to(30);
    assert_eq!(log.bytes(), bytes / 5, "what is not applied stays");
}

#[test]
fn forgotten_entries_can_only_be_replaced_by_a_snapshot() {
    let mut log = log();
    log.forget_to(15);
    assert_eq!((log.first(), log.term(15), log.term(14)), (16, Some(4), None));
    assert_eq!(log.term(17), Some(5));
    assert!(matches!(log.entries(15, 1000), Found::Gone));
    log.forget_to(12);
    assert_eq!(log.first(), 16, "it never goes back");
    log.commit_to(20);
    log.take_appliable(u64::MAX);
    log.applied_to(20);
    log.forget_to(20);
    assert_eq!((log.first(), log.last(), log.last_term(), log.bytes()), (21, 20, 5, 0));
    log.append(vec![entry(21, 5)]);
    assert_eq!(log.term(21), Some(5));
}

#[test]
fn a_conflict_drops_what_follows_it_and_what_was_written_of_it() {
    let mut log = log();
    log.append(vec![entry(21, 5)]);
    let (_, entries) = log.hand();
    assert_eq!(entries.len(), 1);
    log.append(vec![entry(20, 6)]);
    assert_eq!((log.last(), log.last_term(), log.unpersisted()), (20, 6, Some((20, 6))));
    log.persisted_to(21, 5);
    log.persisted_to(20, 5);
    assert_eq!(log.unpersisted(), Some((20, 6)), "what was written is another entry");
    log.persisted_to(20, 6);
    assert_eq!(log.unpersisted(), None);
}

#[test]
#[should_panic(expected = "what is committed is never replaced")]
fn what_is_committed_is_never_replaced() {
    log().append(vec![entry(18, 9)]);
}

#[test]
fn the_memory_an_entry_takes_is_counted_not_only_its_payload() {
    // T7: a log of tiny entries took ten times the bytes it owned up to.
    let log = log();
    assert!(10 * (4 + size_of::<Entry>()) < log.bytes());
}

#[test]
fn nothing_is_handed_out_while_a_snapshot_is_not_durable() {
    let mut log = log();
    log.commit_to(20);
    let conf_state = types::ConfState { voters: vec![1], learners: vec![] };
    log.restore(SnapshotPoint { index: 30, term: 7, conf_state });
    log.append(vec![entry(31, 7)]);
    log.commit_to(31);
    let (snapshot, entries) = log.hand();
    assert_eq!((snapshot.map(|point| point.index), entries.len()), (Some(30), 1));
    log.persisted_to(31, 7);
    assert!(log.take_appliable(u64::MAX).is_empty());
    log.snapshot_persisted(30);
    assert_eq!(log.take_appliable(u64::MAX).len(), 1);
}
