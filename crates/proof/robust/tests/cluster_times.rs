//! Times in a cluster: what its clocks are set to, and how long anybody waits while a member is brought back.

use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign;
use holdfast_robust::grpc::{Connection, Item};
use proto::etcdserverpb as pb;

/// As on slow links; a whole election timeout is easily told from everything else.
const SLOW: [&str; 2] = ["--heartbeat-interval=1000", "--election-timeout=5000"];
const ELECTION: Duration = Duration::from_secs(5);
const HASTENED: &str = "initialized peer connections; fast-forwarding election ticks";

/// How long three new members take until somebody leads.
fn first_leader_after(cluster: &mut Cluster) -> Duration {
    let began = Instant::now();
    (0..3).for_each(|seat| cluster.launch(seat));
    cluster.leader();
    began.elapsed()
}

#[test]
fn a_new_cluster_hurries_its_first_election_unless_it_is_told_not_to() {
    let Some(ours) = foreign::subject("tick-advance") else { return };
    let mut cluster = Cluster::new(&[&ours, &ours, &ours], &SLOW);
    first_leader_after(&mut cluster);
    let hastened = (0..3).filter(|seat| cluster.log(*seat).contains(HASTENED)).count();
    assert!(0 < hastened, "{}", cluster.log(0));
    let patient = [SLOW[0], SLOW[1], "--initial-election-tick-advance=false"];
    let mut cluster = Cluster::new(&[&ours, &ours, &ours], &patient);
    let took = first_leader_after(&mut cluster);
    assert!(ELECTION <= took, "nobody may ask for votes before: {took:?}");
    assert!((0..3).all(|seat| !cluster.log(seat).contains(HASTENED)));
}

#[test]
fn a_silent_leader_is_followed_for_as_long_as_the_election_timeout_says() {
    let Some(ours) = foreign::subject("election-timeout") else { return };
    let cluster = Cluster::start(&[&ours, &ours, &ours], &SLOW);
    let leader = cluster.leader();
    let term = cluster.status(leader).expect("it answers").raft_term;
    let other = (leader + 1) % 3;
    cluster.signal(leader, "-STOP");
    let began = Instant::now();
    let silent = loop {
        let status = cluster.status(other).expect("it answers without a leader");
        if term < status.raft_term {
            break began.elapsed();
        }
        assert!(began.elapsed() < 8 * ELECTION, "nobody else is elected: {status:?}");
        sleep(Duration::from_millis(50));
    };
    // Its last heartbeat may have been a whole interval ago.
    assert!(ELECTION - Duration::from_secs(1) <= silent, "too early: {silent:?}");
    cluster.signal(leader, "-CONT");
    cluster.leader();
    cluster.put(other, "a", "v").expect("acknowledged");
    cluster.wait_until_equal();
}

/// Asks for a watch and waits until it is there: the engine has to take part.
fn watches(connection: &Connection) -> Duration {
    let began = Instant::now();
    let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
    let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
    stream.send(&pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    });
    let created = stream.next(Duration::from_secs(20));
    assert!(matches!(created, Item::Message(_)), "{created:?}");
    began.elapsed()
}

/// What is measured while a member is brought back: nobody may wait long, wherever it asks.
#[derive(Debug, Default)]
struct Longest {
    put: Duration,
    watch: Duration,
    read: Duration,
}

/// How much a member has missed, in pieces of 64 KiB: some seconds' work to send and to take over.
const PIECES: usize = 1500;
/// Far below what sending and taking over that takes, far above what a busy machine makes anybody wait.
const WAIT_MAX: Duration = Duration::from_secs(2);

#[test]
fn nobody_waits_while_a_member_is_brought_back_by_a_large_snapshot() {
    let Some(ours) = foreign::subject("beside-snapshot") else { return };
    let flags = ["--snapshot-count=50", "--experimental-snapshot-catchup-entries=10"];
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &flags);
    let away = (cluster.leader() + 1) % 3;
    cluster.kill(away);
    let leader = cluster.leader();
    let (term, connection) =
        (cluster.status(leader).map(|it| it.raft_term), cluster.connect(leader));
    let put = |key: String, value: Vec<u8>| {
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        let began = Instant::now();
        connection.unary("/etcdserverpb.KV/Put", &put).ok::<pb::PutResponse>();
        began.elapsed()
    };
    for piece in 0..PIECES {
        put(format!("k{piece:05}"), vec![(piece % 251) as u8; 64 << 10]);
    }
    cluster.launch(away);
    let mut longest = Longest::default();
    let installed = |log: &str| log.contains("applied snapshot");
    let began = Instant::now();
    while !installed(&cluster.log(away)) {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", cluster.log(away));
        longest.put = longest.put.max(put("beside".to_owned(), b"v".to_vec()));
        // It does not listen yet at first.
        if let Ok(there) = Connection::open(&cluster.address(away)) {
            longest.watch = longest.watch.max(watches(&there));
            let range =
                pb::RangeRequest { key: "a".into(), serializable: true, ..Default::default() };
            let asked = Instant::now();
            there.unary("/etcdserverpb.KV/Range", &range).ok::<pb::RangeResponse>();
            longest.read = longest.read.max(asked.elapsed());
        }
    }
    eprintln!("brought back after {:?}; longest waits: {longest:?}", began.elapsed());
    let Longest { put, watch, read } = longest;
    assert!([put, watch, read].iter().all(|wait| *wait < WAIT_MAX), "{longest:?}");
    assert!(watch != Duration::ZERO, "it never listened");
    cluster.wait_until_ready(away);
    cluster.wait_until_equal();
    let last = format!("k{:05}", PIECES - 1);
    assert!(cluster.get(away, &last).is_ok_and(|value| value.is_some()));
    assert_eq!(cluster.status(leader).map(|it| it.raft_term), term, "nobody was elected meanwhile");
}
