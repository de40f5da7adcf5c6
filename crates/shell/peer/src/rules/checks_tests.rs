//! The table, row by row (`docs/etcd/peer-protocol.md` 2.1).

use http::HeaderValue;

use super::*;

const US: Checks =
    Checks { member: 0xa, cluster: 0xc1, version: Version { major: 3, minor: 7, patch: 1 } };

/// 0xb is a peer, 0xdead was one.
struct Few;

impl Known for Few {
    fn removed(&self, id: u64) -> bool {
        id == 0xdead
    }
    fn peer(&self, id: u64) -> bool {
        id == 0xb
    }
}

fn good() -> Vec<(&'static str, &'static str)> {
    vec![
        ("x-server-from", "b"),
        ("x-server-version", "3.6.14"),
        ("x-min-cluster-version", "3.0.0"),
        ("x-etcd-cluster-id", "c1"),
        ("x-peerurls", "http://127.0.0.1:1,http://127.0.0.1:2"),
        ("x-raft-to", "a"),
    ]
}

fn ask(method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> Accepted {
    let headers: HeaderMap =
        headers.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
    let method: Method = method.parse().unwrap();
    US.check(Head { method: &method, path, headers: &headers }, &Few)
}

/// What comes back when one header is different, or absent.
fn with(
    method: &str,
    path: &str,
    name: &'static str,
    value: Option<&'static str>,
) -> (u16, String) {
    let mut headers = good();
    headers.retain(|(known, _)| *known != name);
    headers.extend(value.map(|value| (name, value)));
    match ask(method, path, &headers).outcome {
        Ok(endpoint) => (0, format!("{endpoint:?}")),
        Err(refused) => (refused.status.as_u16(), refused.text),
    }
}

#[track_caller]
fn check(method: &str, path: &str, status: u16, text: &str) {
    assert_eq!(with(method, path, "x-none", None), (status, text.to_string()));
}

#[test]
fn every_path_is_answered_and_no_other() {
    check("POST", "/raft", 0, "Raft");
    check("GET", "/raft/stream/message/b", 0, "Stream(Message, 11)");
    check("GET", "/raft/stream/msgapp/b", 0, "Stream(MsgApp, 11)");
    check("POST", "/raft/snapshot", 0, "Snapshot");
    check("DELETE", "/raft/probing", 0, "Probing");
    check("GET", "/members", 0, "Members");
    check("POST", "/members/promote/18446744073709551615", 0, "Promote(18446744073709551615)");
    check("GET", "/members/hashkv", 0, "HashKv");
    check("POST", "/leases", 0, "Leases");
    check("POST", "/leases/internal", 0, "LeasesInternal");
    check("GET", "/version", 0, "Version");
    check("GET", "/downgrade/enabled", 0, "DowngradeEnabled");
    check("POST", "/holdfast/snapshot", 0, "WantSnapshot");
    check("GET", "/holdfast/snapshot/part", 0, "SnapshotPart");
    check("GET", "/holdfast/repairing", 0, "Repairing");
    check("GET", "/holdfast/v2", 0, "AppliesV2");
    for path in ["/", "/metrics", "/health", "/raft/", "/members/", "/debug/vars", "", "/v2/keys"] {
        check("GET", path, 404, "404 page not found");
    }
}

#[test]
fn a_wrong_method_is_refused_before_anything_else() {
    for path in ["/raft", "/raft/snapshot", "/members/promote/1"] {
        let answer = ask("GET", path, &[]);
        let refused = answer.outcome.unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.allow), (405, Some("POST")));
        assert_eq!(refused.text, "Method Not Allowed");
        assert!(!answer.names_cluster);
    }
    let refused = ask("PUT", "/leases", &[]).outcome.unwrap_err();
    assert_eq!((refused.text.as_str(), refused.allow), ("Method Not Allowed", None));
    let refused = ask("POST", "/raft/stream/message/dead", &[]).outcome.unwrap_err();
    assert_eq!(refused.allow, Some("GET"));
}

#[test]
fn versions_come_before_the_cluster_and_the_cluster_before_the_path() {
    for (method, path) in
        [("POST", "/raft"), ("POST", "/raft/snapshot"), ("GET", "/raft/stream/nothing/x")]
    {
        for value in [None, Some("2.3.0"), Some("three")] {
            let answer = with(method, path, "x-server-version", value);
            assert_eq!(answer, (412, "incompatible version".into()));
        }
        let newer = with(method, path, "x-min-cluster-version", Some("3.8.0"));
        assert_eq!(newer, (412, "incompatible version".into()));
        for value in [None, Some("c2"), Some("0c1")] {
            let answer = with(method, path, "x-etcd-cluster-id", value);
            assert_eq!(answer, (412, "cluster ID mismatch".into()));
        }
        // Both wrong: the version speaks first.
        let both = ask(method, path, &[]).outcome.unwrap_err();
        assert_eq!(both.text, "incompatible version");
    }
}

#[test]
fn a_stream_is_checked_path_reader_removal_sender_and_receiver() {
    check("GET", "/raft/stream/nothing/b", 404, "invalid path");
    check("GET", "/raft/stream/b", 404, "invalid path");
    check("GET", "/raft/stream/message/", 404, "invalid from");
    check("GET", "/raft/stream/message/+b", 404, "invalid from");
    check("GET", "/raft/stream/message/xyz", 404, "invalid from");
    check("GET", "/raft/stream/message/dead", 410, "removed member");
    check("GET", "/raft/stream/message/e", 404, "error sender not found");
    for value in [None, Some("b"), Some("0a")] {
        let answer = with("GET", "/raft/stream/message/b", "x-raft-to", value);
        assert_eq!(answer, (412, "to field mismatch".into()));
    }
}

#[test]
fn only_a_removed_member_meets_410_and_nobody_403() {
    for path in ["/raft", "/raft/snapshot", "/raft/stream/message/dead", "/members", "/leases"] {
        for method in ["GET", "POST", "PUT"] {
            for from in ["dead", "b", "e"] {
                let (status, _) = with(method, path, "x-server-from", Some(from));
                assert_ne!(status, 403);
                let stream = method == "GET" && path.ends_with("dead");
                assert_eq!(status == 410, stream);
            }
        }
    }
    // A removed member of another cluster is not ours to stop.
    let other = with("GET", "/raft/stream/message/dead", "x-etcd-cluster-id", Some("c2"));
    assert_eq!(other.0, 412);
}

#[test]
fn strangers_are_remembered_when_they_say_where_they_are() {
    let urls = vec!["http://127.0.0.1:1".to_string(), "http://127.0.0.1:2".to_string()];
    let mut headers = good();
    headers[0] = ("x-server-from", "e");
    let expected = Some(Remote { id: 0xe, urls });
    assert_eq!(ask("POST", "/raft", &headers).remote, expected);
    assert_eq!(ask("POST", "/raft/snapshot", &headers).remote, expected);
    assert_eq!(ask("GET", "/raft/stream/message/e", &headers).remote, expected);
    for known in ["a", "b", "dead", "0", "zz"] {
        headers[0] = ("x-server-from", known);
        assert_eq!(ask("POST", "/raft", &headers).remote, None);
    }
    headers[0] = ("x-server-from", "e");
    headers[3] = ("x-etcd-cluster-id", "c2");
    assert_eq!(ask("POST", "/raft", &headers).remote, None, "of another cluster");
}

#[test]
fn other_endpoints_ask_for_the_cluster_only_where_one_is_named() {
    let named = with("GET", "/members/hashkv", "x-etcd-cluster-id", Some("c2"));
    assert_eq!(named, (412, "cluster ID mismatch".into()));
    assert_eq!(with("GET", "/members/hashkv", "x-etcd-cluster-id", None).0, 0);
    assert!(ask("GET", "/members", &[]).outcome.is_ok());
    check("POST", "/members/promote/", 404, "member  not found in cluster");
    check("POST", "/members/promote/x1", 404, "member x1 not found in cluster");
}

#[test]
fn answers_name_cluster_and_release_where_etcds_do() {
    let names = |method: &str, path: &str| {
        let answer = ask(method, path, &good());
        (answer.names_cluster, answer.names_version)
    };
    assert_eq!(names("POST", "/raft"), (true, false));
    assert_eq!(names("GET", "/raft/stream/message/b"), (true, true));
    assert_eq!(names("GET", "/raft/probing"), (false, false));
    assert_eq!(names("POST", "/leases"), (false, false));
}
