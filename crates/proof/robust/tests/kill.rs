//! Nothing acknowledged is lost: kill -9 in the middle of everything, again and again, on one data
//! directory.
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
    let (mut newest, mut writes, mut hashes, mut events, mut chores) = (0, 0, 0, 0, 0);
    for round in 0..rounds {
        let load = Load::start(&server.address(), 4, round, seed);
        sleep(Duration::from_millis(200 + random.below(600)));
        let home = server.kill();
        let journal = load.finish();
        server = home.start();
        let verdict = judge(&server, &journal);
        let found = &verdict.complaints;
        assert!(found.is_empty(), "round {round} of seed {seed}:\n{}", found.join("\n"));
        let first = journal.acknowledged.first().map_or(newest, |write| write.revision);
        assert!(first >= newest, "round {round}: revision {first} after {newest}");
        assert!(verdict.revision >= newest, "round {round}: {} after {newest}", verdict.revision);
        newest = verdict.revision;
        writes += verdict.writes;
        hashes += verdict.hashes;
        events += verdict.events;
        chores += journal.kept_house;
        println!(
            "{name}: round {round}: {} writes acknowledged, revision {newest}, all there",
            journal.acknowledged.len()
        );
    }
    println!(
        "{name}: {rounds} rounds: {writes} writes found at their revisions, {events} events \
         replayed, {hashes} hashes the same, {chores} compactions, defragmentations and snapshots"
    );
    assert!(writes > 0 && hashes > 0 && events > 0 && chores > 0, "nothing was looked at");
}

/// A judge that finds nothing proves nothing, so here it is given something to find.
#[test]
fn the_judge_notices_what_was_lost() {
    let Some(subject) = foreign::subject("judge") else { return };
    let server = Home::new(&subject, &[]).start();
    let load = Load::start(&server.address(), 2, 0, 1);
    sleep(Duration::from_millis(400));
    let mut journal = load.finish();
    assert!(journal.acknowledged.len() > 2, "something was written");
    let verdict = judge(&server, &journal);
    assert!(verdict.complaints.is_empty(), "and it is there: {:?}", verdict.complaints);
    assert!(verdict.events > 0 && verdict.writes > 0);

    let place = journal.acknowledged.iter().position(|write| write.value.is_some());
    let place = place.expect("something was put");
    let honest = journal.acknowledged[place].clone();
    journal.acknowledged[place].value = Some("something else".to_string());
    let found = judge(&server, &journal).complaints;
    assert!(found.iter().any(|said| said.contains("something else")), "a value: {found:?}");
    journal.acknowledged[place] = honest;

    journal.leases.insert(4711);
    assert_eq!(judge(&server, &journal).complaints.len(), 1, "a lease");
    journal.leases.remove(&4711);
    let honest = journal.hashes.clone();
    journal.hashes.iter_mut().for_each(|hash| hash.hash ^= 1);
    assert_eq!(judge(&server, &journal).complaints.len(), honest.len(), "hashes");
    journal.hashes = honest;

    let home = server.kill();
    std::fs::remove_dir_all(home.data_dir()).expect("the data directory is there");
    let found = judge(&home.start(), &journal).complaints;
    assert!(found.iter().any(|complaint| complaint.contains("was acknowledged")), "{found:?}");
}
