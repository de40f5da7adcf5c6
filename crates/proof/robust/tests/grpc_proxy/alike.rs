//! The same requests to both, in the same order.

use bytes::Bytes;
use holdfast_robust::beside::output;
use holdfast_robust::schema;
use pb::request_op::Request;
use proto::{v3electionpb as election, v3lockpb as lock};

use super::*;

/// What it said, but for lines of the log and fields that are never alike.
fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split_inclusive('\n').filter(|line| !line.starts_with("{\"level\"")).collect()
}

#[test]
fn a_proxy_says_what_etcds_says() {
    let Some(programs) = both("a_proxy_says_what_etcds_says") else { return };
    for line in [
        "",
        "--help",
        "start --help",
        "start --nosuch",
        "start --max-send-bytes=x",
        "start --max-concurrent-streams=4294967296",
        "start --resolver-prefix=a",
        "start --resolver-ttl=5",
        "start --resolver-prefix=a --resolver-ttl=5 --advertise-client-url=",
        "start --tls-min-version=foo",
        "start --tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
        "start --tls-min-version=TLS1.3 --listen-cipher-suites=TLS_AES_128_GCM_SHA256",
        "start --self-signed-cert-validity=0 --auto-tls",
        "start --listen-addr=foo",
        "start --listen-addr=192.0.2.1:0",
        "start --listen-addr=127.0.0.1:0 --cert=/nonexistent --key=/nonexistent",
    ] {
        let line = words(&format!("grpc-proxy {line}"));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let said = programs.each_ref().map(|program| {
            let said = output(program, &line);
            (said.status.code(), told(&said.stdout), told(&said.stderr))
        });
        assert_eq!(said[0], said[1], "{line:?}");
    }
}

type Asked = (&'static str, Vec<u8>);

fn ask(path: &'static str, message: impl Message) -> Asked {
    (path, message.encode_to_vec())
}

fn put(key: &'static str, lease: i64) -> pb::PutRequest {
    pb::PutRequest {
        key: key.into(),
        value: "v".into(),
        lease,
        prev_kv: true,
        ..Default::default()
    }
}

/// A transaction with one inside.
fn txn() -> pb::TxnRequest {
    let op = |request| pb::RequestOp { request: Some(request) };
    let nested = pb::TxnRequest {
        success: vec![op(Request::RequestPut(put("t/b", 0)))],
        ..Default::default()
    };
    pb::TxnRequest {
        compare: vec![pb::Compare { key: "t/none".into(), ..Default::default() }],
        success: vec![
            op(Request::RequestPut(put("t/a", 0))),
            op(Request::RequestTxn(nested)),
            op(Request::RequestRange(range("t/a", false))),
        ],
        ..Default::default()
    }
}

/// Requests of every service, good and bad.
fn requests() -> Vec<Asked> {
    let all = |serializable| pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        serializable,
        ..Default::default()
    };
    let kv = "/etcdserverpb.KV";
    let path = |name: &str| -> &'static str { Box::leak(format!("{kv}/{name}").into_boxed_str()) };
    vec![
        ask(path("Put"), put("a", 0)),
        ask(path("Put"), put("a", 0)),
        ask(path("Put"), put("", 0)),
        ask(path("Put"), put("a", 77)),
        ask(path("Range"), range("a", true)),
        ask(path("Range"), range("a", false)),
        ask(path("Range"), range("", false)),
        ask(path("Range"), pb::RangeRequest { revision: 99, ..range("a", true) }),
        ask(path("Txn"), txn()),
        ask(path("Range"), all(true)),
        ask("/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest { ttl: 600, id: 7 }),
        ask("/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest { ttl: 600, id: 7 }),
        ask(path("Put"), put("leased", 7)),
        ask(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            pb::LeaseTimeToLiveRequest { id: 7, keys: true },
        ),
        ask("/etcdserverpb.Lease/LeaseLeases", pb::LeaseLeasesRequest {}),
        ask("/etcdserverpb.Lease/LeaseRevoke", pb::LeaseRevokeRequest { id: 7 }),
        ask("/etcdserverpb.Lease/LeaseRevoke", pb::LeaseRevokeRequest { id: 7 }),
        // (From its cache, etcd's proxy would answer with what was before the lease ended.)
        ask(path("Range"), all(false)),
        ask(
            path("DeleteRange"),
            pb::DeleteRangeRequest { key: "t/".into(), range_end: "t0".into(), prev_kv: true },
        ),
        ask(path("Range"), all(false)),
        ask(path("Compact"), pb::CompactionRequest { revision: 3, physical: true }),
        ask(path("Range"), pb::RangeRequest { revision: 2, ..range("a", false) }),
        ask(path("Compact"), pb::CompactionRequest { revision: 3, physical: false }),
        ask("/etcdserverpb.Cluster/MemberRemove", pb::MemberRemoveRequest { id: 1 }),
        ask("/etcdserverpb.Maintenance/HashKV", pb::HashKvRequest { revision: 0 }),
        ask("/etcdserverpb.Maintenance/Alarm", pb::AlarmRequest::default()),
        ask("/etcdserverpb.Auth/AuthStatus", pb::AuthStatusRequest {}),
        ask("/etcdserverpb.Auth/UserGet", pb::AuthUserGetRequest { name: "nobody".into() }),
        ask("/etcdserverpb.KV/Nosuch", pb::AuthStatusRequest {}),
        ask("/nosuch.Service/Nosuch", pb::AuthStatusRequest {}),
        ask("/grpc.health.v1.Health/Check", pb::AuthStatusRequest {}),
    ]
}

/// Status, text and every field of what came.
fn shown(path: &str, answer: &Answer) -> (Option<i32>, String) {
    let fields: Vec<String> = match schema::method(path) {
        None => Vec::new(),
        Some((_, output)) => {
            let all = answer.messages.iter().flat_map(|one| schema::fields(&output, one));
            all.map(|(field, value)| format!("{field}={value}")).collect()
        }
    };
    (answer.status, format!("{:?} {:?} {}", answer.message, answer.broken, fields.join(" ")))
}

#[test]
fn the_same_requests_bring_the_same_answers() {
    let Some(programs) = both("the_same_requests_bring_the_same_answers") else { return };
    for flags in ["", "--namespace=n/"] {
        let pairs = programs.each_ref().map(|program| pair(program, flags));
        let connections = pairs.each_ref().map(|(_, proxy)| proxy.connect());
        /// What etcd's proxy says of a refusal whose code it has lost.
        const UNKNOWN: Option<i32> = Some(2);
        for (number, (path, message)) in requests().into_iter().enumerate() {
            let call = Call::unary(path, &message);
            let said = connections.each_ref().map(|one| shown(path, &one.call(&call)));
            let [(mine, my_text), (theirs, their_text)] = said;
            let place = format!("request {number} to {path}, with {flags:?}");
            assert_eq!(my_text, their_text, "{place}");
            let is_lost = theirs == UNKNOWN && mine != Some(0);
            assert!(mine == theirs || is_lost, "{mine:?} and {theirs:?}: {place}");
        }
        // What is stored lies where it should.
        let stored = pairs.each_ref().map(|(server, _)| {
            let all = pb::RangeRequest { range_end: "\0".into(), ..range("\0", false) };
            let path = "/etcdserverpb.KV/Range";
            shown(path, &server.connect().unary(path, &all))
        });
        assert_eq!(stored[0], stored[1], "with {flags:?}");
    }
}

/// (etcd's own proxy lets locks and elections out of the namespace.)
#[test]
fn locks_and_elections_stay_within_the_namespace() {
    let name = "locks_and_elections_stay_within_the_namespace";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "--namespace=n/");
    let (connection, direct) = (proxy.connect(), server.connect());
    let grant = pb::LeaseGrantRequest { ttl: 600, id: 7 };
    let _: pb::LeaseGrantResponse = connection.unary("/etcdserverpb.Lease/LeaseGrant", &grant).ok();
    let locked = lock::LockRequest { name: "l".into(), lease: 7 };
    let locked: lock::LockResponse = connection.unary("/v3lockpb.Lock/Lock", &locked).ok();
    assert_eq!(locked.key, "l/7");
    assert_eq!(get(&direct, &range("n/l/7", false)), Some(String::new()));
    let unlock = lock::UnlockRequest { key: locked.key };
    let _: lock::UnlockResponse = connection.unary("/v3lockpb.Lock/Unlock", &unlock).ok();
    assert_eq!(get(&direct, &range("n/l/7", false)), None);

    let campaign = election::CampaignRequest { name: "e".into(), lease: 7, value: "me".into() };
    let won: election::CampaignResponse =
        connection.unary("/v3electionpb.Election/Campaign", &campaign).ok();
    let leader = won.leader.expect("a leader");
    assert_eq!((&leader.name, &leader.key), (&Bytes::from("e"), &Bytes::from("e/7")));
    assert_eq!(get(&direct, &range("n/e/7", false)), Some("me".to_owned()));
    let proclaim = election::ProclaimRequest { leader: Some(leader.clone()), value: "I".into() };
    let _: election::ProclaimResponse =
        connection.unary("/v3electionpb.Election/Proclaim", &proclaim).ok();
    let asked = election::LeaderRequest { name: "e".into() };
    let found: election::LeaderResponse =
        connection.unary("/v3electionpb.Election/Leader", &asked).ok();
    let row = found.kv.expect("a row");
    assert_eq!((&row.key, &row.value), (&Bytes::from("e/7"), &Bytes::from("I")));
    let resign = election::ResignRequest { leader: Some(leader) };
    let _: election::ResignResponse =
        connection.unary("/v3electionpb.Election/Resign", &resign).ok();
    assert_eq!(get(&direct, &range("n/e/7", false)), None);
}

#[test]
fn registered_proxies_are_found_until_they_end() {
    let Some(programs) = both("registered_proxies_are_found_until_they_end") else { return };
    for program in &programs {
        let server = Home::new(program, &[]).start();
        let flags = "--resolver-prefix=proxies --resolver-ttl=2";
        let first = Proxy::start(program, &server.address(), flags);
        let second = Proxy::start(program, &server.address(), flags);
        let listed = |proxy: &Proxy| {
            let asked = pb::MemberListRequest { linearizable: true };
            let list: pb::MemberListResponse =
                proxy.connect().unary("/etcdserverpb.Cluster/MemberList", &asked).ok();
            let mut urls: Vec<String> =
                list.members.into_iter().flat_map(|member| member.client_ur_ls).collect();
            urls.sort();
            urls
        };
        let mut expected = vec![first.address.clone(), second.address.clone()];
        expected.sort();
        wait_until("both know of both", || {
            listed(&first) == expected && listed(&second) == expected
        });
        let stored = get(&server.connect(), &range(&format!("proxies/{}", first.address), false));
        let stored = stored.expect("it is registered");
        assert!(stored.contains("\"Op\":0") && stored.contains("{\\\"name\\\":"), "{stored}");
        let left = vec![first.address.clone()];
        drop(second);
        wait_until("the one that was killed is forgotten", || listed(&first) == left);
    }
}

#[test]
fn health_and_metrics_are_those_of_etcds_proxy() {
    let Some(programs) = both("health_and_metrics_are_those_of_etcds_proxy") else { return };
    let metrics = format!("127.0.0.1:{}", free_ports().expect("a free port").0);
    let flags = format!("--metrics-addr=http://{metrics}");
    let (server, ours) = pair(&programs[0], &flags);
    let (_their_server, theirs) = pair(&programs[1], "");
    for path in ["/health", "/proxy/health", "/", "/version", "/v3/kv/range"] {
        let said = [&ours, &theirs].map(|proxy| {
            let answer = http::get(&proxy.address, path).expect("it answers");
            (answer.status, answer.text())
        });
        assert_eq!(said[0], said[1], "{path}");
        if path.contains("health") {
            let said = http::get(&metrics, path).expect("it answers");
            assert_eq!(
                (said.status, said.text()),
                (200, "{\"health\":\"true\",\"reason\":\"\"}".into())
            );
        }
    }
    let page = http::get(&ours.address, "/metrics").expect("it answers").text();
    assert!(page.contains("etcd_server_has_leader 1"), "the server's own page");
    let names = |proxy: &Proxy| {
        let page = http::get(&proxy.address, "/proxy/metrics").expect("it answers").text();
        let all = page.lines().filter_map(|line| line.split([' ', '{']).next().map(str::to_owned));
        let mut names: Vec<String> =
            all.filter(|name| name.starts_with("etcd_grpc_proxy")).collect();
        names.sort();
        names
    };
    let theirs_are = names(&theirs);
    assert!(theirs_are.len() >= 5, "{theirs_are:?}");
    assert_eq!(names(&ours), theirs_are);
    drop(server);
    wait_until("a proxy without a server is not healthy", || {
        http::get(&ours.address, "/health").is_ok_and(|answer| answer.status == 503)
    });
}
