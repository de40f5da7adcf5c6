//! A cluster of real processes in network namespaces, harmed by seed, round after round, and judged after each.
//!
//! An *episode* is one cluster: three or five of ours, or ours among Go's. A *round*: clients read, write, hold leases
//! and watch through all members, while mishaps befall members and cables; then everything is put right, everybody must
//! be well again within a bound, and the whole history since the episode began is judged:
//!
//! - every answer is what the one keyspace at its revision gives, in an order that fits the clock
//!   ([`history::order`]): so the history is linearizable, and no acknowledged write is lost;
//! - each watcher got everything in order and once, across all members it went to ([`history::watch`]);
//! - no lease ended early or came back ([`history::lease`]), and in the end all have ended;
//! - all members have the same hash and the same keys.
//!
//! The seed decides what happens; when exactly, and who leads then, is up to the machine.

pub mod clients;
pub mod leases;
pub mod members;
pub mod mishaps;
pub mod network;
mod session;
mod translate;
mod verdict;
pub mod watchers;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use history::lease::LeaseEvent;
use history::watch::Watch;
use history::{Action, Operation, Outcome, Request};

use crate::cluster::Cluster;
use crate::foreign::repository;
use crate::random::Random;
use mishaps::{Field, Mishap, Who};
use network::Network;
use session::{Session, Shared};
use watchers::{Book, Watcher, Wish};

/// Clients that read and write.
const CLIENTS: usize = 5;
/// How long everybody may take to be well again once everything has been put right.
const RECOVERY_DURATION_MAX: Duration = Duration::from_secs(30);
/// The longest a lease may outlive its time: an election, and a new leader that gives each its whole time again.
const LEASES_DURATION_MAX: Duration = Duration::from_secs(40);

/// The programs of an episode.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Ours.
    pub ours: PathBuf,
    /// Go's that are among ours, if any: seats after ours.
    pub theirs: Vec<PathBuf>,
    /// How many of ours.
    pub ours_count: usize,
    /// Whether Go's are new enough to tell their progress truthfully.
    pub progress: bool,
    /// Whether Go's may store something else than the others once they are killed: 3.5.0 to 3.5.2 save the index of an
    /// entry apart from its change. These rounds saw it with 3.5.1, and stop its members instead of killing them.
    pub fragile: bool,
}

/// What an episode came to.
#[derive(Debug, Default)]
pub struct Report {
    /// What was wrong, in sentences; empty when all is well.
    pub complaints: Vec<String>,
    /// Requests with a known outcome.
    pub answered: usize,
    /// Requests of which nobody knows.
    pub unknown: usize,
    /// Events that watchers got.
    pub events: usize,
    /// Lease events.
    pub leases: usize,
    /// The longest time until everybody was well again.
    pub recovery_max: Duration,
    /// Everything that befell it.
    pub mishaps: Vec<String>,
}

/// What is gathered over the rounds of an episode.
#[derive(Debug, Default)]
struct Gathered {
    operations: Vec<Operation>,
    leases: Vec<(u64, LeaseEvent)>,
    book: Mutex<Book>,
    known: i64,
}

/// One cluster, and so many rounds on it, or fewer when something is wrong or `until` has come. `network` has a machine
/// for each member and one more.
pub fn episode(
    seed: u64,
    rounds: usize,
    until: Instant,
    programs: &Programs,
    network: &Network,
) -> Report {
    let mut random = Random::new(seed);
    let mut report = Report::default();
    let (mut cluster, spare) = build(programs, network, &mut random, &mut report);
    let began = Instant::now();
    let mut gathered = Gathered { known: 1, ..Gathered::default() };
    let present: Vec<usize> = (0..spare).collect();
    let slow_sync = Some(repository().join("crates/proof/bench/slow-sync.py"));
    let slow_sync = slow_sync.filter(|_| has_python());
    let complaints = Vec::new();
    let cluster_ref = &mut cluster;
    let fragile = (programs.ours_count..spare).filter(|_| programs.fragile).collect();
    let mut field =
        Field { cluster: cluster_ref, network, present, fragile, slow_sync, complaints };
    field.heal();
    wait_until_well(&mut field, &mut report);
    for round in 0..rounds {
        if until < Instant::now() || !report.complaints.is_empty() {
            break;
        }
        report.mishaps.push(format!("round {round}:"));
        one_round(
            seed,
            round,
            &mut random,
            began,
            programs,
            &mut field,
            &mut gathered,
            &mut report,
        );
    }
    if report.complaints.is_empty() {
        all_leases_end(began, &field, &mut report);
    }
    if !report.complaints.is_empty() {
        keep(seed, &cluster, &report);
    }
    report
}

/// A cluster that has not started, and the number of its members: the seat after them is empty.
fn build(
    programs: &Programs,
    network: &Network,
    random: &mut Random,
    report: &mut Report,
) -> (Cluster, usize) {
    let ours = std::iter::repeat_n(programs.ours.as_path(), programs.ours_count);
    let binaries: Vec<&Path> = ours.chain(programs.theirs.iter().map(PathBuf::as_path)).collect();
    let count = binaries.len();
    let seats: Vec<_> =
        binaries.iter().enumerate().map(|(seat, binary)| (*binary, network.place(seat))).collect();
    let (heartbeat, election) = random.pick(&[(100, 1000), (100, 1000), (29, 271), (101, 2000)]);
    let snapshot_count = random.pick(&[10, 50, 200, 10_000]);
    let flags = [
        format!("--heartbeat-interval={heartbeat}"),
        format!("--election-timeout={election}"),
        format!("--snapshot-count={snapshot_count}"),
    ];
    let mut cluster = Cluster::in_places(&seats, &flags.each_ref().map(String::as_str));
    let catchup = format!("--snapshot-catchup-entries={}", random.pick(&[10, 100, 5000]));
    report.mishaps.push(format!("{count} members, {} {catchup}", flags.join(" ")));
    let spare = cluster.add_seat_at(&programs.ours, network.place(count));
    for seat in (0..programs.ours_count).chain([spare]) {
        cluster.set_own_flags(seat, &[&catchup]);
    }
    (cluster, spare)
}

fn has_python() -> bool {
    let ran = std::process::Command::new("python3").arg("--version").output();
    ran.is_ok_and(|ran| ran.status.success())
}

#[expect(clippy::too_many_arguments, reason = "a round is made of all of these")]
fn one_round(
    seed: u64,
    round: usize,
    random: &mut Random,
    began: Instant,
    programs: &Programs,
    field: &mut Field<'_>,
    gathered: &mut Gathered,
    report: &mut Report,
) {
    let addresses = field.present.iter().map(|seat| field.cluster.address(*seat)).collect();
    let shared = &Shared::new(began, addresses, programs.progress, gathered.known);
    let book = std::mem::take(&mut gathered.book);
    let wishes = wishes(random, gathered.known);
    let heard: Vec<AtomicI64> = wishes.iter().map(|_| AtomicI64::new(0)).collect();
    let watches = thread::scope(|scope| {
        let watching: Vec<_> = wishes
            .iter()
            .zip(&heard)
            .enumerate()
            .map(|(number, (wish, heard))| {
                let book = (number == 0).then_some(&book);
                let watcher = Watcher { shared, wish: *wish, book, heard };
                let random = Random::new(random.next_u64());
                scope.spawn(move || watcher.run(random))
            })
            .collect();
        let writing: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let name = format!("{round}-{number}");
                let random = Random::new(random.next_u64());
                scope.spawn(move || clients::write_and_read(shared, number, name, random))
            })
            .collect();
        let (first, dice) = (1 + round as i64 * 100_000, Random::new(random.next_u64()));
        let leasing = scope.spawn(move || leases::grant_and_keep(shared, CLIENTS, first, dice));

        harm(random, round, programs, field, report);
        field.heal();
        wait_until_well(field, report);
        // Some more, with everybody there.
        sleep(Duration::from_millis(300));
        let marker = settle(shared, random, &heard, gathered, report);
        shared.stop();
        gathered
            .operations
            .extend(writing.into_iter().flat_map(|one| one.join().expect("it ends")));
        let leased = leasing.join().expect("it ends");
        gathered.operations.extend(leased.operations);
        gathered.leases.extend(leased.events);
        let mut watching = watching.into_iter();
        let scribe = watching.next().expect("there is a scribe");
        let mut watches: Vec<Watch> = watching.flat_map(|one| watched(one, marker)).collect();
        scribe_hears_all(shared, &heard, gathered, report);
        shared.stop_scribe();
        watches.extend(watched(scribe, marker));
        watches
    });
    gathered.book = book;
    gathered.known = shared.known.load(Ordering::Acquire);
    report.complaints.append(&mut field.complaints);
    if report.complaints.is_empty() {
        verdict::judge(gathered, &watches, programs, field, report);
    }
    if !report.complaints.is_empty() {
        report.complaints.insert(0, format!("seed {seed}, round {round}:"));
    }
}

/// What a watcher saw; the last of its watches was still open when all was quiet.
fn watched(watching: thread::ScopedJoinHandle<'_, Vec<Watch>>, marker: Option<i64>) -> Vec<Watch> {
    let mut all = watching.join().expect("it ends");
    if let Some(last) = all.last_mut() {
        last.settled_at = marker;
    }
    all
}

/// The scribe, and three that watch in other ways.
fn wishes(random: &mut Random, known: i64) -> Vec<Wish> {
    let (previous, no_delete, requires_leader) = (false, false, false);
    let scribe = Wish { start: known + 1, previous, no_delete, requires_leader };
    let mut wishes = vec![scribe];
    for _ in 0..3 {
        let start = random.pick(&[0, known + 1, (known - 20).max(2)]);
        let mut flag = || random.one_in(2);
        wishes.push(Wish { start, previous: flag(), no_delete: flag(), requires_leader: flag() });
    }
    wishes
}

/// What befalls the cluster in this round.
fn harm(
    random: &mut Random,
    round: usize,
    programs: &Programs,
    field: &mut Field<'_>,
    report: &mut Report,
) {
    let members = field.present.len();
    sleep(Duration::from_millis(200));
    match random.below(10) {
        0 if 0 < round => {
            let who = Mishap::MoveLeader(Who::Follower(1));
            // Without its old members a cluster takes on a newer version, which those do not join again.
            let among = if programs.progress { members } else { programs.ours_count };
            let seat = field.present[random.below(among as u64) as usize];
            report.mishaps.push(format!("m{} is replaced", seat + 1));
            field.replace(seat);
            field.befall(who, Duration::ZERO);
        }
        1 if 0 < round => {
            report.mishaps.push("a learner comes, is promoted, and goes".to_owned());
            field.learner(field.cluster.len() - 1);
        }
        2 => far_behind(random, field, report),
        _ => {
            for _ in 0..2 + random.below(3) {
                let mishap = Mishap::draw(random, members);
                let lasts = Duration::from_millis(100 + random.below(1900));
                report.mishaps.push(format!("{mishap:?} for {lasts:?}"));
                field.befall(mishap, lasts);
                // Now and then the next one comes on top of this one.
                if !random.one_in(3) {
                    field.heal();
                    sleep(Duration::from_millis(random.below(800)));
                }
            }
        }
    }
}

/// A follower is away while much is written: with a short log it needs a snapshot, and is killed once more on its way.
fn far_behind(random: &mut Random, field: &mut Field<'_>, report: &mut Report) {
    let who = Who::Follower(random.below(field.present.len() as u64) as usize);
    let seat = field.seat(who);
    report.mishaps.push(format!("m{} is away for long", seat + 1));
    field.kill(seat);
    sleep(Duration::from_millis(2500));
    field.heal();
    sleep(Duration::from_millis(random.below(300)));
    if random.one_in(2) {
        field.kill(seat);
        field.heal();
    }
}

/// Waits until every member answers a linearizable read.
fn wait_until_well(field: &mut Field<'_>, report: &mut Report) {
    let began = Instant::now();
    let read = proto::etcdserverpb::RangeRequest { key: "k/".into(), ..Default::default() };
    for seat in field.present.clone() {
        let well = |field: &Field<'_>| {
            field.ask(seat, "KV/Range", &read).is_some_and(|answer| answer.is_ok())
        };
        while !well(field) {
            if RECOVERY_DURATION_MAX < began.elapsed() || !field.cluster.is_running(seat) {
                let states: Vec<_> =
                    field.present.iter().map(|seat| (seat + 1, field.peek(*seat))).collect();
                let said = format!("m{} is not well again: {states:?}", seat + 1);
                report.complaints.push(said);
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
    report.recovery_max = report.recovery_max.max(began.elapsed());
}

/// Writes a last key and waits until all watchers have heard of it; its revision.
fn settle(
    shared: &Shared,
    random: &mut Random,
    heard: &[AtomicI64],
    gathered: &mut Gathered,
    report: &mut Report,
) -> Option<i64> {
    let deadline = Instant::now() + RECOVERY_DURATION_MAX;
    let mut session = Session::new(shared, random);
    let mut count = 0;
    let revision = loop {
        count += 1;
        let value = format!("{}-{count}", shared.now()).into();
        let put = Action::Put { key: "k/last".into(), value, lease: 0, previous: false };
        let done = session.ask(CLIENTS + 1, Request::One(put));
        let revision = done.as_ref().and_then(Operation::revision);
        gathered.operations.extend(done.filter(|it| !matches!(it.outcome, Outcome::Refused(_))));
        match revision {
            Some(revision) => break revision,
            None if deadline < Instant::now() => {
                report.complaints.push("nobody takes a put although all are well".to_owned());
                return None;
            }
            None => sleep(Duration::from_millis(20)),
        }
    };
    while heard.iter().any(|one| one.load(Ordering::Acquire) < revision) {
        if deadline < Instant::now() {
            let heard = heard.iter().map(|one| one.load(Ordering::Acquire)).collect::<Vec<_>>();
            report.complaints.push(format!("watchers heard {heard:?}, not {revision}"));
            return None;
        }
        sleep(Duration::from_millis(5));
    }
    Some(revision)
}

/// Waits until the scribe has heard of all that others have heard or been told of.
fn scribe_hears_all(
    shared: &Shared,
    heard: &[AtomicI64],
    gathered: &Gathered,
    report: &mut Report,
) {
    let deadline = Instant::now() + RECOVERY_DURATION_MAX;
    let told = gathered.operations.iter().filter_map(Operation::revision).max().unwrap_or(0);
    let heard = heard.iter().map(|one| one.load(Ordering::Acquire)).max().unwrap_or(0);
    while shared.known.load(Ordering::Acquire) < heard.max(told) {
        if deadline < Instant::now() {
            let known = shared.known.load(Ordering::Acquire);
            let said = format!("a watcher heard of {known} only; {heard} and {told} are known");
            report.complaints.push(said);
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Nobody keeps a lease alive any more: their keys must go.
fn all_leases_end(began: Instant, field: &Field<'_>, report: &mut Report) {
    let deadline = Instant::now() + LEASES_DURATION_MAX;
    let (first, end) = (leases::LEASED, "k/lease0");
    let range = proto::etcdserverpb::RangeRequest {
        key: first.into(),
        range_end: end.into(),
        ..Default::default()
    };
    loop {
        let answer = field.ask(field.present[0], "KV/Range", &range);
        let left = answer
            .filter(crate::grpc::Answer::is_ok)
            .map(|answer| answer.ok::<proto::etcdserverpb::RangeResponse>().count);
        if left == Some(0) {
            return;
        }
        if deadline < Instant::now() {
            let at = began.elapsed();
            report.complaints.push(format!("leases do not end: {left:?} keys after {at:?}"));
            return;
        }
        sleep(Duration::from_millis(100));
    }
}

/// Keeps what the members said, for whoever looks into it.
fn keep(seed: u64, cluster: &Cluster, report: &Report) {
    let folder = repository().join("target/cluster").join(format!("seed-{seed}"));
    let text = format!("{}\n\n{}\n", report.complaints.join("\n"), report.mishaps.join("\n"));
    let copy = || {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("complaint.txt"), text)?;
        for entry in std::fs::read_dir(cluster.folder())? {
            let path = entry?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                std::fs::copy(&path, folder.join(name))?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    match copy() {
        Ok(()) => println!("logs and complaint lie in {}", folder.display()),
        Err(error) => println!("logs could not be kept: {error}"),
    }
}
