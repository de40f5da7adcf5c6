//! Members without a raft, and a forwarder between them that breaks in every way a network does.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_peer::rules::QueueLimits;
use holdfast_peer::*;
use metrics::Metrics;
use proto::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};
use proto::raftpb::{Entry, Message, MessageType, Snapshot, SnapshotMetadata};

pub const CLUSTER: u64 = 0xc1;

/// Waits for something that must become true.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(Duration::from_secs(20), what, condition);
}

#[track_caller]
pub fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a member heard.
#[derive(Default)]
pub struct Heard {
    pub messages: Mutex<Vec<Message>>,
    pub snapshots: Mutex<Vec<(Message, PathBuf)>>,
    pub sent: Mutex<Vec<(u64, bool)>>,
    pub unreachable: Mutex<Vec<u64>>,
    pub gone: Mutex<Vec<u64>>,
    pub removed: Mutex<Vec<u64>>,
    pub removed_here: Mutex<usize>,
    pub events: Mutex<Vec<Event>>,
    pub full: Mutex<bool>,
}

impl Heard {
    pub fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    pub fn said(&self, text: &str) -> usize {
        self.events.lock().unwrap().iter().filter(|event| event.text == text).count()
    }

    pub fn kinds(&self) -> Vec<MessageType> {
        self.messages.lock().unwrap().iter().map(Message::r#type).collect()
    }
}

pub struct FakeRaft(pub Arc<Heard>);

impl Raft for FakeRaft {
    fn receive(&self, message: Message) -> Inbox {
        if *self.0.full.lock().unwrap() {
            return Inbox::Full;
        }
        self.0.messages.lock().unwrap().push(message);
        Inbox::Taken
    }
    fn receive_snapshot(&self, message: Message, database: PathBuf) -> Result<(), String> {
        self.0.snapshots.lock().unwrap().push((message, database));
        Ok(())
    }
    fn is_removed(&self, member: u64) -> bool {
        self.0.removed.lock().unwrap().contains(&member)
    }
    fn unreachable(&self, peer: u64) {
        self.0.unreachable.lock().unwrap().push(peer);
    }
    fn snapshot_sent(&self, peer: u64, arrived: bool) {
        self.0.sent.lock().unwrap().push((peer, arrived));
    }
    fn removed_here(&self) {
        *self.0.removed_here.lock().unwrap() += 1;
    }
    fn host_gone(&self, peer: u64) {
        self.0.gone.lock().unwrap().push(peer);
    }
}

impl Report for FakeRaft {
    fn event(&self, event: Event) {
        self.0.events.lock().unwrap().push(event);
    }
    fn rejected(&self, _: &net::RemoteAddress, _: &std::io::Error) {}
}

/// A member that knows a little.
pub struct FakeFacts;

impl FakeFacts {
    pub fn members() -> Vec<MemberJson> {
        let member = |id: u64, name: &str| MemberJson {
            id,
            peer_urls: Some(vec![format!("http://127.0.0.1:{name}")]),
            is_learner: id == 2,
            name: name.to_string(),
            client_urls: Vec::new(),
        };
        vec![member(u64::MAX, "1"), member(2, "2")]
    }
}

impl PeerFacts for FakeFacts {
    fn members(&self) -> Vec<MemberJson> {
        FakeFacts::members()
    }
    fn versions(&self) -> Versions {
        let text = |text: &str| text.to_string();
        Versions { server: text("3.7.1"), cluster: text("3.7.0"), storage: text("3.7.0") }
    }
    fn promote(
        &self,
        member: u64,
        token: Option<String>,
    ) -> LocalFuture<Result<Vec<MemberJson>, PromoteRefusal>> {
        Box::pin(async move {
            match member {
                2 if token.as_deref() == Some("token") => Ok(FakeFacts::members()),
                3 => Err(PromoteRefusal::NotLearner),
                4 => Err(PromoteRefusal::NotReady),
                5 => Err(PromoteRefusal::Other("etcdserver: no leader".into())),
                _ => Err(PromoteRefusal::NotFound),
            }
        })
    }
    fn hash_kv(&self, revision: i64) -> LocalFuture<Result<HashKv, String>> {
        Box::pin(async move {
            match revision {
                0..=47 => {
                    Ok(HashKv { revision: 47, hash: 7, compact_revision: 5, hash_revision: 47 })
                }
                _ => Err("mvcc: required revision is a future revision".into()),
            }
        })
    }
    fn keep_alive(&self, lease: i64) -> LocalFuture<Result<i64, LeaseRefusal>> {
        Box::pin(async move {
            match lease {
                1 => Ok(60),
                2 => Err(LeaseRefusal::NotPrimary),
                3 => Err(LeaseRefusal::TimedOut),
                _ => Err(LeaseRefusal::NotFound),
            }
        })
    }
    fn time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> LocalFuture<Result<LeaseTimeToLiveResponse, LeaseRefusal>> {
        Box::pin(async move {
            match request.id {
                1 => Ok(LeaseTimeToLiveResponse { id: 1, ttl: 59, ..Default::default() }),
                2 => Err(LeaseRefusal::NotPrimary),
                _ => Err(LeaseRefusal::NotFound),
            }
        })
    }
    fn downgrade_enabled(&self) -> LocalFuture<Result<bool, String>> {
        Box::pin(async { Ok(true) })
    }
}

/// A transport and what it heard.
pub struct Member {
    pub id: u64,
    pub heard: Arc<Heard>,
    pub metrics: Arc<Metrics>,
    pub transport: Transport,
    pub url: String,
    pub dir: tempfile::TempDir,
}

/// How a member differs from the usual one.
pub struct Odd {
    pub cluster: u64,
    pub version: Version,
    pub limits: Limits,
    pub listen: Option<SocketAddr>,
}

impl Default for Odd {
    fn default() -> Odd {
        let version = Version { major: 3, minor: 7, patch: 1 };
        Odd { cluster: CLUSTER, version, limits: Limits::default(), listen: None }
    }
}

pub fn member(id: u64) -> Member {
    odd_member(id, Odd::default())
}

/// The address is free again a moment after its last user has gone.
fn bind(address: SocketAddr) -> TcpListener {
    let began = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn odd_member(id: u64, odd: Odd) -> Member {
    let listener = bind(odd.listen.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap()));
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let heard = Arc::new(Heard::default());
    let metrics = Arc::new(Metrics::new(false));
    let identity = Identity {
        member: id,
        cluster: odd.cluster,
        version: odd.version,
        peer_urls: vec![url.clone()],
    };
    let config = Config {
        identity,
        election_timeout: Duration::from_secs(1),
        listeners: vec![Listener { socket: Socket::Tcp(listener), tls: None }],
        connector: None,
        spool: Arc::new(DiskSpool::new(Arc::new(vfs::OsDisk), dir.path().join("snap"))),
        report: Arc::new(FakeRaft(heard.clone())),
        metrics: metrics.clone(),
        limits: odd.limits,
    };
    let raft = Arc::new(FakeRaft(heard.clone()));
    let transport = Transport::start(config, raft, Arc::new(FakeFacts)).unwrap();
    Member { id, heard, metrics, transport, url, dir }
}

impl Member {
    pub fn knows(&self, other: &Member) {
        self.knows_at(other, &other.url);
    }

    pub fn knows_at(&self, other: &Member, url: &str) {
        self.transport.add_peer(other.id, &[url.to_string()]);
    }

    pub fn send(&self, to: u64, kind: MessageType, index: u64) {
        self.transport.send(vec![message(kind, self.id, to, index)]);
    }

    pub fn address(&self) -> SocketAddr {
        self.transport.addresses()[0]
    }

    /// Both streams to `other` are open, seen from here.
    pub fn streams(&self) -> (usize, usize) {
        let events = self.heard.events.lock().unwrap();
        let count = |name: &str| {
            let text = "established TCP streaming connection with remote peer";
            events.iter().filter(|e| e.text == text && e.field(name).is_some()).count()
        };
        (count("stream-writer-type"), count("stream-reader-type"))
    }
}

/// Two members whose four streams are up.
pub fn pair() -> (Member, Member) {
    let (one, two) = (member(1), member(2));
    one.knows(&two);
    two.knows(&one);
    connected(&one, &two);
    (one, two)
}

#[track_caller]
pub fn connected(one: &Member, two: &Member) {
    eventually("four streams", || {
        [one, two].iter().all(|member| {
            let (writers, readers) = member.streams();
            writers >= 2 && readers >= 2
        })
    });
}

pub fn message(kind: MessageType, from: u64, to: u64, index: u64) -> Message {
    let entries = match kind {
        MessageType::MsgApp => vec![Entry {
            r#type: Some(0),
            term: Some(1),
            index: Some(index + 1),
            data: Some(Bytes::from(vec![index as u8; 200])),
        }],
        _ => Vec::new(),
    };
    let mut message = Message {
        to: Some(to),
        from: Some(from),
        term: Some(1),
        log_term: Some(1),
        index: Some(index),
        commit: Some(0),
        entries,
        ..Message::default()
    };
    message.set_type(kind);
    message
}

pub fn snapshot(from: u64, to: u64, index: u64) -> Message {
    let metadata =
        SnapshotMetadata { index: Some(index), term: Some(1), ..SnapshotMetadata::default() };
    let data = Some(Bytes::from_static(b"{\"members\":{}}"));
    Message {
        snapshot: Some(Snapshot { data, metadata: Some(metadata) }),
        entries: Vec::new(),
        ..message(MessageType::MsgSnap, from, to, 0)
    }
}

pub fn small_queues() -> Limits {
    let stream_queue = QueueLimits { messages_max: 4096, bytes_max: 256 * 1024 };
    Limits { stream_queue, ..Limits::default() }
}

/// Sends bytes and reads what comes until the connection closes, or for a while.
pub fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 || answer.len() > 1 << 20 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
        if is_whole(&answer) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether an answer has as many bytes as it says.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()) == Some(body.len())
}

/// A request with the headers of a peer, and `Connection: close`.
pub fn request(method: &str, path: &str, from: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Server-From: {from}\r\n\
         X-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: c1\r\n\
         X-Raft-To: 1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A database that is made anew whenever it is read.
pub fn body<I>(make: impl Fn() -> I + Send + 'static) -> Box<dyn SnapshotBody>
where
    I: Iterator<Item = std::io::Result<Bytes>> + Send + 'static,
{
    Box::new(move || Box::new(make()) as SnapshotChunks)
}
