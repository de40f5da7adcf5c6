//! Two transports against each other: what arrives, and what is said of it.

mod support;

use std::time::Duration;

use bytes::Bytes;
use proto::raftpb::MessageType;

use support::*;

#[test]
fn messages_of_all_kinds_arrive_in_order_both_ways() {
    let (one, two) = pair();
    for index in 0..500 {
        one.send(2, MessageType::MsgApp, index);
        one.send(2, MessageType::MsgHeartbeat, index);
        two.send(1, MessageType::MsgAppResp, index);
    }
    eventually("all arrive", || two.heard.count() == 1000 && one.heard.count() == 500);
    for (member, from, kind) in [
        (&two, 1, MessageType::MsgApp),
        (&two, 1, MessageType::MsgHeartbeat),
        (&one, 2, MessageType::MsgAppResp),
    ] {
        let heard = member.heard.messages.lock().unwrap();
        let of_kind: Vec<_> = heard.iter().filter(|m| m.r#type() == kind).cloned().collect();
        let sent: Vec<_> = (0..500).map(|index| message(kind, from, member.id, index)).collect();
        assert_eq!(of_kind, sent);
    }
    assert!(one.transport.active_since(2).is_some());
    assert_eq!(one.heard.said("peer became active"), 1);
    let network = &one.metrics.network;
    assert!(network.peer_sent_bytes.with(&["2"]).get() > 100_000);
    assert!(network.peer_received_bytes.with(&["2"]).get() > 5000);
    assert_eq!(network.active_peers.with(&["1", "2"]).get(), 1);
    assert_eq!(network.known_peers.with(&["1", "2"]).get(), 1);
    assert_eq!(network.peer_sent_failures.with(&["2"]).get(), 0);
}

#[test]
fn without_streams_messages_are_posted() {
    // Two does not know One, so it neither asks for streams nor gives any; it remembers One as a remote.
    let (one, two) = (member(1), member(2));
    one.knows(&two);
    for index in 0..20 {
        one.send(2, MessageType::MsgApp, index);
    }
    eventually("all are posted", || two.heard.count() == 20);
    assert_eq!(one.streams(), (0, 0));
    // And can answer.
    two.send(1, MessageType::MsgAppResp, 7);
    eventually("the answer", || one.heard.kinds() == [MessageType::MsgAppResp]);
    assert_eq!(two.heard.said("added new remote peer"), 1);
    // Now Two learns from its log that One is a member.
    two.knows(&one);
    connected(&one, &two);
}

#[test]
fn a_host_that_goes_is_noticed_at_once_and_said_once() {
    let (one, two) = pair();
    let address = two.address();
    drop(two);
    within(Duration::from_millis(500), "host gone", || *one.heard.gone.lock().unwrap() == [2]);
    eventually("inactive", || one.transport.active_since(2).is_none());
    for _ in 0..20 {
        one.send(2, MessageType::MsgHeartbeat, 0);
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually("unreachable", || !one.heard.unreachable.lock().unwrap().is_empty());
    let inactive = "peer became inactive (message send to peer failed)";
    assert_eq!(one.heard.said(inactive), 1);
    assert_eq!(*one.heard.gone.lock().unwrap(), [2]);
    assert_eq!(one.metrics.network.disconnected_peers.with(&["1", "2"]).get(), 1);
    // It is back on the same port, and that is noticed too.
    let back = odd_member(2, Odd { listen: Some(address), ..Odd::default() });
    back.knows(&one);
    within(Duration::from_secs(3), "active", || one.transport.active_since(2).is_some());
    one.send(2, MessageType::MsgHeartbeat, 9);
    eventually("heard", || back.heard.count() > 0);
}

#[test]
fn a_removed_member_is_told_so_and_nobody_else_is() {
    let (one, two) = pair();
    one.heard.removed.lock().unwrap().push(2);
    one.transport.remove_peer(2);
    eventually("two knows", || *two.heard.removed_here.lock().unwrap() > 0);
    assert_eq!(*one.heard.removed_here.lock().unwrap(), 0);
    assert_eq!(one.heard.said("removed remote peer"), 1);
    assert_eq!(one.metrics.network.known_peers.with(&["1", "2"]).get(), 0);
    assert_eq!(one.metrics.network.active_peers.with(&["1", "2"]).get(), 0);
    // What it still posts is not listened to.
    let before = one.heard.count();
    two.send(1, MessageType::MsgVote, 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(one.heard.count(), before);
}

#[test]
fn another_cluster_or_an_unsuited_release_is_refused_and_said_once() {
    let one = member(1);
    let other = odd_member(2, Odd { cluster: 0xc2, ..Odd::default() });
    let version = Version { major: 2, minor: 3, patch: 0 };
    let old = odd_member(3, Odd { version, ..Odd::default() });
    for stranger in [&other, &old] {
        one.knows(stranger);
        stranger.knows(&one);
    }
    for index in 0..5 {
        other.send(1, MessageType::MsgVote, index);
        old.send(1, MessageType::MsgVote, index);
        std::thread::sleep(Duration::from_millis(150));
    }
    let refused = "request sent was ignored by remote peer due to";
    let count = |member: &Member, why: &str| member.heard.said(&format!("{refused} {why}"));
    eventually("both know why", || {
        count(&other, "cluster ID mismatch") == 1
            && count(&old, "server version incompatibility") == 1
    });
    assert_eq!(one.heard.count(), 0);
    assert_eq!(*other.heard.removed_here.lock().unwrap(), 0);
    assert_eq!(one.heard.said("request was ignored"), 2);
}

#[test]
fn a_peer_that_moved_is_found_at_its_new_place() {
    let (one, two) = (member(1), member(2));
    one.transport.add_peer(2, &["http://127.0.0.1:1".to_string()]);
    two.knows(&one);
    std::thread::sleep(Duration::from_millis(300));
    one.transport.update_peer(2, std::slice::from_ref(&two.url));
    connected(&one, &two);
}

#[test]
fn the_second_url_is_tried_when_the_first_does_not_answer() {
    let (one, two) = (member(1), member(2));
    one.transport.add_peer(2, &["http://127.0.0.1:1".to_string(), two.url.clone()]);
    two.knows(&one);
    connected(&one, &two);
}

#[test]
fn a_snapshot_arrives_whole_with_its_message() {
    let (one, two) = pair();
    let chunks: Vec<Bytes> = (0..80).map(|n| Bytes::from(vec![n; 100_000])).collect();
    let whole = chunks.concat();
    let sent = snapshot(1, 2, 0xab);
    one.transport.send_snapshot(sent.clone(), body(move || chunks.clone().into_iter().map(Ok)));
    eventually("it is reported", || *one.heard.sent.lock().unwrap() == [(2, true)]);
    let received = two.heard.snapshots.lock().unwrap();
    let [(message, path)] = received.as_slice() else { panic!("one snapshot") };
    assert_eq!(message, &sent);
    assert_eq!(path.file_name().unwrap(), "00000000000000ab.snap.db");
    assert!(std::fs::read(path).unwrap() == whole, "the same bytes");
    assert_eq!(one.metrics.network.snapshot_send_successes.with(&["2"]).get(), 1);
    assert_eq!(two.metrics.network.snapshot_receive_successes.with(&["1"]).get(), 1);
    assert_eq!(one.metrics.network.snapshot_send_inflights.with(&["2"]).get(), 0);
}

#[test]
fn a_snapshot_whose_reader_fails_is_never_taken_for_whole() {
    let (one, two) = pair();
    let chunks = || {
        (0..5).map(|n| match n {
            4 => Err(std::io::Error::other("rot")),
            _ => Ok(Bytes::from(vec![1; 100_000])),
        })
    };
    one.transport.send_snapshot(snapshot(1, 2, 1), body(chunks));
    eventually("it is reported", || *one.heard.sent.lock().unwrap() == [(2, false)]);
    eventually("it is noticed", || {
        two.metrics.network.snapshot_receive_failures.with(&["1"]).get() == 1
    });
    assert!(two.heard.snapshots.lock().unwrap().is_empty());
    // What came is kept for a while, without a name: nobody takes it for a snapshot.
    let left = files(&two.dir.path().join("snap"));
    assert!(left.iter().all(|name| name.starts_with("tmp")), "{left:?}");
}

#[test]
fn no_more_snapshots_are_sent_at_once_than_allowed() {
    let (one, two) = pair();
    let slow = || {
        (0..10).map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            Ok(Bytes::from_static(b"slow"))
        })
    };
    for index in 1..=3 {
        one.transport.send_snapshot(snapshot(1, 2, index), body(slow));
    }
    eventually("all are reported", || one.heard.sent.lock().unwrap().len() == 3);
    let sent = one.heard.sent.lock().unwrap();
    assert_eq!(*sent, [(2, false), (2, true), (2, true)]);
    assert_eq!(two.heard.snapshots.lock().unwrap().len(), 2);
}

#[test]
fn a_full_inbox_loses_messages_and_not_the_stream() {
    let (one, two) = pair();
    *two.heard.full.lock().unwrap() = true;
    one.send(2, MessageType::MsgHeartbeat, 1);
    eventually("it is counted", || {
        two.metrics.network.peer_received_failures.with(&["1"]).get() == 1
    });
    for index in 2..5 {
        one.send(2, MessageType::MsgHeartbeat, index);
    }
    eventually("all are counted", || {
        two.metrics.network.peer_received_failures.with(&["1"]).get() == 4
    });
    *two.heard.full.lock().unwrap() = false;
    one.send(2, MessageType::MsgHeartbeat, 5);
    eventually("the next arrives", || two.heard.count() == 1);
    let full = "dropped internal Raft message since receiving buffer is full (overloaded network)";
    assert_eq!(two.heard.said(full), 1);
    eventually("its end is said", || two.heard.said("receiving buffer has room again") == 1);
    assert_eq!(two.heard.said("lost TCP streaming connection with remote peer"), 0);
}

#[test]
fn idle_streams_live_on_their_heartbeats() {
    let (one, two) = pair();
    std::thread::sleep(Duration::from_secs(7));
    for member in [&one, &two] {
        assert_eq!(member.heard.said("lost TCP streaming connection with remote peer"), 0);
    }
    // By then each was probed once.
    assert!(one.metrics.network.peer_round_trip.with(&["2"]).count() >= 1);
}

#[test]
fn the_end_takes_no_time() {
    let (one, _two) = pair();
    let began = std::time::Instant::now();
    one.transport.stop();
    assert!(began.elapsed() < Duration::from_secs(1));
}

use holdfast_peer::Version;
