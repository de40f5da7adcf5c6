//! Leases: a hundred thousand of them, granted, and kept alive.

use std::time::Duration;

use proto::etcdserverpb as pb;

use crate::client::{Client, frame, run};
use crate::process;
use crate::results::Results;
use crate::subject::Server;

const CONNECTIONS: usize = 10;
const IN_FLIGHT_EACH: usize = 20;

/// Grants so many, then keeps each alive twice over streams on 10 connections.
pub fn all(server: &Server, results: &mut Results, leases: usize) {
    let name = server.name();
    let address = server.address();
    let memory = process::memory(server.pid()).now;
    let each = |cpu: Duration, count: usize| cpu.as_secs_f64() * 1e6 / count as f64;
    run(async {
        let before = server.cpu();
        grant(&address, leases).await;
        results.add("lease grant cpu", name, each(server.cpu() - before, leases));
        let (before, own_before) = (server.cpu(), process::cpu_of_self());
        let began = std::time::Instant::now();
        for _ in 0..2 {
            keep_alive(&address, leases).await;
        }
        let rate = 2.0 * leases as f64 / began.elapsed().as_secs_f64();
        results.add("keep-alive rate", name, rate);
        results.add("keep-alive cpu", name, each(server.cpu() - before, 2 * leases));
        let own = process::cpu_of_self() - own_before;
        results.add("keep-alive generator", name, each(own, 2 * leases));
        let grown = process::memory(server.pid()).now - memory;
        results.add("leases memory MiB", name, grown);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let resting = server.cpu();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let share = (server.cpu() - resting).as_secs_f64() / 3.0;
        results.add("leases at rest cpu ms per s", name, share * 1e3);
    });
}

/// Lease ids are 1..=leases.
async fn grant(address: &str, leases: usize) {
    let workers = CONNECTIONS * IN_FLIGHT_EACH;
    let mut tasks = Vec::new();
    let clients = Client::open_many(address, CONNECTIONS).await;
    for worker in 0..workers {
        let client = clients[worker % CONNECTIONS].clone();
        tasks.push(tokio::task::spawn_local(async move {
            for id in (1..=leases).skip(worker).step_by(workers) {
                let grant = pb::LeaseGrantRequest { ttl: 3600, id: id as i64 };
                let path = "/etcdserverpb.Lease/LeaseGrant";
                let _: pb::LeaseGrantResponse = client.ask(path, &grant).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a worker ends well");
    }
}

async fn keep_alive(address: &str, leases: usize) {
    let mut tasks = Vec::new();
    for (at, client) in Client::open_many(address, CONNECTIONS).await.into_iter().enumerate() {
        tasks.push(tokio::task::spawn_local(async move {
            let opened = client.stream("/etcdserverpb.Lease/LeaseKeepAlive", None).await;
            let (mut requests, mut answers) = opened.expect("a stream opens");
            let mut ids = (1..=leases).skip(at).step_by(CONNECTIONS);
            let mut under_way = 0;
            loop {
                while under_way < IN_FLIGHT_EACH
                    && let Some(id) = ids.next()
                {
                    requests.send(frame(&pb::LeaseKeepAliveRequest { id: id as i64 }));
                    under_way += 1;
                }
                if under_way == 0 {
                    return;
                }
                let answer = answers.next().await.expect("the stream goes on");
                answer.expect("each keep-alive is answered");
                under_way -= 1;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a worker ends well");
    }
}
