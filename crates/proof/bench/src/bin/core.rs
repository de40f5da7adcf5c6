//! The pure heart of a member, driven by one thread without sockets or clocks: for counting instructions.
//!
//! `holdfast-core put|get|watch|call N` does N operations and ends. Two counts with different N differ by what
//! the operations between them took, whatever starting costs. Nothing here depends on time or chance, so
//! the same program counts the same, on a busy machine as on an idle one.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use apply::Asker;
use bytes::Bytes;
use consensus::Scope;
use member::{
    Applying, ApplyingEffect, ApplyingInput, Asked, Begin, CHECKPOINT_ROWS_MIN, Engine,
    EngineEffect, EngineOptions, Front, FrontEffect, FrontInput, FrontOptions, LogInput, LogWriter,
    Machines, Proposal, RecoverOptions, Recovered, RequestIds,
};
use proto::etcdserverpb as pb;
use types::{KeyRange, Version};
use vfs::{Disk, MemoryDisk};

/// Keys that are written in turn.
const KEYS: usize = 1000;
/// Watchers of one key.
const WATCHERS: i64 = 100;
/// Proposals that reach the log together, as under load.
const GROUP: usize = 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, count] = &words[..] else { return usage() };
    let Ok(count) = count.parse() else { return usage() };
    let mut member = Alone::begin();
    match what.as_str() {
        "put" => member.puts(count),
        "get" => member.gets(count),
        "watch" => member.watched_puts(count),
        "call" => calls(count),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("holdfast-core put|get|watch|call N");
    ExitCode::from(2)
}

/// Unary calls on one connection, ten at a time: their frames read, their answers written. The message and the
/// answer are those of a put.
fn calls(count: usize) {
    let config = http2::Config {
        streams_announced: None,
        streams_max: 1000,
        stream_window_bytes: 256 * 1024,
        connection_window_bytes: 1024 * 1024,
        header_list_bytes_max: 64 * 1024,
        early_resets_max: 500,
    };
    let mut server = http2::Connection::<()>::new(config);
    server.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let mut answered = 0;
    let mut stream = 1;
    while answered < count {
        let mut asked = Vec::new();
        for _ in 0..GROUP {
            // The first request fills the table; all others only name what is in it.
            let block: &[u8] = match stream {
                1 => b"\x83\x86\x44\x16/etcdserverpb.KV/Range\x5f\x10application/grpc",
                _ => b"\x83\x86\xbf\xbe",
            };
            frame(&mut asked, 1, 4, stream, block);
            frame(&mut asked, 0, 1, stream, &[b'p'; 300]);
            stream += 2;
        }
        server.receive(&asked);
        while let Some(event) = server.poll_event() {
            let http2::Event::Body(id) = event else { continue };
            let http2::Body::Piece(body) = server.take_body(id) else { continue };
            server.start(id, 200, &[http2::Field::from_static("content-type", "application/grpc")]);
            server.send(id, Bytes::from_static(&[b'a'; 30]));
            let ok = http2::Field::from_static("grpc-status", "0");
            server.finish(id, &[ok, http2::Field::from_static("grpc-message", "")]);
            server.release(id, body.len() as u32);
            answered += 1;
        }
        server.advance(server.out().len());
    }
    assert!(!server.is_failed(), "the client spoke well");
    assert_eq!(server.streams_open(), 0, "every call is answered");
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A member whose every part is stepped by hand.
struct Alone {
    machines: Machines,
    proposed: u64,
    answered: u64,
    sent: u64,
}

impl Alone {
    fn begin() -> Alone {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = RecoverOptions {
            wal_dir: Path::new("/member/wal").to_owned(),
            store_dir: Path::new("/member/store").to_owned(),
            snap_dir: Path::new("/member/snap").to_owned(),
            wal: wal::Options::default(),
            store: store::Options::default(),
            name: "alone".into(),
            begin: Begin::alone("alone", &["http://localhost:2380".into()], "core"),
            unix_ms: 1,
            election_ticks: 10,
            pre_vote: true,
            uncommitted_bytes_max: 256 << 20,
            quota_bytes: None,
            learners_max: 1,
            leases: lease::Options::new(2),
            persist_checkpoints: false,
            hashed_bytes_max: u64::MAX,
            seed: 1,
        };
        disk.create_dir_all(&options.wal_dir).expect("memory takes it");
        disk.create_dir_all(&options.store_dir).expect("memory takes it");
        let parts = member::recover(&disk, &options, &mut |_| {}).expect("an empty disk begins");
        let Recovered {
            member, wal, consensus, applier, marked, committed, run, installer, ..
        } = parts;
        let front_options = FrontOptions {
            proposals_pending_max: 10_000,
            committed_applied_gap_max: 5_000,
            read_retry_ticks: 5,
            leader_wait_ticks: 70,
            snapshot_count: 10_000,
            catchup_entries: 5_000,
            reads_waiting_max: 1000,
            election_ticks: 10,
            lagging_bytes_max: 64 << 20,
            log_file_bytes_max: 1 << 28,
            snapshot_hold_ticks: 300,
            log_bytes_max: 16 << 20,
        };
        let own = (member, RequestIds::new(member, run, 0, 1));
        let front = Front::new(consensus, front_options, own, applier.applied().0, marked);
        let engine_options = EngineOptions {
            member,
            election_ms: 1000,
            cluster_version: Version::new(3, 7),
            committed_before: committed,
        };
        let engine = Engine::new(applier, watch::Limits::default(), engine_options);
        let log = LogWriter::new(wal, 1, true);
        let applying = Applying::new(engine, CHECKPOINT_ROWS_MIN, installer);
        let machines = Machines::new(front, applying, log);
        let mut alone = Alone { machines, proposed: 0, answered: 0, sent: 0 };
        let asked = alone.machines.start();
        alone.does(asked);
        alone.settle();
        alone
    }

    /// Goes on until nothing is left to do.
    fn settle(&mut self) {
        while let Some(asked) = self.machines.turn(1).expect("memory takes it") {
            self.does(asked);
        }
    }

    fn does(&mut self, asked: Vec<Asked>) {
        for asked in asked {
            match asked {
                Asked::Front(FrontEffect::Refuse { refusal, .. }) => {
                    panic!("nothing is refused here: {refusal}")
                }
                Asked::Prepare(preparation) => {
                    self.machines.tell_log(LogInput::Prepared(preparation.run()));
                }
                Asked::Applying(effect) => {
                    if let ApplyingEffect::Sync(syncing) = *effect {
                        let (done, stored) = (syncing.handle.sync(), syncing.stored);
                        self.machines.tell_applying(ApplyingInput::Synced { done, stored });
                    }
                }
                Asked::Engine(effects) => effects.into_iter().for_each(|effect| self.hears(effect)),
                Asked::Front(_) | Asked::Log(_) => {}
            }
        }
    }

    fn hears(&mut self, effect: EngineEffect) {
        match effect {
            EngineEffect::Reply { result, .. } => {
                result.expect("nothing is refused here");
                self.answered += 1;
            }
            EngineEffect::Send { stream, response } => {
                self.sent += 1;
                let bytes = response.bytes();
                self.watch(watch::Input::Sent { stream, responses: 1, bytes });
            }
            EngineEffect::Propose { request, asker, scope } => {
                let proposal = Proposal::of(*request, 0, scope, asker);
                self.machines.tell_front(FrontInput::Propose(vec![proposal]));
            }
            _ => {}
        }
    }

    fn watch(&mut self, input: watch::Input) -> Vec<EngineEffect> {
        self.machines.applying.engine_mut().watch(input)
    }

    fn put_of(&mut self, key: String) -> Proposal {
        self.proposed += 1;
        let put = pb::PutRequest {
            key: key.into(),
            value: Bytes::from_static(&[b'v'; 256]),
            ..Default::default()
        };
        let request = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
        Proposal::of(request, self.proposed, Scope::Anyone, Asker::default())
    }

    fn puts(&mut self, count: usize) {
        let key = |number: usize| format!("/registry/pods/default/pod-{:05}", number * 7 % KEYS);
        self.put_in_groups(count, key);
    }

    fn put_in_groups(&mut self, count: usize, key: impl Fn(usize) -> String) {
        let mut number = 0;
        while number < count {
            let group = (number..count.min(number + GROUP)).map(|n| self.put_of(key(n))).collect();
            number += GROUP;
            self.machines.tell_front(FrontInput::Propose(group));
            self.settle();
        }
        assert_eq!(self.answered, self.proposed, "every put is answered");
    }

    /// One key at a time out of a thousand, as a reader on a connection's thread does it.
    fn gets(&mut self, count: usize) {
        self.puts(KEYS);
        let view = self.machines.applying.engine().applier().view();
        for number in 0..count {
            let key = format!("/registry/pods/default/pod-{:05}", number * 13 % KEYS);
            let request = pb::RangeRequest { key: key.into(), ..Default::default() };
            let found = apply::read_range(&view.index, &view.rows(), &request);
            assert_eq!(found.expect("memory gives it").rows.len(), 1, "each key is there");
        }
    }

    /// Puts of one key that a hundred watch on ten streams.
    fn watched_puts(&mut self, count: usize) {
        for stream in 1..=10 {
            let opened = watch::Input::StreamOpened { stream, progress_interval_ms: 600_000 };
            self.watch(opened);
        }
        for watcher in 0..WATCHERS {
            let create = watch::Create {
                watch: watcher,
                range: KeyRange::One(Bytes::from_static(b"/watched")),
                start: 0,
                progress_notify: false,
                previous: false,
                filters: watch::Filters { no_put: false, no_delete: false },
                fragment: false,
                permission: Ok(()),
            };
            let stream = u64::try_from(watcher % 10 + 1).expect("it is positive");
            for effect in self.watch(watch::Input::Create { stream, create }) {
                if let EngineEffect::Send { stream, response } = effect {
                    let bytes = response.bytes();
                    self.watch(watch::Input::Sent { stream, responses: 1, bytes });
                }
            }
        }
        self.put_in_groups(count, |_| "/watched".to_owned());
        assert_eq!(self.sent, count as u64 * 100, "every watcher hears of every put");
    }
}
