//! Real clients while the leader of their cluster is killed: each writes, watches, keeps a lease alive and holds a lock.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need};

/// How long all of them may take together.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a client says.
enum Said {
    /// It has a lease, a lock and a watch, and waits for a line to begin its writes.
    Ready,
    /// It has ended, with these last words.
    End(String),
}

/// The clients that can be had here, each ready to be started with a list of addresses.
fn clients() -> Vec<(&'static str, Command)> {
    let mut clients = Vec::new();
    for (name, part) in [("go-failover", Part::GoClient), ("rust-failover", Part::RustClient)] {
        if let Some(program) = need(name, part) {
            let mut command = Command::new(program);
            command.arg("failover");
            clients.push((name, command));
        }
    }
    if let Some(python) = need("python-failover", Part::Python) {
        let mut command = Command::new(python);
        command.arg(foreign::repository().join("clients/python-client/client.py")).arg("failover");
        clients.push(("python-failover", command));
    }
    if let Some(classes) = need("java-failover", Part::JavaClient) {
        let libraries = classes.with_file_name("lib").join("*");
        let mut command = Command::new("java");
        command.args(["-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{}:{}", classes.display(), libraries.display())).arg("Failover");
        clients.push(("java-failover", command));
    }
    if let Some(modules) = need("node-failover", Part::NodeModules) {
        let mut command = Command::new("node");
        command.arg(foreign::repository().join("clients/node-client/client.js"));
        command.env("NODE_PATH", modules);
        clients.push(("node-failover", command));
    }
    clients
}

/// Reads what a client prints.
fn listen(name: &'static str, child: &mut Child, say: mpsc::Sender<(&'static str, Said)>) {
    let output = BufReader::new(child.stdout.take().expect("it was piped"));
    thread::spawn(move || {
        let mut last = String::new();
        for line in output.lines().map_while(Result::ok) {
            println!("{name}: {line}");
            if line == "READY" {
                say.send((name, Said::Ready)).expect("the test listens");
            }
            last = line;
        }
        // The test may have given up by now.
        let _ = say.send((name, Said::End(last)));
    });
}

/// The addresses of a cluster, its leader's first: so everybody is connected to who will be killed.
fn addresses(cluster: &Cluster, leader: usize) -> String {
    let all: Vec<_> = (0..3).map(|seat| cluster.address((leader + seat) % 3)).collect();
    all.join(",")
}

struct Running(Vec<(&'static str, Child)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn real_clients_live_through_the_death_of_their_leader() {
    let Some(ours) = foreign::subject("failover") else { return };
    live_through_it(&ours);
}

#[track_caller]
fn live_through_it(server: &Path) {
    let mut cluster = Cluster::start(&[server, server, server], &[]);
    let leader = cluster.leader();
    let addresses = addresses(&cluster, leader);
    let (say, said) = mpsc::channel();
    let mut running = Running(Vec::new());
    for (name, mut command) in clients() {
        command.arg(&addresses).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        listen(name, &mut child, say.clone());
        running.0.push((name, child));
    }
    let (mut ready, mut ended) = (0, 0);
    let count = running.0.len();
    while ended < count {
        let (name, said) = said.recv_timeout(PATIENCE).expect("they get on");
        match said {
            Said::Ready => ready += 1,
            Said::End(last) => {
                assert!(last.starts_with("PASS"), "{name}: {last}");
                ended += 1;
            }
        }
        if ready == count {
            ready = 0;
            for (name, child) in &mut running.0 {
                let input = child.stdin.as_mut().expect("it was piped");
                writeln!(input, "begin").unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            // Their writes take two seconds without a mishap.
            thread::sleep(Duration::from_millis(500));
            cluster.kill(leader);
            assert_ne!(cluster.leader(), leader);
        }
    }
    assert_eq!(ended, count);
}
