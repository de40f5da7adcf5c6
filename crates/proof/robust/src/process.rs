//! A server process: started on loopback with ports the operating system gave, in a folder of its own.
//!
//! The process dies with its [`Server`], its data with its [`Home`]; when the thread panics, the last
//! lines of the log are printed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::grpc::Connection;
pub use crate::ports::free_ports;
use crate::{http, secure};

/// How long a server may take until it answers.
const READY_DURATION_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to stop after SIGTERM.
const STOP_DURATION_MAX: Duration = Duration::from_secs(20);

/// A server's folder and addresses. They stay while processes come and go.
#[derive(Debug)]
pub struct Home {
    folder: tempfile::TempDir,
    binary: PathBuf,
    flags: Vec<String>,
    client_port: u16,
    peer_port: u16,
    starts: u32,
    files_max: Option<(u32, u32)>,
    /// Where health is asked of a server whose clients must show a certificate.
    health_port: Option<u16>,
}

impl Home {
    /// A new, empty home for the server `binary`, which is always started with these extra flags.
    ///
    /// The member advertises fixed URLs that nobody dials, not those it listens on: so two servers get
    /// the same member and cluster id, and answers with ids in them can be compared.
    pub fn new(binary: &Path, flags: &[&str]) -> Home {
        let (client_port, peer_port) = free_ports().expect("loopback has free ports");
        Home {
            folder: tempfile::Builder::new().prefix("holdfast-").tempdir().expect("a folder"),
            binary: binary.to_path_buf(),
            flags: flags.iter().map(|flag| flag.to_string()).collect(),
            client_port,
            peer_port,
            starts: 0,
            files_max: None,
            health_port: None,
        }
    }

    /// Everything is encrypted from now on, and clients must show a certificate; with `--client-cert-auth` among the
    /// flags its name is a user. Those of [`secure::CERTIFICATES`]
    /// are made in the home's folder.
    #[track_caller]
    #[must_use]
    pub fn with_tls(mut self) -> Home {
        secure::bash(self.folder(), secure::CERTIFICATES);
        self.health_port = Some(free_ports().expect("loopback has free ports").0);
        self
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.health_port.is_some() { "https" } else { "http" }
    }

    /// The member's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `host:port` of the client listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// The flags of the next start are these.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| flag.to_string()).collect();
    }

    /// Another program serves this home from the next start on.
    pub fn set_binary(&mut self, binary: &Path) {
        self.binary = binary.to_path_buf();
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("log-{}", self.starts))
    }

    fn command(&self) -> io::Result<Command> {
        let log = File::create(self.log_path())?;
        let mut command = match self.files_max {
            None => Command::new(&self.binary),
            // Of util-linux: it sets the limits, then becomes the program.
            Some((soft, hard)) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={soft}:{hard}")).arg(&self.binary);
                command
            }
        };
        command
            .arg("--name=robust")
            .arg(format!("--data-dir={}", self.data_dir().display()))
            .arg(format!("--listen-client-urls={}://{}", self.scheme(), self.address()))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{}", self.peer_port))
            .arg("--advertise-client-urls=http://localhost:2379")
            .arg("--initial-advertise-peer-urls=http://localhost:2380")
            .arg("--initial-cluster=robust=http://localhost:2380")
            .args(self.health_port.iter().flat_map(|port| self.tls_flags(*port)))
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    fn tls_flags(&self, health_port: u16) -> [String; 4] {
        let file = |name: &str| self.folder().join(name).display().to_string();
        [
            format!("--cert-file={}", file("server.pem")),
            format!("--key-file={}", file("server.key")),
            format!("--trusted-ca-file={}", file("ca.pem")),
            format!("--listen-metrics-urls=http://127.0.0.1:{health_port}"),
        ]
    }

    /// Lets processes have so many files open: a soft limit and a hard one.
    #[must_use]
    pub fn files_max(mut self, soft: u32, hard: u32) -> Home {
        self.files_max = Some((soft, hard));
        self
    }

    /// Starts a process and waits until it serves. Panics with its log when it does not.
    #[track_caller]
    pub fn start(mut self) -> Server {
        self.starts += 1;
        let child = self.command().and_then(|mut command| command.spawn());
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        let mut server = Server { child, home: Some(self) };
        server.wait_until_ready();
        server
    }

    /// Starts a process that is expected to end by itself, and returns its status and log.
    pub fn start_and_fail(mut self, patience: Duration) -> (Option<ExitStatus>, String) {
        self.try_start(patience)
    }

    /// As [`Home::start_and_fail`], and keeps the home. A process that does not end by itself is killed.
    pub fn try_start(&mut self, patience: Duration) -> (Option<ExitStatus>, String) {
        self.starts += 1;
        let mut child = self.command().and_then(|mut c| c.spawn()).expect("the program starts");
        let status = wait(&mut child, patience);
        if status.is_none() {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
        }
        (status, std::fs::read_to_string(self.log_path()).unwrap_or_default())
    }
}

pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be asked for its state") {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    home: Option<Home>,
}

impl Server {
    /// Where it lives.
    pub fn home(&self) -> &Home {
        self.home.as_ref().expect("the home leaves only with the server")
    }

    /// `host:port` of the client listener.
    pub fn address(&self) -> String {
        self.home().address()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new gRPC connection.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(&self.address()).expect("a server that is ready accepts connections")
    }

    /// All lines of the present process's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home().log_path()).unwrap_or_default()
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + READY_DURATION_MAX;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("the server ended with {status} before it was ready:\n{}", self.log_tail());
            }
            if self.is_ready() {
                return;
            }
            assert!(Instant::now() < deadline, "not ready in time:\n{}", self.log_tail());
            sleep(Duration::from_millis(20));
        }
    }

    /// Ready means: healthy, and the cluster's version is decided, so that answers do not change later.
    fn is_ready(&self) -> bool {
        if let Some(port) = self.home().health_port {
            let answer = http::get(&format!("127.0.0.1:{port}"), "/health");
            return answer.is_ok_and(|answer| answer.status == 200);
        }
        let ask = |path| http::get(&self.address(), path).ok();
        let healthy = ask("/health").is_some_and(|answer| answer.status == 200);
        healthy && ask("/version").is_some_and(|answer| !answer.text().contains("not_decided"))
    }

    /// Ends the process with SIGKILL, as a crash would, and leaves its home.
    pub fn kill(mut self) -> Home {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        self.home.take().expect("the home leaves only once")
    }

    /// Kills the process, and starts the next one with the same data.
    #[track_caller]
    pub fn kill_and_restart(self) -> Server {
        self.kill().start()
    }

    /// Ends the process with SIGTERM.
    #[track_caller]
    pub fn stop(mut self) -> (Home, ExitStatus) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a child has a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM is sent");
        let status = wait(&mut self.child, STOP_DURATION_MAX);
        let status = status.unwrap_or_else(|| panic!("it does not stop:\n{}", self.log_tail()));
        (self.home.take().expect("the home leaves only once"), status)
    }

    /// True while the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.home.is_none() {
            return;
        }
        if std::thread::panicking() {
            println!("the last lines of the server's log:\n{}", self.log_tail());
        }
        // Either may fail because the process has already ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
