//! Real etcd programs to compare with, found by environment or PATH, and the little HTTP they need.
//!
//! Without them these tests are skipped and say so; set `HOLDFAST_ORACLE_REQUIRED=1` where a missing
//! program must be a failure.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

/// The program called `name`, or `None` after saying that it is missing.
pub fn find(name: &str) -> Option<PathBuf> {
    let variable = format!("HOLDFAST_ORACLE_{}", name.to_uppercase());
    let named = std::env::var_os(&variable).map(PathBuf::from);
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| works(file))
    };
    let found = named.or_else(in_path);
    if found.is_none() {
        assert!(std::env::var_os("HOLDFAST_ORACLE_REQUIRED").is_none(), "no {name} found");
        eprintln!("SKIPPED: no real {name}; name one in {variable} or put it into PATH");
    }
    found
}

/// A file of that name may be a wrapper around nothing.
fn works(file: &Path) -> bool {
    let run = |argument| {
        let mut command = Command::new(file);
        command.arg(argument).env("ETCDCTL_API", "3").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    file.is_file() && (run("--version") || run("version"))
}

/// Runs a program to its end.
pub fn run(program: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).env("ETCDCTL_API", "3").output();
    output.expect("the program was found and started before")
}

/// Runs a program that must succeed and returns what it printed.
#[track_caller]
pub fn succeed(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program:?} {arguments:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A running etcd of one member. Ends with its owner.
pub struct Server {
    child: Child,
    pub client_port: u16,
    pub peer_port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

impl Server {
    /// Starts `etcd` on a data directory and waits until it answers.
    pub fn start(etcd: &Path, data_dir: &Path, client_port: u16, peer_port: u16) -> Server {
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let log = std::fs::File::create(data_dir.with_extension("log")).expect("a log file");
        let child = Command::new(etcd)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        let mut server = Server { child, client_port, peer_port };
        let started = Instant::now();
        while server.try_post("/v3/kv/range", &json!({"key": base64("x")})).is_none() {
            let ended = server.child.try_wait().expect("it is our child");
            let log = || std::fs::read_to_string(data_dir.with_extension("log"));
            assert!(ended.is_none(), "etcd ended: {ended:?}\n{:?}", log());
            assert!(started.elapsed() < Duration::from_secs(30), "no answer\n{:?}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Stops it as an operator would.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).expect("the server answers")
    }

    fn try_post(&self, path: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.client_port)).ok()?;
        let head = format!(
            "POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let answer = &answer[end..];
        let value: Value = serde_json::from_slice(answer).ok()?;
        value.get("error").is_none().then_some(value)
    }
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn unbase64(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).expect("etcd sends base64")
}
