//! Clusters of real processes: three of ours, and ours among Go's.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use holdfast_robust::cluster::{Cluster, ELECTION_TIMEOUT, Writer};
use holdfast_robust::foreign::{self, Part, need};

/// Flags that make snapshots happen early.
const SHORT_LOG: [&str; 2] = ["--snapshot-count=50", "--experimental-snapshot-catchup-entries=10"];

#[test]
fn three_members_serve_through_each_of_them_and_stay_equal() {
    let Some(ours) = foreign::subject("three") else { return };
    let cluster = Cluster::start(&[&ours, &ours, &ours], &[]);
    for seat in 0..3 {
        for key in 0..20 {
            cluster.put(seat, &format!("{seat}-{key}"), "v").expect("acknowledged");
        }
    }
    for seat in 0..3 {
        assert_eq!(cluster.get((seat + 1) % 3, &format!("{seat}-19")), Ok(Some("v".to_owned())));
    }
    cluster.wait_until_equal();
    let status = cluster.status(0).expect("it answers");
    assert_eq!(status.storage_version, "3.7.0");
    assert!(status.errors.is_empty(), "{:?}", status.errors);
}

#[test]
fn a_cluster_outlives_kill_9_of_its_leader_and_of_all() {
    let Some(ours) = foreign::subject("kill-leader") else { return };
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &[]);
    let writer = Writer::start(&cluster, "w");
    for _ in 0..3 {
        let leader = cluster.leader();
        sleep(Duration::from_millis(300));
        cluster.kill(leader);
        cluster.leader();
        sleep(Duration::from_millis(300));
        cluster.launch(leader);
        cluster.wait_until_ready(leader);
    }
    let written = writer.stop();
    cluster.wait_until_equal();
    (0..3).for_each(|seat| written.check(&cluster, seat));
    assert!(written.longest_gap < Duration::from_secs(8), "{:?}", written.longest_gap);

    (0..3).for_each(|seat| cluster.kill(seat));
    (0..3).for_each(|seat| cluster.launch(seat));
    (0..3).for_each(|seat| cluster.wait_until_ready(seat));
    cluster.wait_until_equal();
    written.check(&cluster, 2);
}

#[test]
fn whoever_was_away_for_long_is_brought_back_by_a_snapshot() {
    let Some(ours) = foreign::subject("snapshot") else { return };
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &SHORT_LOG);
    let away = (cluster.leader() + 1) % 3;
    cluster.put(away, "before", "v").expect("acknowledged");
    cluster.kill(away);
    let through = cluster.leader();
    for key in 0..400 {
        cluster.put(through, &format!("k{key}"), "v").expect("acknowledged");
    }
    cluster.launch(away);
    cluster.wait_until_ready(away);
    cluster.wait_until_equal();
    assert_eq!(cluster.get(away, "k399"), Ok(Some("v".to_owned())));
    // It is a member like any other from then on.
    cluster.kill(cluster.leader());
    sleep(Duration::from_millis(100));
    cluster.leader();
}

#[test]
fn a_minority_answers_status_and_refuses_writes() {
    let Some(ours) = foreign::subject("minority") else { return };
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &[]);
    cluster.put(0, "a", "v").expect("acknowledged");
    cluster.kill(1);
    cluster.kill(2);
    sleep(Duration::from_secs(3));
    let status = cluster.status(0).expect("it answers without a quorum");
    assert_eq!(status.leader, 0, "{status:?}");
    let refused = cluster.put(0, "a", "w").expect_err("nobody to agree");
    assert!(refused.contains("etcdserver: "), "{refused}");
    cluster.launch(1);
    cluster.wait_until_ready(1);
    cluster.wait_until_ready(0);
    cluster.put(0, "a", "x").expect("acknowledged");
}

/// Two members of Go and one of ours: each leads in turn, and what they store is the same.
#[track_caller]
fn among_gos(name: &str, part: Part) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, part) else { return };
    let mut cluster = Cluster::start(&[&ours, &theirs, &theirs], &[]);
    let writer = Writer::start(&cluster, "w");
    for seat in [0, 1, 2, 0] {
        cluster.move_leader(seat);
        for through in 0..3 {
            let key = format!("{seat}-{through}");
            cluster.put(through, &key, "v").unwrap_or_else(|e| panic!("{key}: {e}"));
        }
    }
    let written = writer.stop();
    cluster.wait_until_equal();
    (0..3).for_each(|seat| written.check(&cluster, seat));
    // Ours as a leader that dies, and as a member that comes back among Go's.
    cluster.move_leader(0);
    cluster.kill(0);
    cluster.leader();
    cluster.put(1, "without", "ours").expect("acknowledged");
    cluster.launch(0);
    cluster.wait_until_ready(0);
    cluster.wait_until_equal();
}

#[test]
fn one_of_ours_among_the_newest_of_gos() {
    among_gos("among-newest", Part::EtcdNew);
}

#[test]
fn one_of_ours_among_3_5() {
    among_gos("among-3.5", Part::Etcd35);
}

#[test]
fn one_of_ours_among_3_4() {
    among_gos("among-3.4", Part::Etcd34);
}

/// Members of Go are replaced by ours, one after the other, while somebody writes; and back.
#[test]
fn gos_members_are_replaced_by_ours_and_back_under_load() {
    let name = "replaced";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let mut cluster = Cluster::start(&[&theirs, &theirs, &theirs], &[]);
    let writer = Writer::with_patience(&cluster, "w", ELECTION_TIMEOUT);
    let replace = |cluster: &mut Cluster, seat: usize, binary: &PathBuf| {
        // Membership may change once everybody has been connected for five seconds.
        sleep(Duration::from_secs(6));
        let through = (seat + 1) % 3;
        cluster.move_leader(through);
        let id = cluster.status(seat).and_then(|it| it.header).map_or(0, |h| h.member_id);
        let removed = cluster.etcdctl_at(&etcdctl, through, &format!("member remove {id:x}"));
        assert!(removed.contains("removed from cluster"), "{removed}");
        cluster.kill(seat);
        cluster.wipe(seat);
        let line = format!("member add m{} --peer-urls={}", seat + 1, cluster.peer_url(seat));
        let added = (0..20).find_map(|_| {
            let said = cluster.etcdctl_at(&etcdctl, through, &line);
            let done = said.contains("added to cluster");
            if !done {
                sleep(Duration::from_secs(1));
            }
            done.then_some(said)
        });
        added.expect("it is taken in the end");
        let all = cluster.initial();
        cluster.will_join(seat, &all);
        cluster.set_binary(seat, Path::new(binary));
        cluster.launch(seat);
        cluster.wait_until_ready(seat);
    };
    for seat in 0..3 {
        replace(&mut cluster, seat, &ours);
    }
    for seat in 0..3 {
        replace(&mut cluster, seat, &theirs);
    }
    let written = writer.stop();
    cluster.wait_until_equal();
    (0..3).for_each(|seat| written.check(&cluster, seat));
    written.check_gap(name);
}
