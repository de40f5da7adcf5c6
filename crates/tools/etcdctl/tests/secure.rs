//! Certificates and discovery, beside the newest etcdctl on an etcd that wants both: same words, same exit codes.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use robust::foreign::{Part, need, skip};

use crate::mask::Mask;

const READY_DURATION_MAX: Duration = Duration::from_secs(30);
/// The domain whose records the tests' own name server knows.
const DOMAIN: &str = "holdfast.test";
/// Where it listens: an address of this machine that no other name server has.
const NAME_SERVER: &str = "127.83.71.5";

/// A new authority, and certificates for a server and a client that it signed; `other-ca` is a stranger.
const CERTIFICATES: &str = "set -e
for ca in ca other-ca; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
    -subj /CN=$ca -keyout $ca.key -out $ca.pem
done
sign() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj /CN=$1 -keyout $1.key -out $1.csr
  printf \"subjectAltName=$2\\nextendedKeyUsage=$3\\n\" > $1.ext
  openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile $1.ext -out $1.pem
}
sign server IP:127.0.0.1,DNS:localhost,DNS:holdfast.test,DNS:member.holdfast.test serverAuth,clientAuth
sign client DNS:client clientAuth
printf 'no certificate' > none.pem
";

/// An etcd that talks TLS only and wants clients to show a certificate. Gone with this.
struct Secure {
    folder: tempfile::TempDir,
    etcd: Child,
    address: String,
}

impl Drop for Secure {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
    }
}

impl Secure {
    #[track_caller]
    fn start(etcd: &Path) -> Secure {
        let folder = tempfile::Builder::new().prefix("secure-").tempdir().expect("a folder");
        let made = Command::new("bash").args(["-c", CERTIFICATES]).current_dir(&folder).output();
        let made = made.expect("bash is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = port.expect("a free port").to_string();
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let etcd = Command::new(etcd)
            .current_dir(&folder)
            .args([format!("--listen-client-urls=https://{address}")])
            .args([format!("--advertise-client-urls=https://{address}")])
            .args(["--listen-peer-urls=http://127.0.0.1:0", "--data-dir=data"])
            .args(["--cert-file=server.pem", "--key-file=server.key", "--client-cert-auth"])
            .args(["--trusted-ca-file=ca.pem"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        Secure { folder, etcd, address }
    }

    /// Runs an etcdctl in the folder of the certificates, after `words` that say where.
    fn run(&self, mut command: Command, line: &str) -> Output {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD") {
                command.env_remove(name);
            }
        }
        let words = line.split(' ').filter(|word| !word.is_empty());
        let (variables, words): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.starts_with("ETCDCTL_"));
        let variables = variables.iter().filter_map(|word| word.split_once('='));
        command.envs(variables).args(words).current_dir(&self.folder).stdin(Stdio::null());
        command.output().expect("it starts")
    }

    /// Exit code, stdout and stderr, masked.
    fn shown(&self, command: Command, line: &str) -> (Option<i32>, String, String) {
        let output = self.run(command, line);
        let addresses = [self.address.clone()];
        let mask = Mask { addresses: &addresses, folder: self.folder.path() };
        (output.status.code(), mask.hide(&output.stdout), hide_race(&mask.hide(&output.stderr)))
    }

    /// Runs each line with ours and with theirs, as `begun` begins it; both must show the same.
    #[track_caller]
    fn compare<L: AsRef<str>>(&self, lines: &[L], theirs: &Path, begun: impl Fn(&Path) -> Command) {
        let differs = |line: &str| {
            let mine = self.shown(begun(&ours()), line);
            let other = self.shown(begun(theirs), line);
            (mine != other).then(|| format!("$ {line}\n  ours   {mine:?}\n  theirs {other:?}"))
        };
        let differ: Vec<String> = lines.iter().filter_map(|line| differs(line.as_ref())).collect();
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }

    fn at_endpoint(&self, etcdctl: &Path) -> Command {
        let mut command = Command::new(etcdctl);
        command.args(["--endpoints", &self.address]);
        command
    }

    #[track_caller]
    fn wait_until_ready(&self, etcdctl: &Path) {
        let deadline = Instant::now() + READY_DURATION_MAX;
        let line = "--cacert ca.pem --cert client.pem --key client.key endpoint health";
        while !self.run(self.at_endpoint(etcdctl), line).status.success() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "etcd does not become ready: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A server that refuses a certificate sends an alert and closes. Whether a client that is writing meanwhile
/// hears the alert, the end, or that it cannot write, differs from one try to the next, for both.
fn hide_race(text: &str) -> String {
    const HEARD: [&str; 5] = [
        "remote error: tls: certificate required",
        "remote error: tls: unknown certificate authority",
        "error reading server preface: EOF",
        "write: broken pipe",
        "connection reset by peer",
    ];
    let line = |line: &str| match line.split_once("latest balancer error: ") {
        Some((before, why)) if HEARD.iter().any(|heard| why.contains(heard)) => {
            format!("{before}latest balancer error: REFUSED\"}}\n")
        }
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

fn ours() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_etcdctl"))
}

/// An etcd and the etcdctl to compare with, or `None` after the test was reported as skipped.
fn parts(test: &str) -> Option<(Secure, PathBuf)> {
    let (etcd, theirs) = (need(test, Part::EtcdNew)?, need(test, Part::EtcdctlNew)?);
    if Command::new("openssl").arg("version").output().is_err() {
        skip(test, "openssl is missing (remedy: apt-get install openssl)");
        return None;
    }
    let secure = Secure::start(&etcd);
    secure.wait_until_ready(&theirs);
    Some((secure, theirs))
}

#[test]
fn certificates_are_used_and_refused_with_the_same_words() {
    let Some((secure, theirs)) = parts("certificates") else { return };
    let lines = [
        "--cacert ca.pem --cert client.pem --key client.key put a 1",
        "--cacert=ca.pem --cert=client.pem --key=client.key get a -w json",
        "--cacert ca.pem --cert client.pem --key client.key endpoint health",
        "--cacert ca.pem --cert client.pem --key client.key endpoint hashkv",
        "--cacert ca.pem --cert client.pem --key client.key member list",
        "--insecure-skip-tls-verify --cert client.pem --key client.key get a",
        "--insecure-transport=false --cacert ca.pem --cert client.pem --key client.key get a",
        "ETCDCTL_CACERT=ca.pem ETCDCTL_CERT=client.pem ETCDCTL_KEY=client.key get a",
        // Refused before anybody is asked.
        "--cacert ca.pem --cert client.pem get a",
        "--cacert ca.pem --key client.key get a",
        "--cacert absent.pem --cert client.pem --key client.key get a",
        "--cacert ca.pem --cert absent.pem --key client.key get a",
        "--cacert ca.pem --cert client.pem --key absent.key get a",
        "--cacert ca.pem --cert none.pem --key client.key get a",
        "--cacert ca.pem --cert client.pem --key none.pem get a",
        "--cacert ca.pem --cert client.pem --key server.key get a",
        "--cacert= get a",
        "--cert= --key= get a",
        // Refused by one of the two.
        "--command-timeout 2s --cacert ca.pem get a",
        "--command-timeout 2s --cacert other-ca.pem --cert client.pem --key client.key get a",
        "--command-timeout 2s --cacert ca.pem --cert other-ca.pem --key other-ca.key get a",
        "--command-timeout 2s --cert client.pem --key client.key get a",
        "--command-timeout 2s get a",
        "--command-timeout 2s --cacert ca.pem endpoint health",
    ];
    secure.compare(&lines, &theirs, |etcdctl| secure.at_endpoint(etcdctl));
}

#[test]
fn endpoints_are_discovered_by_name_as_theirs_are() {
    let Some((secure, theirs)) = parts("discovery") else { return };
    let port = secure.address.rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.expect("an address has a port");
    let Some(_server) = NameServer::start(port) else {
        return skip("discovery", "no name server can listen on port 53 (remedy: be root)");
    };
    let resolv = secure.folder.path().join("resolv.conf");
    fs::write(&resolv, format!("nameserver {NAME_SERVER}\n")).expect("a file");
    // In a file system of its own, where the tests' name server is the system's.
    let apart = |etcdctl: &Path| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        command.args(["--mount", "bash", "-c", script, "bash"]).arg(&resolv).arg(etcdctl);
        command
    };
    if !secure.run(apart(Path::new("true")), "").status.success() {
        return skip("discovery", "no file system can be mounted apart (remedy: be root)");
    }
    let certificates = "--cacert ca.pem --cert client.pem --key client.key";
    let lines = [
        format!("{certificates} --discovery-srv {DOMAIN} put b 2"),
        format!("{certificates} --discovery-srv {DOMAIN} get b"),
        format!("{certificates} --discovery-srv={DOMAIN} --insecure-discovery=false get b"),
        format!("{certificates} --discovery-srv {DOMAIN} --discovery-srv-name blue get b"),
        format!("{certificates} --discovery-srv nowhere.test get b"),
        format!("ETCDCTL_DISCOVERY_SRV={DOMAIN} {certificates} get b"),
        format!("--command-timeout 2s {certificates} --discovery-srv plain.test get b"),
    ];
    secure.compare(&lines, &theirs, apart);
    // Theirs forgets what was discovered when it asks endpoints, and asks the default one.
    let line = format!("{certificates} --discovery-srv {DOMAIN} endpoint health");
    let (code, stdout, stderr) = secure.shown(apart(&ours()), &line);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let healthy = format!("https://member.{DOMAIN}.:{port} is healthy: ");
    assert!(stdout.starts_with(&healthy), "{stdout}");
}

/// A name server that knows where the etcd of a test is, and nothing else.
struct NameServer {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    /// `None` where this user may not listen.
    fn start(port: u16) -> Option<NameServer> {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes it");
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let stopped = stop.clone();
        let serve = move || {
            let mut question = [0; 512];
            while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
                if let Ok((length, client)) = socket.recv_from(&mut question) {
                    let answer = answer(&question[..length], port);
                    socket.send_to(&answer, client).expect("an answer can be sent");
                }
            }
        };
        Some(NameServer { stop, thread: Some(std::thread::spawn(serve)) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the name server had no trouble");
        }
    }
}

/// Where a known service or the member is, or that there is no such name.
fn answer(question: &[u8], port: u16) -> Vec<u8> {
    const A: [u8; 4] = [0, 1, 0, 1];
    const SRV: [u8; 4] = [0, 33, 0, 1];
    const NO_SUCH_NAME: u8 = 3;
    const MEMBER: &[u8] = b"\x06member\x08holdfast\x04test\0";
    let services = [
        format!("_etcd-client-ssl._tcp.{DOMAIN}"),
        format!("_etcd-client-ssl-blue._tcp.{DOMAIN}"),
        "_etcd-client._tcp.plain.test".to_owned(),
    ];
    let end = question.iter().skip(12).position(|byte| *byte == 0).map_or(12, |at| 13 + at);
    let (name, kind) = (question[12..end].to_ascii_lowercase(), &question[end..end + 4]);
    let labels = |text: &str| {
        let label = |part: &str| [&[part.len() as u8], part.as_bytes()].concat();
        text.split('.').map(label).chain([vec![0]]).collect::<Vec<_>>().concat()
    };
    let data = match name == MEMBER {
        true if kind == A => Some(vec![127, 0, 0, 1]),
        true => Some(Vec::new()),
        false if kind == SRV && services.iter().any(|known| labels(known) == name) => {
            Some([&[0, 1, 0, 1][..], &port.to_be_bytes(), MEMBER].concat())
        }
        false => None,
    };
    // An answer, with recursion, and no records but what follows.
    let mut out = question[..end + 4].to_vec();
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[6..12].fill(0);
    match data {
        None => out[3] |= NO_SUCH_NAME,
        // The name is known, but not with such a record.
        Some(data) if data.is_empty() => {}
        Some(data) => {
            out[7] = 1;
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(kind);
            out.extend_from_slice(&[0, 0, 0, 60, 0, data.len() as u8]);
            out.extend_from_slice(&data);
        }
    }
    out
}
