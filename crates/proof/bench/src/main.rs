//! The benchmark: us and real etcd, driven in turn on one machine, compared in the same run.
//!
//! Absolute figures say little on a machine one does not know. So each round drives every subject with
//! the same load, in an order that changes from round to round, and what is reported are ratios within
//! a round: their median and how far they lie apart. Beside each rate stands the server's own CPU for
//! one operation, because the generator shares the cores, and the generator's too.
//!
//! Settings are the same: one member, default durability (every write is synced before it is answered),
//! the same quota, logs at level error. One server runs at a time.

mod access;
mod client;
mod cluster;
mod gates;
mod h2load;
mod leases;
mod loaded;
mod plots;
mod process;
mod rates;
mod report;
mod results;
mod secured;
mod subject;
mod svg;
mod watching;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use report::Page;
use results::Results;
use subject::{Home, Subject};

const USAGE: &str = "\
holdfast-bench [--secured | --cluster] [--quick] [--workload NAME] [--rounds N] [--subjects A,B]

  --quick       one round of a tenth of the load; nothing below docs/ is written
  --secured     with certificates and as users: docs/bench/secured.md
  --cluster     three members instead of one: docs/bench/cluster.md
  --workload    one of: start rates sync loaded watch idle leases curve; with --secured one of: tls handshakes
                users; with --cluster one of: cluster-rates cluster-back cluster-harm
  --rounds      how often each is repeated; 5 by default
  --minutes     begin nothing new after so long, and repeat nothing that took an eighth of it
  --more        adds to the rounds that docs/bench/results.tsv holds from before, and writes docs/ again
  --scale       of the load of rates; 1 by default
  --subjects    which of holdfast, etcd, etcd-3.4; all by default
  --load H:P    only write the million keys into a server that runs there, for a profiler
";

/// Which report is wanted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum What {
    #[default]
    Alone,
    Secured,
    Cluster,
}

/// What is to be done.
#[derive(Default)]
struct Plan {
    what: What,
    quick: bool,
    workload: Option<String>,
    rounds: usize,
    subjects: Option<String>,
    load: Option<String>,
    more: bool,
    minutes: Option<f64>,
    scale: Option<f64>,
}

/// All groups of workloads, in the order they run within a round.
const GROUPS: [&str; 8] = ["start", "rates", "sync", "loaded", "watch", "idle", "leases", "curve"];

impl Plan {
    fn parse(words: &[String]) -> Option<Plan> {
        let mut plan = Plan::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--secured" => plan.what = What::Secured,
                "--cluster" => plan.what = What::Cluster,
                "--quick" => plan.quick = true,
                "--workload" => plan.workload = Some(words.next()?.clone()),
                "--rounds" => plan.rounds = words.next()?.parse().ok()?,
                "--minutes" => plan.minutes = Some(words.next()?.parse().ok()?),
                "--scale" => plan.scale = Some(words.next()?.parse().ok()?),
                "--more" => plan.more = true,
                "--load" => plan.load = Some(words.next()?.clone()),
                "--subjects" => plan.subjects = Some(words.next()?.clone()),
                _ => return None,
            }
        }
        if plan.rounds == 0 {
            plan.rounds = match (plan.quick, plan.what) {
                (true, _) => 1,
                (false, What::Cluster) => 3,
                (false, What::Alone | What::Secured) => 5,
            };
        }
        let known = |name: &String| plan.groups().contains(&name.as_str());
        plan.workload.as_ref().is_none_or(known).then_some(plan)
    }

    fn groups(&self) -> &'static [&'static str] {
        match self.what {
            What::Alone => &GROUPS,
            What::Secured => &secured::GROUPS,
            What::Cluster => &cluster::GROUPS,
        }
    }

    fn page(&self) -> &'static Page {
        match self.what {
            What::Alone => &report::ALONE,
            What::Secured => &report::SECURED,
            What::Cluster => &report::CLUSTER,
        }
    }

    fn wants(&self, group: &str) -> bool {
        self.workload.as_ref().is_none_or(|wanted| wanted == group)
    }

    /// Of the load of rates; 1 for a full run.
    fn scale(&self) -> f64 {
        self.scale.unwrap_or(if self.quick { 0.1 } else { 1.0 })
    }

    fn so_many(&self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }

    /// Whether there is time for a group that took so long before.
    fn has_time(&self, began: Instant, before: Option<&Duration>) -> bool {
        let Some(minutes) = self.minutes else { return true };
        let whole = Duration::from_secs_f64(minutes * 60.0);
        began.elapsed() < whole && before.is_none_or(|took| *took < whole / 8)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = Plan::parse(&words) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(address) = &plan.load {
        let took = loaded::write_all(address, plan.so_many(1_000_000), b'a');
        eprintln!("bench: {:.2} s", took.as_secs_f64());
        return ExitCode::SUCCESS;
    }
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).expect("crates/proof/bench");
    let mut subjects = Subject::all(root);
    if let Some(wanted) = &plan.subjects {
        subjects.retain(|subject| wanted.split(',').any(|name| name == subject.name));
    }
    if plan.what != What::Alone {
        subjects.retain(|subject| subject.name != "etcd-3.4");
    }
    if subjects.is_empty() || !h2load::is_here() {
        eprintln!("bench: h2load (Debian's nghttp2-client) and a release build of etcd are needed");
        return ExitCode::FAILURE;
    }
    for subject in &subjects {
        eprintln!("bench: {}: {}", subject.name, subject.version);
    }
    let began = Instant::now();
    let mut results = Results::default();
    if plan.more {
        let before = std::fs::read_to_string(root.join("docs/bench").join(plan.page().table));
        results.take(&before.unwrap_or_default());
    }
    let mut took = BTreeMap::new();
    for round in 0..plan.rounds {
        eprintln!(
            "bench: round {} of {}, after {} s",
            round + 1,
            plan.rounds,
            began.elapsed().as_secs()
        );
        one_round(&plan, round, &subjects, &mut results, began, &mut took);
    }
    let all = plan.workload.is_none() && !plan.quick && plan.subjects.is_none();
    let whole = all || plan.more;
    let folder = if whole { root.join("docs/bench") } else { root.join("target/bench") };
    let report = report::Report {
        page: plan.page(),
        results: &results,
        subjects: &subjects,
        rounds: plan.rounds,
        took: began.elapsed(),
    };
    write(&folder, &report)
}

fn write(folder: &PathBuf, report: &report::Report<'_>) -> ExitCode {
    print!("{}", report.text());
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| report.write(folder))
        .and_then(|()| plots::write(folder, report.results, report.subjects));
    match written {
        Ok(()) => {
            eprintln!("bench: {} s; see {}", report.took.as_secs(), folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: the report could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one_round(
    plan: &Plan,
    round: usize,
    subjects: &[Subject],
    results: &mut Results,
    began: Instant,
    took: &mut BTreeMap<&'static str, Duration>,
) {
    // Whoever is always first would always meet the coldest disk.
    let mut order: Vec<&Subject> = subjects.iter().collect();
    order.rotate_left(round % subjects.len());
    for group in plan.groups().iter().copied().filter(|group| plan.wants(group)) {
        if !plan.has_time(began, took.get(group)) {
            continue;
        }
        let group_began = Instant::now();
        for subject in &order {
            // Debian's release is there for comparison of rates; the rest is compared with the newest.
            if subject.name == "etcd-3.4" && !matches!(group, "start" | "rates") {
                continue;
            }
            if group == "curve" && round >= 3 {
                continue;
            }
            one_group(plan, group, subject, results);
        }
        took.insert(group, group_began.elapsed());
    }
}

fn one_group(plan: &Plan, group: &str, subject: &Subject, results: &mut Results) {
    if group == "sync" {
        for millis in [1, 5] {
            let home = Home::new(subject).with_sync_delay(Duration::from_millis(millis));
            rates::with_slow_syncs(&home.start(), results, millis, plan.scale());
        }
        return;
    }
    match group {
        "tls" => return secured::over_tls(subject, results, plan.scale()),
        "handshakes" => return secured::handshakes(subject, results, plan.scale()),
        "users" => return secured::as_users(subject, results, plan.scale()),
        "cluster-rates" | "cluster-back" | "cluster-harm" => {
            return cluster::one_group(group, subject, results, plan.scale());
        }
        _ => {}
    }
    let server = Home::new(subject).start();
    match group {
        "start" => {
            results.add("start seconds", subject.name, server.ready_after().as_secs_f64());
            std::thread::sleep(Duration::from_millis(300));
            let memory = process::memory(server.pid()).now;
            results.add("start memory MiB", subject.name, memory);
        }
        "rates" => rates::all(&server, results, plan.scale()),
        "loaded" => loaded::all(server, results, plan.so_many(1_000_000)),
        "watch" => watching::one_key(&server, results, plan.so_many(500)),
        "idle" => watching::idle(&server, results, plan.so_many(10_000)),
        "leases" => leases::all(&server, results, plan.so_many(100_000)),
        "curve" => rates::curve(&server, results, plan.scale()),
        other => unreachable!("{other} is no group"),
    }
}
