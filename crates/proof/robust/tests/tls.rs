//! Listeners with certificates: our server and the newest etcd are started with the same files and the
//! same flags, and the same clients must see the same.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part, need};

const READY_DURATION_MAX: Duration = Duration::from_secs(30);

/// An authority and what it signed; `stranger` is signed by nobody we trust, `revoked` stands in `crl.pem`.
const CERTIFICATES: &str = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \"$@\"; }
for ca in ca other-ca; do
  new -x509 -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem
done
sign() {
  new -new -subj /CN=$1 -keyout $1.key -out $1.csr
  printf \"subjectAltName=$2\\nextendedKeyUsage=serverAuth,clientAuth\\n\" > $1.ext
  openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem
}
sign server IP:127.0.0.1,DNS:localhost ca
sign client DNS:client.example.org ca
sign guest DNS:guest.example.org,DNS:*.example.net,IP:10.0.0.9 ca
sign revoked DNS:client.example.org ca
sign stranger DNS:client.example.org other-ca
touch index.txt; echo 01 > number
printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\ncrlnumber=number\\ndefault_md=sha256\\ndefault_crl_days=9\\n' > ca.cnf
openssl ca -config ca.cnf -keyfile ca.key -cert ca.pem -revoke revoked.pem
openssl ca -config ca.cnf -keyfile ca.key -cert ca.pem -gencrl -out crl.pem
openssl crl -in crl.pem -outform DER -out crl.der
";

/// A folder of certificates.
pub fn certificates() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("tls-").tempdir().expect("a folder");
    let made = Command::new("bash").args(["-c", CERTIFICATES]).current_dir(&folder).output();
    let made = made.expect("bash is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

/// A server in the folder. Gone with this.
pub struct Etcd {
    child: Child,
    folder: PathBuf,
    /// The first client port, encrypted.
    pub address: String,
    log: PathBuf,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a free port").to_string()
}

/// What a listener with certificates that asks for them is usually told.
pub const USUAL: &str =
    "--cert-file=server.pem --key-file=server.key --client-cert-auth --trusted-ca-file=ca.pem";

impl Etcd {
    /// Starts it with `flags`, in which `ADDRESS` stands for its encrypted port.
    #[track_caller]
    pub fn start(binary: &Path, folder: &Path, name: &str, flags: &str) -> Etcd {
        let address = free_address();
        let log = folder.join(format!("{name}.log"));
        let mut command = Command::new(binary);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("ETCD") {
                command.env_remove(variable);
            }
        }
        let child = command
            .current_dir(folder)
            .args([format!("--data-dir={name}.data")])
            .args([format!("--listen-client-urls=https://{address}")])
            .args([format!("--advertise-client-urls=https://{address}")])
            .args(["--listen-peer-urls=http://127.0.0.1:0"])
            .args(flags.replace("ADDRESS", &address).split_whitespace())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("it starts");
        let mut etcd = Etcd { child, folder: folder.to_owned(), address, log };
        etcd.wait_until_ready();
        etcd
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + READY_DURATION_MAX;
        while !self.log().contains("ready to serve client requests") {
            let ended = self.child.try_wait().expect("it is ours");
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?} {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        while TcpStream::connect(&self.address).is_err() {
            assert!(Instant::now() < deadline, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Exit code, output and complaints of a line of the shell, in which `ADDRESS` stands for the port.
    pub fn shell(&self, line: &str) -> String {
        let line = line.replace("ADDRESS", &self.address);
        let ran = Command::new("bash").args(["-c", &line]).current_dir(&self.folder).output();
        let ran = ran.expect("bash is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.address, "ADDRESS");
        format!("{:?} {} {}", ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    }

    /// All lines of the log.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The errors of connections that were rejected, as the log names them, each once.
    fn rejections(&self) -> Vec<String> {
        self.rejections_on("client")
    }

    pub fn rejections_on(&self, side: &str) -> Vec<String> {
        let text = format!("rejected connection on {side} endpoint");
        let lines = self.lines().into_iter().filter(|line| line["msg"] == text.as_str());
        let mut errors: Vec<_> =
            lines.map(|line| line["error"].as_str().unwrap_or_default().to_owned()).collect();
        errors.sort();
        errors.dedup();
        errors
    }
}

/// Ours, and the newest etcd. `None` where a part is missing.
pub fn both(name: &str) -> Option<(PathBuf, PathBuf)> {
    Some((foreign::subject(name)?, need(name, Part::EtcdNew)?))
}

/// Each probe must show the same on both.
#[track_caller]
fn compare(ours: &Etcd, theirs: &Etcd, probes: &[&str]) {
    let differs = |probe: &&str| {
        let (mine, other) = (ours.shell(probe), theirs.shell(probe));
        (mine != other).then(|| format!("$ {probe}\n  ours   {mine}\n  theirs {other}"))
    };
    let differ: Vec<String> = probes.iter().filter_map(differs).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// `curl` as a client with a certificate, and what it came to.
pub fn curl(who: &str, more: &str, path: &str) -> String {
    let certificate =
        if who.is_empty() { String::new() } else { format!("--cert {who}.pem --key {who}.key") };
    // The code by which curl ends depends on who is quicker; what was answered does not.
    format!(
        "(curl -s --max-time 30 --cacert ca.pem {certificate} {more} -w '%{{http_code}} %{{http_version}}' https://ADDRESS{path} || true)"
    )
}

#[test]
fn clients_with_certificates_see_what_etcd_shows_them() {
    let Some((ours, theirs)) = both("tls") else { return };
    let folder = certificates();
    let ours = Etcd::start(&ours, folder.path(), "ours", USUAL);
    let theirs = Etcd::start(&theirs, folder.path(), "theirs", USUAL);
    let json = "-X POST -d '{\"key\":\"YQ==\",\"value\":\"Yg==\"}'";
    compare(
        &ours,
        &theirs,
        &[
            &curl("client", "", "/health"),
            &curl("client", "--http1.1", "/health"),
            &curl("client", "--http2 -o /dev/null", "/version"),
            &curl("client", "-o /dev/null", "/metrics"),
            &format!("{} | tail -c 5", curl("client", json, "/v3/kv/put")),
            &format!("{} | tail -c 7", curl("client", &format!("--http1.1 {json}"), "/v3/kv/put")),
            &curl("client", "--tls-max 1.2", "/health"),
            &curl("", "", "/health"),
            &curl("stranger", "", "/health"),
            "curl -s --max-time 30 -o /dev/null -w '%{http_code}' http://ADDRESS/health || true",
            "printf '' | openssl s_client -connect ADDRESS -alpn h2,http/1.1 2>&1 | grep -a '^ALPN'",
            "printf '' | openssl s_client -connect ADDRESS 2>&1 | grep -a 'No ALPN'",
            "printf '' | openssl s_client -connect ADDRESS -cipher 'AES128-SHA:@SECLEVEL=0' -tls1_2 2>&1 | grep -ao 'handshake failure' | head -1",
        ],
    );
    let told = |etcd: &Etcd| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while etcd.rejections().len() < 3 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        etcd.rejections()
    };
    let no_certificate = "tls: client didn't provide a certificate";
    for etcd in [&ours, &theirs] {
        let told = told(etcd);
        assert!(told.iter().any(|error| error == no_certificate), "{told:?}");
        let unknown = "certificate signed by unknown authority";
        assert!(told.iter().any(|error| error.contains(unknown)), "{told:?}");
        let plain = "first record does not look like a TLS handshake";
        assert!(told.iter().any(|error| error.contains(plain)), "{told:?}");
    }
}

#[test]
fn the_real_tools_work_over_tls_with_certificates() {
    let Some((ours, _)) = both("tls-tools") else { return };
    let Some(newest) = need("tls-tools", Part::EtcdctlNew) else { return };
    let folder = certificates();
    let etcd = Etcd::start(&ours, folder.path(), "ours", USUAL);
    let debians = "ETCDCTL_API=3 etcdctl".to_owned();
    for etcdctl in [debians, newest.display().to_string()] {
        let begun = format!(
            "{etcdctl} --endpoints=https://ADDRESS --cacert=ca.pem --cert=client.pem --key=client.key"
        );
        assert_eq!(etcd.shell(&format!("{begun} put a b")), "Some(0) OK\n ");
        assert_eq!(etcd.shell(&format!("{begun} get a")), "Some(0) a\nb\n ");
        let health = etcd.shell(&format!("{begun} endpoint health 2>&1"));
        assert!(health.contains("is healthy"), "{health}");
        let saved = etcd.shell(&format!("{begun} snapshot save saved.db 2>/dev/null"));
        assert!(saved.starts_with("Some(0)"), "{saved}");
    }
}

#[test]
fn revoked_certificates_and_hosts_that_are_not_allowed_are_refused_on_every_listener() {
    let Some((ours, theirs)) = both("tls-rules") else { return };
    let folder = certificates();
    // A port for HTTP of its own is where etcd once forgot the list (CVE-2026-59818).
    let apart = free_address();
    for layout in ["", &format!("--listen-client-http-urls=https://{apart}")] {
        let flags = format!("{USUAL} --client-crl-file=crl.pem {layout}");
        let etcd = Etcd::start(&ours, folder.path(), "ours", &flags);
        let begun = "ETCDCTL_API=3 etcdctl --command-timeout=2s --endpoints=https://ADDRESS --cacert=ca.pem";
        let client = etcd.shell(&format!("{begun} --cert=client.pem --key=client.key put a b"));
        assert_eq!(client, "Some(0) OK\n ");
        let revoked = format!("{begun} --cert=revoked.pem --key=revoked.key put a c");
        assert!(etcd.shell(&revoked).starts_with("Some(1)"), "{}", etcd.shell(&revoked));
        let http = if layout.is_empty() { "ADDRESS" } else { &apart };
        for (who, expected) in [("client", "Some(0) 200"), ("revoked", "Some(0) 000")] {
            let line = curl(who, "-o /dev/null", "/health").replace("ADDRESS", http);
            let seen = etcd.shell(&line);
            assert!(seen.starts_with(expected), "{who}: {seen}");
            assert_eq!(seen.contains(" 200 "), who == "client", "{who}: {seen}");
        }
        let told = etcd.rejections();
        let serial = "transport: certificate serial ";
        assert!(told.iter().any(|e| e.starts_with(serial) && e.ends_with(" revoked")), "{told:?}");
        drop(etcd);
        fs::remove_dir_all(folder.path().join("ours.data")).expect("it is ours");
    }
    let flags = format!("{USUAL} --client-cert-allowed-hostname=client.example.org");
    let ours = Etcd::start(&ours, folder.path(), "ours", &flags);
    let theirs = Etcd::start(&theirs, folder.path(), "theirs", &flags);
    compare(
        &ours,
        &theirs,
        &[
            &curl("client", "", "/health"),
            &curl("guest", "", "/health"),
            &curl("guest", "--tls-max 1.2", "/health"),
        ],
    );
    for etcd in [&ours, &theirs] {
        let told = etcd.rejections();
        let refused = "client certificate authentication failed";
        assert!(told.iter().any(|error| error.contains(refused)), "{told:?}");
    }
}

/// What a line says of a connection that was rejected, but for when, where in the source, and from which port.
fn told_of_rejections(etcd: &Etcd) -> Vec<String> {
    let lines = etcd.lines().into_iter();
    let rejected = lines.filter(|line| line["msg"] == "rejected connection on client endpoint");
    let settled = rejected.map(|mut line| {
        let fields = line.as_object_mut().expect("a line is an object");
        for varies in ["ts", "caller"] {
            fields.remove(varies);
        }
        let from = fields.remove("remote-addr").expect("it came from somewhere");
        assert!(from.as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{from}");
        line.to_string()
    });
    let mut settled: Vec<_> = settled.collect();
    settled.sort();
    settled.dedup();
    settled
}

/// Whoever looks for a client that is refused finds its names beside the reason, under etcd's names and in its kinds; who
/// just went away is told of at level debug only.
#[test]
fn a_rejected_connection_is_told_with_all_that_etcd_tells_of_it() {
    let Some((ours, theirs)) = both("tls-told") else { return };
    let folder = certificates();
    // etcd reads a list in DER only.
    let flags = format!(
        "{USUAL} --client-crl-file=crl.der --client-cert-allowed-hostname=client.example.org --log-level=debug"
    );
    let told = |binary: &Path, name: &str| {
        let etcd = Etcd::start(binary, folder.path(), name, &flags);
        for who in ["guest", "revoked", "stranger", ""] {
            etcd.shell(&curl(who, "", "/health"));
        }
        etcd.shell("curl -s --max-time 30 http://ADDRESS/health");
        // It says nothing, and goes.
        drop(TcpStream::connect(&etcd.address).expect("it listens"));
        let deadline = Instant::now() + READY_DURATION_MAX;
        while told_of_rejections(&etcd).len() < 6 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        told_of_rejections(&etcd)
    };
    let (mine, other) = (told(&ours, "ours"), told(&theirs, "theirs"));
    assert_eq!(mine, other);
    assert_eq!(other.len(), 6, "{other:?}");
}

#[test]
fn while_a_revocation_list_is_missing_certificates_are_refused_as_by_etcd() {
    let Some((ours, theirs)) = both("tls-no-list") else { return };
    let folder = certificates();
    let flags = format!("{USUAL} --client-crl-file=gone.der");
    let [mine, other] = [(&ours, "ours"), (&theirs, "theirs")].map(|(binary, name)| {
        let etcd = Etcd::start(binary, folder.path(), name, &flags);
        let refused = etcd.shell(&curl("client", "", "/health"));
        let copied = fs::copy(folder.path().join("crl.der"), folder.path().join("gone.der"));
        copied.expect("both are there");
        let served = etcd.shell(&curl("client", "", "/health"));
        let revoked = etcd.shell(&curl("revoked", "", "/health"));
        fs::remove_file(folder.path().join("gone.der")).expect("it is there");
        let serial = |error: String| error.split(" serial ").next().unwrap_or_default().to_owned();
        let told: Vec<_> = etcd.rejections().into_iter().map(serial).collect();
        (refused, served, revoked, told)
    });
    assert_eq!(mine, other);
    assert_eq!(other.3, ["open gone.der: no such file or directory", "transport: certificate"]);
}

#[test]
fn one_flag_may_hold_urls_with_and_without_tls_and_metrics_may_be_encrypted() {
    let Some((ours, theirs)) = both("tls-mixed") else { return };
    let folder = certificates();
    for (binary, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        let (plain, metrics) = (free_address(), free_address());
        let flags = format!(
            "{USUAL} --listen-client-urls=https://ADDRESS,http://{plain} --listen-metrics-urls=https://{metrics}"
        );
        let etcd = Etcd::start(binary, folder.path(), name, &flags);
        let seen = etcd.shell(&format!("curl -s http://{plain}/health"));
        assert_eq!(seen, "Some(0) {\"health\":\"true\",\"reason\":\"\"} ", "{name}");
        // etcd's port for metrics answers such a client nothing.
        if name == "theirs" {
            continue;
        }
        let line = curl("client", "-o /dev/null", "/metrics").replace("ADDRESS", &metrics);
        assert!(etcd.shell(&line).starts_with("Some(0) 200"), "{name}: {}", etcd.shell(&line));
    }
}

#[test]
fn auto_tls_makes_a_certificate_and_keeps_it() {
    let Some((ours, _)) = both("tls-auto") else { return };
    let folder = certificates();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let etcd =
            Etcd::start(&ours, folder.path(), "ours", "--auto-tls --self-signed-cert-validity=3");
        let health = etcd.shell("curl -sk -w '%{http_code}' https://ADDRESS/health");
        assert!(health.contains("200"), "{health}");
        seen.push(
            fs::read(folder.path().join("ours.data/fixtures/client/cert.pem")).expect("made"),
        );
        let shown = "openssl x509 -noout -subject -text -in ours.data/fixtures/client/cert.pem";
        let shown = etcd.shell(shown);
        for expected in ["O = etcd", "NIST CURVE: P-521", "IP Address:127.0.0.1", "TLS Web Server"]
        {
            assert!(shown.contains(expected), "no {expected} in {shown}");
        }
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn a_listener_without_files_and_files_that_are_not_there_end_the_start_in_etcds_words() {
    let Some((ours, theirs)) = both("tls-refused") else { return };
    let folder = certificates();
    for flags in [
        "",
        "--cert-file=server.pem --key-file=gone.key",
        "--cert-file=server.pem --key-file=client.key",
        "--cert-file=server.pem",
        "--cert-file=server.pem --key-file=server.key --trusted-ca-file=gone.pem",
        "--cert-file=server.pem --key-file=server.key --client-cert-file=client.pem",
        "--cert-file=server.pem --key-file=server.key --client-cert-file=client.pem --client-key-file=gone.key",
        "--cert-file=server.pem --key-file=server.key --tls-min-version=TLS1.1",
        "--cert-file=server.pem --key-file=server.key --tls-max-version=1.3",
        "--cert-file=server.pem --key-file=server.key --tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
        "--cert-file=server.pem --key-file=server.key --cipher-suites=TLS_NO_SUCH_SUITE",
        "--cert-file=server.pem --key-file=server.key --tls-min-version=TLS1.3 --cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "--cert-file=server.pem --key-file=server.key --cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "--auto-tls --self-signed-cert-validity=0",
        "--listen-metrics-urls=https://127.0.0.1:0 --listen-client-urls=http://ADDRESS --advertise-client-urls=http://ADDRESS",
        "--listen-peer-urls=https://127.0.0.1:0 --peer-auto-tls --self-signed-cert-validity=0",
        "--listen-peer-urls=https://127.0.0.1:0 --peer-cert-file=server.pem --peer-key-file=server.key --peer-trusted-ca-file=gone.pem",
        "--listen-peer-urls=https://127.0.0.1:0 --peer-cert-file=server.pem --peer-key-file=server.key --peer-client-cert-file=client.pem",
        "--listen-peer-urls=https://127.0.0.1:0 --peer-cert-file=server.pem --peer-key-file=server.key --peer-cert-allowed-cn=a,b --peer-cert-allowed-hostname=c",
    ] {
        let fatal = |binary: &Path, name: &str| {
            let address = free_address();
            // A server that starts all the same is a failure, not a test without an end.
            let ran = Command::new("timeout")
                .arg("60")
                .arg(binary)
                .current_dir(&folder)
                .args([format!("--data-dir={name}.data")])
                .args([format!("--listen-client-urls=https://{address}")])
                .args([format!("--advertise-client-urls=https://{address}")])
                .args(["--listen-peer-urls=http://127.0.0.1:0"])
                .args(flags.replace("ADDRESS", &address).split_whitespace())
                .output()
                .expect("it runs");
            let log = String::from_utf8_lossy(&ran.stderr).into_owned();
            let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
            // What the flags themselves say wrong is no fatal line, and the end all the same.
            let mut fatal = lines.filter(|line: &serde_json::Value| {
                line["level"] == "fatal" || line["msg"] == "failed to verify flags"
            });
            let last = fatal.next_back();
            let error = last.map(|line| line["error"].as_str().unwrap_or_default().to_owned());
            (ran.status.code(), error.unwrap_or(log).replace(&address, "ADDRESS"))
        };
        assert_eq!(fatal(&ours, "ours"), fatal(&theirs, "theirs"), "{flags}");
    }
}
