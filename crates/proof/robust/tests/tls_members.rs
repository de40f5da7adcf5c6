//! Certificates between members, certificates made at the start, and flags of TLS that have nothing to do: as at the newest etcd.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::tls::{Etcd, USUAL, both, certificates, curl, free_address};

/// Certificates of members that would be: from here by address and by name, from elsewhere, from nowhere, and without a place.
const MEMBERS: &str = "set -e
member() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -new -subj /CN=$1 -keyout $1.key -out $1.csr
  printf \"$2\\n\" > $1.ext
  openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem
}
member here subjectAltName=IP:127.0.0.1
member elsewhere subjectAltName=IP:10.9.9.9
member named subjectAltName=DNS:localhost
member both subjectAltName=IP:10.9.9.9,DNS:localhost
member nowhere subjectAltName=DNS:no-such-host.invalid
member wide subjectAltName=DNS:*.invalid
member placeless basicConstraints=CA:FALSE
member serves 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth'
";

/// Who may speak to a member as a member: for each certificate what it came to, and why the others were rejected.
fn let_in(binary: &Path, folder: &Path, name: &str, flags: &str) -> (Vec<String>, Vec<String>) {
    let peer = free_address();
    let flags = format!(
        "{USUAL} --listen-peer-urls=https://{peer} --initial-advertise-peer-urls=https://{peer} \
         --initial-cluster=default=https://{peer} --peer-cert-file=server.pem --peer-key-file=server.key \
         --peer-client-cert-auth --peer-trusted-ca-file=ca.pem {flags}"
    );
    let etcd = Etcd::start(binary, folder, name, &flags);
    let who = [
        "here",
        "elsewhere",
        "named",
        "both",
        "nowhere",
        "wide",
        "placeless",
        "serves",
        "stranger",
        "",
    ];
    let ask = |who: &&str| {
        let line = curl(who, "--http1.1 -o /dev/null", "/version").replace("ADDRESS", &peer);
        let seen = etcd.shell(&line);
        format!("{who}: {}", if seen.contains(" 200 ") { "let in" } else { "rejected" })
    };
    let seen: Vec<String> = who.iter().map(ask).collect();
    // A line is written when the server has looked, which may be after the client was told.
    let rejected = seen.iter().filter(|seen| seen.ends_with("rejected")).count();
    let lines = || {
        let told = |line: &serde_json::Value| line["msg"] == "rejected connection on peer endpoint";
        etcd.lines().iter().filter(|line| told(line)).count()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while lines() < rejected {
        assert!(Instant::now() < deadline, "{name} {flags}: {seen:?} {:?}", etcd.lines());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Go says which name servers it asked, which differs from one machine to the next.
    let settled = |error: String| error.split(" (lookup ").next().unwrap_or_default().to_owned();
    (seen, etcd.rejections_on("peer").into_iter().map(settled).collect())
}

/// A member's certificate must name the address it comes from, or a name that leads there, unless nobody looks; only
/// the names that the flags allow pass, whatever else they say.
#[test]
fn who_speaks_as_a_member_comes_from_where_its_certificate_says_as_at_etcd() {
    let Some((ours, theirs)) = both("tls-members") else { return };
    let folder = certificates();
    let made = Command::new("bash").args(["-c", MEMBERS]).current_dir(&folder).output();
    assert!(made.expect("bash is there").status.success());
    for (flags, here, elsewhere) in [
        ("", true, false),
        ("--peer-skip-client-san-verification", true, true),
        ("--peer-cert-allowed-cn=named,elsewhere", false, false),
        ("--peer-cert-allowed-cn=named,elsewhere --peer-skip-client-san-verification", false, true),
        ("--peer-cert-allowed-hostname=localhost", false, false),
    ] {
        let [mine, other] = [(&ours, "ours"), (&theirs, "theirs")].map(|(binary, name)| {
            let seen = let_in(binary, folder.path(), name, flags);
            fs::remove_dir_all(folder.path().join(format!("{name}.data"))).expect("it is ours");
            seen
        });
        assert_eq!(mine, other, "{flags}");
        let is_in = |who: &str| mine.0.contains(&format!("{who}: let in"));
        assert_eq!((is_in("here"), is_in("elsewhere")), (here, elsewhere), "{flags}: {mine:?}");
    }
}

/// Where nothing is encrypted no file is read, and both say what they pass over.
#[test]
fn what_a_listener_in_the_clear_passes_over_is_said_in_etcds_words() {
    let Some((ours, theirs)) = both("tls-ignored") else { return };
    let folder = certificates();
    let clear = "--listen-client-urls=http://ADDRESS --advertise-client-urls=http://ADDRESS";
    let key = "--auth-token=jwt,sign-method=HS256,priv-key=server.key,colour=red";
    for flags in [
        format!("{clear} --cert-file=gone.pem --key-file=gone.key --client-cert-auth"),
        format!(
            "{clear} --key-file=gone.key --client-crl-file=gone.pem --trusted-ca-file=gone.pem"
        ),
        format!(
            "{clear} --peer-client-cert-auth --peer-cert-file=server.pem --peer-key-file=server.key"
        ),
        format!("{USUAL} --auto-tls"),
        format!(
            "{clear} --peer-auto-tls --peer-cert-file=server.pem --peer-key-file=server.key {key}"
        ),
    ] {
        let warnings = |binary: &Path, name: &str| {
            let etcd = Etcd::start(binary, folder.path(), name, &flags);
            let lines = etcd.lines().into_iter().filter(|line| line["level"] == "warn");
            let line = |line: serde_json::Value| {
                let text = line["msg"].as_str().unwrap_or_default().to_owned();
                let about = ["client-url", "peer-url", "keys"].map(|key| line[key].to_string());
                format!("{text} {}", about.join(" ")).replace(&etcd.address, "ADDRESS")
            };
            let said = ["scheme is", "auto TLS", "simple token", "JWT options"];
            let known = |line: &String| said.iter().any(|text| line.contains(text));
            let mut warnings: Vec<_> = lines.map(line).filter(known).collect();
            warnings.sort();
            drop(etcd);
            fs::remove_dir_all(folder.path().join(format!("{name}.data"))).expect("it is ours");
            warnings
        };
        let (mine, other) = (warnings(&ours, "ours"), warnings(&theirs, "theirs"));
        assert!(!other.is_empty(), "{flags}");
        assert_eq!(mine, other, "{flags}");
    }
}

/// A certificate that nobody signed is good for as many years as at etcd.
#[test]
fn certificates_made_at_the_start_end_when_etcds_do() {
    let Some((ours, theirs)) = both("tls-years") else { return };
    let folder = certificates();
    for (binary, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        let peer = free_address();
        let flags = format!(
            "--auto-tls --peer-auto-tls --self-signed-cert-validity=3 --listen-peer-urls=https://{peer} \
             --initial-advertise-peer-urls=https://{peer} --initial-cluster=default=https://{peer}"
        );
        let etcd = Etcd::start(binary, folder.path(), name, &flags);
        for side in ["client", "peer"] {
            let ends_within = |hours: u64| {
                let file = format!("{name}.data/fixtures/{side}/cert.pem");
                let line = format!("openssl x509 -noout -checkend {} -in {file}", hours * 3600);
                !etcd.shell(&line).starts_with("Some(0)")
            };
            let years = 3 * 365 * 24;
            assert!(!ends_within(years - 1), "{name} {side}: it ends before");
            assert!(ends_within(years + 1), "{name} {side}: it ends after");
        }
    }
}
