//! Answers of members, and what is made of them.

use super::*;

fn own(hash: u32) -> HashTriple {
    HashTriple { hash, compact_revision: 3, revision: 9 }
}

fn said(member: MemberId, hash: u32, compact_revision: i64, revision: i64) -> Answered {
    let hash = Ok(HashKv { revision, hash, compact_revision, hash_revision: 9 });
    Answered { member, peer_urls: vec![format!("http://m{member}:2380")], hash }
}

fn silent(member: MemberId, why: &str) -> Answered {
    Answered { member, peer_urls: Vec::new(), hash: Err(why.to_owned()) }
}

fn texts(verdict: &Verdict) -> Vec<&'static str> {
    verdict.lines.iter().map(|line| line.text).collect()
}

#[test]
fn a_member_does_not_begin_whose_hash_differs_at_the_same_compaction() {
    let judge = |others: &[Answered]| judge_first(1, own(7), others);
    let (verdict, differs) = judge(&[said(2, 7, 3, 9), said(3, 7, 3, 12)]);
    assert!(!differs && verdict.lines.is_empty(), "{verdict:?}");
    let (verdict, differs) = judge(&[said(2, 7, 3, 9), said(3, 8, 3, 9)]);
    assert!(differs);
    assert_eq!(texts(&verdict), ["found different hash values from remote peer"]);
    // Compacted elsewhere, another hash says nothing.
    let (verdict, differs) = judge(&[said(2, 8, 5, 9)]);
    assert!(!differs);
    assert_eq!(texts(&verdict), ["found different compact revision values from remote peer"]);
    // Whoever does not answer proves nothing.
    let slow = "mvcc: required revision is a future revision";
    let behind = "mvcc: required revision has been compacted";
    let (verdict, differs) = judge(&[silent(2, slow), silent(3, behind), silent(4, "refused")]);
    assert!(!differs);
    let told = [
        "cannot fetch hash from slow remote peer",
        "cannot fetch hash from remote peer; local member is behind",
        "cannot fetch hash from remote peer",
    ];
    assert_eq!(texts(&verdict), told);
}

#[test]
fn a_leader_blames_the_first_member_that_differs_at_its_revision() {
    let leading = Leading { member: 1, before: own(7), again: Some(own(7)), now: (9, 3) };
    let judge = |others: &[Answered]| judge_newest(leading, others);
    let verdict = judge(&[said(2, 7, 3, 9), silent(3, "refused")]);
    assert_eq!((verdict.alarms, verdict.compared), (vec![], 1));
    assert_eq!(judge(&[said(2, 8, 3, 9), said(3, 9, 3, 9)]).alarms, [2]);
    // One that is ahead of its leader, in revisions or in compactions.
    assert_eq!(judge(&[said(2, 7, 3, 10)]).alarms, [2]);
    assert_eq!(judge(&[said(2, 8, 4, 9)]).alarms, [2]);
    // One that has compacted less cannot be compared.
    assert_eq!(judge(&[said(2, 8, 2, 9)]).alarms, [0; 0]);
}

#[test]
fn a_leader_whose_own_hash_changes_in_place_blames_itself() {
    let changed = Leading { member: 1, before: own(7), again: Some(own(8)), now: (9, 3) };
    let verdict = judge_newest(changed, &[said(2, 7, 3, 9)]);
    assert_eq!(verdict.alarms, [1]);
    assert_eq!(texts(&verdict), ["found hash mismatch", "finished peer corruption check"]);
}

#[test]
fn after_a_compaction_the_minority_is_blamed_and_without_a_majority_everybody() {
    let judge = |others: &[Answered]| judge_compaction(1, own(7), others);
    let (verdict, done) = judge(&[said(2, 7, 3, 9), said(3, 7, 3, 9)]);
    assert!(done && verdict.alarms.is_empty());
    assert_eq!(texts(&verdict), ["successfully checked hash on whole cluster"]);
    // Somebody could not be compared: an older compaction is looked at too.
    let (verdict, done) = judge(&[said(2, 7, 3, 9), said(3, 8, 2, 9)]);
    assert!(!done && verdict.alarms.is_empty(), "{verdict:?}");
    let (verdict, done) = judge(&[said(2, 8, 3, 9), said(3, 7, 3, 9)]);
    assert!(done);
    assert_eq!(verdict.alarms, [2]);
    // The leader may be the one.
    assert_eq!(judge(&[said(2, 8, 3, 9), said(3, 8, 3, 9)]).0.alarms, [1]);
    // Of two nobody is right, nor of three that all differ.
    assert_eq!(judge(&[said(2, 8, 3, 9)]).0.alarms, [0]);
    assert_eq!(judge(&[said(2, 8, 3, 9), said(3, 9, 3, 9)]).0.alarms, [0]);
    // A majority counts all members, not only those that answered.
    assert_eq!(judge(&[said(2, 8, 3, 9), silent(3, "refused")]).0.alarms, [0]);
}
