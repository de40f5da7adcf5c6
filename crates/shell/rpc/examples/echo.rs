//! An echo server, to measure what a call costs before anybody does anything with it.
//!
//! Runs `h2load` against itself and prints calls per second and processor time per call, or serves
//! until killed when given an address:
//!
//! ```text
//! cargo run --release -p holdfast-rpc --example echo
//! cargo run --release -p holdfast-rpc --example echo -- 127.0.0.1:4000
//! ```

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdfast_rpc::{Call, Limits, NoObserver, Router, Server};
use net::{Listener, Protocols, Socket, SocketOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Like a put of 256 bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: bytes::Bytes,
}

impl prost::Name for Put {
    const NAME: &'static str = "Put";
    const PACKAGE: &'static str = "test";
}

const CALLS: u64 = 400_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut router = Router::new();
    router.unary_of("/test.Echo/Once", |_call: Call, put: Put| async move { Ok(put) });
    router.unary_of("/test.Echo/Later", |_call: Call, put: Put| async move {
        // What a proposal does: another task answers.
        tokio::task::yield_now().await;
        Ok(put)
    });
    let given = std::env::args().nth(1);
    let address = given.as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let socket = Socket::tcp(address, SocketOptions::default())?;
    let address = socket.address().ok_or("a TCP socket has an address")?;
    let server = Server::new(Arc::new(router), Limits::default(), Arc::new(NoObserver));
    let running = server.serve(vec![Listener::new(socket, Protocols::Both)])?;
    println!("listening on {address}");
    if given.is_some() {
        loop {
            std::thread::park();
        }
    }
    let request = std::env::temp_dir().join(format!("echo-{}", std::process::id()));
    std::fs::write(&request, put_of_256_bytes())?;
    for path in ["/test.Echo/Once", "/test.Echo/Later"] {
        let before = processor_us()?;
        let report = load(&format!("http://{address}{path}"), &request)?;
        let per_call = (processor_us()? - before) as f64 / CALLS as f64;
        let finished = report.lines().find(|line| line.starts_with("finished")).unwrap_or("");
        let errors = report.lines().find(|line| line.starts_with("requests")).unwrap_or("");
        println!("{path}: {per_call:.2} us of processor time per call; {finished}; {errors}");
    }
    std::fs::remove_file(&request)?;
    drop(running);
    Ok(())
}

fn put_of_256_bytes() -> Vec<u8> {
    let put = Put { key: vec![b'k'; 24].into(), value: vec![b'v'; 256].into() };
    let message = prost::Message::encode_to_vec(&put);
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

fn load(url: &str, request: &std::path::Path) -> Result<String, Box<dyn Error>> {
    let out = Command::new("h2load")
        .args(["-n", &CALLS.to_string(), "-c100", "-m10", "-t1"])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"])
        .arg(request)
        .arg(url)
        .stderr(Stdio::inherit())
        .output()?;
    Ok(String::from_utf8(out.stdout)?)
}

/// User and system time of this process, in microseconds.
fn processor_us() -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no process name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    const TICKS_PER_SECOND: u64 = 100;
    Ok(ticks * 1_000_000 / TICKS_PER_SECOND)
}
