//! What three members do when all is well: rates, CPU of the three together, and how long an event is on its way.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb as pb;

use super::Trio;
use crate::client::{Client, frame, run};
use crate::h2load::{Load, Outcome};
use crate::loaded;
use crate::process;
use crate::rates::{Request, get, load_one_of, put, shape};
use crate::results::{Results, percentile};
use crate::secured::micros;
use crate::watching;

/// Where a request is sent.
#[derive(Clone, Copy)]
enum To {
    Leader,
    Follower,
}

/// All of it, on a cluster that is well.
pub fn all(trio: &Trio, results: &mut Results, scale: f64) {
    let (leader, follower) = trio.leader_and_follower();
    let so_many = |requests: f64| ((requests * scale) as usize).max(1_000);
    let warm = Load { connections: 100, streams: 10, requests: 10_000 };
    for seat in [leader, follower] {
        load_one_of(&trio.from(seat), &put(), warm, false);
        load_one_of(&trio.from(seat), &get(false), warm, false);
    }
    let rows: [(&str, Request, To, usize, f64); 9] = [
        ("put leader 1000", put(), To::Leader, 1000, 50_000.0),
        ("put follower 1000", put(), To::Follower, 1000, 50_000.0),
        ("put leader 100", put(), To::Leader, 100, 30_000.0),
        ("put leader 1", put(), To::Leader, 1, 2_500.0),
        ("put follower 1", put(), To::Follower, 1, 2_000.0),
        ("get leader 1000", get(false), To::Leader, 1000, 80_000.0),
        ("get follower 1000", get(false), To::Follower, 1000, 80_000.0),
        ("serializable leader 1000", get(true), To::Leader, 1000, 80_000.0),
        ("serializable follower 1000", get(true), To::Follower, 1000, 80_000.0),
    ];
    for (measure, request, to, in_flight, requests) in rows {
        let servers = trio.from(match to {
            To::Leader => leader,
            To::Follower => follower,
        });
        let (connections, streams) = shape(in_flight);
        let load = Load { connections, streams, requests: so_many(requests) };
        add(results, measure, trio.name(), &load_one_of(&servers, &request, load, in_flight == 1));
    }
    spread(trio, leader, results, so_many(50_000.0));
    for (to, seat) in [("leader", leader), ("follower", follower)] {
        let mut waits = run(delays(trio, leader, seat, so_many(1_000.0)));
        waits.sort_unstable();
        for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
            let measure = format!("watch {to} {label} ms");
            results.add(&measure, trio.name(), percentile(&waits, share) / 1e3);
        }
    }
    load_keys(trio, leader, results, so_many(200_000.0));
}

fn add(results: &mut Results, measure: &str, subject: &str, outcome: &Outcome) {
    results.add(&format!("{measure} rate"), subject, outcome.rate);
    results.add(&format!("{measure} cpu"), subject, outcome.server_micros);
    if !outcome.waits.is_empty() {
        let p99 = percentile(&outcome.waits, 0.99) / 1e3;
        results.add(&format!("{measure} p99 ms"), subject, p99);
    }
}

/// Puts through both followers at once, half through each.
fn spread(trio: &Trio, leader: usize, results: &mut Results, requests: usize) {
    let followers: Vec<usize> = (0..3).filter(|seat| *seat != leader).collect();
    let load = Load { connections: 50, streams: 10, requests: requests / 2 };
    let (cpu, began) = (trio.cpu(), Instant::now());
    std::thread::scope(|threads| {
        for seat in followers {
            let servers = trio.from(seat);
            let request = put();
            threads.spawn(move || {
                crate::h2load::run(&servers, request.path, &request.framed, load, false)
            });
        }
    });
    let done = (load.requests * 2) as f64;
    let each = (trio.cpu() - cpu).as_secs_f64() * 1e6 / done;
    results.add("put spread 1000 rate", trio.name(), done / began.elapsed().as_secs_f64());
    results.add("put spread 1000 cpu", trio.name(), each);
}

/// From the sending of a put to the leader until a watcher at some member has its event: waits in microseconds.
async fn delays(trio: &Trio, leader: usize, at: usize, puts: usize) -> Vec<u32> {
    let key = Bytes::from_static(b"/watched");
    let enter = |seat: usize| Client::enter(trio.at(seat).access());
    let (putter, watcher) = (enter(leader).await, enter(at).await);
    let (putter, watcher) = (putter.expect("it is let in"), watcher.expect("it is let in"));
    let (mut requests, mut answers) = watching::watch_stream(&watcher).await;
    requests.send(watching::create(key.clone()));
    assert!(watching::next(&mut answers).await.created, "a watch is confirmed");
    let put = pb::PutRequest { key, value: Bytes::from(vec![b'w'; 256]), ..Default::default() };
    let mut waits = Vec::with_capacity(puts);
    for _ in 0..puts {
        let sent = Instant::now();
        let putting = putter.call("/etcdserverpb.KV/Put", frame(&put));
        let (put, seen) = tokio::join!(putting, async {
            assert_eq!(watching::next(&mut answers).await.events.len(), 1, "one event a put");
            sent.elapsed()
        });
        put.expect("a put is answered");
        waits.push(micros(seen));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waits
}

/// Many keys, 100 in a transaction, to the leader.
fn load_keys(trio: &Trio, leader: usize, results: &mut Results, keys: usize) {
    let (cpu, own) = (trio.cpu(), process::cpu_of_self());
    let took = loaded::write_all(&trio.at(leader).address(), keys, b'a');
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / keys as f64;
    let name = trio.name();
    results.add("cluster load seconds", name, took.as_secs_f64());
    results.add("cluster load generator", name, each(process::cpu_of_self() - own));
    trio.wait_until_level();
    std::thread::sleep(Duration::from_millis(1500));
    results.add("cluster load cpu", name, each(trio.cpu() - cpu));
    results.add("cluster load memory MiB", name, trio.memory());
}
