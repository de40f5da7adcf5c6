//! Watches: shared by those who can, and nobody waits for those who cannot.

use super::*;

/// All say the same, and the server has but one watch.
#[test]
fn many_watchers_of_a_range_share_one_watch() {
    let Some(programs) = both("many_watchers_of_a_range_share_one_watch") else { return };
    for (at, program) in programs.iter().enumerate() {
        // etcd's proxy has a watch of its own, which comes or goes while these are counted.
        let is_ours = at == 0;
        let (server, proxy) = pair(program, "");
        let connection = proxy.connect();
        let before = figure(&server.address(), "/metrics", WATCHERS).unwrap_or_default();
        let mut streams: Vec<Stream> =
            (0..40).map(|_| watching(&connection, create("k/", "k0", 0))).collect();
        if is_ours {
            wait_for_figure(&server.address(), "/metrics", WATCHERS, before + 1.0);
        }
        for number in 0..5 {
            put(&connection, &format!("k/{number}"), "v");
        }
        let expected: Vec<(String, String)> =
            (0..5).map(|number| (format!("k/{number}"), "v".to_owned())).collect();
        for stream in &mut streams {
            assert_eq!(events(stream, 5), expected);
        }
        drop(streams);
        if !is_ours {
            continue;
        }
        wait_until("nobody watches any more", || {
            // A connection of these tests says what it has to say while it is used.
            get(&connection, &range("k/1", true));
            figure(&server.address(), "/metrics", WATCHERS) == Some(before)
        });
    }
}

/// The past is told to each from where it asks, with what it asks for; then it shares.
#[test]
fn a_watch_from_the_past_is_told_of_it_and_joins_the_others() {
    let name = "a_watch_from_the_past_is_told_of_it_and_joins_the_others";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "");
    let connection = proxy.connect();
    let first = put(&connection, "k", "1");
    put(&connection, "k", "2");
    let mut live = watching(&connection, create("k", "", 0));
    put(&connection, "k", "3");
    let mut past = watching(&connection, create("k", "", first));
    let values = |stream: &mut Stream, count| {
        events(stream, count).into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(values(&mut past, 3), ["1", "2", "3"]);
    wait_for_figure(&server.address(), "/metrics", WATCHERS, 1.0);
    put(&connection, "k", "4");
    assert_eq!(values(&mut past, 1), ["4"]);
    assert_eq!(values(&mut live, 2), ["3", "4"]);
    // One that has nothing to catch up with joins too.
    let _quiet = watching(&connection, create("quiet", "", first));
    let _also = watching(&connection, create("quiet", "", 0));
    wait_for_figure(&server.address(), "/metrics", WATCHERS, 2.0);

    let compact = pb::CompactionRequest { revision: first + 2, physical: true };
    let _: pb::CompactionResponse = connection.unary("/etcdserverpb.KV/Compact", &compact).ok();
    for address in [proxy.address.clone(), server.address()] {
        let connection = Connection::open(&address).expect("it listens");
        let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
        stream.send(&asked(create("k", "", first)));
        let mut said: pb::WatchResponse = stream.expect();
        if !said.canceled {
            said = stream.expect();
        }
        assert!(said.canceled && said.compact_revision == first + 2, "{said:?}");
    }
}

/// Requests about watches get what the server itself would say.
#[test]
fn ids_cancels_and_progress_are_as_at_the_server() {
    let name = "ids_cancels_and_progress_are_as_at_the_server";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "");
    let revision = put(&proxy.connect(), "k", "1");
    let told = [proxy.address.clone(), server.address()].map(|address| {
        let connection = Connection::open(&address).expect("it listens");
        let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
        let mut said = Vec::new();
        let mut ask = |stream: &mut Stream, request: RequestUnion| {
            stream.send(&pb::WatchRequest { request_union: Some(request) });
            let answer: pb::WatchResponse = stream.expect();
            let pb::WatchResponse { watch_id, created, canceled, cancel_reason, .. } = answer;
            said.push((watch_id, created, canceled, cancel_reason));
        };
        let made = |watch_id| {
            RequestUnion::CreateRequest(pb::WatchCreateRequest { watch_id, ..create("k", "", 0) })
        };
        let cancel = |watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
        ask(&mut stream, made(0));
        ask(&mut stream, made(5));
        ask(&mut stream, made(5));
        ask(&mut stream, made(0));
        ask(&mut stream, cancel(5));
        ask(&mut stream, made(5));
        ask(&mut stream, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        let strange = pb::WatchCreateRequest { watch_id: 9, ..create("k", "a", 0) };
        ask(&mut stream, RequestUnion::CreateRequest(strange));
        said
    });
    assert_eq!(told[0], told[1]);
    let mut stream = watching(&proxy.connect(), create("k", "", 0));
    let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    stream.send(&pb::WatchRequest { request_union: Some(progress) });
    let said: pb::WatchResponse = stream.expect();
    assert_eq!(said.watch_id, -1);
    assert!(said.header.expect("a header").revision >= revision);
}

/// Guarantee (nobody waits for a slow reader): the others hear at once, and it hears all when it reads.
#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let name = "a_client_that_does_not_read_holds_up_nobody_and_misses_nothing";
    let Some(program) = subject(name) else { return };
    let (_server, proxy) = pair(&program, "");
    let writer = proxy.connect();
    let (slow_connection, connection) = (proxy.connect(), proxy.connect());
    let mut slow = watching(&slow_connection, create("k", "", 0));
    let mut others: Vec<Stream> =
        (0..5).map(|_| watching(&connection, create("k", "", 0))).collect();
    // Far more than any window and queue between them holds.
    let (count, value) = (120, "v".repeat(500_000));
    for number in 0..count {
        put(&writer, "k", &format!("{number} {value}"));
        for stream in &mut others {
            let (_, said) = events(stream, 1).remove(0);
            assert!(said.starts_with(&format!("{number} ")));
        }
    }
    let resident = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.pid()));
    let resident = resident.expect("it runs");
    let line = resident.lines().find(|line| line.starts_with("VmRSS")).expect("a line").to_owned();
    let kibibytes: u64 =
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    assert!(kibibytes < 200 * 1024, "{line}: what waits for it is bounded");
    let seen = events(&mut slow, count);
    for (number, (_, said)) in seen.iter().enumerate() {
        assert!(said.starts_with(&format!("{number} ")), "event {number}");
    }
}

/// The server dies and comes back: every watch goes on where it was.
#[test]
fn shared_watches_go_on_across_a_kill_of_the_server() {
    let name = "shared_watches_go_on_across_a_kill_of_the_server";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "--namespace=n/");
    let connection = proxy.connect();
    let mut streams: Vec<Stream> =
        (0..3).map(|_| watching(&connection, create("k", "", 0))).collect();
    put(&connection, "k", "1");
    let server = server.kill_and_restart();
    // While the proxy was not connected.
    put(&server.connect(), "n/k", "2");
    put(&proxy.connect(), "k", "3");
    for stream in &mut streams {
        let seen: Vec<_> = events(stream, 3).into_iter().map(|(key, value)| key + &value).collect();
        assert_eq!(seen, ["k1", "k2", "k3"]);
    }
}
