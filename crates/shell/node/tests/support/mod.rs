//! A member on a disk in memory, with a gate before every sync.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use apply::Answer;
use auth::Principal;
use holdfast_node::{BootError, Config, Event, Node, Report, Running, start};
use member::Begin;
use metrics::Metrics;
use proto::etcdserverpb as pb;
use types::{Limits, Refusal, Version};
use vfs::{Disk, File, Lock, MemoryDisk, Space};

pub const DIR: &str = "/member.etcd";

/// Whether syncs may go on.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
    passed: AtomicU64,
}

impl Gate {
    pub fn close(&self) {
        *self.closed.lock().expect("nobody panics with it") = true;
    }

    pub fn open(&self) {
        *self.closed.lock().expect("nobody panics with it") = false;
        self.changed.notify_all();
    }

    /// Syncs that went on.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        let closed = self.closed.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(closed, |closed| *closed).expect("nobody panics with it"));
        self.passed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A disk whose syncs of data wait at the gate.
#[derive(Clone, Debug, Default)]
pub struct GatedDisk {
    pub inner: MemoryDisk,
    pub gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl GatedDisk {
    fn gated(&self, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        let gate = self.gate.clone();
        file.map(|inner| Arc::new(GatedFile { inner, gate }) as Arc<dyn File>)
    }
}

impl Disk for GatedDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.gated(self.inner.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.gated(self.inner.open(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open_read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.inner.lock(path)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.inner.space(dir)
    }
}

impl File for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }
    fn zero_fill(&self, from: u64, to: u64) -> io::Result<()> {
        self.inner.zero_fill(from, to)
    }
}

/// Keeps the faults; everything else is for operators.
struct Faults(Sender<String>);

impl Report for Faults {
    fn report(&self, event: Event) {
        if let Event::Fatal { what, error } = event {
            eprintln!("fault: {what}: {error}");
            let _ = self.0.send(format!("{what}: {error}"));
        }
    }
}

/// A member that runs, and what it would have ended its process with.
pub struct Member {
    pub running: Running,
    pub faults: Receiver<String>,
}

pub fn config() -> Config {
    Config {
        name: "default".into(),
        data_dir: DIR.into(),
        wal_dir: None,
        takeover_refused: false,
        peer_urls: vec!["http://localhost:2380".into()],
        client_urls: vec!["http://localhost:2379".into()],
        begin: Begin::alone("default", &["http://localhost:2380".into()], "etcd-cluster"),
        serving_threads: 24,
        heartbeat: Duration::from_millis(5),
        election_ticks: 10,
        pre_vote: true,
        snapshot_count: 40,
        catchup_entries: 10,
        wals_max: 5,
        learners_max: 1,
        strict_reconfig_check: true,
        lease_checkpoints: false,
        persist_lease_checkpoints: false,
        hashed_bytes_max: u64::MAX,
        watch_progress: Duration::from_secs(600),
        token_ttl: Duration::from_secs(300),
        unsafe_no_fsync: false,
        server_version: "3.7.1",
        cluster_version: Version::new(3, 7),
        limits: Limits::default(),
    }
}

/// Starts a member and waits until it leads.
pub fn begin(config: Config, disk: impl Disk) -> Result<Member, BootError> {
    let (sender, faults) = channel();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let running = start(
        config,
        &disk,
        Arc::new(Metrics::new(false)),
        Arc::new(Faults(sender)),
        holdfast_node::alone(),
    )?;
    Ok(Member { running, faults })
}

/// Runs a client of the member on a thread of its own: a thread has one lane, to one member.
pub fn block_on<T: Send, F: Future<Output = T>>(client: impl FnOnce() -> F + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime of one thread"), client())
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

pub async fn put(node: &Node, key: &str, value: &str) -> Result<i64, Refusal> {
    let put = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    let request = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
    match node.propose(request, &Principal::Nobody).await? {
        Answer::Put(answer) => Ok(answer.revision),
        other => panic!("a put was answered with {other:?}"),
    }
}

/// Puts until the member leads and answers.
pub async fn put_when_led(node: &Node, key: &str, value: &str) -> i64 {
    for _ in 0..1000 {
        if let Ok(revision) = put(node, key, value).await {
            return revision;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the member never led");
}

/// The value of a key as a linearizable read sees it.
pub async fn get(node: &Node, key: &str) -> Option<String> {
    for _ in 0..1000 {
        if node.barrier().await.is_ok() {
            let view = node.view();
            let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
            let found = apply::read_range(&view.index, &view.rows(), &request);
            let row = found.expect("a plain get of a whole store is answered").rows.pop();
            return row.map(|row| String::from_utf8_lossy(row.value()).into_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the member never led");
}

pub fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}
