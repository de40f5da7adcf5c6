//! What watches a cluster: our alerts and our dashboard, evaluated by a real Prometheus that scrapes three of our
//! members.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need, repository};
use holdfast_robust::http;
use holdfast_robust::process::free_ports;
use serde_json::Value;

/// How long Prometheus may take to have scraped often enough for rates.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus with our alerts that scrapes the members every second.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(binary: &Path, cluster: &Cluster, seats: usize) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let alerts = repository().join("packaging/prometheus/alerts.yaml");
        let members: Vec<_> =
            (0..seats).map(|seat| format!("'{}'", cluster.address(seat))).collect();
        let settings = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: etcd\n    static_configs: [ {{ targets: [{}] }} ]\n",
            alerts.display(),
            members.join(", ")
        );
        let file = folder.path().join("prometheus.yaml");
        fs::write(&file, settings).expect("the settings are written");
        let address = format!("127.0.0.1:{}", free_ports().expect("loopback has free ports").0);
        let child = Command::new(binary)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Prometheus { child, address, _folder: folder }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = http::get(&self.address, path).ok()?;
        serde_json::from_str(&answer.text()).ok()
    }

    /// How many series a query has now; an error is Prometheus's own words.
    fn series(&self, query: &str) -> Result<usize, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"));
        let answer = answer.ok_or("no answer")?;
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.len()),
            None => Err(answer["error"].to_string()),
        }
    }

    /// Names and states of all rules: `inactive`, `pending`, `firing`; with what ails them.
    fn rules(&self) -> Vec<(String, String, String)> {
        let answer = self.ask("/api/v1/rules").unwrap_or_default();
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .map(|rule| (word(&rule["name"]), word(&rule["state"]), word(&rule["lastError"])))
            .collect()
    }

    fn is_raised(&self, alert: &str) -> bool {
        self.rules().iter().any(|(name, state, _)| name == alert && state != "inactive")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether something becomes true within the patience of these tests.
fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if deadline < Instant::now() {
            return false;
        }
        sleep(Duration::from_millis(250));
    }
    true
}

/// Every query of the dashboard, as it is asked for one job and a short time.
fn queries() -> Vec<(String, String)> {
    let file = repository().join("packaging/prometheus/dashboard.json");
    let text = fs::read_to_string(file).expect("the dashboard is in the repository");
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().expect("a panel has a title");
        let targets = panel["targets"].as_array().expect("a panel has queries");
        targets.iter().map(move |target| (title.to_owned(), target["expr"].to_string()))
    });
    targets
        .map(|(title, query)| {
            let query: String = serde_json::from_str(&query).expect("a query is text");
            (title, query.replace("$job", "etcd").replace("$__rate_interval", "5s"))
        })
        .collect()
}

#[test]
fn prometheus_sees_what_the_dashboard_shows_and_raises_etcds_alerts() {
    let name = "prometheus_sees_what_the_dashboard_shows_and_raises_etcds_alerts";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(binary) = need(name, Part::Prometheus) else { return };
    let mut cluster = Cluster::start(&[&subject, &subject, &subject], &["--metrics=extensive"]);
    let prometheus = Prometheus::start(&binary, &cluster, 3);

    let queries = queries();
    assert!(queries.len() > 20, "the dashboard has lost its queries: {}", queries.len());
    let mut number = 0;
    let mut missing = Vec::new();
    let all_seen = eventually(|| {
        number += 1;
        // Something happens meanwhile.
        let _ = cluster.put(number % 3, "key", &number.to_string());
        missing = queries
            .iter()
            .map(|(title, query)| (title, query, prometheus.series(query)))
            .filter(|(_, _, series)| !matches!(series, Ok(1..)))
            .collect();
        missing.is_empty()
    });
    assert!(all_seen, "queries without a series: {missing:#?}");

    let ailing: Vec<_> = prometheus.rules().into_iter().filter(|(_, _, e)| !e.is_empty()).collect();
    assert!(ailing.is_empty(), "Prometheus cannot evaluate {ailing:?}");
    assert_eq!(prometheus.rules().len(), 15);
    assert!(!prometheus.is_raised("etcdMembersDown"), "{:?}", prometheus.rules());
    assert!(!prometheus.is_raised("etcdNoLeader"), "{:?}", prometheus.rules());

    cluster.kill(1);
    assert!(eventually(|| prometheus.is_raised("etcdMembersDown")), "{:?}", prometheus.rules());
    cluster.kill(2);
    for alert in ["etcdInsufficientMembers", "etcdNoLeader"] {
        let raised = eventually(|| prometheus.is_raised(alert));
        assert!(raised, "{alert}: {:?}", prometheus.rules());
    }
}
