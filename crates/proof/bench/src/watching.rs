//! Watchers: many of one key, and very many that hear nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;

use crate::client::{Answers, Client, Requests, frame, run};
use crate::process;
use crate::results::Results;
use crate::subject::Server;

const PATH: &str = "/etcdserverpb.Watch/Watch";

pub fn create(key: Bytes) -> Bytes {
    let create = pb::WatchCreateRequest { key, ..Default::default() };
    frame(&pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
}

pub async fn watch_stream(client: &Client) -> (Requests, Answers) {
    client.stream(PATH, None).await.expect("a stream opens")
}

pub async fn next(answers: &mut Answers) -> pb::WatchResponse {
    let message = answers.next().await.expect("the stream goes on").expect("there is no end");
    pb::WatchResponse::decode(message).expect("a server sends well-formed messages")
}

/// 1,000 watchers of one key on 10 connections, and puts of that key, 10 in flight.
pub fn one_key(server: &Server, results: &mut Results, puts: usize) {
    const CONNECTIONS: usize = 10;
    const WATCHERS_PER_CONNECTION: usize = 100;
    let key = Bytes::from_static(b"/watched");
    let address = server.address();
    let (took, events, server_cpu, own_cpu) = run(async {
        let mut streams = Vec::new();
        for client in Client::open_many(&address, CONNECTIONS).await {
            let (mut requests, mut answers) = watch_stream(&client).await;
            for _ in 0..WATCHERS_PER_CONNECTION {
                requests.send(create(key.clone()));
            }
            for _ in 0..WATCHERS_PER_CONNECTION {
                assert!(next(&mut answers).await.created, "each watch is confirmed");
            }
            streams.push((client, requests, answers));
        }
        let (before, own_before) = (server.cpu(), process::cpu_of_self());
        let began = Instant::now();
        let mut tasks = Vec::new();
        for (client, requests, mut answers) in streams {
            tasks.push(tokio::task::spawn_local(async move {
                let _open = (client, requests);
                let mut seen = 0;
                while seen < puts * WATCHERS_PER_CONNECTION {
                    seen += next(&mut answers).await.events.len();
                }
                seen
            }));
        }
        write(&address, &key, puts).await;
        let mut events = 0;
        for task in tasks {
            events += task.await.expect("a watcher ends well");
        }
        (began.elapsed(), events, server.cpu() - before, process::cpu_of_self() - own_before)
    });
    assert_eq!(events, puts * CONNECTIONS * WATCHERS_PER_CONNECTION, "each event comes once");
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events as f64;
    results.add("watch events rate", server.name(), events as f64 / took.as_secs_f64());
    results.add("watch events cpu", server.name(), each(server_cpu));
    results.add("watch events generator", server.name(), each(own_cpu));
}

async fn write(address: &str, key: &Bytes, puts: usize) {
    let client = Client::open(address).await.expect("the server accepts connections");
    let put = pb::PutRequest {
        key: key.clone(),
        value: Bytes::from(vec![b'w'; 256]),
        ..Default::default()
    };
    let left = Rc::new(Cell::new(puts));
    let mut writers = Vec::new();
    for _ in 0..10 {
        let (client, put, left) = (client.clone(), put.clone(), left.clone());
        writers.push(tokio::task::spawn_local(async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                let _: pb::PutResponse = client.ask("/etcdserverpb.KV/Put", &put).await;
            }
        }));
    }
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
}

/// So many streams on 100 connections, each with one watch of a key that nobody puts.
pub fn idle(server: &Server, results: &mut Results, streams: usize) {
    const CONNECTIONS: usize = 100;
    let address = server.address();
    let before = process::memory(server.pid()).now;
    let opening = server.cpu();
    run(async {
        let mut open = Vec::new();
        let clients = Client::open_many(&address, CONNECTIONS).await;
        for number in 0..streams {
            let (mut requests, answers) = watch_stream(&clients[number % CONNECTIONS]).await;
            requests.send(create(Bytes::from(format!("/idle/{number:06}"))));
            open.push((requests, answers));
        }
        for (_, answers) in &mut open {
            assert!(next(answers).await.created, "each watch is confirmed");
        }
        let opened = server.cpu() - opening;
        let name = server.name();
        results.add("idle streams open cpu", name, opened.as_secs_f64() * 1e6 / streams as f64);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (resting, began) = (server.cpu(), Instant::now());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let share = (server.cpu() - resting).as_secs_f64() / began.elapsed().as_secs_f64();
        results.add("idle streams cpu ms per s", name, share * 1e3);
        let memory = process::memory(server.pid()).now - before;
        results.add("idle streams memory MiB", name, memory);
    });
}
