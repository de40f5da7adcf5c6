//! How soon a member that was away is level again, by the log and by a snapshot, how soon a new one serves, and how long a
//! client that puts waits meanwhile.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;

use super::{PATIENCE, Trio, status, status_of};
use crate::client::{Client, frame, run};
use crate::h2load::Load;
use crate::loaded;
use crate::process;
use crate::rates::{load_one_of, put};
use crate::results::{Results, percentile};
use crate::subject::{Home, Server, Subject};

/// The log reaches back as far as anybody was away; etcd 3.7 cuts it whether or not it made a snapshot.
const LONG_LOG: [&str; 2] = ["--snapshot-count=10000000", "--snapshot-catchup-entries=10000000"];
/// Who was away for long needs a snapshot.
const SHORT_LOG: [&str; 2] = ["--snapshot-count=100", "--snapshot-catchup-entries=10"];

/// All of it, on clusters of their own.
pub fn all(subject: &Subject, results: &mut Results, scale: f64) {
    let so_many = |requests: f64| ((requests * scale) as usize).max(1_000);
    let mut trio = Trio::start(subject, &LONG_LOG);
    let puts = so_many(50_000.0);
    comes_back(&mut trio, results, "by log", |trio, leader| {
        let load = Load { connections: 100, streams: 10, requests: puts };
        load_one_of(&trio.from(leader), &put(), load, false);
    });
    drop(trio);
    let mut trio = Trio::start(subject, &SHORT_LOG);
    let keys = so_many(200_000.0);
    comes_back(&mut trio, results, "by snapshot", |trio, leader| {
        loaded::write_all(&trio.at(leader).address(), keys, b'a');
    });
    joins(&trio, results);
}

/// A follower is killed, much happens, it is started again.
fn comes_back(trio: &mut Trio, results: &mut Results, how: &str, meanwhile: impl Fn(&Trio, usize)) {
    let (leader, follower) = trio.leader_and_follower();
    let home = trio.take(follower).kill();
    // Whoever keeps its log for members that were there a moment ago must have seen it go.
    std::thread::sleep(Duration::from_secs(3));
    meanwhile(trio, leader);
    let address = trio.at(leader).address();
    let (came, waits) = run(loaded::put_during(&address, level(trio.at(leader), home)));
    let (server, took) = came;
    let name = trio.name();
    results.add(&format!("back {how} seconds"), name, took.as_secs_f64());
    results.add(&format!("back {how} longest wait ms"), name, percentile(&waits, 1.0) / 1e3);
    results.add(&format!("back {how} p99 wait ms"), name, percentile(&waits, 0.99) / 1e3);
    results.add(&format!("back {how} snapshots"), name, snapshots(&server));
    results.add(&format!("back {how} memory MiB"), name, process::memory(server.pid()).now);
    trio.seat(follower, server);
    trio.wait_until_level();
}

/// Starts a member and waits until it has applied what the leader had applied when it was asked.
async fn level(leader: &Server, home: Home) -> (Server, Duration) {
    let began = Instant::now();
    let server = home.launch();
    let ahead = Client::enter(leader.access()).await.expect("it is let in");
    let mut own = None;
    loop {
        assert!(began.elapsed() < PATIENCE, "it is not level in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let Some(client) = &own else {
            own = Client::enter(server.access()).await.ok();
            continue;
        };
        let Some((_, ahead)) = status_of(&ahead).await else { continue };
        match status_of(client).await {
            Some((_, told)) if ahead.raft_applied_index <= told.raft_applied_index + 5 => {
                return (server, began.elapsed());
            }
            Some(_) => {}
            // What listened a moment ago may be something else that ended.
            None => own = None,
        }
    }
}

/// How many snapshots a member says it got from another.
fn snapshots(server: &Server) -> f64 {
    let url = format!("http://{}/metrics", server.address());
    let asked = std::process::Command::new("curl").args(["-s", &url]).output();
    let text = asked.map(|asked| String::from_utf8_lossy(&asked.stdout).into_owned());
    let text = text.unwrap_or_default();
    let lines =
        text.lines().filter(|line| line.starts_with("etcd_network_snapshot_receive_success"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .fold(0.0, |sum, more| sum + more)
}

/// A fourth member as a learner: until it is promoted, and until it answers a linearizable read.
fn joins(trio: &Trio, results: &mut Results) {
    let (leader, _) = trio.leader_and_follower();
    let home = trio.at(leader).home().joining("m3");
    let address = trio.at(leader).address();
    let (came, waits) = run(loaded::put_during(&address, join(trio.at(leader), home)));
    let (server, promoted, served) = came;
    let name = trio.name();
    results.add("join promoted seconds", name, promoted.as_secs_f64());
    results.add("join served seconds", name, served.as_secs_f64());
    results.add("join longest wait ms", name, percentile(&waits, 1.0) / 1e3);
    results.add("join p99 wait ms", name, percentile(&waits, 0.99) / 1e3);
    assert!(status(&server).is_some_and(|(_, told)| !told.is_learner), "it is a voter");
}

async fn join(leader: &Server, home: Home) -> (Server, Duration, Duration) {
    let client = Client::enter(leader.access()).await.expect("it is let in");
    let add = pb::MemberAddRequest { peer_ur_ls: vec![home.peer_url()], is_learner: true };
    let asked = Instant::now();
    // While a member has not been there for some seconds, nobody may join.
    let (began, added) = loop {
        let began = Instant::now();
        match client.call("/etcdserverpb.Cluster/MemberAdd", frame(&add)).await {
            Ok(added) => break (began, added),
            Err(refusal) => assert!(asked.elapsed() < PATIENCE, "nobody may join: {refusal}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let added = pb::MemberAddResponse::decode(added).expect("a server sends well-formed messages");
    let id = added.member.expect("the new member is in the answer").id;
    let server = home.launch();
    let promote = pb::MemberPromoteRequest { id };
    let path = "/etcdserverpb.Cluster/MemberPromote";
    // Until it is level the leader refuses.
    while client.call(path, frame(&promote)).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "it is not promoted in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let promoted = began.elapsed();
    let read = pb::RangeRequest { key: Bytes::from_static(b"a"), ..Default::default() };
    loop {
        assert!(began.elapsed() < PATIENCE, "it does not serve in time");
        if let Ok(own) = Client::enter(server.access()).await
            && own.call("/etcdserverpb.KV/Range", frame(&read)).await.is_ok()
        {
            return (server, promoted, began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
