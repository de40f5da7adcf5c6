//! Whole members of one cluster, with their threads: found it, lead it, lose it, join it, fall behind.

mod network;
mod support;

use std::time::Duration;

use consensus::Role;
use member::Begin;
use network::Cluster;
use proto::raftpb::{ConfChange, ConfChangeType};
use support::{block_on, get, put, put_when_led};
use types::Refusal;

const THREE: [&str; 3] = ["a", "b", "c"];

#[test]
fn every_member_of_a_cluster_answers_its_own_clients() {
    let cluster = Cluster::found(&THREE, |_| {});
    cluster.leader();
    for name in THREE {
        let node = cluster.member(name).node();
        block_on(|| put_when_led(node, name, "hello"));
    }
    for name in THREE {
        let node = cluster.member(name).node();
        for key in THREE {
            assert_eq!(block_on(|| get(node, key)).as_deref(), Some("hello"), "{key} at {name}");
        }
        assert_eq!(node.cluster().members.members().count(), 3);
    }
    cluster.wait_until_level();
    cluster.stop_all();
}

#[test]
fn a_leader_that_stops_in_order_hands_over_and_answers_its_clients_when_it_is_back() {
    let mut cluster = Cluster::found(&THREE, |_| {});
    let first = cluster.leader();
    block_on(|| put_when_led(cluster.member(&first).node(), "before", "1"));
    let term = cluster.member(&first).node().standing().term;
    cluster.stop(&first);
    let second = cluster.leader();
    let node = cluster.member(&second).node();
    assert_eq!(node.standing().term, term + 1, "one election, and it was won");
    block_on(|| put_when_led(node, "meanwhile", "2"));
    cluster.start(&first);
    // It follows in the term it left or the next, and its clients need no election to be answered.
    let node = cluster.member(&first).node();
    block_on(|| put_when_led(node, "after", "3"));
    assert_eq!(block_on(|| get(node, "meanwhile")).as_deref(), Some("2"));
    cluster.wait_until_level();
    cluster.stop_all();
}

#[test]
fn a_follower_that_restarts_in_the_same_term_answers_its_clients() {
    let mut cluster = Cluster::found(&THREE, |_| {});
    let (leader, follower) = (cluster.leader(), cluster.follower());
    block_on(|| put_when_led(cluster.member(&follower).node(), "before", "1"));
    let term = cluster.member(&leader).node().standing().term;
    cluster.stop(&follower);
    cluster.start(&follower);
    let node = cluster.member(&follower).node();
    block_on(|| put_when_led(node, "after", "2"));
    assert_eq!(cluster.member(&leader).node().standing().term, term, "nobody was elected");
    cluster.stop_all();
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_its_cluster_goes_on() {
    let cluster = Cluster::found(&THREE, |config| {
        config.limits.request_timeout = Duration::from_secs(2);
    });
    let old = cluster.leader();
    let node = cluster.member(&old).node();
    block_on(|| put_when_led(node, "key", "before"));
    cluster.network.cut_off(node.member());
    block_on(async || {
        assert_eq!(put(node, "key", "lost").await, Err(Refusal::Timeout));
        assert_eq!(node.barrier().await, Err(Refusal::Timeout), "nobody confirms that it leads");
    });
    assert_ne!(node.standing().role, Role::Leader, "it noticed");
    let new = cluster.members.iter().find(|(_, one)| one.node().is_leader());
    let (new, one) = new.expect("the others had time to elect one");
    assert_ne!(*new, old);
    block_on(|| put_when_led(one.node(), "key", "after"));
    cluster.network.heal();
    assert_eq!(block_on(|| get(node, "key")).as_deref(), Some("after"));
    cluster.wait_until_level();
    cluster.stop_all();
}

#[test]
fn a_member_that_fell_far_behind_goes_on_with_a_snapshot() {
    let mut cluster = Cluster::found(&THREE, |config| {
        (config.snapshot_count, config.catchup_entries) = (10, 2);
    });
    let (leader, follower) = (cluster.leader(), cluster.follower());
    block_on(|| put_when_led(cluster.member(&follower).node(), "own", "1"));
    cluster.stop(&follower);
    // Until then the log is kept for it.
    std::thread::sleep(3 * cluster.config.election_timeout());
    block_on(async || {
        let node = cluster.member(&leader).node();
        for number in 0..200 {
            put_when_led(node, &format!("key-{}", number % 20), &number.to_string()).await;
        }
    });
    cluster.start(&follower);
    let one = cluster.member(&follower);
    one.wait_for("installed");
    assert_eq!(block_on(|| get(one.node(), "key-19")).as_deref(), Some("199"));
    assert_eq!(block_on(|| get(one.node(), "own")).as_deref(), Some("1"));
    block_on(|| put_when_led(one.node(), "own", "2"));
    cluster.wait_until_level();
    // And it is the same member after another start.
    cluster.stop(&follower);
    cluster.start(&follower);
    assert_eq!(block_on(|| get(cluster.member(&follower).node(), "own")).as_deref(), Some("2"));
    cluster.wait_until_level();
    cluster.stop_all();
}

fn change(kind: ConfChangeType, id: u64, context: &str) -> ConfChange {
    ConfChange {
        r#type: Some(kind as i32),
        node_id: Some(id),
        context: (!context.is_empty()).then(|| context.to_owned().into()),
        ..Default::default()
    }
}

#[test]
fn a_learner_joins_is_promoted_and_leads() {
    let mut cluster = Cluster::found(&["a"], |config| {
        (config.snapshot_count, config.catchup_entries) = (10, 2);
    });
    let (cluster_id, id) = (cluster.member("a").node().cluster_id(), 0xd);
    block_on(async || {
        let node = cluster.member("a").node();
        for number in 0..100 {
            put_when_led(node, "key", &number.to_string()).await;
        }
        let learner = format!(r#"{{"id":{id},"peerURLs":["http://d:2380"],"isLearner":true}}"#);
        let add = change(ConfChangeType::ConfChangeAddLearnerNode, id, &learner);
        node.propose_change(add).await.expect("a learner is nobody's quorum");
    });
    cluster.start_as("d", Begin::Join { cluster: cluster_id, member: id });
    cluster.member("d").wait_for("installed");
    assert_eq!(block_on(|| get(cluster.member("d").node(), "key")).as_deref(), Some("99"));
    cluster.wait_until_level();
    let node = cluster.member("a").node();
    cluster.until("its leader knows that it is level", || {
        node.progress().iter().any(|p| p.member == id && p.learner && node.applied() <= p.matched)
    });
    block_on(async || {
        let promote = format!(r#"{{"id":{id},"peerURLs":null,"isPromote":true}}"#);
        let promote = change(ConfChangeType::ConfChangeAddNode, id, &promote);
        node.propose_change(promote).await.expect("it is level");
    });
    cluster.until("it leads", || {
        // It may not have heard yet that it votes, and then it passes over the first offer.
        node.transfer(id);
        cluster.member("d").node().is_leader()
    });
    // And removes the one it came to.
    let (a, d) = (cluster.member("a"), cluster.member("d"));
    let remove = change(ConfChangeType::ConfChangeRemoveNode, a.id(), "");
    block_on(async || d.node().propose_change(remove).await.expect("it is a member"));
    a.wait_for("removed");
    block_on(|| put_when_led(d.node(), "key", "alone"));
    cluster.stop_all();
}
