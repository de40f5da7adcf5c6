//! What is done once a beat: a compaction, a snapshot, and one more reader that does not read.

use std::sync::Arc;
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use holdfast_robust::grpc::{Call, Connection, Item, Stream};
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;

use super::loads::Asker;
use super::{Done, Run};

const COMPACT: &str = "/etcdserverpb.KV/Compact";
const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// Readers that hang, at most: the oldest gives up when the next one comes.
const HUNG_MAX: usize = 3;
/// How long a piece of a snapshot may take.
const PIECE_DURATION_MAX: Duration = Duration::from_secs(120);

/// Keeps house until the run is over.
pub(super) fn start(run: &Arc<Run>, address: &str) -> JoinHandle<Done> {
    let (run, address) = (run.clone(), address.to_string());
    thread::spawn(move || {
        let (mut asker, mut done) = (Asker::new(&address), Done::default());
        let mut hung: Vec<(Connection, Stream)> = Vec::new();
        let mut next = 1;
        while run.goes_on() {
            if run.beat() < next {
                sleep(Duration::from_millis(20));
                continue;
            }
            compact(&mut asker, &mut done);
            if next.is_multiple_of(2) {
                snapshot(&run, &address, &mut done);
            }
            if let Ok(connection) = Connection::open(&address) {
                let revision = asker.revision().unwrap_or(1);
                hung.extend(hang(connection, next, revision));
                done.count("streams that nobody read", 1);
            }
            if HUNG_MAX < hung.len() {
                hung.remove(0);
            }
            next = run.beat() + 1;
        }
        done.complaints.append(&mut asker.complaints);
        done
    })
}

fn compact(asker: &mut Asker, done: &mut Done) {
    let Some(revision) = asker.revision() else { return };
    let request = pb::CompactionRequest { revision, physical: false };
    let answer = asker.answer(COMPACT, &request);
    // One that was answered by a process that ended is asked for again, and found done.
    let is_done = answer.message.as_ref().is_some_and(|text| text.contains("has been compacted"));
    if !answer.is_ok() && !is_done {
        asker.complain(COMPACT, &answer);
    }
    done.count("compactions", 1);
}

/// Reads a snapshot to its end, as a backup does. One during which the process ends is given up.
fn snapshot(run: &Run, address: &str, done: &mut Done) {
    let lives = run.lives();
    let Ok(connection) = Connection::open(address) else { return };
    let call = Call::unary(SNAPSHOT, &pb::SnapshotRequest {}.encode_to_vec());
    let Some(mut stream) = connection.begin_whole(&call) else { return };
    let mut bytes = 0;
    loop {
        match stream.next(PIECE_DURATION_MAX) {
            Item::Message(message) => bytes += message.len() as u64,
            Item::End(end) if end.is_ok() => break,
            _ if run.is_away() || run.lives() != lives || !run.goes_on() => return,
            other => {
                done.complaints.push(format!("{SNAPSHOT}: {other:?}"));
                return;
            }
        }
    }
    done.count("snapshots", 1);
    done.count("MiB of snapshots", bytes >> 20);
}

/// Begins a snapshot or a watch of everything, or a list of a quarter, and reads nothing of it.
fn hang(connection: Connection, number: u64, revision: i64) -> Option<(Connection, Stream)> {
    let stream = match number % 3 {
        0 => {
            let call = Call::unary(SNAPSHOT, &pb::SnapshotRequest {}.encode_to_vec());
            connection.begin_whole(&call)?
        }
        1 => {
            let create = pb::WatchCreateRequest {
                key: b"\0".to_vec().into(),
                range_end: b"\0".to_vec().into(),
                start_revision: revision,
                prev_kv: true,
                ..Default::default()
            };
            let mut stream = connection.stream(WATCH);
            stream.send(&pb::WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            });
            stream
        }
        _ => {
            let list = pb::RangeRequest {
                key: "churn/0/".into(),
                range_end: "churn/00".into(),
                ..Default::default()
            };
            connection.begin_whole(&Call::unary(RANGE, &list.encode_to_vec()))?
        }
    };
    Some((connection, stream))
}
