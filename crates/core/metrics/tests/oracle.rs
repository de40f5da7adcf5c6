//! Our families beside those of a real etcd, which `HOLDFAST_ORACLE_ETCD` must name.
//!
//! Whatever the real one shows, we have too: the same name, type, labels and buckets. What we leave out on
//! purpose is listed here.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdfast_metrics::Metrics;

/// Families of a runtime and a library that we do not have.
const LEFT_OUT: [&str; 2] = ["go_", "promhttp_"];

#[derive(Debug, Default, PartialEq)]
struct Shown {
    kind: String,
    labels: BTreeSet<String>,
    /// The `le` values of histograms.
    bounds: BTreeSet<String>,
}

/// Takes a page apart.
fn families(page: &str) -> BTreeMap<String, Shown> {
    let mut families: BTreeMap<String, Shown> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            current = name.to_owned();
            families.entry(current.clone()).or_default().kind = kind.to_owned();
        } else if let Some((_, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let family = families.get_mut(&current).expect("samples follow their type");
            let inside = rest.rsplit_once('}').expect("a closing brace").0;
            for label in inside.split("\",").filter_map(|pair| pair.split_once("=\"")) {
                match label {
                    ("le", bound) => drop(family.bounds.insert(bound.trim_end_matches('"').into())),
                    (name, _) => drop(family.labels.insert(name.to_owned())),
                }
            }
        }
    }
    families
}

/// A real etcd, gone when dropped.
struct Oracle {
    process: Child,
    port: u16,
    _data: tempfile::TempDir,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it was started");
    }
}

impl Oracle {
    fn start() -> Option<Oracle> {
        let program = std::env::var_os("HOLDFAST_ORACLE_ETCD")?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let data = tempfile::tempdir().expect("a folder");
        let url = format!("http://{free}");
        let process = Command::new(program)
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", "http://127.0.0.1:0"])
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        Some(Oracle { process, port: free.port(), _data: data })
    }

    fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        for _ in 0..100 {
            let answer = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
                stream.write_all(request.as_bytes())?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            });
            match answer {
                Ok(answer) if answer.contains(" 200 ") => {
                    return answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        panic!("no answer to {path}");
    }
}

#[test]
fn every_family_of_a_real_etcd_is_here_with_its_type_labels_and_buckets() {
    let Some(oracle) = Oracle::start() else {
        println!("skipped: HOLDFAST_ORACLE_ETCD names no etcd 3.7");
        return;
    };
    oracle.get("/health");
    oracle.get("/readyz");
    let page = oracle.get("/metrics");
    let metrics = Metrics::new(false);
    let ours: BTreeMap<&str, _> =
        metrics.families().into_iter().map(|about| (about.name, about)).collect();
    let shown = families(&metrics.page());
    let mut differences = Vec::new();
    for (name, theirs) in families(&page) {
        if LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let Some(about) = ours.get(name.as_str()) else {
            differences.push(format!("{name} is missing"));
            continue;
        };
        let labels: BTreeSet<String> = about.labels.iter().map(|label| (*label).into()).collect();
        if about.kind != theirs.kind || labels != theirs.labels {
            differences.push(format!("{name} is {about:?} here and {theirs:?} there"));
        }
        if let Some(shown) = shown.get(&name).filter(|shown| shown.bounds != theirs.bounds) {
            differences.push(format!("{name} has other buckets: {shown:?}, {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_calls_that_stand_from_the_start_are_those_of_a_real_etcd() {
    let Some(oracle) = Oracle::start() else {
        println!("skipped: HOLDFAST_ORACLE_ETCD names no etcd 3.7");
        return;
    };
    oracle.get("/health");
    let series = |page: &str| -> BTreeSet<String> {
        let lines = page.lines().filter(|line| line.starts_with("grpc_server_"));
        lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
    };
    let theirs = series(&oracle.get("/metrics"));
    assert_eq!(series(&Metrics::new(false).page()), theirs);
}
