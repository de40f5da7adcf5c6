//! Real etcd on what `etcdutl` made: it starts from our restores, and its own `etcdutl` agrees with
//! ours on the rest. Without the programs these tests are skipped and say so (see `robust::foreign`).

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use robust::foreign::{self, Part};

use crate::support::{Sandbox, snapshot_file, snapshot_of};

/// The newest real etcd's programs.
fn find(name: &str) -> Option<PathBuf> {
    let part = match name {
        "etcd" => Part::EtcdNew,
        "etcdctl" => Part::EtcdctlNew,
        "etcdutl" => Part::EtcdutlNew,
        other => panic!("{other} is none of etcd's programs"),
    };
    foreign::need("etcdutl's oracle", part)
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("ETCDCTL_API", "3");
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A member of a cluster of real etcds. Ends with its owner.
struct Member {
    child: Child,
    client: String,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who is in the cluster: names and peer URLs.
struct Plan {
    peers: Vec<(String, String)>,
}

impl Plan {
    fn new(members: usize) -> Plan {
        let peer = |number| (format!("m{number}"), format!("http://127.0.0.1:{}", free_port()));
        Plan { peers: (0..members).map(peer).collect() }
    }

    fn initial_cluster(&self) -> String {
        let pairs: Vec<_> = self.peers.iter().map(|(name, url)| format!("{name}={url}")).collect();
        pairs.join(",")
    }

    fn start(&self, etcd: &Path, sandbox: &Sandbox) -> Vec<Member> {
        let start = |(name, peer): &(String, String)| {
            let client = format!("http://127.0.0.1:{}", free_port());
            let log = std::fs::File::create(sandbox.path(&format!("{name}.log")));
            let child = command(etcd)
                .args(["--name", name, "--data-dir"])
                .arg(sandbox.path(name))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--initial-cluster", &self.initial_cluster()])
                .stderr(log.expect("room on the disk"))
                .spawn();
            Member { child: child.expect("etcd starts"), client }
        };
        self.peers.iter().map(start).collect()
    }
}

/// Asks until the answer is there: a cluster needs a moment to find its leader.
#[track_caller]
fn ask(etcdctl: &Path, member: &Member, words: &[&str]) -> String {
    let started = Instant::now();
    loop {
        let output = command(etcdctl)
            .args(["--endpoints", &member.client, "--command-timeout", "2s"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("etcdctl starts");
        if output.status.success() {
            return text(&output.stdout);
        }
        let waited = started.elapsed();
        assert!(waited < Duration::from_secs(30), "{words:?}: {}", text(&output.stderr));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hash_kv(etcdctl: &Path, member: &Member, revision: &str) -> String {
    let answer = ask(etcdctl, member, &["endpoint", "hashkv", "--rev", revision, "-w", "json"]);
    let hash = answer.split("\"hash\":").nth(1).expect("an answer");
    hash.split(',').next().expect("a number").to_owned()
}

#[test]
fn real_etcd_starts_a_cluster_of_three_from_our_restores() {
    let (Some(etcd), Some(etcdctl)) = (find("etcd"), find("etcdctl")) else { return };
    let (sandbox, plan) = (Sandbox::new(), Plan::new(3));
    for (name, peer) in &plan.peers {
        sandbox.succeed(&[
            "snapshot",
            "restore",
            &snapshot_of("3.4.23"),
            "--target-format",
            "go",
            "--name",
            name,
            "--data-dir",
            name,
            "--initial-cluster",
            &plan.initial_cluster(),
            "--initial-advertise-peer-urls",
            peer,
        ]);
    }
    let members = plan.start(&etcd, &sandbox);
    assert_eq!(ask(&etcdctl, &members[0], &["get", "t1"]), "t1\nx\n");
    ask(&etcdctl, &members[0], &["put", "after", "restore"]);
    for member in &members {
        assert_eq!(ask(&etcdctl, member, &["get", "after"]), "after\nrestore\n");
        // As etcd itself hashed the original at its last revision.
        assert_eq!(hash_kv(&etcdctl, member, "256"), "555031657");
        let list = ask(&etcdctl, member, &["member", "list"]);
        assert_eq!(list.lines().count(), 3, "{list}");
        assert_eq!(list.matches("started").count(), 3, "{list}");
    }
    drop(members);
    // And once more from what it wrote itself.
    let members = plan.start(&etcd, &sandbox);
    assert_eq!(ask(&etcdctl, &members[2], &["get", "after"]), "after\nrestore\n");
}

#[test]
fn a_bumped_restore_is_compacted_at_its_new_revision_as_by_etcds_own_tool() {
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (find("etcd"), find("etcdctl"), find("etcdutl"))
    else {
        return;
    };
    if !is_new(&etcdutl) {
        return;
    }
    let mut hashes = Vec::new();
    for own in [true, false] {
        let (sandbox, plan) = (Sandbox::new(), Plan::new(1));
        let (name, peer) = &plan.peers[0];
        let (file, cluster) = (snapshot_file(), plan.initial_cluster());
        let dir = sandbox.path(name).display().to_string();
        let mut words = vec![
            "snapshot",
            "restore",
            &file,
            "--name",
            name,
            "--data-dir",
            &dir,
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            peer,
            "--bump-revision",
            "1000",
            "--mark-compacted",
        ];
        if own {
            words.extend(["--target-format", "go"]);
            sandbox.succeed(&words);
        } else {
            let output = command(&etcdutl).args(&words).output().expect("etcdutl starts");
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        let members = plan.start(&etcd, &sandbox);
        ask(&etcdctl, &members[0], &["put", "after", "bump"]);
        let answer = ask(&etcdctl, &members[0], &["get", "after", "-w", "json"]);
        assert!(answer.contains("\"mod_revision\":1257"), "{answer}");
        let old = command(&etcdctl)
            .args(["--endpoints", &members[0].client, "get", "after", "--rev", "1255"])
            .output()
            .expect("etcdctl starts");
        assert!(text(&old.stderr).contains("required revision has been compacted"));
        hashes.push(hash_kv(&etcdctl, &members[0], "1257"));
    }
    assert_eq!(hashes[0], hashes[1]);
}

/// Whether it is a 3.6 or newer, with `hashkv` and `migrate`.
fn is_new(etcdutl: &Path) -> bool {
    let output = command(etcdutl).arg("version").output().expect("etcdutl starts");
    let version = text(&output.stdout);
    let new = version.contains(": 3.6") || version.contains(": 3.7");
    if !new {
        eprintln!("SKIPPED: an older etcdutl cannot tell: {version}");
    }
    new
}

/// Without what is ours alone: nobody's script minds one more line of help.
fn without_own(help: &str) -> String {
    let own = [
        "  backup      [legacy]",
        "  check       Checks what",
        "  inspect     Shows what",
        "  salvage     Makes a snapshot",
        "      --target-format string",
        "      --wal-dir string",
    ];
    let is_own = |line: &&str| own.iter().any(|own| line.starts_with(own));
    help.split_inclusive('\n').filter(|line| !is_own(line)).collect()
}

fn compare(etcdutl: &Path, sandbox: &Sandbox, words: &[&str]) -> Output {
    let output = command(etcdutl).args(words).current_dir(sandbox.path(".")).output();
    let theirs = output.expect("etcdutl starts");
    let (code, ours, errors) = sandbox.run(words);
    let ours = without_own(&ours);
    assert_eq!(theirs.status.code(), Some(code), "{words:?}: {errors}");
    assert_eq!(text(&theirs.stdout), ours, "{words:?}");
    theirs
}

#[test]
fn a_database_defragmented_and_migrated_by_us_is_fine_for_etcds_own_tool() {
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (find("etcd"), find("etcdctl"), find("etcdutl"))
    else {
        return;
    };
    if !is_new(&etcdutl) {
        return;
    }
    let (sandbox, plan) = (Sandbox::new(), Plan::new(1));
    let members = plan.start(&etcd, &sandbox);
    for number in 0..20 {
        ask(&etcdctl, &members[0], &["put", &format!("key {number}"), "value"]);
    }
    let db = "m0/member/snap/db";
    let (code, _, errors) = sandbox.run(&["--timeout", "200ms", "defrag", "--data-dir", "m0"]);
    assert_eq!(code, 1);
    assert!(errors.contains("in use by another process"), "{errors}");
    drop(members);

    let before = sandbox.succeed(&["hashkv", db]);
    let bytes = || std::fs::metadata(sandbox.path(db)).expect("it is there").len();
    let bytes_before = bytes();
    sandbox.succeed(&["defrag", "--data-dir", "m0"]);
    assert!(bytes() < bytes_before);
    assert_eq!(sandbox.succeed(&["hashkv", db]), before);
    for version in ["3.6", "3.5", "3.5", "3.7", "3.8"] {
        // Ours changes the database first; theirs then finds it as it should be.
        let words = ["migrate", "--data-dir", "m0", "--target-version", version];
        let (code, _, errors) = sandbox.run(&words);
        let theirs = command(&etcdutl).args(words).current_dir(sandbox.path(".")).output();
        let theirs = theirs.expect("etcdutl starts");
        assert_eq!(theirs.status.code(), Some(code), "{version}: {errors}");
        let up_to_date = text(&theirs.stderr).contains("storage version up-to-date");
        assert_eq!(up_to_date, version != "3.8", "{}", text(&theirs.stderr));
        compare(&etcdutl, &sandbox, &["snapshot", "status", db]);
        compare(&etcdutl, &sandbox, &["hashkv", db, "-w", "table"]);
    }
    let members = plan.start(&etcd, &sandbox);
    assert_eq!(ask(&etcdctl, &members[0], &["get", "key 7"]), "key 7\nvalue\n");
}

#[test]
fn everything_that_only_prints_is_printed_as_by_etcds_own_tool() {
    let Some(etcdutl) = find("etcdutl") else { return };
    if !is_new(&etcdutl) {
        return;
    }
    let (sandbox, file) = (Sandbox::new(), snapshot_file());
    let lines = [
        "",
        "help",
        "snapshot",
        "snapshot status -h",
        "hashkv -h",
        "help migrate",
        "defrag -h",
        "completion -h",
        "snapshot status FILE",
        "snapshot status FILE -w table",
        "sn st -wjson FILE",
        "hashkv FILE -w table",
        "hashkv FILE --rev 187",
        "hashkv FILE --rev 1",
        "hashkv FILE --rev 999",
        "hashkv",
        "--bad",
        "-x",
        "bad",
        "snapshott",
        "snapshot status -w",
        "defrag",
        "migrate",
        "snapshot restore FILE --name other",
        "snapshot restore FILE --data-dir /",
        "snapshot restore FILE --wal-dir /",
        "hashkv FILE --rev x",
        "completion",
        "completion x",
    ];
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Theirs may write to the file it looks at.
        let copy = sandbox.write("copy", &std::fs::read(&file).expect("it lies there"));
        let words: Vec<&str> = words
            .into_iter()
            .map(|word| if word == "FILE" { copy.as_str() } else { word })
            .collect();
        let theirs = compare(&etcdutl, &sandbox, &words);
        let (_, _, errors) = sandbox.run(&words);
        assert_eq!(text(&theirs.stderr), without_own(&errors), "{line}");
    }
}
