//! Rates by `h2load`, with a gRPC message as its body: the generator nobody of us wrote.
//!
//! It repeats one request over C connections with M in flight on each. What it took of the CPU is
//! reported too: on a machine with few cores the generator is in the server's way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

use crate::process;
use crate::subject::Server;

/// How `h2load` is to load a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub streams: usize,
    /// Requests in all.
    pub requests: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests in a second.
    pub rate: f64,
    /// The server's CPU for each, in microseconds.
    pub server_micros: f64,
    /// The generator's CPU for each, in microseconds.
    pub generator_micros: f64,
    /// Waits in microseconds, in order, when they were asked for.
    pub waits: Vec<u32>,
}

/// True when there is an `h2load` here.
pub fn is_here() -> bool {
    let asked = Command::new("h2load").arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Loads the first of these servers with one request; the CPU is that of them all. The run ends when any request fails.
pub fn run(servers: &[&Server], path: &str, framed: &Bytes, load: Load, waits: bool) -> Outcome {
    let server = servers.first().expect("somebody is loaded");
    let folder = server.home().folder();
    let body = folder.join("body");
    let log = folder.join("waits");
    std::fs::write(&body, framed).expect("the body can be written");
    // h2load adds to a log that is there.
    let _ = std::fs::remove_file(&log);
    let mut command = Command::new("h2load");
    command
        .args(["-n", &load.requests.to_string()])
        .args(["-c", &load.connections.to_string()])
        .args(["-m", &load.streams.to_string()])
        .args(["-w", "24", "-W", "26"])
        .arg("-d")
        .arg(&body)
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    if let Some(token) = &server.access().token {
        command.args(["-H", &format!("authorization: {token}")]);
    }
    if waits {
        command.arg(format!("--log-file={}", log.display()));
    }
    command.arg(format!("http://{}{path}", server.address()));
    let cpu = || servers.iter().map(|server| server.cpu()).sum::<Duration>();
    let (server_before, own_before) = (cpu(), process::cpu_of_children());
    let output = command.output().expect("h2load runs");
    let server_cpu = cpu() - server_before;
    let own_cpu = process::cpu_of_children() - own_before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{} succeeded", load.requests);
    assert!(text.contains(&all), "h2load on {path}: {text}");
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / load.requests as f64;
    Outcome {
        rate: rate_of(&text).expect("h2load prints its rate"),
        server_micros: each(server_cpu),
        generator_micros: each(own_cpu),
        waits: if waits { read_waits(&log) } else { Vec::new() },
    }
}

/// From the line `finished in 2.31s, 43210.12 req/s, 5.3MB/s`.
fn rate_of(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("finished in"))?;
    line.split(", ").nth(1)?.split(' ').next()?.parse().ok()
}

/// The third column of each line.
fn read_waits(log: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let third = |line: &str| line.split('\t').nth(2)?.parse().ok();
    let mut waits: Vec<u32> = text.lines().filter_map(third).collect();
    waits.sort_unstable();
    waits
}
