use bytes::Bytes;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfState, EntryType, Snapshot, SnapshotMetadata};

use super::*;

fn message(kind: MessageType) -> Message {
    Message {
        r#type: Some(kind as i32),
        to: Some(1),
        from: Some(2),
        term: Some(5),
        ..Message::default()
    }
}

#[track_caller]
fn check_it(message: Message, expected: Result<(), RefusedMessage>) {
    assert_eq!(check(message, 1).map(drop), expected);
}

fn entry(index: u64, term: u64) -> raftpb::Entry {
    raftpb::Entry { index: Some(index), term: Some(term), ..raftpb::Entry::default() }
}

fn append(index: u64, log_term: u64, entries: &[(u64, u64)]) -> Message {
    Message {
        index: Some(index),
        log_term: Some(log_term),
        entries: entries.iter().map(|(index, term)| entry(*index, *term)).collect(),
        ..message(MessageType::MsgApp)
    }
}

#[test]
fn kinds_that_never_cross_the_network_are_refused() {
    check_it(message(MessageType::MsgHup), Err(RefusedMessage::Local));
    check_it(message(MessageType::MsgTransferLeader), Err(RefusedMessage::Local));
    check_it(message(MessageType::MsgStorageAppend), Err(RefusedMessage::Local));
    check_it(message(MessageType::MsgHeartbeat), Ok(()));
    let unknown = Message { r#type: Some(77), ..message(MessageType::MsgHup) };
    check_it(unknown, Err(RefusedMessage::UnknownType(77)));
}

#[test]
fn what_asks_for_something_holds_an_entry() {
    check_it(message(MessageType::MsgProp), Err(RefusedMessage::Empty));
    check_it(message(MessageType::MsgReadIndex), Err(RefusedMessage::Empty));
    check_it(message(MessageType::MsgReadIndexResp), Err(RefusedMessage::Empty));
    let short = raftpb::Entry { data: Some(Bytes::from_static(b"abc")), ..entry(0, 0) };
    let asked = Message { entries: vec![short], ..message(MessageType::MsgReadIndex) };
    check_it(asked, Err(RefusedMessage::Context(3)));
}

#[test]
fn a_message_comes_from_another_member_and_is_for_this_one() {
    let heartbeat = || message(MessageType::MsgHeartbeat);
    check_it(Message { to: Some(3), ..heartbeat() }, Err(RefusedMessage::NotForUs { to: 3 }));
    check_it(Message { from: None, ..heartbeat() }, Err(RefusedMessage::NoSender));
    check_it(Message { from: Some(1), ..heartbeat() }, Err(RefusedMessage::NoSender));
}

#[test]
fn a_message_without_a_term_is_refused() {
    // C7: raft-rs took it for a local one; a candidate fell back to term 0 and could vote twice.
    use MessageType as M;
    for kind in [M::MsgApp, M::MsgHeartbeat, M::MsgVote, M::MsgPreVote, M::MsgTimeoutNow] {
        check_it(Message { term: None, ..message(kind) }, Err(RefusedMessage::NoTerm));
    }
}

#[test]
fn numbers_that_no_cluster_reaches_are_refused() {
    // C7: one message with the highest term would have kept everybody from ever electing again.
    let high = || u64::MAX - 1;
    let vote = || message(MessageType::MsgVote);
    let refused = Err(RefusedMessage::TooHigh(high()));
    check_it(Message { term: Some(high()), ..vote() }, refused);
    check_it(Message { log_term: Some(high()), ..vote() }, refused);
    check_it(Message { index: Some(high()), ..vote() }, refused);
    check_it(Message { commit: Some(high()), ..vote() }, refused);
    check_it(Message { reject_hint: Some(high()), ..vote() }, refused);
}

#[test]
fn entries_of_an_append_follow_one_another() {
    check_it(append(7, 3, &[(8, 3), (9, 5)]), Ok(()));
    check_it(append(7, 3, &[(9, 3)]), Err(RefusedMessage::OutOfOrder { index: 8 }));
    check_it(append(7, 3, &[(8, 3), (8, 3)]), Err(RefusedMessage::OutOfOrder { index: 9 }));
    check_it(append(7, 3, &[(8, 2)]), Err(RefusedMessage::OutOfOrder { index: 8 }));
    check_it(append(7, 3, &[(8, 6)]), Err(RefusedMessage::OutOfOrder { index: 8 }));
    check_it(append(7, 6, &[]), Err(RefusedMessage::OutOfOrder { index: 7 }));
    check_it(append(0, 0, &[(1, 0)]), Err(RefusedMessage::OutOfOrder { index: 1 }));
}

#[test]
fn configuration_changes_that_cannot_be_made_are_refused() {
    // C6: Go's numbering comes in as it is, and what nobody here can apply does not enter the log.
    let with = |kind: EntryType, data: Bytes| {
        let mut message = append(7, 3, &[(8, 3)]);
        message.entries[0].r#type = Some(kind as i32);
        message.entries[0].data = Some(data);
        message
    };
    let change = |kind: i32| {
        let change = ConfChange { r#type: Some(kind), node_id: Some(9), ..ConfChange::default() };
        Bytes::from(change.encode_to_vec())
    };
    let refused = Err(RefusedMessage::Change { index: 8 });
    for kind in 0..=3 {
        check_it(with(EntryType::EntryConfChange, change(kind)), Ok(()));
    }
    check_it(with(EntryType::EntryConfChange, change(4)), refused);
    check_it(with(EntryType::EntryConfChange, Bytes::from_static(b"\xff")), refused);
    check_it(with(EntryType::EntryConfChangeV2, Bytes::new()), refused);
    let mut proposal = with(EntryType::EntryConfChangeV2, Bytes::new());
    proposal.r#type = Some(MessageType::MsgProp as i32);
    check_it(proposal, Err(RefusedMessage::Change { index: 0 }));
}

#[test]
fn a_snapshot_says_where_it_stands_and_who_votes_there() {
    let snapshot = |index, term, state: ConfState| {
        let metadata =
            SnapshotMetadata { conf_state: Some(state), index: Some(index), term: Some(term) };
        let snapshot = Some(Snapshot { metadata: Some(metadata), data: None });
        Message { snapshot, ..message(MessageType::MsgSnap) }
    };
    let of = |voters: &[u64], learners: &[u64]| ConfState {
        voters: voters.into(),
        learners: learners.into(),
        ..ConfState::default()
    };
    check_it(snapshot(9, 5, of(&[1, 2], &[3])), Ok(()));
    check_it(message(MessageType::MsgSnap), Err(RefusedMessage::NoSnapshot));
    check_it(snapshot(0, 5, of(&[1], &[])), Err(RefusedMessage::NoSnapshot));
    check_it(snapshot(9, 6, of(&[1], &[])), Err(RefusedMessage::OutOfOrder { index: 9 }));
    let refused = Err(RefusedMessage::Configuration);
    check_it(snapshot(9, 5, of(&[1, 1], &[])), refused);
    check_it(snapshot(9, 5, of(&[1, 2], &[2])), refused);
    check_it(snapshot(9, 5, of(&[], &[1])), refused);
    check_it(snapshot(9, 5, of(&[0, 1], &[])), refused);
    let joint = ConfState { voters_outgoing: vec![3], ..of(&[1, 2], &[]) };
    check_it(snapshot(9, 5, joint), refused);
}
