//! What production runs: members that show each other and their clients certificates, and users.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ports::free_ports;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// An authority, a certificate for each member's two ports, one for each user, by its common name, and
/// `nameless`, whose owner is nobody: only such a one may speak JSON while users are asked for.
pub const CERTIFICATES: &str = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \"$@\"; }
new -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
for name in server peer root alice nameless; do
  subject=/CN=$name; [ $name = nameless ] && subject=/O=nameless
  new -new -subj $subject -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem
done
";

const FLAGS: &str = "--bcrypt-cost=4 --cert-file=server.pem --key-file=server.key --client-cert-auth --trusted-ca-file=ca.pem \
    --peer-cert-file=peer.pem --peer-key-file=peer.key --peer-client-cert-auth --peer-trusted-ca-file=ca.pem";

/// Runs a script of bash in a folder, which must succeed.
#[track_caller]
pub fn bash(folder: &Path, script: &str) {
    let made = Command::new("bash").args(["-c", script]).current_dir(folder).output();
    let made = made.expect("bash is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// More certificates of the same authority, for clients with these common names.
#[track_caller]
pub fn make_certificates(folder: &Path, names: &[&str]) {
    for name in names {
        let script = format!(
            "set -e
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -new -subj /CN={name} -keyout {name}.key -out {name}.csr
            openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
        );
        bash(folder, &script);
    }
}

/// Encrypts a connection, showing a certificate of a folder.
pub(crate) async fn encrypt(
    tcp: TcpStream,
    folder: &Path,
    who: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let certificate = |name: &str| {
        let read = CertificateDer::from_pem_file(folder.join(format!("{name}.pem")));
        read.map_err(io::Error::other)
    };
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{who}.key")));
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca")?).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    let shown = vec![certificate(who)?];
    let mut config = config
        .with_client_auth_cert(shown, key.map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Members of one cluster, ours and Go's, with TLS everywhere. They end with this.
#[derive(Debug)]
pub struct Secure {
    folder: tempfile::TempDir,
    binaries: Vec<PathBuf>,
    ports: Vec<(u16, u16)>,
    running: Vec<Option<Child>>,
    etcdctl: PathBuf,
}

impl Drop for Secure {
    fn drop(&mut self) {
        (0..self.running.len()).for_each(|seat| self.kill(seat));
        if std::thread::panicking() {
            for seat in 0..self.running.len() {
                let log = self.log(seat);
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                eprintln!("-- the last of m{seat}:");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

impl Secure {
    /// Makes certificates and starts a member of each program.
    #[track_caller]
    pub fn start(binaries: &[&Path], etcdctl: &Path) -> Secure {
        let folder = tempfile::Builder::new().prefix("secure-").tempdir().expect("a folder");
        bash(folder.path(), CERTIFICATES);
        let mut secure = Secure {
            folder,
            binaries: binaries.iter().map(|binary| binary.to_path_buf()).collect(),
            ports: binaries.iter().map(|_| free_ports().expect("free ports")).collect(),
            running: binaries.iter().map(|_| None).collect(),
            etcdctl: etcdctl.to_owned(),
        };
        (0..binaries.len()).for_each(|seat| secure.launch(seat));
        secure
    }

    /// Starts a member and returns at once.
    pub fn launch(&mut self, seat: usize) {
        let peer_url = |seat: usize| format!("https://127.0.0.1:{}", self.ports[seat].1);
        let all: Vec<_> =
            (0..self.ports.len()).map(|seat| format!("m{seat}={}", peer_url(seat))).collect();
        let (client, peer) = (format!("https://{}", self.address(seat)), peer_url(seat));
        let log = File::create(self.folder.path().join(format!("m{seat}.log"))).expect("a file");
        let child = Command::new(&self.binaries[seat])
            .current_dir(&self.folder)
            .args([format!("--name=m{seat}"), format!("--data-dir=m{seat}")])
            .args([format!("--initial-cluster={}", all.join(","))])
            .args([format!("--listen-peer-urls={peer}")])
            .args([format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--listen-client-urls={client}")])
            .args([format!("--advertise-client-urls={client}")])
            .args(FLAGS.split_whitespace())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.running[seat] = Some(child.expect("it starts"));
    }

    /// kill -9.
    pub fn kill(&mut self, seat: usize) {
        if let Some(mut child) = self.running[seat].take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How many members there are.
    pub fn seats(&self) -> usize {
        self.ports.len()
    }

    /// Where the certificates lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `host:port` for clients of a member.
    pub fn address(&self, seat: usize) -> String {
        format!("127.0.0.1:{}", self.ports[seat].0)
    }

    /// What a member's present or last process said.
    pub fn log(&self, seat: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("m{seat}.log"))).unwrap_or_default()
    }

    /// What an etcdctl with somebody's certificate prints, at one member.
    pub fn at(&self, seat: usize, who: &str, line: &str) -> String {
        let ran = Command::new(&self.etcdctl)
            .current_dir(&self.folder)
            .args(["--command-timeout=10s", "--dial-timeout=10s", "--cacert=ca.pem"])
            .args([format!("--cert={who}.pem"), format!("--key={who}.key")])
            .args([format!("--endpoints=https://{}", self.address(seat))])
            .args(line.split_whitespace())
            .output()
            .expect("etcdctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&ran.stdout) + &text(&ran.stderr)
    }

    /// Repeats a line until it prints what is expected.
    #[track_caller]
    pub fn expect(&self, seat: usize, who: &str, line: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.at(seat, who, line);
            if said.contains(expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{who} at {seat}: {line}: {said}");
            sleep(Duration::from_millis(100));
        }
    }

    /// Runs lines once each, which must print what is expected.
    #[track_caller]
    pub fn run(&self, seat: usize, who: &str, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            let said = self.at(seat, who, line);
            assert!(said.contains(expected), "{line}: {said}");
        }
    }

    /// Gives a user another password, as `root`.
    #[track_caller]
    pub fn change_password(&self, seat: usize, user: &str, password: &str) {
        let endpoint = self.address(seat);
        let script = format!(
            "echo {password} | {} --dial-timeout=10s --cacert=ca.pem --cert=root.pem --key=root.key --endpoints=https://{endpoint} \
             user passwd {user} --interactive=false",
            self.etcdctl.display()
        );
        bash(self.folder(), &script);
    }

    /// All members that can tell must be at the same revision of users and roles. Those of 3.4 cannot.
    #[track_caller]
    pub fn expect_same_auth_revision(&self) {
        let told = (0..self.seats()).map(|seat| self.at(seat, "root", "auth status"));
        let mut revisions: Vec<_> = told.filter(|said| said.contains("AuthRevision")).collect();
        assert!(1 < revisions.len(), "{revisions:?}");
        revisions.dedup();
        assert_eq!(revisions.len(), 1, "{revisions:?}");
    }

    /// The member that leads, as those of these members that answer `root` say.
    #[track_caller]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leads = |seat: &usize| {
                let said = self.at(*seat, "root", "endpoint status");
                // Address, id, version, size, and then: is it the leader?
                said.split(", ").any(|word| word == "true")
            };
            let running = (0..self.seats()).filter(|seat| self.running[*seat].is_some());
            if let Some(seat) = running.into_iter().find(leads) {
                return seat;
            }
            assert!(Instant::now() < deadline, "nobody leads");
            sleep(Duration::from_millis(100));
        }
    }

    /// Hands leadership to a member.
    #[track_caller]
    pub fn move_leader(&self, to: usize) {
        let deadline = Instant::now() + PATIENCE;
        let list = self.at(to, "root", "member list");
        let line = list.lines().find(|line| line.contains(&format!(", m{to}, ")));
        let id = line.and_then(|line| line.split(", ").next()).expect("it is a member").to_owned();
        loop {
            let from = self.leader();
            if from == to {
                return;
            }
            let said = self.at(from, "root", &format!("move-leader {id}"));
            assert!(Instant::now() < deadline, "{said}");
        }
    }

    /// Waits until the hashes of all members are the same.
    #[track_caller]
    pub fn expect_equal(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let hash = |seat| {
                let said = self.at(seat, "root", "endpoint hashkv");
                // Address, hash, and from members that know it its revision.
                said.trim_end().split(", ").nth(1).map_or(said.clone(), str::to_owned)
            };
            let hashes: Vec<String> = (0..self.ports.len()).map(hash).collect();
            if hashes.iter().all(|hash| *hash == hashes[0]) {
                return;
            }
            assert!(Instant::now() < deadline, "{hashes:?}");
            sleep(Duration::from_millis(100));
        }
    }
}
