//! Nothing acknowledged is lost: kill -9 in the middle of writes, again and again, on one data directory.
//!
//! `HOLDFAST_ROUNDS` says how often (`cargo xtask kill --rounds 200` sets it).

use std::thread::sleep;
use std::time::Duration;

use holdfast_robust::foreign;
use holdfast_robust::load::{Load, judge};
use holdfast_robust::process::Home;
use holdfast_robust::random::{self, Random};

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let name = "kill";
    let Some(subject) = foreign::subject(name) else { return };
    let rounds =
        std::env::var("HOLDFAST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let seed = random::seed(name, 4);
    let mut random = Random::new(seed);
    // A small snapshot count, so that rounds end in every phase of releasing the log.
    let mut server = Home::new(&subject, &["--snapshot-count=100"]).start();
    let mut newest = 0;
    for round in 0..rounds {
        let load = Load::start(&server.address(), 4, round, seed);
        sleep(Duration::from_millis(200 + random.below(600)));
        let home = server.kill();
        let journal = load.finish();
        server = home.start();
        let found = judge(&server, &journal);
        assert!(found.is_empty(), "round {round} of seed {seed}:\n{}", found.join("\n"));
        let first = journal.acknowledged.first().map_or(newest, |write| write.revision);
        assert!(first >= newest, "round {round}: revision {first} after {newest}");
        newest = journal.acknowledged.last().map_or(newest, |write| write.revision);
        println!(
            "{name}: round {round}: {} writes acknowledged, all there",
            journal.acknowledged.len()
        );
    }
    assert!(newest > 0, "something was written");
}

/// A judge that finds nothing proves nothing, so here it is given something to find.
#[test]
fn the_judge_notices_what_was_lost() {
    let Some(subject) = foreign::subject("judge") else { return };
    let server = Home::new(&subject, &[]).start();
    let load = Load::start(&server.address(), 2, 0, 1);
    sleep(Duration::from_millis(300));
    let mut journal = load.finish();
    assert!(journal.acknowledged.len() > 2, "something was written");
    assert!(judge(&server, &journal).is_empty(), "and it is there");

    journal.acknowledged[1].value = Some("something else".to_string());
    assert_eq!(judge(&server, &journal).len(), 1, "a changed value");

    let home = server.kill();
    std::fs::remove_dir_all(home.data_dir()).expect("the data directory is there");
    let found = judge(&home.start(), &journal);
    assert!(found.iter().any(|complaint| complaint.contains("was acknowledged")), "{found:?}");
}
