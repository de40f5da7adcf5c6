//! Two transports with a forwarder between them, and callers who mean no good.

#[path = "support/forwarder.rs"]
mod forwarder;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_peer::{Asker, Limits, SnapshotBody};
use proto::raftpb::MessageType;

use forwarder::{Forwarder, Mode};
use support::*;

/// Two members; what One dials goes through the forwarder.
fn pair_with_forwarder() -> (Member, Member, Forwarder) {
    let (one, two) = (member(1), member(2));
    let forwarder = Forwarder::to(two.address());
    one.knows_at(&two, &forwarder.url);
    two.knows(&one);
    connected(&one, &two);
    (one, two, forwarder)
}

const LOST: &str = "lost TCP streaming connection with remote peer";

#[test]
fn a_forwarder_that_accepts_and_never_answers_hangs_nothing() {
    let (one, two) = (member(1), member(2));
    let forwarder = Forwarder::to(two.address());
    forwarder.set(Mode::Stall);
    one.knows_at(&two, &forwarder.url);
    let three = member(3);
    one.knows(&three);
    three.knows(&one);
    connected(&one, &three);
    let began = Instant::now();
    for index in 0..1000 {
        one.send(2, MessageType::MsgVote, index);
        one.send(3, MessageType::MsgVote, index);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "who sends never waits");
    within(Duration::from_secs(2), "others are served", || three.heard.count() == 1000);
    within(Duration::from_secs(10), "raft hears of it", || {
        one.heard.unreachable.lock().unwrap().contains(&2)
    });
    assert!(one.transport.active_since(2).is_none());
    // What was tried is given up and begun afresh, so that it works once the way is free.
    forwarder.set(Mode::Pass);
    two.knows(&one);
    within(Duration::from_secs(8), "both are there", || one.transport.active_since(2).is_some());
    connected(&two, &two);
}

#[test]
fn an_open_connection_on_which_nothing_comes_is_given_up() {
    let (one, two, forwarder) = pair_with_forwarder();
    forwarder.set(Mode::DeafBack);
    // One reads nothing any more; Two reads on.
    within(Duration::from_secs(8), "both streams are lost", || one.heard.said(LOST) >= 2);
    assert_eq!(*one.heard.gone.lock().unwrap(), Vec::<u64>::new(), "silence is no closed door");
    two.send(1, MessageType::MsgVote, 1);
    forwarder.set(Mode::Pass);
    within(Duration::from_secs(10), "streams again", || one.streams().1 >= 4);
    two.send(1, MessageType::MsgHeartbeat, 2);
    within(Duration::from_secs(5), "messages again", || {
        one.heard.kinds().contains(&MessageType::MsgHeartbeat)
    });
}

#[test]
fn a_connection_that_loses_half_of_everything_is_given_up_and_nothing_false_comes_through() {
    let (one, two, forwarder) = pair_with_forwarder();
    forwarder.set(Mode::HalfLost);
    for index in 0..2000 {
        two.send(1, MessageType::MsgApp, index);
        two.send(1, MessageType::MsgHeartbeat, index);
        if index % 50 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    within(Duration::from_secs(12), "a stream is lost", || one.heard.said(LOST) >= 1);
    forwarder.set(Mode::Pass);
    forwarder.cut();
    within(Duration::from_secs(10), "streams again", || one.streams().1 >= 4);
    two.send(1, MessageType::MsgReadIndexResp, 5);
    within(Duration::from_secs(5), "messages again", || {
        one.heard.kinds().contains(&MessageType::MsgReadIndexResp)
    });
    let heard = one.heard.messages.lock().unwrap();
    assert!(heard.iter().all(|message| message.to() == 1));
}

#[test]
fn redials_of_a_closed_port_are_few() {
    let (one, two) = (member(1), member(2));
    let forwarder = Forwarder::to(two.address());
    forwarder.set(Mode::Closed);
    one.knows_at(&two, &forwarder.url);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        one.send(2, MessageType::MsgHeartbeat, 1);
        std::thread::sleep(Duration::from_millis(2));
    }
    let dials = *forwarder.accepted.lock().unwrap();
    // Two streams and the posts: 1 + 3 in the first second, then one each 800 ms.
    assert!((6..=24).contains(&dials), "{dials} dials in 3 s");
    assert_eq!(*one.heard.gone.lock().unwrap(), Vec::<u64>::new(), "it never was there");
}

#[test]
fn a_reader_that_stops_costs_a_bounded_buffer() {
    let (one, two) = (odd_member(1, Odd { limits: small_queues(), ..Odd::default() }), member(2));
    // What Two dials, and so what One writes to, goes through the forwarder.
    let forwarder = Forwarder::to(one.address());
    two.knows_at(&one, &forwarder.url);
    one.knows(&two);
    connected(&one, &two);
    forwarder.set(Mode::Stall);
    let mut large = message(MessageType::MsgApp, 1, 2, 1);
    large.entries[0].data = Some(Bytes::from(vec![7; 64 * 1024]));
    let began = Instant::now();
    for _ in 0..2000 {
        one.transport.send(vec![large.clone()]);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "who sends never waits");
    let dropping = "dropped internal Raft message since sending buffer is full";
    eventually("it is said", || one.heard.said(dropping) >= 1);
    // As long as the kernel takes something there is room again now and then; each time both are said.
    let began = one.heard.said(dropping);
    let ended = one.heard.said("sending buffer has room again");
    assert!(began <= ended + 2, "once for each way, until it is over: {began}, {ended}");
    eventually("raft hears of it", || one.heard.unreachable.lock().unwrap().contains(&2));
    // In the queue are four; what else left is in the kernel's and the forwarder's buffers.
    let failures = one.metrics.network.peer_sent_failures.with(&["2"]).get();
    assert!(failures > 1700, "{failures} of 2000 dropped");
    within(Duration::from_secs(9), "the write gives up", || one.heard.said(LOST) >= 1);
    forwarder.set(Mode::Pass);
    forwarder.cut();
    within(Duration::from_secs(10), "streams again", || one.streams().0 >= 4);
    one.send(2, MessageType::MsgHeartbeat, 3);
    within(Duration::from_secs(5), "messages again", || {
        two.heard.kinds().contains(&MessageType::MsgHeartbeat)
    });
}

/// So many chunks of 10,000 bytes, each unlike the others, one every 20 ms.
fn slow(chunks: u32) -> Box<dyn SnapshotBody> {
    body(move || {
        (0..chunks).map(|n| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(Bytes::from(n.to_be_bytes().repeat(2500)))
        })
    })
}

#[test]
fn a_snapshot_that_is_cut_off_goes_on_where_it_was() {
    let (one, two, forwarder) = pair_with_forwarder();
    one.transport.send_snapshot(snapshot(1, 2, 1), slow(100));
    let receiving = two.metrics.network.snapshot_receive_inflights.with(&["1"]);
    let received = two.metrics.network.snapshot_receive_failures.with(&["1"]);
    for cut in 1..=2 {
        eventually("it comes", || receiving.get() == 1);
        std::thread::sleep(Duration::from_millis(300));
        forwarder.cut();
        eventually("the receiver knows", || received.get() == cut);
    }
    eventually("it arrived", || *one.heard.sent.lock().unwrap() == [(2, true)]);
    assert_eq!(one.heard.said("sending database snapshot goes on"), 2);
    assert_eq!(one.heard.said("sent database snapshot"), 1);
    let events = one.heard.events.lock().unwrap();
    let from: Vec<String> = events
        .iter()
        .filter(|event| event.text == "sending database snapshot goes on")
        .map(|event| format!("{event:?}"))
        .collect();
    assert!(from.iter().all(|event| !event.contains("\"0\"")), "not from the beginning: {from:?}");
    let snapshots = two.heard.snapshots.lock().unwrap();
    let [(_, path)] = snapshots.as_slice() else { panic!("one snapshot") };
    let whole: Vec<u8> = (0..100u32).flat_map(|n| n.to_be_bytes().repeat(2500)).collect();
    assert!(std::fs::read(path).unwrap() == whole, "the same bytes");
    assert_eq!(files(&two.dir.path().join("snap")).len(), 1);
}

#[test]
fn a_snapshot_whose_receiver_is_gone_is_a_failure_on_both_sides() {
    let (one, two, forwarder) = pair_with_forwarder();
    one.transport.send_snapshot(snapshot(1, 2, 1), slow(100));
    let receiving = two.metrics.network.snapshot_receive_inflights.with(&["1"]);
    eventually("it began", || receiving.get() == 1);
    forwarder.set(Mode::Closed);
    eventually("the sender knows", || *one.heard.sent.lock().unwrap() == [(2, false)]);
    assert_eq!(two.metrics.network.snapshot_receive_failures.with(&["1"]).get(), 1);
    assert!(two.heard.snapshots.lock().unwrap().is_empty());
    assert_eq!(receiving.get(), 0);
    // Another sending of the same member puts an end to what was kept of the first.
    forwarder.set(Mode::Pass);
    one.transport.send_snapshot(snapshot(1, 2, 2), slow(1));
    eventually("it arrived", || one.heard.sent.lock().unwrap().contains(&(2, true)));
    eventually("nothing else is left", || files(&two.dir.path().join("snap")).len() == 1);
}

#[test]
fn a_snapshot_that_is_not_the_same_any_more_is_not_joined_to_what_was_kept() {
    let (one, two, forwarder) = pair_with_forwarder();
    let readings = Arc::new(AtomicU32::new(0));
    let other = body(move || {
        let reading = readings.fetch_add(1, Ordering::Relaxed) as u8;
        (0..100).map(move |_| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(Bytes::from(vec![reading; 10_000]))
        })
    });
    one.transport.send_snapshot(snapshot(1, 2, 1), other);
    let receiving = two.metrics.network.snapshot_receive_inflights.with(&["1"]);
    eventually("it began", || receiving.get() == 1);
    std::thread::sleep(Duration::from_millis(300));
    forwarder.cut();
    eventually("the sender knows", || *one.heard.sent.lock().unwrap() == [(2, false)]);
    assert!(two.heard.snapshots.lock().unwrap().is_empty());
}

#[test]
fn bad_requests_get_etcds_words() {
    let one = member(1);
    let two = member(2);
    one.knows(&two);
    one.heard.removed.lock().unwrap().push(0xdead);
    let at = one.address();
    let ask = |method, path, body: &[u8]| raw(at, &request(method, path, "2", body));
    for (answer, status, text) in [
        (ask("GET", "/raft", b""), 405, "Method Not Allowed\n"),
        (ask("POST", "/raft", b"garbage"), 400, "error unmarshalling raft message\n"),
        (ask("POST", "/raft/snapshot", b""), 400, "failed to decode raft message (EOF)\n"),
        (
            ask("POST", "/raft/snapshot", &[0, 0, 0, 0, 0, 0, 0, 9, 8, 7]),
            400,
            "failed to decode raft message (unexpected EOF)\n",
        ),
        (
            ask("POST", "/raft/snapshot", &[0, 0, 0, 0, 9, 0, 0, 0]),
            400,
            "failed to decode raft message (rafthttp: error limit exceeded)\n",
        ),
        (
            ask("POST", "/raft/snapshot", &[0, 0, 0, 0, 0, 0, 0, 2, 8, 8]),
            400,
            "wrong raft message type\n",
        ),
        // To somebody else, and from somebody who was removed.
        (ask("POST", "/raft", b"\x08\x05\x10\x09\x18\x02"), 500, "error processing raft message\n"),
        (
            ask("POST", "/raft", b"\x08\x05\x10\x01\x18\xad\xbd\x03"),
            500,
            "error processing raft message\n",
        ),
        (ask("GET", "/raft/stream/message/dead", b""), 410, "removed member\n"),
        (ask("GET", "/raft/stream/message/9", b""), 404, "error sender not found\n"),
        (ask("GET", "/metrics", b""), 404, "404 page not found\n"),
        (ask("POST", "/leases", b"\xff"), 400, "error unmarshalling request\n"),
        (ask("POST", "/leases", &[0; 70_000]), 413, "request body too large\n"),
        (ask("POST", "/leases/internal", b""), 400, "error unmarshalling request\n"),
        (ask("GET", "/members/hashkv", b"{"), 400, "error unmarshalling request\n"),
    ] {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{text}")), "{answer}");
    }
    assert_eq!(one.heard.count(), 0);
    let good = ask("POST", "/raft", b"\x08\x05\x10\x01\x18\x02");
    assert!(good.starts_with("HTTP/1.1 204 "), "{good}");
    assert!(good.to_lowercase().contains("x-etcd-cluster-id: c1"), "{good}");
    assert_eq!(one.heard.kinds(), [MessageType::MsgVote]);
}

#[test]
fn callers_who_dawdle_are_cut_off_and_hold_up_nobody() {
    let (one, two) = pair();
    let at = one.address();
    let half = b"POST /raft HTTP/1.1\r\nHost: a\r\nX-Server-Version: 3.7.1\r\n";
    let mut body = request("POST", "/raft", "2", b"");
    let text = String::from_utf8(std::mem::take(&mut body)).unwrap();
    let unfinished = text.replace("Content-Length: 0", "Content-Length: 1000000") + "abc";
    let mut dawdlers: Vec<TcpStream> = Vec::new();
    for bytes in [&half[..], unfinished.as_bytes(), b""] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(bytes).unwrap();
            dawdlers.push(stream);
        }
    }
    two.send(1, MessageType::MsgHeartbeat, 1);
    within(Duration::from_secs(1), "peers are served", || one.heard.count() == 1);
    let began = Instant::now();
    for mut stream in dawdlers {
        stream.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
        let mut rest = Vec::new();
        // Whatever it is told, the connection ends.
        let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
    }
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(one.heard.said(LOST), 0);
}

#[test]
fn what_is_asked_beside_raft_is_answered() {
    let one = member(1);
    let second = Duration::from_secs(1);
    let asker = Asker::new(None, second, second);
    let url = one.url.as_str();
    Asker::block_on(async {
        use holdfast_peer::{HashKv, LeaseRefusal, PromoteRefusal};
        let members = asker.members(url).await.unwrap();
        assert_eq!(members.cluster, CLUSTER);
        let ids: Vec<_> = members.members.iter().map(|member| member.id).collect();
        assert_eq!(ids, [2, u64::MAX]);
        assert!(members.members[0].is_learner);
        assert_eq!(asker.versions(url).await.unwrap().storage, "3.7.0");
        assert_eq!(asker.downgrade_enabled(url).await, Ok(true));
        assert!(asker.promote(url, 2, Some("token")).await.unwrap().is_ok());
        for (id, refusal) in [
            (2, PromoteRefusal::NotFound),
            (3, PromoteRefusal::NotLearner),
            (4, PromoteRefusal::NotReady),
        ] {
            assert_eq!(asker.promote(url, id, None).await, Ok(Err(refusal)));
        }
        let other = asker.promote(url, 5, None).await.unwrap_err().to_string();
        assert_eq!(other, "unhandled http status 500: {\"message\":\"Internal Server Error\"}");
        let hash = HashKv { revision: 47, hash: 7, compact_revision: 5, hash_revision: 47 };
        assert_eq!(asker.hash_kv(url, CLUSTER, 0).await, Ok(hash));
        let future = asker.hash_kv(url, CLUSTER, 99).await.unwrap_err().to_string();
        assert!(future.ends_with("400: mvcc: required revision is a future revision"), "{future}");
        let mismatch = asker.hash_kv(url, 0xc2, 0).await.unwrap_err().to_string();
        assert!(mismatch.ends_with("412: cluster ID mismatch"), "{mismatch}");
        assert_eq!(asker.keep_alive(url, 1).await, Ok(Ok(60)));
        assert_eq!(asker.keep_alive(url, 2).await, Ok(Err(LeaseRefusal::NotPrimary)));
        assert_eq!(asker.keep_alive(url, 3).await, Ok(Err(LeaseRefusal::TimedOut)));
        assert_eq!(asker.keep_alive(url, 4).await, Ok(Err(LeaseRefusal::NotFound)));
        let request = |id| proto::etcdserverpb::LeaseTimeToLiveRequest { id, keys: false };
        assert_eq!(asker.time_to_live(url, request(1)).await.unwrap().unwrap().ttl, 59);
        let refused = asker.time_to_live(url, request(2)).await;
        assert_eq!(refused, Ok(Err(LeaseRefusal::NotPrimary)));
        assert!(asker.members("http://127.0.0.1:1").await.is_err());
        assert!(asker.members("nonsense").await.is_err());
    })
    .unwrap();
}

#[test]
fn an_asker_gives_up_on_a_member_that_never_answers() {
    let one = member(1);
    let forwarder = Forwarder::to(one.address());
    forwarder.set(Mode::Stall);
    let second = Duration::from_secs(1);
    let asker = Asker::new(None, second, second);
    let began = Instant::now();
    Asker::block_on(async { assert!(asker.versions(&forwarder.url).await.is_err()) }).unwrap();
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[test]
fn unfinished_messages_of_all_connections_are_bounded_together() {
    let limits = Limits { partial_bytes_max: 1_000_000, ..Limits::default() };
    let one = odd_member(1, Odd { limits, ..Odd::default() });
    let whole = request("POST", "/raft", "2", b"");
    let head = String::from_utf8(whole).unwrap();
    let head = head.replace("Content-Length: 0", "Content-Length: 900000");
    let mut first = TcpStream::connect(one.address()).unwrap();
    first.write_all(head.as_bytes()).unwrap();
    first.write_all(&vec![0; 800_000]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let second = raw(one.address(), &[head.as_bytes(), &vec![0; 900_000]].concat());
    assert!(second.ends_with("error reading raft message\n"), "{second}");
    drop(first);
    // Its share is free again.
    eventually("there is room", || {
        let third = raw(one.address(), &[head.as_bytes(), &vec![0; 900_000]].concat());
        third.ends_with("error unmarshalling raft message\n")
    });
}

#[test]
fn large_messages_are_posted_whole() {
    let (one, two) = (member(1), member(2));
    one.knows(&two);
    let mut large = message(MessageType::MsgApp, 1, 2, 1);
    large.entries = (2..12)
        .map(|index| proto::raftpb::Entry {
            index: Some(index),
            data: Some(Bytes::from(vec![index as u8; 300_000])),
            ..large.entries[0].clone()
        })
        .collect();
    one.transport.send(vec![large.clone()]);
    eventually("it arrives", || two.heard.count() == 1);
    assert!(two.heard.messages.lock().unwrap()[0] == large);
}
