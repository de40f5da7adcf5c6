//! The servers that are compared, and how each is started: same disk, same flags, one at a time.
//!
//! A slower disk is made by `slow-sync.py`, which holds back every `fdatasync` and `fsync` by a fixed time. It
//! works alike for C, Rust and Go, needs no privileges over a child of ours, and touches nothing but those
//! two calls. The server keeps the process id we started, so its CPU is its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::access::{self, Access, Tls};
use crate::client::Client;
use crate::process;

/// How long a server may take until it answers.
const READY_DURATION_MAX: Duration = Duration::from_secs(60);

/// A program under comparison.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Short name, as in results.
    pub name: &'static str,
    /// What it says of its version.
    pub version: String,
    binary: PathBuf,
}

impl Subject {
    /// The subjects that can be had: we first, then the newest etcd, then Debian's.
    pub fn all(root: &Path) -> Vec<Subject> {
        let foreign = std::env::var_os("HOLDFAST_FOREIGN")
            .map_or_else(|| root.join("target/foreign"), PathBuf::from);
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let ours = std::env::var_os("HOLDFAST_ETCD")
            .map_or_else(|| target.join("release/etcd"), PathBuf::from);
        let places = [
            ("holdfast", ours),
            ("etcd", foreign.join("bin/etcd-new")),
            ("etcd-3.4", PathBuf::from("/usr/bin/etcd")),
        ];
        places.into_iter().filter_map(|(name, binary)| Subject::at(name, binary)).collect()
    }

    fn at(name: &'static str, binary: PathBuf) -> Option<Subject> {
        let output = Command::new(&binary).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = |prefix: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(prefix))
                .map(str::trim)
                .map(str::to_string)
        };
        let mut version = words("etcd Version:")?;
        if let Some(own) = text.lines().find(|line| line.contains("holdfast")) {
            version = format!("{own} (speaks {version})");
        } else if let Some(go) = words("Go Version:") {
            version = format!("etcd {version} ({go})");
        }
        Some(Subject { name, version, binary })
    }
}

/// A server's folder and ports. They stay while processes come and go.
#[derive(Debug)]
pub struct Home {
    subject: Subject,
    folder: tempfile::TempDir,
    sync_delay: Duration,
    client_port: u16,
    peer_port: u16,
    cluster: Cluster,
    flags: Vec<String>,
    access: Access,
}

/// Whom a member is told it is, and among whom.
#[derive(Clone, Debug)]
struct Cluster {
    name: String,
    /// As in `--initial-cluster`.
    initial: String,
    /// As in `--initial-cluster-state`.
    state: &'static str,
}

/// Two ports that nobody listens on at this moment.
fn free_ports() -> (u16, u16) {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let (one, two) = (bind(), bind());
    (port(&one), port(&two))
}

impl Home {
    /// An empty home.
    pub fn new(subject: &Subject) -> Home {
        let folder = tempfile::Builder::new().prefix("holdfast-bench-").tempdir();
        let (client_port, peer_port) = free_ports();
        let initial = format!("bench=http://127.0.0.1:{peer_port}");
        Home {
            subject: subject.clone(),
            folder: folder.expect("a folder for data"),
            sync_delay: Duration::ZERO,
            client_port,
            peer_port,
            cluster: Cluster { name: "bench".into(), initial, state: "new" },
            flags: Vec::new(),
            access: Access::in_the_clear(&format!("127.0.0.1:{client_port}")),
        }
    }

    /// Empty homes of so many members of one cluster, which is new.
    pub fn cluster(subject: &Subject, members: usize) -> Vec<Home> {
        let mut homes: Vec<Home> = (0..members).map(|_| Home::new(subject)).collect();
        let named = |(at, home): (usize, &Home)| format!("m{at}={}", home.peer_url());
        let initial = homes.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
        for (at, home) in homes.iter_mut().enumerate() {
            home.cluster =
                Cluster { name: format!("m{at}"), initial: initial.clone(), state: "new" };
        }
        homes
    }

    /// An empty home of one more member for a cluster that runs.
    pub fn joining(&self, name: &str) -> Home {
        let mut home = Home::new(&self.subject);
        let initial = format!("{},{name}={}", self.cluster.initial, home.peer_url());
        home.cluster = Cluster { name: name.into(), initial, state: "existing" };
        home.flags.clone_from(&self.flags);
        home
    }

    /// The member's URL for other members.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// More flags.
    pub fn with_flags(mut self, flags: &[&str]) -> Home {
        self.flags.extend(flags.iter().map(|flag| flag.to_string()));
        self
    }

    /// The server asks for certificates, and clients have one.
    pub fn with_certificates(mut self) -> Home {
        access::make_files(self.folder());
        let file = |name: &str| self.folder().join(name).display().to_string();
        let flags = [
            format!("--cert-file={}", file("server.pem")),
            format!("--key-file={}", file("server.key")),
            format!("--trusted-ca-file={}", file("ca.pem")),
            "--client-cert-auth".to_owned(),
        ];
        self.access.tls = Some(Tls::of(self.folder()));
        self.flags.extend(flags);
        self
    }

    /// Every sync of the server takes so much longer.
    pub fn with_sync_delay(mut self, delay: Duration) -> Home {
        self.sync_delay = delay;
        self
    }

    /// The member's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder for other files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self) -> Command {
        let mut command = if self.sync_delay.is_zero() {
            Command::new(&self.subject.binary)
        } else {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slow-sync.py");
            let mut slowed = Command::new("python3");
            slowed.arg(script).arg(self.sync_delay.as_micros().to_string());
            slowed.arg(self.folder.path().join("syncs")).arg(&self.subject.binary);
            slowed
        };
        let log = File::create(self.folder.path().join("log")).expect("a file for the log");
        let scheme = if self.access.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", self.client_port);
        let peer = self.peer_url();
        let Cluster { name, initial, state } = &self.cluster;
        command
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", self.data_dir().display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={initial}"))
            .arg(format!("--initial-cluster-state={state}"))
            .args(&self.flags)
            .args(["--quota-backend-bytes=8589934592", "--logger=zap", "--log-level=error"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        command
    }

    /// Starts a process and waits until it answers a linearizable read.
    pub fn start(self) -> Server {
        let mut server = self.launch();
        server.wait_until_ready();
        server
    }

    /// Starts a process.
    pub fn launch(self) -> Server {
        let began = Instant::now();
        let child = self.command().spawn().expect("the server's program starts");
        Server { child, home: Some(self), began, ready_after: Duration::ZERO }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    home: Option<Home>,
    began: Instant,
    ready_after: Duration,
}

impl Server {
    /// Where it lives.
    pub fn home(&self) -> &Home {
        self.home.as_ref().expect("the home leaves only with the server")
    }

    /// Waits until it answers a linearizable read.
    pub fn wait_until_ready(&mut self) {
        while !Client::answers(self.access()) {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the server ended before it was ready:\n{}", self.log());
            let waited = self.began.elapsed();
            assert!(waited < READY_DURATION_MAX, "not ready in time:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ready_after = self.began.elapsed();
    }

    /// `host:port` of the client listener.
    pub fn address(&self) -> String {
        self.access().address.clone()
    }

    /// How its clients come in.
    pub fn access(&self) -> &Access {
        &self.home().access
    }

    /// From now on its clients show this token.
    pub fn show(&mut self, token: String) {
        let home = self.home.as_mut().expect("the home leaves only with the server");
        home.access.token = Some(token);
    }

    /// The subject's short name.
    pub fn name(&self) -> &'static str {
        self.home().subject.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the start of the process to its first answer to a linearizable read.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its CPU so far.
    pub fn cpu(&self) -> Duration {
        process::cpu(self.pid())
    }

    /// Syncs it made, where they are slowed down and hence counted.
    pub fn syncs(&self) -> usize {
        let counted = std::fs::metadata(self.home().folder().join("syncs"));
        counted.map_or(0, |file| file.len() as usize)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home().folder().join("log")).unwrap_or_default()
    }

    /// Sends the process a signal, and does not wait for what comes of it.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .expect("a child that was not waited for keeps its process id");
    }

    /// Waits until the process has ended by itself, and leaves its home.
    pub fn wait(mut self) -> Home {
        self.child.wait().expect("a child can be waited for");
        self.home.take().expect("the home leaves only once")
    }

    /// Ends the process with SIGKILL, as a crash would, and leaves its home.
    pub fn kill(mut self) -> Home {
        self.end();
        self.home.take().expect("the home leaves only once")
    }

    fn end(&mut self) {
        // Either may fail because the process has already ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.home.is_some() {
            self.end();
        }
    }
}
