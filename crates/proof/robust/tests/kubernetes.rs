//! The command line that kubeadm starts etcd with, and the file that k3s does, word for word: only ports and folders
//! are others. Their probes and their administrators' commands must see what they see at a real etcd.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::process::free_ports;
use holdfast_robust::secure::{PATIENCE, bash};

/// As kubeadm makes them: RSA of 2048 bits, keys as PKCS#1, an authority of etcd's own.
const KUBEADM_CERTIFICATES: &str = "set -e
mkdir -p pki/etcd; cd pki/etcd
key() { openssl genrsa -traditional -out $1.key 2048; }
key ca
openssl req -x509 -new -key ca.key -days 2 -subj /CN=etcd-ca -addext subjectAltName=DNS:etcd-ca -out ca.crt \
  -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign
sign() {
  key $1
  openssl req -new -key $1.key -subj $2 -out $1.csr
  printf \"keyUsage=critical,digitalSignature,keyEncipherment\\nextendedKeyUsage=$3\\nbasicConstraints=critical,CA:FALSE\\n$4\" > $1.ext
  openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
}
names=subjectAltName=DNS:localhost,DNS:node-1,IP:127.0.0.1,IP:::1
sign server /CN=node-1 serverAuth,clientAuth $names
sign peer /CN=node-1 serverAuth,clientAuth $names
sign healthcheck-client /CN=kube-etcd-healthcheck-client clientAuth
sign apiserver-etcd-client /CN=kube-apiserver-etcd-client clientAuth
";

/// As k3s makes them: P-256, keys as SEC1, one authority for clients and one for members.
const K3S_CERTIFICATES: &str = "set -e
mkdir -p server/tls/etcd server/db/etcd; cd server/tls/etcd
key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
for ca in server peer; do
  key $ca-ca
  openssl req -x509 -new -key $ca-ca.key -days 2 -subj /CN=etcd-$ca-ca@1700000000 -out $ca-ca.crt
done
sign() {
  key $1
  openssl req -new -key $1.key -subj $2 -out $1.csr
  printf \"keyUsage=critical,digitalSignature,keyEncipherment\\nextendedKeyUsage=$3\\n$5\" > $1.ext
  openssl x509 -req -in $1.csr -CA $4-ca.crt -CAkey $4-ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
}
names=subjectAltName=DNS:localhost,DNS:k3s-1,IP:127.0.0.1,IP:::1
sign server-client /CN=etcd-server serverAuth,clientAuth server $names
sign peer-server-client /CN=etcd-peer serverAuth,clientAuth peer $names
sign client /CN=etcd-client clientAuth server
";

/// What kubeadm writes into the pod of etcd; the flags of `NEW` or `OLD` come where their names are.
const KUBEADM: &str = "--advertise-client-urls=https://10.0.0.4:2379 --cert-file=/etc/kubernetes/pki/etcd/server.crt \
 --client-cert-auth=true --data-dir=/var/lib/etcd CORRUPT_CHECK \
 --initial-advertise-peer-urls=https://10.0.0.4:2380 --initial-cluster=node-1=https://10.0.0.4:2380 \
 --key-file=/etc/kubernetes/pki/etcd/server.key --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.4:2379 \
 --listen-metrics-urls=http://127.0.0.1:2381 --listen-peer-urls=https://10.0.0.4:2380 --name=node-1 \
 --peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt --peer-client-cert-auth=true \
 --peer-key-file=/etc/kubernetes/pki/etcd/peer.key --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt \
 --snapshot-count=10000 --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt PROGRESS";

/// Since Kubernetes 1.34, with etcd 3.6 and later.
const NEW: [(&str, &str); 2] = [
    ("CORRUPT_CHECK", "--feature-gates=InitialCorruptCheck=true"),
    ("PROGRESS", "--watch-progress-notify-interval=5s"),
];
/// Before, with etcd 3.5.
const OLD: [(&str, &str); 2] = [
    ("CORRUPT_CHECK", "--experimental-initial-corrupt-check=true"),
    ("PROGRESS", "--experimental-watch-progress-notify-interval=5s"),
];

/// What k3s writes for its etcd.
const K3S: &str = "advertise-client-urls: https://10.0.0.4:2379
client-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/server-ca.crt
data-dir: /var/lib/rancher/k3s/server/db/etcd
election-timeout: 5000
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
heartbeat-interval: 500
initial-advertise-peer-urls: https://10.0.0.4:2380
initial-cluster: k3s-1-0a1b2c3d=https://10.0.0.4:2380
initial-cluster-state: new
listen-client-http-urls: https://127.0.0.1:2382
listen-client-urls: https://127.0.0.1:2379,https://10.0.0.4:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: https://127.0.0.1:2380,https://10.0.0.4:2380
log-outputs:
- stderr
logger: zap
name: k3s-1-0a1b2c3d
peer-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/peer-ca.crt
snapshot-count: 10000
";

/// Their addresses and folders, and what they are here.
struct Places(Vec<(&'static str, String)>);

impl Places {
    fn new(folder: &Path) -> Places {
        let mut ports = Vec::new();
        for _ in 0..3 {
            let (one, two) = free_ports().expect("free ports");
            ports.extend([one, two]);
        }
        let theirs = [
            "10.0.0.4:2379",
            "10.0.0.4:2380",
            "127.0.0.1:2379",
            "127.0.0.1:2380",
            "127.0.0.1:2381",
            "127.0.0.1:2382",
        ];
        let ours = ports.into_iter().map(|port| format!("127.0.0.1:{port}"));
        let mut places: Vec<_> = theirs.into_iter().zip(ours).collect();
        let below = |path: &str| folder.join(path).display().to_string();
        places.push(("/etc/kubernetes/pki", below("pki")));
        places.push(("/var/lib/etcd", below("etcd")));
        places.push(("/var/lib/rancher/k3s", below("")));
        Places(places)
    }

    fn here(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    fn there(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(ours, theirs))
    }
}

/// A started member. Ends with this.
struct Started {
    child: Child,
    places: Places,
    folder: tempfile::TempDir,
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(8).collect();
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Started {
    /// Starts it where these certificates are, with this line, or with the file that `config` is.
    #[track_caller]
    fn new(binary: &Path, certificates: &str, line: &str, config: Option<&str>) -> Started {
        let folder = tempfile::Builder::new().prefix("kube-").tempdir().expect("a folder");
        bash(folder.path(), certificates);
        let places = Places::new(folder.path());
        if let Some(config) = config {
            fs::write(folder.path().join("config"), places.here(config)).expect("a file");
        }
        let mut command = Command::new(binary);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("ETCD") {
                command.env_remove(variable);
            }
        }
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = command
            .args(places.here(line).split_whitespace())
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut started = Started { child, places, folder };
        let deadline = Instant::now() + PATIENCE;
        while !started
            .sees("curl -sf http://127.0.0.1:2381/health")
            .starts_with("{\"health\":\"true\"")
        {
            let ended = started.child.try_wait().expect("it is ours");
            assert!(ended.is_none() && Instant::now() < deadline, "not ready: {ended:?}");
            sleep(Duration::from_millis(50));
        }
        started
    }

    /// What a line of the shell shows, without what differs from one second to the next.
    fn sees(&self, line: &str) -> String {
        let ran = Command::new("bash")
            .args(["-c", &self.places.here(line)])
            .current_dir(&self.folder)
            .env("ETCDCTL_API", "3")
            .output()
            .expect("bash is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = text(&ran.stdout) + &text(&ran.stderr);
        let kept = text.lines().filter(|line| !line.starts_with("{\"level\":"));
        self.places.there(&kept.map(squeezed).collect::<Vec<_>>().join("\n"))
    }
}

/// A line without durations and sizes, and without what tables are filled up with.
fn squeezed(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic() || "µ%)".contains(c));
        let unit = &word[number.len()..];
        let is_number =
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let is_size = matches!(word.trim_end_matches(','), "kB" | "MB" | "B");
        match words.last_mut() {
            Some(last) if is_size => *last = "SIZE".to_owned(),
            _ if is_number && matches!(unit, "ms" | "µs" | "s" | "%") => {
                words.push("N".to_owned())
            }
            // A table is as wide as what stands in it.
            _ if ["+--", "┌─", "├─", "└─"].iter().any(|edge| word.starts_with(edge)) => {
                words.push("+".to_owned())
            }
            // The newest of etcd's releases is newer than the one we speak as.
            // Each member of another address has another id.
            _ if 13 < word.len() && word.bytes().all(|b| b.is_ascii_hexdigit()) => {
                words.push("ID".to_owned())
            }
            _ if word.starts_with("3.7.") => words.push("3.7".to_owned()),
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

#[track_caller]
fn compare(ours: &Started, theirs: &Started, lines: &[String]) {
    let mut differ = String::new();
    for line in lines {
        let (mine, other) = (ours.sees(line), theirs.sees(line));
        if mine != other {
            differ += &format!("$ {line}\n--- theirs\n{other}\n--- ours\n{mine}\n");
        }
    }
    assert!(differ.is_empty(), "{differ}");
}

fn with(text: &str, flags: [(&str, &str); 2]) -> String {
    flags.iter().fold(text.to_owned(), |text, (name, flag)| text.replace(name, flag))
}

/// A probe of the kubelet: status and body.
fn probe(path: &str) -> String {
    // etcd lists its checks in an order that changes.
    format!("curl -s -w ' %{{http_code}}' 'http://127.0.0.1:2381{path}' | sort")
}

/// An etcdctl, with a certificate that kubeadm made.
fn kubeadm_etcdctl(etcdctl: &Path, who: &str, line: &str) -> String {
    let (etcdctl, pki) = (etcdctl.display(), "/etc/kubernetes/pki/etcd");
    format!(
        "{etcdctl} --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt --cert={pki}/{who}.crt --key={pki}/{who}.key {line}"
    )
}

#[track_caller]
fn kubeadm(name: &str, reference: Part, flags: [(&str, &str); 2], probes: &[&str]) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, reference) else { return };
    let Some(etcdctl) = need(name, Part::Etcdctl35) else { return };
    let line = with(KUBEADM, flags);
    let [ours, theirs] =
        [&ours, &theirs].map(|binary| Started::new(binary, KUBEADM_CERTIFICATES, &line, None));
    let mut lines: Vec<String> = probes.iter().map(|path| probe(path)).collect();
    lines.push(probe("/metrics").replace(" | sort", " -o /dev/null"));
    for (who, line) in [
        ("healthcheck-client", "endpoint health"),
        ("healthcheck-client", "member list -w table"),
        ("apiserver-etcd-client", "put /registry/health x"),
        ("apiserver-etcd-client", "get /registry/ --prefix"),
        ("server", "get /registry/health --print-value-only"),
        ("healthcheck-client", "snapshot save saved.db"),
    ] {
        lines.push(kubeadm_etcdctl(&etcdctl, who, line));
    }
    let pki = "/etc/kubernetes/pki/etcd";
    lines.push(format!("{} snapshot status saved.db 2>/dev/null | cut -d, -f2", etcdctl.display()));
    lines.push(format!(
        "curl -s --cacert {pki}/ca.crt -o /dev/null -w '%{{http_code}}' https://10.0.0.4:2379/health || true"
    ));
    lines.push(format!(
        "curl -s --cacert {pki}/ca.crt --cert {pki}/apiserver-etcd-client.crt --key {pki}/apiserver-etcd-client.key https://10.0.0.4:2379/health"
    ));
    compare(&ours, &theirs, &lines);
}

#[test]
fn kubeadms_command_line_and_probes_work_unchanged() {
    kubeadm(
        "kubeadm",
        Part::EtcdNew,
        NEW,
        &["/livez", "/readyz", "/readyz?verbose", "/livez?exclude=x"],
    );
}

#[test]
fn kubeadms_older_command_line_and_probes_work_unchanged() {
    let probes =
        ["/health?exclude=NOSPACE&serializable=true", "/health?serializable=false", "/health"];
    kubeadm("kubeadm, older", Part::Etcd35, OLD, &probes);
}

/// What administrators of k3s do, in its documentation's words: look, compact, defragment, disarm, save.
fn k3s_maintenance(etcdctl: &Path) -> Vec<String> {
    let tls = "/var/lib/rancher/k3s/server/tls/etcd";
    let variables = format!(
        "etcdctl() {{ {} \"$@\"; }}; export ETCDCTL_ENDPOINTS=https://127.0.0.1:2379 ETCDCTL_CACERT={tls}/server-ca.crt \
         ETCDCTL_CERT={tls}/server-client.crt ETCDCTL_KEY={tls}/server-client.key; ",
        etcdctl.display()
    );
    let index = "etcdctl endpoint status -w json | grep -o '\"raftIndex\":[0-9]*\\|\"raftAppliedIndex\":[0-9]*' | cut -d: -f2 | uniq | wc -l";
    [
        "for i in 1 2 3 4 5; do etcdctl put a $i; done",
        // Without the indexes, of which it is only seen that they are one.
        "etcdctl endpoint status --cluster --write-out=table | sed -E 's/((\\||│) +[0-9]+ )+(\\||│)/| N |/'",
        index,
        "etcdctl endpoint status --write-out=fields | grep -o '^\"[A-Za-z]*\"'",
        "etcdctl endpoint health --cluster --write-out=table",
        "rev=$(etcdctl endpoint status --write-out=json | grep -E -o '\"revision\":[0-9]*' | grep -E -o '[0-9].*'); etcdctl compact $rev",
        "etcdctl get a --rev=3",
        "etcdctl defrag --cluster",
        "etcdctl alarm list; etcdctl alarm disarm",
        "mkdir -p /var/lib/rancher/k3s/server/db/snapshots; etcdctl snapshot save /var/lib/rancher/k3s/server/db/snapshots/on-demand",
        "etcdctl snapshot status /var/lib/rancher/k3s/server/db/snapshots/on-demand -w json | grep -o '\"revision\":[0-9]*'",
        "ETCDCTL_CERT=/var/lib/rancher/k3s/server/tls/etcd/client.crt ETCDCTL_KEY=/var/lib/rancher/k3s/server/tls/etcd/client.key etcdctl get a",
        // Clients are not members: the other authority counts for nothing here.
        "ETCDCTL_CERT=/var/lib/rancher/k3s/server/tls/etcd/peer-server-client.crt ETCDCTL_KEY=/var/lib/rancher/k3s/server/tls/etcd/peer-server-client.key etcdctl get a --command-timeout=2s >/dev/null 2>&1; echo $?",
    ]
    .iter()
    .map(|line| variables.clone() + line)
    .collect()
}

#[test]
fn k3s_configuration_and_maintenance_work_unchanged() {
    let name = "k3s";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    for etcdctl in [Part::Etcdctl35, Part::EtcdctlNew] {
        let Some(etcdctl) = need(name, etcdctl) else { continue };
        let [ours, theirs] = [&ours, &theirs].map(|binary| {
            Started::new(binary, K3S_CERTIFICATES, "--config-file=config", Some(K3S))
        });
        let mut lines = k3s_maintenance(&etcdctl);
        let tls = "/var/lib/rancher/k3s/server/tls/etcd";
        lines.push(format!(
            "curl -s --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key https://127.0.0.1:2382/health"
        ));
        lines.push(probe("/health"));
        compare(&ours, &theirs, &lines);
    }
}
