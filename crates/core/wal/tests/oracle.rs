//! A real etcd beside us: we read and continue its log, it reads and continues ours.
//!
//! Needs `etcd` and `etcdctl` in the search path; `HOLDFAST_ORACLE_ETCD` names another, newer etcd. A
//! test without its binary says so and checks nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{SMALL, marker};
use holdfast_wal::{Marker, OpenError, Wal};
use types::{Entry, EntryKind, HardState};
use vfs::OsDisk;

const START_DURATION_MAX: Duration = Duration::from_secs(30);
const PUTS: usize = 20;

/// A running member on ports of its own. Killed when dropped.
struct Member {
    process: Child,
    endpoint: String,
}

impl Member {
    fn start(etcd: &Path, data: &Path, more: &[&str]) -> Member {
        let [client, peer] =
            [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
        let log = fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log"));
        let process = Command::new(etcd)
            .args(["--name", "one", "--data-dir", &data.to_string_lossy()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args(more)
            .stdout(Stdio::null())
            .stderr(log.expect("the directory is there"))
            .spawn()
            .expect("it ran before");
        let mut member = Member { process, endpoint: client };
        let started = Instant::now();
        while member.ctl(&["endpoint", "health"]).is_none() {
            let gone = member.process.try_wait().expect("it is our child");
            let patient = started.elapsed() < START_DURATION_MAX && gone.is_none();
            assert!(patient, "it does not start: {}", tail_of(&data.with_extension("log")));
            std::thread::sleep(Duration::from_millis(100));
        }
        member
    }

    /// What `etcdctl` prints; `None` if it fails.
    fn ctl(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]).args(words);
        let output = command.stderr(Stdio::null()).output().expect("it is in the path");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn get(&self, key: &str) -> Option<String> {
        let value = self.ctl(&["get", key, "--print-value-only"])?;
        value.lines().next().map(str::to_owned)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // As a crash does: what it wrote stays as it is.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn tail_of(log: &Path) -> String {
    let Ok(file) = fs::File::open(log) else { return String::new() };
    let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// The real etcds that can be found. Our own program answers to the same name, with a second name.
fn oracles() -> Vec<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&paths).map(|dir| dir.join("etcd")).find(is_real);
    let newest = std::env::var_os("HOLDFAST_ORACLE_ETCD").map(PathBuf::from).filter(is_real);
    let found: Vec<PathBuf> = in_path.into_iter().chain(newest).collect();
    let ctl = Command::new("etcdctl").arg("version").output();
    if found.is_empty() || ctl.is_err() {
        println!("SKIPPED: no real etcd and etcdctl found");
        return Vec::new();
    }
    found
}

fn is_real(path: &PathBuf) -> bool {
    let Ok(output) = Command::new(path).arg("--version").stderr(Stdio::null()).output() else {
        return false;
    };
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{}: {}", path.display(), version.lines().next().unwrap_or("?"));
    version.starts_with("etcd Version") && !version.contains("holdfast")
}

/// `InternalRaftRequest { header { ID }, put { key, value } }`.
fn put_request(id: u8, key: &str, value: &str) -> Vec<u8> {
    let field = |tag: u8, text: &str| [&[tag, text.len() as u8], text.as_bytes()].concat();
    let put = [field(0x0a, key), field(0x12, value)].concat();
    [&[0x22, put.len() as u8][..], &put, &[0xa2, 0x06, 2, 0x08, id]].concat()
}

fn newest_marker(wal: &Path) -> Marker {
    let markers = Wal::valid_markers(&OsDisk, wal).expect("etcd wrote it");
    markers.last().expect("every log has one").clone()
}

fn contains(entry: &Entry, text: &str) -> bool {
    entry.data.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Checks that all puts are in the log, in order, from its beginning.
fn check_puts(wal: &Path) -> (Vec<Entry>, HardState) {
    let recovered = Wal::read(&OsDisk, wal, &marker(0, 0)).expect("etcd wrote it");
    let indexes = recovered.entries.iter().map(|entry| entry.index);
    assert!(indexes.eq(1..=recovered.entries.len() as u64));
    assert_eq!(recovered.entries[0].kind, EntryKind::ConfChange, "the member itself comes first");
    assert!(recovered.hard_state.commit as usize <= recovered.entries.len());
    let mut from = 0;
    for n in 0..PUTS {
        let found = recovered.entries[from..]
            .iter()
            .position(|entry| contains(entry, &format!("value-{n:03}")));
        from += found.unwrap_or_else(|| panic!("put {n} is missing")) + 1;
    }
    (recovered.entries, recovered.hard_state)
}

fn put_all(member: &Member) {
    for n in 0..PUTS {
        let words = [format!("key-{n:03}"), format!("value-{n:03}")];
        member.ctl(&["put", &words[0], &words[1]]).expect("a healthy member takes puts");
    }
}

#[test]
fn we_read_a_real_members_log_go_on_with_it_and_hand_it_back() {
    for etcd in oracles() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = root.path().join("data");
        let wal_dir = data.join("member/wal");
        let member = Member::start(&etcd, &data, &[]);
        put_all(&member);
        drop(member);
        check_puts(&wal_dir);

        let from = newest_marker(&wal_dir);
        let (mut wal, recovered) =
            Wal::open(Arc::new(OsDisk), &wal_dir, &from).expect("etcd wrote it");
        let index = wal.last_index() + 1;
        let term = recovered.hard_state.term;
        let data_bytes = put_request(7, "ours", "from holdfast").into();
        let entry = Entry { term, index, kind: EntryKind::Normal, data: data_bytes };
        let state = HardState { commit: index, ..recovered.hard_state };
        wal.append(Some(&state), &[entry]).expect("no fault");
        wal.sync().expect("no fault");
        drop(wal);

        let member = Member::start(&etcd, &data, &[]);
        assert_eq!(member.get("ours").as_deref(), Some("from holdfast"));
        member.ctl(&["put", "theirs", "from go"]).expect("a healthy member takes puts");
        drop(member);
        let (entries, _) = check_puts(&wal_dir);
        assert!(contains(&entries[index as usize - 1], "from holdfast"));
        assert!(entries[index as usize..].iter().any(|entry| contains(entry, "from go")));
    }
}

#[test]
fn a_real_member_and_we_cannot_have_one_log_at_once() {
    for etcd in oracles() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = root.path().join("data");
        let wal_dir = data.join("member/wal");
        let member = Member::start(&etcd, &data, &[]);
        let refused = Wal::open(Arc::new(OsDisk), &wal_dir, &marker(0, 0)).map(|_| ());
        assert!(matches!(refused, Err(OpenError::Locked { .. })), "{refused:?}");
        drop(member);

        let held = Wal::open(Arc::new(OsDisk), &wal_dir, &marker(0, 0)).expect("it is free");
        let output = Command::new(&etcd)
            .args(["--name", "one", "--data-dir", &data.to_string_lossy()])
            .args(["--listen-client-urls", "http://127.0.0.1:0"])
            .args(["--advertise-client-urls", "http://127.0.0.1:0"])
            .args(["--listen-peer-urls", "http://127.0.0.1:0"])
            .output();
        let output = output.expect("it ran before");
        assert!(!output.status.success());
        let story = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(story.contains("already locked"), "{story}");
        drop(held);
    }
}

#[test]
fn a_real_member_starts_from_a_log_that_we_wrote_in_many_segments() {
    for etcd in oracles() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = root.path().join("data");
        let wal_dir = data.join("member/wal");
        let member = Member::start(&etcd, &data, &[]);
        put_all(&member);
        drop(member);
        let theirs = Wal::read(&OsDisk, &wal_dir, &marker(0, 0)).expect("etcd wrote it");

        fs::remove_dir_all(&wal_dir).expect("it is ours now");
        fs::remove_file(data.join("member/snap/db")).expect("everything is applied again");
        let created = Wal::create_with(Arc::new(OsDisk), &wal_dir, &theirs.metadata, SMALL);
        let mut wal = created.expect("the directory is gone");
        let (first, rest) = theirs.entries.split_at(4);
        wal.append(Some(&HardState { commit: 4, ..theirs.hard_state }), first).expect("no fault");
        for entry in rest {
            // What is replaced at once must not be seen: a real member would apply it.
            let data = put_request(9, "key-000", &"replaced ".repeat(10)).into();
            wal.append(None, &[Entry { data, kind: EntryKind::Normal, ..entry.clone() }])
                .expect("no fault");
            let state = HardState { commit: entry.index, ..theirs.hard_state };
            wal.append(Some(&state), std::slice::from_ref(entry)).expect("no fault");
            wal.prepare_next().expect("no fault");
        }
        wal.sync().expect("no fault");
        assert!(wal.segments() > 1, "{}", wal.segments());
        drop(wal);

        let member = Member::start(&etcd, &data, &[]);
        for n in 0..PUTS {
            assert_eq!(member.get(&format!("key-{n:03}")), Some(format!("value-{n:03}")));
        }
        member.ctl(&["put", "theirs", "from go"]).expect("a healthy member takes puts");
        drop(member);
        let (entries, _) = check_puts(&wal_dir);
        assert_eq!(entries[..theirs.entries.len()], theirs.entries);
    }
}

#[test]
fn the_markers_of_a_real_member_that_took_snapshots_are_found() {
    for etcd in oracles() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = root.path().join("data");
        let wal_dir = data.join("member/wal");
        let member = Member::start(&etcd, &data, &["--snapshot-count", "10"]);
        put_all(&member);
        put_all(&member);
        drop(member);
        let markers = Wal::valid_markers(&OsDisk, &wal_dir).expect("etcd wrote it");
        println!("{markers:?}");
        assert!(markers.len() > 2);
        let whole = Wal::read(&OsDisk, &wal_dir, &marker(0, 0)).expect("etcd wrote it");
        for from in &markers {
            let read = Wal::read(&OsDisk, &wal_dir, from).expect("etcd wrote it");
            assert_eq!(read.entries, whole.entries[from.index as usize..]);
            assert_eq!(read.markers, markers);
        }
    }
}
