use super::*;

const MINUTE_MS: u64 = 60_000;

#[track_caller]
fn check(mode: &str, retention: &str, expected: Option<Retention>) {
    assert_eq!(Retention::parse(mode, retention), Ok(expected));
}

#[track_caller]
fn check_error(mode: &str, retention: &str, expected: &str) {
    let error = Retention::parse(mode, retention).expect_err("the flags are wrong");
    assert_eq!(error.to_string(), expected);
}

fn hours(hours: u64) -> Option<Retention> {
    Some(Retention::Periodic { period_ms: hours * HOUR_MS })
}

#[test]
fn a_retention_is_hours_or_revisions_or_a_duration() {
    check("periodic", "0", None);
    check("revision", "0", None);
    check("periodic", "0s", None);
    check("periodic", "1", hours(1));
    check("periodic", "10h", hours(10));
    check("periodic", "72h", hours(72));
    check("periodic", "+2", hours(2));
    check("periodic", "30m", Some(Retention::Periodic { period_ms: 30 * MINUTE_MS }));
    check("periodic", "1h30m", Some(Retention::Periodic { period_ms: 90 * MINUTE_MS }));
    check("periodic", "1.5h", Some(Retention::Periodic { period_ms: 90 * MINUTE_MS }));
    check("periodic", "1ns", Some(Retention::Periodic { period_ms: 1 }));
    check("revision", "1000", Some(Retention::Revisions { count: 1000 }));
    check("revision", "1us", Some(Retention::Revisions { count: 1000 }));
}

#[test]
fn wrong_flags_are_refused_in_etcds_words() {
    check_error("", "1", "undefined auto-compaction-mode");
    check_error("weekly", "1", "unknown auto-compaction-mode \"weekly\"");
    let parsing = "error parsing CompactionRetention: ";
    for (text, cause) in [
        ("", "time: invalid duration \"\""),
        ("x", "time: invalid duration \"x\""),
        (".h", "time: invalid duration \".h\""),
        ("-", "time: invalid duration \"-\""),
        ("-1", "time: missing unit in duration \"-1\""),
        ("1.5", "time: missing unit in duration \"1.5\""),
        ("1d", "time: unknown unit \"d\" in duration \"1d\""),
        ("1h 30m", "time: unknown unit \"h \" in duration \"1h 30m\""),
        ("9999999999h", "time: invalid duration \"9999999999h\""),
        ("-1h", "\"-1h\" is negative"),
    ] {
        check_error("periodic", text, &format!("{parsing}{cause}"));
    }
}

#[test]
fn durations_are_read_as_go_reads_them() {
    for (text, nanos) in [
        ("0", 0),
        ("-0", 0),
        ("5s", 5_000_000_000),
        ("5.s", 5_000_000_000),
        (".5s", 500_000_000),
        ("-2m3.5s", -123_500_000_000),
        ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ("1\u{b5}s1\u{3bc}s", 2000),
        ("0.333333333333333333333h", 1_199_999_999_999),
        ("9223372036854775807ns", i64::MAX),
    ] {
        assert_eq!(parse_duration(text), Ok(nanos), "{text}");
    }
    assert!(parse_duration("9223372036854775808ns").is_err());
}

/// A leader that gains a revision a minute for `hours`, whose compactions go as `outcome` says.
/// Returns (minute, revision) of each request.
fn run(retention: Retention, hours: u64, outcome: impl Fn(u64) -> Outcome) -> Vec<(u64, i64)> {
    let mut machine = AutoCompaction::new(retention, 0, 1);
    let mut asked = Vec::new();
    for second in 1..=hours * 3600 {
        let (now_ms, minute) = (second * 1000, second / 60);
        if let Some(revision) = machine.tick(now_ms, 1 + minute as i64) {
            asked.push((minute, revision));
            machine.finished(outcome(minute), now_ms);
        }
    }
    asked
}

const fn periodic(minutes: u64) -> Retention {
    Retention::Periodic { period_ms: minutes * MINUTE_MS }
}

#[test]
fn ten_hours_of_history_are_kept_and_compacted_every_hour() {
    let asked = run(periodic(600), 14, |_| Outcome::Done);
    assert_eq!(asked, [(600, 1), (660, 55), (720, 115), (780, 175), (840, 235)]);
}

#[test]
fn half_an_hour_of_history_is_kept_and_compacted_every_half_hour() {
    let asked = run(periodic(30), 2, |_| Outcome::Done);
    assert_eq!(asked, [(30, 1), (60, 28), (90, 58), (120, 88)]);
}

#[test]
fn a_failed_compaction_is_tried_again_at_the_next_sample() {
    let failing = |minute| if minute < 66 { Outcome::Failed } else { Outcome::Done };
    let asked = run(periodic(60), 3, failing);
    assert_eq!(asked, [(60, 1), (66, 1), (126, 61)]);
}

#[test]
fn a_number_of_revisions_is_kept_and_compacted_every_five_minutes() {
    let asked = run(Retention::Revisions { count: 50 }, 1, |_| Outcome::Done);
    assert_eq!(asked, [(50, 1), (55, 6), (60, 11)]);
}

#[test]
fn an_idle_store_is_not_compacted_twice_to_the_same_revision() {
    for retention in [periodic(60), Retention::Revisions { count: 10 }] {
        let mut machine = AutoCompaction::new(retention, 0, 500);
        let asked = (1..=600).filter_map(|minute| {
            let asked = machine.tick(minute * MINUTE_MS, 500);
            machine.finished(Outcome::Done, minute * MINUTE_MS);
            asked
        });
        assert_eq!(asked.count(), 1);
    }
}

#[test]
fn only_the_leader_asks_and_a_new_leader_has_its_samples_already() {
    let mut machine = AutoCompaction::new(periodic(60), 0, 1);
    machine.pause();
    for minute in 1..=200 {
        assert_eq!(machine.tick(minute * MINUTE_MS, 1 + minute as i64), None);
    }
    machine.resume();
    let asked: Vec<(u64, i64)> = (201..=210)
        .filter_map(|minute| Some((minute, machine.tick(minute * MINUTE_MS, 300)?)))
        .collect();
    assert_eq!(asked, [(204, 139)]);
}

#[test]
fn nothing_more_is_asked_for_while_a_compaction_is_under_way() {
    let mut machine = AutoCompaction::new(Retention::Revisions { count: 1 }, 0, 1);
    assert_eq!(machine.tick(300_000, 10), Some(9));
    assert_eq!(machine.tick(600_000, 20), None);
    machine.finished(Outcome::Failed, 600_001);
    assert_eq!(machine.tick(900_000, 30), Some(29));
}
