//! All attacks at once, again and again, beside a putter; afterwards all of it is given back.
//!
//! `HOLDFAST_SOAK` says for how many seconds, `HOLDFAST_SOAK_REPORT` where to write what was seen: that is
//! `cargo xtask soak`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::process::Server;
use holdfast_robust::raw::{DATA, END_HEADERS, HEADERS, Raw, frame, headers};
use prost::Message;
use proto::etcdserverpb::{PutResponse, RangeResponse};

use crate::attack::{
    Bystander, PUT, RANGE, WAIT_MAX, WAIT_USUAL_MAX, open_with_wide_windows, peak_mib, put,
    server_with_much,
};
use crate::edge;

/// What holds connections open as long as its answer lives.
type Attack<'a> = dyn Fn(&Server) -> Vec<Raw> + Sync + 'a;

/// The most memory under all attacks together, in MiB: what is held for clients altogether, a third of it that the
/// allocator loses, and what a member takes besides.
const MEMORY_MIB_MAX: u64 = 1024 * 4 / 3 + 96;

/// How long it takes at most until all is given back.
const GIVEN_BACK: Duration = Duration::from_secs(30);

/// What a process has open, and how many threads it has.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    files: usize,
    threads: usize,
}

impl Holdings {
    fn of(server: &Server) -> Holdings {
        let count = |folder: &str| {
            let folder = format!("/proc/{}/{folder}", server.pid());
            std::fs::read_dir(folder).expect("it is a running process").count()
        };
        Holdings { files: count("fd"), threads: count("task") }
    }
}

/// How long puts waited.
struct Waits(Vec<Duration>);

impl Waits {
    fn of(bystander: Bystander) -> Waits {
        let mut waits = bystander.finish();
        waits.sort();
        Waits(waits)
    }

    /// The wait that so many of a thousand puts did not exceed.
    fn of_thousand(&self, part: usize) -> Duration {
        self.0[(self.0.len() - 1) * part / 1000]
    }

    fn row(&self, name: &str) -> String {
        let ms = |part| format!("{:.1}", self.of_thousand(part).as_secs_f64() * 1000.0);
        let (puts, [half, most, nearly, all]) = (self.0.len(), [500, 990, 999, 1000].map(ms));
        format!("| {name} | {puts} | {half} | {most} | {nearly} | {all} |\n")
    }
}

/// Lists of everything that nobody reads.
fn unread(message: &[u8]) -> impl Fn(&Server) -> Vec<Raw> {
    move |server| {
        let mut open = Vec::new();
        for _ in 0..10 {
            let Some(mut raw) = open_with_wide_windows(server) else { continue };
            for stream in 0..10 {
                raw.call(2 * stream + 1, RANGE, message);
            }
            open.push(raw);
        }
        sleep(Duration::from_secs(2));
        open
    }
}

/// Messages of 2 MiB of which the last byte never comes.
fn unfinished(server: &Server) -> Vec<Raw> {
    let mut open = Vec::new();
    let begun = [&[0, 0, 0x1f, 0xff, 0xff], &[7; 16_000][..]].concat();
    for _ in 0..20 {
        let Ok(mut raw) = Raw::open(&server.address(), &[]) else { continue };
        for stream in 0..4 {
            let stream = 2 * stream + 1;
            raw.send(&frame(HEADERS, END_HEADERS, stream, &headers(PUT, &[])));
            for _ in 0..14 {
                raw.send(&frame(DATA, 0, stream, &begun));
            }
        }
        open.push(raw);
    }
    sleep(Duration::from_secs(2));
    open
}

#[test]
fn all_attacks_at_once_leave_nothing_behind() {
    let seconds = std::env::var("HOLDFAST_SOAK").ok().and_then(|text| text.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(20));
    let Some((mut server, everything)) = server_with_much("attack-soak") else { return };
    edge::attach(&server, 5_000);
    let quiet = {
        let bystander = Bystander::start(&server);
        sleep((duration / 10).max(Duration::from_secs(3)));
        Waits::of(bystander)
    };
    let before = Holdings::of(&server);
    let bystander = Bystander::start(&server);
    let rounds = attack(&server, &everything.encode_to_vec(), duration);
    let attacked = Waits::of(bystander);
    let peak = peak_mib(&server);
    let after = given_back(&server, before);
    assert!(server.is_alive(), "the server is gone:\n{}", server.log());

    let mut report = String::from(
        "| | puts | median ms | 99 % | 99.9 % | longest |\n|---|--:|--:|--:|--:|--:|\n",
    );
    report += &quiet.row("before");
    report += &attacked.row("under attack");
    let Holdings { files, threads } = before;
    let (files_after, threads_after) = (after.files, after.threads);
    let seconds = duration.as_secs();
    let _ = write!(
        report,
        "\n{rounds} attacks in {seconds} s. Most memory ever taken: {peak} MiB, of {MEMORY_MIB_MAX}. Open files: {files} \
         before, {files_after} afterwards; threads: {threads} before, {threads_after} afterwards.\n"
    );
    println!("{report}");
    if let Ok(path) = std::env::var("HOLDFAST_SOAK_REPORT") {
        std::fs::write(&path, &report).expect("the report can be written");
    }
    assert!(attacked.of_thousand(1000) <= WAIT_MAX, "a put waited too long");
    assert!(attacked.of_thousand(500) <= WAIT_USUAL_MAX, "every other put waited too long");
    assert!(peak <= MEMORY_MIB_MAX, "{peak} MiB");
    for _ in 0..8 {
        let answer: RangeResponse = server.connect().unary(RANGE, &everything).ok();
        assert_eq!(answer.kvs.len(), 8, "large answers have room again");
    }
    server.connect().unary(PUT, &put("after", vec![])).ok::<PutResponse>();
}

/// Attacks in all ways at once for so long; returns how often.
fn attack(server: &Server, message: &[u8], duration: Duration) -> usize {
    let stop = AtomicBool::new(false);
    let grown = |server: &Server| {
        edge::grown(server);
        Vec::new()
    };
    let (waiting, unread) = (edge::waiting(message), unread(message));
    let attacks: [&Attack; 10] = [
        &edge::quotes,
        &waiting,
        &edge::settings,
        &edge::snapshots,
        &edge::silent,
        &edge::pipelined,
        &edge::listed,
        &grown,
        &unread,
        &unfinished,
    ];
    std::thread::scope(|scope| {
        let attackers: Vec<_> = attacks
            .into_iter()
            .map(|attack| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) {
                        drop(attack(server));
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        sleep(duration);
        stop.store(true, Ordering::Relaxed);
        attackers.into_iter().map(|attacker| attacker.join().expect("it only attacks")).sum()
    })
}

/// Waits until files and threads are as few as before, but for a few that come and go.
fn given_back(server: &Server, before: Holdings) -> Holdings {
    let deadline = Instant::now() + GIVEN_BACK;
    loop {
        let now = Holdings::of(server);
        if now.files <= before.files + 8 && now.threads <= before.threads + 4 {
            return now;
        }
        assert!(Instant::now() < deadline, "{now:?} remain, {before:?} were there before");
        sleep(Duration::from_millis(100));
    }
}
