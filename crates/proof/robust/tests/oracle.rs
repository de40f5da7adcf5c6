//! We and real etcd, the same requests, the same answers.

use std::path::Path;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::generate::Area;
use holdfast_robust::oracle::{Findings, Plan, Reference, compare};
use holdfast_robust::random;

/// How many episodes, from `HOLDFAST_EPISODES` or the default of the test.
fn episodes(default: u64) -> u64 {
    std::env::var("HOLDFAST_EPISODES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Writes what was found to a file, and fails when there is a difference.
#[track_caller]
pub fn judge(name: &str, findings: &Findings) {
    let report = findings.report(usize::MAX);
    let folder = foreign::repository().join("target/oracle");
    std::fs::create_dir_all(&folder).expect("the target folder can be written to");
    let file = folder.join(format!("{name}.txt"));
    std::fs::write(&file, report).expect("the report can be written");
    println!("{name}: {}", findings.report(12));
    assert!(
        findings.differences.is_empty(),
        "{name}: all differences are in target/oracle/{name}.txt"
    );
}

/// False when `HOLDFAST_AREA` names another area.
fn is_wanted(area: Area) -> bool {
    std::env::var("HOLDFAST_AREA").map_or(true, |name| Area::from_name(&name) == Some(area))
}

fn against_the_newest(name: &str, area: Area, count: u64, steps: usize) {
    if !is_wanted(area) {
        return;
    }
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let Some(subject) = foreign::subject(name) else { return };
    run(name, &reference, &subject, area, episodes(count), steps);
}

fn run(name: &str, reference: &Path, subject: &Path, area: Area, episodes: u64, steps: usize) {
    let seed = random::seed(name, 1000);
    let plan = Plan { area, seed, episodes, steps, reference: Reference::Newest };
    judge(name, &compare(reference, subject, &plan, &[]));
}

#[test]
fn kv_requests_have_real_etcds_answers() {
    against_the_newest("oracle-kv", Area::Kv, 3, 250);
}

#[test]
fn transactions_have_real_etcds_answers() {
    against_the_newest("oracle-txn", Area::Txn, 3, 250);
}

#[test]
fn lease_requests_have_real_etcds_answers() {
    against_the_newest("oracle-lease", Area::Lease, 2, 250);
}

#[test]
fn watches_have_real_etcds_answers() {
    against_the_newest("oracle-watch", Area::Watch, 3, 150);
}

#[test]
fn cluster_and_maintenance_requests_have_real_etcds_answers() {
    against_the_newest("oracle-services", Area::Services, 3, 150);
}

#[test]
fn locks_and_elections_have_real_etcds_answers() {
    against_the_newest("oracle-locks", Area::Locks, 2, 200);
}

#[test]
fn malformed_requests_have_real_etcds_answers() {
    against_the_newest("oracle-wire", Area::Wire, 2, 250);
}

#[test]
fn http_requests_have_real_etcds_answers() {
    against_the_newest("oracle-http", Area::Http, 2, 250);
}

/// Proves that the comparison itself is sound: nothing may differ where nothing is different.
#[test]
fn two_real_etcds_answer_alike() {
    let name = "oracle-self";
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let mut findings = Findings::default();
    for area in Area::ALL {
        let plan = Plan {
            area,
            seed: random::seed(name, 1),
            episodes: episodes(1),
            steps: 60,
            reference: Reference::Newest,
        };
        findings.add(compare(&reference, &reference, &plan, &[]));
    }
    judge(name, &findings);
}

/// Debian's 3.4, for what it has. What later releases changed on purpose is not asked or not compared.
#[test]
fn etcd_3_4_gave_the_same_answers_already() {
    let name = "oracle-3.4";
    let Some(reference) = foreign::need(name, Part::Etcd34) else { return };
    let Some(subject) = foreign::subject(name) else { return };
    let mut findings = Findings::default();
    for area in
        [Area::Kv, Area::Txn, Area::Lease, Area::Watch].into_iter().filter(|area| is_wanted(*area))
    {
        let seed = random::seed(name, 3400);
        let plan =
            Plan { area, seed, episodes: episodes(1), steps: 150, reference: Reference::Old };
        findings.add(compare(&reference, &subject, &plan, &[]));
    }
    judge(name, &findings);
}

/// A comparison that finds nothing proves nothing, so here it is given something to find.
#[test]
fn an_old_etcd_does_not_pass_for_the_newest() {
    let name = "oracle-can-fail";
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let Some(old) = foreign::need(name, Part::Etcd34) else { return };
    let plan = Plan {
        area: Area::Services,
        seed: 1,
        episodes: 1,
        steps: 60,
        reference: Reference::Newest,
    };
    let findings = compare(&reference, &old, &plan, &[]);
    assert!(findings.differences.len() > 5, "{}", findings.report(5));
}
