//! What production runs: three members that show each other and their clients certificates, and users.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::process::free_ports;

const PATIENCE: Duration = Duration::from_secs(40);

/// An authority, a certificate for each member's two ports, and one for each user, by its common name.
const CERTIFICATES: &str = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \"$@\"; }
new -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
for name in server peer root alice; do
  new -new -subj /CN=$name -keyout $name.key -out $name.csr
  printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem
done
";

const FLAGS: &str = "--cert-file=server.pem --key-file=server.key --client-cert-auth --trusted-ca-file=ca.pem \
    --peer-cert-file=peer.pem --peer-key-file=peer.key --peer-client-cert-auth --peer-trusted-ca-file=ca.pem";

struct Secure {
    folder: tempfile::TempDir,
    binaries: Vec<PathBuf>,
    ports: Vec<(u16, u16)>,
    running: Vec<Option<Child>>,
    etcdctl: PathBuf,
}

impl Drop for Secure {
    fn drop(&mut self) {
        (0..self.running.len()).for_each(|seat| self.kill(seat));
    }
}

impl Secure {
    fn start(binaries: &[&Path], etcdctl: &Path) -> Secure {
        let folder = tempfile::Builder::new().prefix("secure-").tempdir().expect("a folder");
        let made = Command::new("bash").args(["-c", CERTIFICATES]).current_dir(&folder).output();
        let made = made.expect("bash is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
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

    fn launch(&mut self, seat: usize) {
        let peer_url = |seat: usize| format!("https://127.0.0.1:{}", self.ports[seat].1);
        let all: Vec<_> =
            (0..self.ports.len()).map(|seat| format!("m{seat}={}", peer_url(seat))).collect();
        let (client, peer) = (format!("https://127.0.0.1:{}", self.ports[seat].0), peer_url(seat));
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

    fn kill(&mut self, seat: usize) {
        if let Some(mut child) = self.running[seat].take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What an etcdctl with somebody's certificate prints, at one member.
    fn at(&self, seat: usize, who: &str, line: &str) -> String {
        let ran = Command::new(&self.etcdctl)
            .current_dir(&self.folder)
            .args(["--command-timeout=5s", "--cacert=ca.pem"])
            .args([format!("--cert={who}.pem"), format!("--key={who}.key")])
            .args([format!("--endpoints=https://127.0.0.1:{}", self.ports[seat].0)])
            .args(line.split_whitespace())
            .output()
            .expect("etcdctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&ran.stdout) + &text(&ran.stderr)
    }

    /// Repeats a line until it prints what is expected.
    #[track_caller]
    fn expect(&self, seat: usize, who: &str, line: &str, expected: &str) {
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

    /// The hashes of all members, once they are the same.
    #[track_caller]
    fn expect_equal(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let hash = |seat| {
                let said = self.at(seat, "root", "endpoint hashkv");
                said.split_once(", ").map_or(said.clone(), |(_, hash)| hash.to_owned())
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

#[track_caller]
fn lives(binaries: &[&Path], etcdctl: &Path) {
    let mut secure = Secure::start(binaries, etcdctl);
    secure.expect(0, "root", "put before users", "OK");
    for (line, expected) in [
        ("user add root:secret", "User root created"),
        ("user grant-role root root", "Role root is granted"),
        ("role add reader", "Role reader created"),
        ("role grant-permission reader readwrite foo --prefix", "Role reader updated"),
        ("user add alice:secret", "User alice created"),
        ("user grant-role alice reader", "Role reader is granted"),
        ("auth enable", "Authentication Enabled"),
    ] {
        let said = secure.at(0, "root", line);
        assert!(said.contains(expected), "{line}: {said}");
    }
    // Everybody decides alike, by certificate and by password.
    for seat in 0..binaries.len() {
        secure.expect(seat, "alice", "put foo1 x", "OK");
        secure.expect(seat, "alice", "put other x", "permission denied");
        secure.expect(seat, "root", "get before", "users");
        secure.expect(seat, "root", "--user=alice:secret put foo2 y", "OK");
        secure.expect(seat, "root", "--user=alice:secret put other y", "permission denied");
        secure.expect(seat, "root", "--user=alice:wrong put foo2 z", "authentication failed");
    }
    secure.expect_equal();
    // And goes on doing so when one is killed and comes back.
    secure.kill(1);
    secure.expect(0, "alice", "put foo3 z", "OK");
    secure.launch(1);
    secure.expect(1, "alice", "get foo3", "z");
    secure.expect(1, "alice", "get before", "permission denied");
    secure.expect_equal();
}

#[test]
fn three_members_with_certificates_and_users() {
    let Some(ours) = foreign::subject("secure") else { return };
    let Some(etcdctl) = need("secure", Part::EtcdctlNew) else { return };
    lives(&[&ours, &ours, &ours], &etcdctl);
}

#[test]
fn ours_among_gos_with_certificates_and_users() {
    let Some(ours) = foreign::subject("secure-mixed") else { return };
    let Some(theirs) = need("secure-mixed", Part::EtcdNew) else { return };
    let Some(etcdctl) = need("secure-mixed", Part::EtcdctlNew) else { return };
    lives(&[&ours, &ours, &theirs], &etcdctl);
}
