//! Real clients at work: puts, transactions, watches that go on across kill -9, leases, compaction, locks.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::process::{Home, Server};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, TxnResponse};

/// Runs a client against a fresh server. When it says RESTART, the server is killed and started again
/// with the same data; when it ends, it must have said PASS.
#[track_caller]
fn run(name: &str, program: &Path, first_arguments: &[&str]) {
    let Some(subject) = foreign::subject(name) else { return };
    let server = Home::new(&subject, &[]).start();
    let address = server.address();
    work(name, program, first_arguments, &address, server);
}

/// The same for a client that is led to `server` by whoever listens at `address`.
#[track_caller]
pub fn work_through(name: &str, program: &Path, address: &str, server: Server) {
    work(name, program, &[], address, server);
}

#[track_caller]
fn work(name: &str, program: &Path, first_arguments: &[&str], address: &str, server: Server) {
    let mut server = Some(server);
    let mut child = Command::new(program)
        .args(first_arguments)
        .arg(address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut input = child.stdin.take().expect("it was piped");
    let mut last = String::new();
    for line in BufReader::new(child.stdout.take().expect("it was piped")).lines() {
        last = line.expect("the client writes text");
        println!("{name}: {last}");
        if last == "RESTART" {
            server = server.take().map(|running| running.kill_and_restart());
            writeln!(input, "go on").expect("the client reads on");
        }
    }
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success() && last.starts_with("PASS"), "{name}: {status}, at the end: {last}");
}

#[test]
fn the_official_go_client_works_across_a_restart() {
    let name = "go-client";
    let Some(program) = foreign::need(name, Part::GoClient) else { return };
    run(name, &program, &[]);
}

#[test]
fn pythons_etcd3_works_across_a_restart() {
    let name = "python-client";
    let Some(python) = foreign::need(name, Part::Python) else { return };
    let program = foreign::repository().join("clients/python-client/client.py");
    run(name, &python, &[&program.display().to_string()]);
}

#[test]
fn rusts_etcd_client_works_across_a_restart() {
    let name = "rust-client";
    let Some(program) = foreign::need(name, Part::RustClient) else { return };
    run(name, &program, &[]);
}

/// Go's client pings while it receives much, to learn how much its connection takes at once. That is no flood.
#[test]
fn the_official_client_reads_a_large_answer() {
    let name = "large-answer";
    let Some(etcdctl) = foreign::need(name, Part::EtcdctlNew) else { return };
    let Some(subject) = foreign::subject(name) else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    for batch in 0..400 {
        let put = |n: usize| PutRequest {
            key: format!("large/{batch:03}/{n:03}").into_bytes().into(),
            value: vec![b'v'; 200].into(),
            ..PutRequest::default()
        };
        let op = |n| RequestOp { request: Some(Request::RequestPut(put(n))) };
        let txn = TxnRequest { success: (0..128).map(op).collect(), ..TxnRequest::default() };
        connection.unary("/etcdserverpb.KV/Txn", &txn).ok::<TxnResponse>();
    }
    let endpoint = server.address();
    let mut get = Command::new(etcdctl);
    get.args(["--endpoints", &endpoint, "get", "--prefix", "large/", "--print-value-only"]);
    for _ in 0..3 {
        let done = get.output().expect("etcdctl starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{name}: {}", said.chars().take(2000).collect::<String>());
        assert_eq!(done.stdout.len(), 400 * 128 * 201);
    }
}
