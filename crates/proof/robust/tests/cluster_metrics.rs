//! What members of a cluster count: every family that a member of Go's shows, with its type and labels, and a line for
//! each panel of etcd's dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::http;

/// Type, and the sets of names of labels its samples have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<Vec<String>>,
}

/// What a member shows, by family.
fn families(cluster: &Cluster, seat: usize) -> BTreeMap<String, Family> {
    let page = http::get(&cluster.address(seat), "/metrics").expect("it serves").text();
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a name and a type");
            all.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let name_end = line.find(['{', ' ']).expect("a value");
            let labels = line[name_end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let labels = labels.map_or("", |(labels, _)| labels);
            let names = labels.split(',').filter_map(|pair| pair.split_once('='));
            let names = names.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            let mut family = &line[..name_end];
            for ending in ["_bucket", "_sum", "_count"] {
                let bare = family.strip_suffix(ending);
                family = bare.filter(|bare| all.contains_key(*bare)).unwrap_or(family);
            }
            let names: Vec<String> = names.collect();
            all.entry(family.to_owned()).or_default().labels.insert(names);
        }
    }
    all
}

/// Adds what was seen at another time.
fn add(all: &mut BTreeMap<String, Family>, more: BTreeMap<String, Family>) {
    for (name, family) in more {
        let known = all.entry(name).or_default();
        known.kind = family.kind;
        known.labels.extend(family.labels);
    }
}

/// What is Go's own, or counts what the v2 store does, which is no more.
fn is_gos(name: &str) -> bool {
    ["go_", "promhttp_", "etcd_debugging_store_"].iter().any(|begin| name.starts_with(begin))
}

/// What the panels of etcd's dashboard show, and its alerts look at.
const SHOWN: [&str; 21] = [
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_failed_total",
    "etcd_server_quota_backend_bytes",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_network_peer_round_trip_time_seconds",
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "process_resident_memory_bytes",
    "etcd_network_active_peers",
];

/// A seat leads, and brings another one back by a snapshot.
fn lead(cluster: &mut Cluster, leader: usize, away: usize) {
    cluster.move_leader(leader);
    cluster.kill(away);
    // The log is kept for whoever answered lately.
    sleep(Duration::from_millis(2500));
    for key in 0..150 {
        cluster.put(leader, &format!("k{key}"), "v").expect("acknowledged");
    }
    cluster.launch(away);
    cluster.wait_until_ready(away);
    cluster.wait_until_equal();
}

#[test]
fn members_show_what_gos_show_with_the_same_types_and_labels() {
    let name = "metrics";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let flags = ["--snapshot-count=50", "--snapshot-catchup-entries=10", "--metrics=extensive"];
    let mut cluster = Cluster::start(&[&ours, &theirs, &ours], &flags);
    let (mut our_families, mut their_families) = (BTreeMap::new(), BTreeMap::new());
    // Each kind leads, sends a snapshot and takes one.
    for (leader, away) in [(0, 1), (1, 0)] {
        lead(&mut cluster, leader, away);
        add(&mut our_families, families(&cluster, 0));
        add(&mut their_families, families(&cluster, 1));
    }
    // Members measure their distance every few seconds.
    let deadline = Instant::now() + Duration::from_secs(30);
    let measured = "etcd_network_peer_round_trip_time_seconds";
    while !our_families.contains_key(measured) || !their_families.contains_key(measured) {
        assert!(Instant::now() < deadline, "nobody measured anything");
        sleep(Duration::from_millis(200));
        add(&mut our_families, families(&cluster, 0));
        add(&mut their_families, families(&cluster, 1));
    }
    let mut wrong = Vec::new();
    for (name, theirs) in their_families.iter().filter(|(name, _)| !is_gos(name)) {
        match our_families.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(ours) if ours.kind != theirs.kind => {
                wrong.push(format!("{name} is a {}, not a {}", ours.kind, theirs.kind));
            }
            Some(ours) if !theirs.labels.is_subset(&ours.labels) => {
                wrong.push(format!("{name} has {:?}, not {:?}", ours.labels, theirs.labels));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for shown in SHOWN {
        let family = our_families.get(shown);
        assert!(family.is_some_and(|it| !it.labels.is_empty()), "no panel can show {shown}");
    }
}

#[test]
fn members_say_what_operators_look_for_in_logs() {
    let Some(ours) = foreign::subject("lines") else { return };
    let flags = ["--snapshot-count=50", "--snapshot-catchup-entries=10"];
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &flags);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    lead(&mut cluster, leader, away);
    let (leads, follows) = (cluster.log(leader), cluster.log(away));
    for line in [
        "became leader at term",
        "elected leader",
        "peer became active",
        "peer became inactive (message send to peer failed)",
        "sending database snapshot",
        "sent database snapshot",
        "saved snapshot",
    ] {
        assert!(leads.contains(line), "{line}:\n{leads}");
    }
    for line in [
        "receiving database snapshot",
        "received and saved database snapshot",
        "applied snapshot",
        "restarting local member",
    ] {
        assert!(follows.contains(line), "{line}:\n{follows}");
    }
    cluster.kill(leader);
    cluster.leader();
    let deadline = Instant::now() + Duration::from_secs(20);
    let lost = |log: &str| log.contains("lost leader") || log.contains("changed leader from");
    while !(0..3).filter(|seat| *seat != leader).all(|seat| lost(&cluster.log(seat))) {
        assert!(Instant::now() < deadline, "nobody says that the leader was lost");
        sleep(Duration::from_millis(50));
    }
}
