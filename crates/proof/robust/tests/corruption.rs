//! Members that store something else than the others are found, ours by ours, and each by Go's.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::{http, tamper};
use proto::etcdserverpb::{CompactionRequest, CompactionResponse};

const BEFORE: &str = "what-everybody-stores-1";
const AFTER: &str = "what-only-one-stores--2";

/// A member's id.
#[track_caller]
fn id(cluster: &Cluster, seat: usize) -> u64 {
    cluster.status(seat).and_then(|it| it.header).expect("it answers").member_id
}

/// Stops a seat, gives it another value, and leaves it stopped.
fn corrupt(cluster: &mut Cluster, seat: usize, is_ours: bool) {
    if is_ours {
        let database = tamper::database(&cluster.address(seat));
        cluster.stop(seat);
        tamper::change_ours(&cluster.data_dir(seat), database, BEFORE, AFTER);
    } else {
        cluster.stop(seat);
        tamper::change_theirs(&cluster.data_dir(seat), BEFORE, AFTER);
    }
}

/// Waits until every seat knows that `member` is corrupt, and nobody else.
#[track_caller]
fn wait_for_alarm(cluster: &Cluster, member: u64) {
    let deadline = Instant::now() + Duration::from_secs(40);
    let wanted = format!("memberID:{member} alarm:CORRUPT");
    loop {
        let errors = |seat| cluster.status(seat).map_or_else(Vec::new, |it| it.errors);
        let all: Vec<Vec<String>> = (0..3).map(errors).collect();
        // Go writes one or two blanks, by build.
        let said = |it: &String| it.split_whitespace().collect::<Vec<_>>().join(" ");
        if all.iter().all(|it| it.iter().map(said).collect::<Vec<_>>() == [wanted.clone()]) {
            return;
        }
        assert!(Instant::now() < deadline, "{wanted}: {all:?}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_member_that_stores_something_else_is_refused_at_its_start_or_found_by_its_leader() {
    let Some(ours) = foreign::subject("corrupt") else { return };
    let checks = ["--corrupt-check-time=500ms", "--experimental-initial-corrupt-check"];
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &checks);
    cluster.put(0, "a", BEFORE).expect("acknowledged");
    let victim = (cluster.leader() + 1) % 3;
    let member = id(&cluster, victim);
    // Healthy, it begins again.
    cluster.stop(victim);
    cluster.launch(victim);
    cluster.wait_until_ready(victim);
    let passed = "initial corruption checking passed; no corruption";
    assert!(cluster.log(victim).contains(passed), "{}", cluster.log(victim));
    cluster.wait_until_equal();

    corrupt(&mut cluster, victim, true);
    cluster.launch(victim);
    let ended = cluster.wait_for_end(victim);
    let log = cluster.log(victim);
    assert_eq!(ended.code(), Some(1), "{log}");
    let refused = format!("\"{member:x} found data inconsistency with peers\"");
    for line in ["found different hash values from remote peer", "checkInitialHashKV failed"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert_eq!(log.matches(&refused).count(), 2, "{log}");

    // Nobody looks at its start, so its leader finds it.
    cluster.set_flags(&checks[..1]);
    cluster.launch(victim);
    wait_for_alarm(&cluster, member);
    let leader = cluster.leader();
    let said = "same compact revision then hashes must match";
    assert!(cluster.log(leader).contains(said), "{}", cluster.log(leader));
    for seat in 0..3 {
        let refused = cluster.put(seat, "b", "v").expect_err("members disagree");
        assert!(refused.contains("etcdserver: corrupt cluster"), "{refused}");
        let health = http::get(&cluster.address(seat), "/health").expect("it answers").text();
        assert!(health.contains("ALARM CORRUPT"), "{health}");
    }
    // As in etcd, reads go on.
    assert_eq!(cluster.get(leader, "a"), Ok(Some(BEFORE.to_owned())));
}

#[test]
fn a_member_that_stores_something_else_is_found_by_what_a_compaction_left() {
    let Some(ours) = foreign::subject("corrupt-compaction") else { return };
    let checks = ["--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=500ms"];
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &checks);
    cluster.put(0, "a", BEFORE).expect("acknowledged");
    let leader = cluster.leader();
    let victim = (leader + 1) % 3;
    let member = id(&cluster, victim);
    compact(&cluster, leader, cluster.put(0, "b", "v").expect("acknowledged"));
    let agreed = "successfully checked hash on whole cluster";
    let deadline = Instant::now() + Duration::from_secs(40);
    while !cluster.log(leader).contains(agreed) {
        assert!(Instant::now() < deadline, "{}", cluster.log(leader));
        sleep(Duration::from_millis(50));
    }
    corrupt(&mut cluster, victim, true);
    cluster.launch(victim);
    cluster.wait_until_ready(victim);
    let revision = cluster.put(0, "c", "v").expect("acknowledged");
    compact(&cluster, cluster.leader(), revision);
    wait_for_alarm(&cluster, member);
}

#[track_caller]
fn compact(cluster: &Cluster, seat: usize, revision: i64) {
    let connection = cluster.connect(seat);
    let request = CompactionRequest { revision, physical: false };
    connection.unary("/etcdserverpb.KV/Compact", &request).ok::<CompactionResponse>();
}

/// Two of Go's and one of ours, of which one is made to store something else while another leads.
#[track_caller]
fn found_among_gos(name: &str, leader: usize, victim: usize) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let programs: [&Path; 3] = [&ours, &theirs, &theirs];
    let mut cluster = Cluster::start(&programs, &["--corrupt-check-time=1s"]);
    cluster.put(0, "a", BEFORE).expect("acknowledged");
    cluster.wait_until_equal();
    let member = id(&cluster, victim);
    corrupt(&mut cluster, victim, victim == 0);
    cluster.move_leader(leader);
    cluster.launch(victim);
    wait_for_alarm(&cluster, member);
}

#[test]
fn a_member_of_gos_that_stores_something_else_is_found_by_ours() {
    found_among_gos("corrupt-theirs", 0, 1);
}

#[test]
fn a_member_of_ours_that_stores_something_else_is_found_by_gos() {
    found_among_gos("corrupt-ours", 1, 0);
}
