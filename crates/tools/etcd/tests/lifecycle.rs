//! A member's life as seen from outside: what it logs, when it tells systemd, how it ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A server under test, killed when dropped.
struct Server {
    process: Child,
    notified: UnixDatagram,
    log: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_url() -> String {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    format!("http://{}", address.expect("a port"))
}

impl Server {
    fn start(folder: &Path, args: &[&str]) -> Server {
        Server::start_by(Command::new(env!("CARGO_BIN_EXE_etcd")), folder, args)
    }

    fn start_by(mut command: Command, folder: &Path, args: &[&str]) -> Server {
        let socket =
            folder.join(format!("notify-{}", fs::read_dir(folder).expect("there").count()));
        let notified = UnixDatagram::bind(&socket).expect("binds");
        notified.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let log = socket.with_extension("log");
        let client = free_url();
        let process = command
            .args(["--name", "m1", "--data-dir"])
            .arg(folder.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", "http://127.0.0.1:0"])
            .args(args)
            .env("NOTIFY_SOCKET", &socket)
            .stderr(fs::File::create(&log).expect("creates"))
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        Server { process, notified, log }
    }

    fn wait_until_ready(&self) {
        let mut buffer = [0; 32];
        let length = self.notified.recv(&mut buffer);
        let length = length.unwrap_or_else(|error| panic!("{error}: {}", self.text()));
        assert_eq!(&buffer[..length], b"READY=1");
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("it was started")
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).expect("readable")
    }

    fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).expect("every line is JSON");
        self.text().lines().map(parse).collect()
    }

    /// The lines hold these messages in this order.
    #[track_caller]
    fn said_in_order(&self, messages: &[&str]) {
        let lines = self.lines();
        let mut said = lines.iter().filter_map(|line| line["msg"].as_str());
        for message in messages {
            assert!(said.any(|found| found == *message), "{message}, in\n{}", self.text());
        }
    }
}

#[test]
fn a_member_says_what_tools_wait_for_and_ends_by_the_signal_it_was_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path(), &[]);
    server.wait_until_ready();
    server.signal("TERM");
    assert_eq!(server.wait().signal(), Some(15), "{}", server.text());
    server.said_in_order(&[
        "Running: ",
        "Initialize and start etcd server",
        "starting an etcd server",
        "now serving peer/client/metrics",
        "ready to serve client requests",
        "serving client traffic insecurely; this is strongly discouraged!",
        "successfully notified init daemon",
        "received signal; shutting down",
        "closing etcd server",
        "closed etcd server",
    ]);
    let lines = server.lines();
    let with = |message: &str| {
        lines.iter().find(|line| line["msg"] == message).unwrap_or_else(|| panic!("{message}"))
    };
    let published = with("published local member to cluster through raft");
    assert_eq!(published["publish-timeout"], "7s");
    let attributes = published["local-member-attributes"].as_str().unwrap_or_default();
    assert!(attributes.starts_with("{Name:m1 ClientURLs:[http://127.0.0.1:"), "{attributes}");
    assert_eq!(with("received signal; shutting down")["signal"], "terminated");
    let elected = lines.iter().find(|line| line["logger"] == "raft" && line["msg"] != "");
    let elected = elected.expect("raft has its say")["msg"].as_str().unwrap_or_default();
    assert!(elected.contains(" leader "), "{elected}");

    let mut again = Server::start(folder.path(), &[]);
    again.wait_until_ready();
    again.signal("INT");
    assert_eq!(again.wait().signal(), Some(2), "{}", again.text());
    again.said_in_order(&["server has already been initialized", "ready to serve client requests"]);
}

#[test]
fn two_signals_end_the_member_no_less_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path(), &[]);
    server.wait_until_ready();
    server.signal("INT");
    server.signal("TERM");
    assert_eq!(server.wait().signal(), Some(2), "{}", server.text());
    server.said_in_order(&["closed etcd server"]);
}

#[test]
fn a_taken_port_ends_the_start_with_code_one_naming_the_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("bound");
    let mut server =
        Server::start(folder.path(), &["--listen-peer-urls", &format!("http://{address}")]);
    assert_eq!(server.wait().code(), Some(1), "{}", server.text());
    let lines = server.lines();
    let last = lines.last().expect("lines");
    assert_eq!(last["msg"], "discovery failed");
    assert_eq!(last["error"], format!("listen tcp {address}: bind: address already in use"));
}

#[test]
fn a_directory_that_holds_a_member_and_a_proxy_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["member", "proxy"] {
        fs::create_dir_all(folder.path().join("data").join(name)).expect("creates");
    }
    let mut server = Server::start(folder.path(), &[]);
    assert_eq!(server.wait().code(), Some(1), "{}", server.text());
    assert!(server.text().contains("invalid datadir; both member and proxy directories exist"));
}

#[test]
fn the_log_goes_where_it_is_told_in_the_form_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("etcd.log");
    let args = ["--log-outputs", path.to_str().expect("a plain path"), "--log-format=console"];
    let mut server = Server::start(folder.path(), &args);
    server.wait_until_ready();
    server.signal("TERM");
    server.wait();
    assert_eq!(server.text(), "");
    let text = fs::read_to_string(&path).expect("readable");
    let first = text.lines().find(|line| line.contains("Running: ")).expect("the first line");
    assert!(first.contains("\tinfo\t") && first.contains("\tRunning: \t{\"args\": ["), "{first}");
}

#[test]
fn version_has_etcds_four_lines_and_one_that_names_this_server() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_etcd")).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    assert_eq!(names, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch", "Holdfast Version"]);
    assert!(text.starts_with("etcd Version: 3.7.1\n"));
    assert_eq!(output.status.code(), Some(0));
}

/// Log rotation sends SIGUSR1, a file limit SIGXFSZ; Go's runtime goes on, and so do we.
#[test]
fn signals_without_a_meaning_end_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path(), &[]);
    server.wait_until_ready();
    for signal in
        ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "XFSZ", "IO", "PWR", "34", "50", "64"]
    {
        let id = server.process.id().to_string();
        let sent = Command::new("bash").args(["-c", &format!("kill -{signal} {id}")]).status();
        assert!(sent.expect("bash is there").success());
        std::thread::sleep(Duration::from_millis(20));
        let ended = server.process.try_wait().expect("a child can be asked");
        assert_eq!(ended, None, "SIG{signal}");
    }
}

#[test]
fn all_open_files_that_may_be_had_are_taken_and_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 100; ulimit -Hn 1000; exec \"$0\" \"$@\""]);
    shell.arg(env!("CARGO_BIN_EXE_etcd"));
    let server = Server::start_by(shell, folder.path(), &[]);
    server.wait_until_ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.process.id()));
    let limits = limits.expect("it runs");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("there");
    let numbers: Vec<_> =
        files.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers, ["1000", "1000"], "{files}");
    let lines = server.lines();
    let raised = lines.iter().find(|line| line["msg"] == "raised the limit of open files");
    let raised = raised.unwrap_or_else(|| panic!("{}", server.text()));
    assert_eq!((&raised["before"], &raised["now"]), (&"100".into(), &"1000".into()));
}
