//! A member with a million keys: how long it takes to get them in, what it holds, what reading them
//! costs, how long a writer waits while it is maintained, and how soon it is back after kill -9.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb as pb;

use crate::client::{Client, frame, run};
use crate::process;
use crate::results::{Results, percentile};
use crate::subject::Server;

const PUTS_PER_TXN: usize = 100;
const WRITERS: usize = 8;
const VALUE_BYTES: usize = 256;

fn key(number: usize) -> Bytes {
    Bytes::from(format!("/registry/pods/namespace-{:03}/pod-{number:08}", number % 100))
}

fn txn_of_puts(numbers: impl Iterator<Item = usize>, value: &Bytes) -> pb::TxnRequest {
    let put = |number| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: key(number),
            value: value.clone(),
            ..Default::default()
        })),
    };
    pb::TxnRequest { success: numbers.map(put).collect(), ..Default::default() }
}

/// Writes all keys once: 8 clients, 100 puts per transaction.
pub fn write_all(address: &str, keys: usize, letter: u8) -> Duration {
    let value = Bytes::from(vec![letter; VALUE_BYTES]);
    let next = Rc::new(Cell::new(0));
    run(async {
        let began = Instant::now();
        let mut writers = Vec::new();
        for client in Client::open_many(address, WRITERS).await {
            let (next, value) = (next.clone(), value.clone());
            writers.push(tokio::task::spawn_local(async move {
                loop {
                    let first = next.get();
                    if first >= keys {
                        return;
                    }
                    next.set(first + PUTS_PER_TXN);
                    let txn = txn_of_puts(first..(first + PUTS_PER_TXN).min(keys), &value);
                    let _: pb::TxnResponse = client.ask("/etcdserverpb.KV/Txn", &txn).await;
                }
            }));
        }
        for writer in writers {
            writer.await.expect("a writer ends well");
        }
        began.elapsed()
    })
}

/// Everything about a member with so many keys.
pub fn all(server: Server, results: &mut Results, keys: usize) {
    load(&server, results, keys);
    read(&server, results, keys);
    let server = restart(server, results);
    maintain(&server, results, keys);
}

fn load(server: &Server, results: &mut Results, keys: usize) {
    let name = server.name();
    let (before, own_before) = (server.cpu(), process::cpu_of_self());
    let took = write_all(&server.address(), keys, b'a');
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / keys as f64;
    results.add("load seconds", name, took.as_secs_f64());
    results.add("load cpu", name, each(server.cpu() - before));
    results.add("load generator", name, each(process::cpu_of_self() - own_before));
    // What is done behind the last answer belongs to the load.
    std::thread::sleep(Duration::from_millis(1500));
    results.add("load memory MiB", name, process::memory(server.pid()).now);
    results.add("load files MiB", name, process::disk_mib(&server.home().data_dir()));
}

/// Repeats a read and gives the median of its milliseconds and the length of the answer.
async fn time(client: &Client, request: &pb::RangeRequest, times: usize) -> (f64, usize) {
    let mut took = Vec::new();
    let mut bytes = 0;
    for _ in 0..times {
        let began = Instant::now();
        let answer = client.call("/etcdserverpb.KV/Range", frame(request)).await;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        bytes = answer.expect("a read is answered").len();
    }
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], bytes)
}

fn read(server: &Server, results: &mut Results, keys: usize) {
    let all = pb::RangeRequest {
        key: Bytes::from_static(b"/registry/"),
        range_end: Bytes::from_static(b"/registry0"),
        ..Default::default()
    };
    let page = pb::RangeRequest { limit: 500, ..all.clone() };
    let count = pb::RangeRequest { count_only: true, ..all };
    // Ten of the hundred namespaces: a tenth of the keys.
    let tenth = pb::RangeRequest {
        key: Bytes::from_static(b"/registry/pods/namespace-01"),
        range_end: Bytes::from_static(b"/registry/pods/namespace-02"),
        ..Default::default()
    };
    let address = server.address();
    let pid = server.pid();
    let name = server.name();
    run(async {
        let client = Client::open(&address).await.expect("the server accepts connections");
        results.add("page of 500 ms", name, time(&client, &page, 9).await.0);
        results.add("count ms", name, time(&client, &count, 9).await.0);
        let before = process::memory(pid).now;
        process::reset_high_mark(pid);
        let cpu = process::cpu(pid);
        let (took, bytes) = time(&client, &tenth, 3).await;
        let cpu = (process::cpu(pid) - cpu).as_secs_f64() * 1e3 / 3.0;
        assert!(bytes > keys / 10 * VALUE_BYTES, "all keys of ten namespaces come back");
        results.add("list of a tenth ms", name, took);
        results.add("list of a tenth cpu ms", name, cpu);
        results.add("list of a tenth memory MiB", name, process::memory(pid).high - before);
        results.add("list of a tenth answer MiB", name, bytes as f64 / 1_048_576.0);
    });
}

fn restart(server: Server, results: &mut Results) -> Server {
    let server = server.kill().start();
    results.add("restart seconds", server.name(), server.ready_after().as_secs_f64());
    results.add("restart memory MiB", server.name(), process::memory(server.pid()).now);
    server
}

/// A client that puts, one at a time, while something else goes on; its waits in microseconds.
pub async fn put_during<T>(address: &str, work: impl Future<Output = T>) -> (T, Vec<u32>) {
    let client = Client::open(address).await.expect("the server accepts connections");
    let put = pb::PutRequest {
        key: Bytes::from_static(b"/writer"),
        value: Bytes::from(vec![b'w'; VALUE_BYTES]),
        ..Default::default()
    };
    let waits = Rc::new(RefCell::new(Vec::new()));
    let done = Rc::new(Cell::new(false));
    let writer = tokio::task::spawn_local({
        let (waits, done) = (waits.clone(), done.clone());
        async move {
            while !done.get() {
                let began = Instant::now();
                // etcd refuses everything while it defragments; a client tries again, and waits.
                while client.call("/etcdserverpb.KV/Put", frame(&put)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                waits.borrow_mut().push(micros);
            }
        }
    });
    let outcome = work.await;
    done.set(true);
    writer.await.expect("the writer ends well");
    let mut waits = waits.take();
    waits.sort_unstable();
    (outcome, waits)
}

/// Overwrites all keys, so there is something to compact, and then maintains the member under a writer.
fn maintain(server: &Server, results: &mut Results, keys: usize) {
    let address = server.address();
    write_all(&address, keys, b'b');
    let mut during = |what: &str, took: Duration, waits: &[u32]| {
        let name = server.name();
        results.add(&format!("{what} seconds"), name, took.as_secs_f64());
        results.add(&format!("{what} longest wait ms"), name, percentile(waits, 1.0) / 1e3);
        results.add(&format!("{what} p99 wait ms"), name, percentile(waits, 0.99) / 1e3);
    };
    run(async {
        let client = Client::open(&address).await.expect("the server accepts connections");
        let pause = tokio::time::sleep(Duration::from_secs(1));
        let ((), waits) = put_during(&address, pause).await;
        during("nothing", Duration::from_secs(1), &waits);

        let read = pb::RangeRequest { key: Bytes::from_static(b"a"), ..Default::default() };
        let now: pb::RangeResponse = client.ask("/etcdserverpb.KV/Range", &read).await;
        let revision = now.header.map_or(1, |header| header.revision);
        let compact = pb::CompactionRequest { revision, physical: true };
        let began = Instant::now();
        let asked = client.ask::<pb::CompactionResponse>("/etcdserverpb.KV/Compact", &compact);
        let (_, waits) = put_during(&address, asked).await;
        during("compaction", began.elapsed(), &waits);

        let began = Instant::now();
        let asked = client.ask::<pb::DefragmentResponse>(
            "/etcdserverpb.Maintenance/Defragment",
            &pb::DefragmentRequest {},
        );
        let (_, waits) = put_during(&address, asked).await;
        during("defragment", began.elapsed(), &waits);

        let began = Instant::now();
        let (bytes, waits) = put_during(&address, snapshot(&client)).await;
        assert!(bytes > keys * VALUE_BYTES, "a snapshot holds all values");
        during("snapshot", began.elapsed(), &waits);
    });
    let name = server.name();
    results.add("maintained files MiB", name, process::disk_mib(&server.home().data_dir()));
}

async fn snapshot(client: &Client) -> usize {
    let path = "/etcdserverpb.Maintenance/Snapshot";
    let asked = client.stream(path, Some(frame(&pb::SnapshotRequest {}))).await;
    let (_requests, mut answers) = asked.expect("a stream opens");
    let mut bytes = 0;
    while let Some(piece) = answers.next().await.expect("a snapshot comes whole") {
        bytes += piece.len();
    }
    bytes
}
