//! Single corners that random requests do not find, and requests validated before they are proposed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::generate::MEMBER_ID;
use holdfast_robust::grpc::{Answer, Connection, Item};
use holdfast_robust::http;
use holdfast_robust::process::{Home, Server};
use prost::Message;
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, MemberUpdateRequest, PutRequest,
    PutResponse, RangeRequest, RequestOp, SnapshotRequest, SnapshotResponse, TxnRequest,
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    request_op, watch_request::RequestUnion,
};

/// The server under test when it is holdfast: real etcd would not survive.
#[track_caller]
pub(crate) fn holdfast(name: &str) -> Option<std::path::PathBuf> {
    let subject = foreign::subject(name)?;
    let version = Command::new(&subject).arg("--version").output().expect("it starts");
    let ours = String::from_utf8_lossy(&version.stdout).to_lowercase().contains("holdfast");
    if !ours {
        println!("{name}: only asked of holdfast, not of {}", subject.display());
    }
    ours.then_some(subject)
}

fn put(connection: &Connection, key: &str, value: &str) -> i64 {
    let request = PutRequest {
        key: key.to_string().into(),
        value: value.to_string().into(),
        ..Default::default()
    };
    let answer = connection.unary("/etcdserverpb.KV/Put", &request).ok::<PutResponse>();
    answer.header.expect("a header").revision
}

#[track_caller]
fn refused(answer: &Answer, status: i32) {
    assert_eq!(answer.status, Some(status), "{answer:?}");
    assert!(answer.message.as_ref().is_some_and(|text| !text.is_empty()), "{answer:?}");
}

/// `docs/etcd/observed.md` part A.
#[test]
fn requests_that_cannot_be_applied_are_refused_before_they_are_proposed() {
    let Some(subject) = holdfast("refusals") else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    put(&connection, "a", "1");
    let revision = put(&connection, "b", "1");

    const INVALID_ARGUMENT: i32 = 3;
    for request in txns_that_keep_what_they_delete() {
        refused(&connection.unary("/etcdserverpb.KV/Txn", &request), INVALID_ARGUMENT);
    }
    for urls in [vec![], vec![""], vec!["x"], vec!["http://"], vec!["http://127.0.0.1:2390", "%zz"]]
    {
        let peer_ur_ls = urls.iter().map(|url| url.to_string()).collect();
        let request = MemberUpdateRequest { id: MEMBER_ID, peer_ur_ls };
        refused(
            &connection.unary("/etcdserverpb.Cluster/MemberUpdate", &request),
            INVALID_ARGUMENT,
        );
    }
    let request = AlarmRequest { action: 7, member_id: MEMBER_ID, alarm: 1 };
    refused(&connection.unary("/etcdserverpb.Maintenance/Alarm", &request), INVALID_ARGUMENT);

    assert_eq!(put(&connection, "c", "1"), revision + 1, "nothing of it was applied");
    let server = server.kill_and_restart();
    assert_eq!(put(&server.connect(), "c", "2"), revision + 2, "and a restart finds nothing of it");
}

fn txns_that_keep_what_they_delete() -> Vec<TxnRequest> {
    use request_op::Request;
    let op = |request| RequestOp { request: Some(request) };
    let delete = |range_end: &[u8]| {
        let request = DeleteRangeRequest {
            key: "a".into(),
            range_end: range_end.to_vec().into(),
            prev_kv: false,
        };
        op(Request::RequestDeleteRange(request))
    };
    let keep = |ignore_value, ignore_lease| {
        let request =
            PutRequest { key: "a".into(), ignore_value, ignore_lease, ..Default::default() };
        op(Request::RequestPut(request))
    };
    let txn = |success| TxnRequest { success, ..Default::default() };
    let nested = op(Request::RequestTxn(txn(vec![delete(&[0])])));
    vec![
        txn(vec![delete(&[0]), keep(true, false)]),
        txn(vec![delete(&[0]), keep(false, true)]),
        txn(vec![nested, keep(true, true)]),
    ]
}

/// `docs/etcd/observed.md` C: the id that marks refusals is a watch's own when it was chosen.
#[test]
fn a_watch_that_chose_the_id_minus_one_has_it_in_every_answer() {
    let Some(subject) = foreign::subject("watch-minus-one") else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
    let mut send = |request| stream.send(&WatchRequest { request_union: Some(request) });
    send(RequestUnion::CreateRequest(WatchCreateRequest {
        key: "a".into(),
        watch_id: -1,
        ..Default::default()
    }));
    put(&connection, "a", "1");
    let created: WatchResponse = stream.expect();
    assert!(created.created && !created.canceled && created.watch_id == -1, "{created:?}");
    let event: WatchResponse = stream.expect();
    assert_eq!((event.watch_id, event.events.len()), (-1, 1));
    stream.send(&WatchRequest {
        request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
    });
    let progress: WatchResponse = stream.expect();
    assert_eq!((progress.watch_id, progress.events.len()), (-1, 0));
    assert_eq!(progress.header.expect("a header").revision, 2);
    stream.send(&WatchRequest {
        request_union: Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: -1 })),
    });
    let canceled: WatchResponse = stream.expect();
    assert!(canceled.canceled && canceled.watch_id == -1, "{canceled:?}");
}

/// `docs/etcd/api.md` 8.5.
#[test]
fn a_snapshot_stream_ends_with_the_hash_of_all_before_it() {
    let Some(subject) = foreign::subject("snapshot-stream") else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    for number in 0..50 {
        put(&connection, &format!("key{number}"), &"v".repeat(5000));
    }
    let answer = connection.unary("/etcdserverpb.Maintenance/Snapshot", &SnapshotRequest {});
    assert!(answer.is_ok(), "{:?}", answer.message);
    let parts: Vec<SnapshotResponse> = answer
        .messages
        .iter()
        .map(|part| SnapshotResponse::decode(part.clone()).expect("sound"))
        .collect();
    let (last, data) = parts.split_last().expect("more than one part");
    assert_eq!((last.blob.len(), last.remaining_bytes), (32, 0), "the hash comes last");
    let total: usize = data.iter().map(|part| part.blob.len()).sum();
    assert_eq!(total % 512, 0, "a file of whole pages");
    let mut remaining = total;
    for part in data {
        assert!(!part.blob.is_empty() && part.blob.len() <= 32 << 10, "{} bytes", part.blob.len());
        remaining -= part.blob.len();
        assert_eq!(part.remaining_bytes, remaining as u64);
        assert!(part.header.is_none());
        assert!(part.version.starts_with("3."), "{:?}", part.version);
    }
}

/// Families by name: type, and the names of the labels seen.
fn families(server: &Server) -> BTreeMap<String, String> {
    let page = http::get(&server.address(), "/metrics").expect("metrics").text();
    let mut out = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            out.insert(name.to_string(), kind.to_string());
        }
    }
    out
}

#[test]
fn the_metric_families_of_real_etcd_are_there_with_their_types() {
    let name = "metrics";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let theirs = Home::new(&reference, &[]).start();
    let ours = Home::new(&subject, &[]).start();
    for server in [&theirs, &ours] {
        put(&server.connect(), "a", "1");
    }
    let (theirs, ours) = (families(&theirs), families(&ours));
    let ours_to_have =
        |name: &str| ["etcd_", "os_", "process_", "grpc_"].iter().any(|p| name.starts_with(p));
    let missing: Vec<String> = theirs
        .iter()
        .filter(|(name, kind)| ours_to_have(name) && ours.get(*name) != Some(kind))
        .map(|(name, kind)| format!("{name} {kind}, not {:?}", ours.get(name)))
        .collect();
    assert!(missing.is_empty(), "{} families:\n{}", missing.len(), missing.join("\n"));
}

/// The schedule itself is tested in simulated time; here the flags reach it.
#[test]
fn auto_compaction_takes_every_spelling_of_its_retention() {
    let Some(subject) = foreign::subject("auto-compaction") else { return };
    let spellings = [
        ("periodic", "1"),
        ("periodic", "10h"),
        ("periodic", "72h"),
        ("periodic", "30m"),
        ("revision", "1000"),
    ];
    for (mode, retention) in spellings {
        let mode = format!("--auto-compaction-mode={mode}");
        let retention = format!("--auto-compaction-retention={retention}");
        Home::new(&subject, &[&mode, &retention]).start();
    }
    let server =
        Home::new(&subject, &["--auto-compaction-mode=periodic", "--auto-compaction-retention=2s"])
            .start();
    let connection = server.connect();
    let old = put(&connection, "a", "1");
    put(&connection, "a", "2");
    let request = RangeRequest { key: "a".into(), revision: old, ..Default::default() };
    let deadline = Instant::now() + Duration::from_secs(20);
    while connection.unary("/etcdserverpb.KV/Range", &request).is_ok() {
        assert!(Instant::now() < deadline, "compacted after two seconds and a little");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn flags_that_real_etcd_refuses_end_with_its_exit_code() {
    let name = "flags";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let bad = [
        "--no-such-flag",
        "--heartbeat-interval=x",
        "--heartbeat-interval=0",
        "--election-timeout=100",
        "--election-timeout=60001",
        "--listen-client-urls=x",
        "--listen-client-urls=http://127.0.0.1",
        "--listen-client-urls=http://example.com:2379",
        "--advertise-client-urls=http://",
        "--initial-cluster-state=nonsense",
        "--auto-compaction-mode=nonsense",
        "--auto-compaction-retention=nonsense",
        "--feature-gates=Nope=true",
        "--log-level=nonsense",
        "--name=other",
        "--config-file=/no/such/file",
        "--quota-backend-bytes=x",
        "--snapshot-count=-1",
    ];
    let mut differ = Vec::new();
    for flag in bad {
        let code = |binary: &Path| {
            let (status, _) = Home::new(binary, &[flag]).start_and_fail(Duration::from_secs(5));
            status.map(|status| status.code())
        };
        let (theirs, ours) = (code(&reference), code(&subject));
        if theirs != ours {
            differ
                .push(format!("{flag}: real etcd ends with {theirs:?}, the subject with {ours:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_data_directory_in_use_is_not_opened_twice() {
    let Some(subject) = foreign::subject("lock") else { return };
    let mut server = Home::new(&subject, &[]).start();
    let flag = format!("--data-dir={}", server.home().data_dir().display());
    let second = Home::new(&subject, &[&flag]);
    let address = second.address();
    let waiting = std::thread::spawn(move || second.start_and_fail(Duration::from_secs(4)));
    while !waiting.is_finished() {
        let healthy = http::get(&address, "/health").is_ok_and(|answer| answer.status == 200);
        assert!(!healthy, "the second one serves");
        sleep(Duration::from_millis(50));
    }
    let (_, log) = waiting.join().expect("it is waited for");
    if holdfast("lock").is_some() {
        let holder = format!("{} (", server.pid());
        assert!(log.contains("held-by-pid") && log.contains(&holder), "{log}");
    }
    assert!(server.is_alive());
    assert_eq!(put(&server.connect(), "a", "1"), 2, "and the first one is not disturbed");
}

/// Kubernetes' compaction and watch at its edge (`docs/etcd/kubernetes.md` 6).
#[test]
fn a_watch_from_the_compaction_revision_is_served_and_one_below_is_cancelled_with_it() {
    let Some(subject) = foreign::subject("watch-compacted") else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    for value in 1..=4 {
        put(&connection, "a", &value.to_string());
    }
    let request = CompactionRequest { revision: 4, physical: true };
    assert!(connection.unary("/etcdserverpb.KV/Compact", &request).is_ok());
    let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
    for start_revision in [4, 3] {
        let create = WatchCreateRequest {
            key: "a".into(),
            start_revision,
            prev_kv: true,
            ..Default::default()
        };
        stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    }
    let (mut revisions, mut cancelled) = (Vec::new(), None);
    while revisions.len() < 2 || cancelled.is_none() {
        let Item::Message(message) = stream.next(Duration::from_secs(5)) else {
            panic!("an answer")
        };
        let response = WatchResponse::decode(message).expect("sound");
        let kvs = response
            .events
            .iter()
            .map(|event| (event.kv.as_ref().expect("kv").mod_revision, event.prev_kv.is_some()));
        revisions.extend(kvs);
        if response.canceled {
            cancelled = Some((response.watch_id, response.compact_revision));
        }
    }
    assert_eq!(revisions, [(4, false), (5, true)]);
    assert_eq!(cancelled, Some((1, 4)));
}

#[test]
fn several_addresses_a_unix_socket_and_a_listener_for_metrics_are_served() {
    let name = "listeners";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(etcdctl) = foreign::need(name, Part::EtcdctlNew) else { return };
    // The second one's addresses are free for the first one to take.
    let spare = Home::new(&subject, &[]);
    let mut home = Home::new(&subject, &[]);
    let socket = format!("unix://{}", home.folder().join("socket").display());
    let urls = format!("--listen-client-urls=http://{},{socket}", home.address());
    let metrics = format!("--listen-metrics-urls=http://{}", spare.address());
    home.set_flags(&[&urls, &metrics]);
    let server = home.start();
    put(&server.connect(), "a", "over tcp");
    let output = Command::new(etcdctl)
        .args(["--endpoints", &socket, "get", "a"])
        .output()
        .expect("it starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\nover tcp\n", "{output:?}");
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        let answer = http::get(&spare.address(), path).expect("the listener for metrics answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let answer = http::get(&spare.address(), "/version").expect("it answers");
    assert_eq!(answer.status, 404, "only these: {}", answer.text());
}
