//! Three members: who leads is moved, one of them is lost, and `--cluster` asks them all.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use robust::foreign::{Part, need};

use crate::mask::Mask;

const READY_DURATION_MAX: Duration = Duration::from_secs(30);

/// Members that are gone with this.
struct Cluster {
    folder: tempfile::TempDir,
    members: Vec<Child>,
    addresses: Vec<String>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have been killed before.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn free_addresses(count: usize) -> Vec<String> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
    listeners.iter().map(address).collect()
}

impl Cluster {
    fn start(etcd: &Path) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let (addresses, peers) = (free_addresses(3), free_addresses(3));
        let all: Vec<String> =
            peers.iter().enumerate().map(|(n, peer)| format!("m{n}=http://{peer}")).collect();
        let members = (0..3).map(|number| {
            let (client, peer) = (&addresses[number], &peers[number]);
            Command::new(etcd)
                .arg(format!("--name=m{number}"))
                .arg(format!("--data-dir={}", folder.path().join(number.to_string()).display()))
                .arg(format!("--listen-client-urls=http://{client}"))
                .arg(format!("--advertise-client-urls=http://{client}"))
                .arg(format!("--listen-peer-urls=http://{peer}"))
                .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
                .arg(format!("--initial-cluster={}", all.join(",")))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts")
        });
        let members = members.collect();
        Cluster { folder, members, addresses }
    }

    fn run(&self, etcdctl: &Path, words: &[&str]) -> Output {
        let all = self.addresses.join(",");
        let mut command = Command::new(etcdctl);
        command.args(["--endpoints", &all]).args(words).stdin(Stdio::null());
        command.output().expect("it starts")
    }

    /// Exit code, stdout and stderr, masked.
    fn shown(&self, etcdctl: &Path, words: &[&str]) -> (Option<i32>, String, String) {
        let output = self.run(etcdctl, words);
        let mask = Mask { addresses: &self.addresses, folder: self.folder.path() };
        (output.status.code(), mask.hide(&output.stdout), mask.hide(&output.stderr))
    }

    #[track_caller]
    fn wait_until_settled(&self, etcdctl: &Path) {
        let deadline = Instant::now() + READY_DURATION_MAX;
        let is_settled = || {
            let healthy = self.run(etcdctl, &["endpoint", "health"]).status.success();
            healthy && self.rows(etcdctl).iter().all(|row| is_of_its_version(row))
        };
        while !is_settled() {
            assert!(Instant::now() < deadline, "the cluster does not settle");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the members say of their status.
    #[track_caller]
    fn rows(&self, etcdctl: &Path) -> Vec<Vec<String>> {
        let output = self.run(etcdctl, &["endpoint", "status"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|row| row.split(", ").map(str::to_owned).collect()).collect()
    }

    /// The ids of the members that follow, in hexadecimal.
    #[track_caller]
    fn followers(&self, etcdctl: &Path) -> Vec<String> {
        let rows = self.rows(etcdctl);
        rows.iter().filter(|row| row[8] == "false").map(|row| row[1].clone()).collect()
    }
}

/// Whether a member's storage has come to its version: it takes a while from one to the next after the start.
fn is_of_its_version(row: &[String]) -> bool {
    let (version, storage) = (&row[2], &row[3]);
    let minor = version.rsplit_once('.').map_or("", |(minor, _)| minor);
    storage.strip_suffix(".0") == Some(minor)
}

#[test]
fn three_members_look_the_same_to_both_and_a_lost_one_is_reported_the_same_way() {
    let test = "three members";
    let (Some(etcd), Some(theirs)) = (need(test, Part::EtcdNew), need(test, Part::EtcdctlNew))
    else {
        return;
    };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_etcdctl"));
    let mut cluster = Cluster::start(&etcd);
    cluster.wait_until_settled(&ours);
    let same = |cluster: &Cluster, line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        // The order in which members answer is nobody's.
        let sorted = |etcdctl: &Path| {
            let (code, stdout, stderr) = cluster.shown(etcdctl, &words);
            let sort = |text: String| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            (code, sort(stdout), sort(stderr))
        };
        assert_eq!(sorted(&ours), sorted(&theirs), "{line}");
    };
    let everywhere = [
        "endpoint status",
        "endpoint status --cluster",
        "endpoint status -w table",
        "endpoint status -w fields",
        "endpoint health",
        "endpoint health --cluster",
        "endpoint hashkv",
        "endpoint hashkv --cluster -w fields",
        "member list",
        "member list -w table",
        "member list -w json --hex",
        "move-leader 1234",
        "put a b",
        "get a --print-value-only",
    ];
    everywhere.iter().for_each(|line| same(&cluster, line));
    for etcdctl in [&ours, &theirs, &ours] {
        let target = cluster.followers(&ours).remove(0);
        let (code, stdout, stderr) = cluster.shown(etcdctl, &["move-leader", &target]);
        let expected = "Leadership transferred from ID to ID\n";
        assert_eq!((code, stdout.as_str()), (Some(0), expected), "{stderr}");
        assert!(!cluster.followers(&ours).contains(&target), "it leads now");
    }
    let follower = &cluster.followers(&ours)[0];
    let only = format!("--endpoints={}", cluster.addresses[0]);
    assert!(!only.is_empty() && !follower.is_empty());
    cluster.members[2].kill().expect("it can be killed");
    cluster.members[2].wait().expect("it can be waited for");
    // The others notice, and may need a new leader.
    std::thread::sleep(Duration::from_secs(3));
    for line in ["put c d", "get c", "member list", "get c -w fields --print-value-only=false"] {
        same(&cluster, line);
    }
    let (code, stdout, stderr) = cluster.shown(&ours, &["endpoint", "status"]);
    assert_eq!((code, stdout.lines().count()), (Some(1), 2));
    let lost = "Failed to get the status of endpoint 127.0.0.1:PORT3 (context deadline exceeded)\n";
    assert!(stderr.ends_with(lost), "{stderr}");
}
