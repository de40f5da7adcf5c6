//! How long nobody's write is acknowledged when the leader dies, stops in order, or is told to hand over.
//!
//! Writes do not wait for each other: one a millisecond is sent to each member that stays, whatever became of those before, so
//! that one of them meets the first moment in which the cluster writes again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb as pb;
use rustix::process::Signal;

use super::{Trio, status};
use crate::client::{Client, frame, run};
use crate::results::Results;
use crate::subject::Server;

/// How often each harm is done in a round.
const TIMES: f64 = 7.0;
/// A member that is sent a put each millisecond has at most so many under way from us.
const UNDER_WAY_MAX: usize = 4_000;
/// Puts go on for so long before the harm is done, and after it at least.
const BEFORE: Duration = Duration::from_millis(400);
const AFTER: Duration = Duration::from_millis(600);

/// What is done to the leader.
#[derive(Clone, Copy)]
enum Harm {
    Kill,
    Stop,
    Move,
}

/// Every harm, again and again.
pub fn all(mut trio: Trio, results: &mut Results, scale: f64) {
    let times = ((TIMES * scale) as usize).max(1);
    for (name, harm) in [("kill", Harm::Kill), ("stop", Harm::Stop), ("move", Harm::Move)] {
        for _ in 0..times {
            let seen = once(&mut trio, harm);
            let subject = trio.name();
            results.add(&format!("{name} until next ms"), subject, seen.until_next);
            results.add(&format!("{name} longest gap ms"), subject, seen.longest_gap);
        }
    }
}

/// What the writers saw, in milliseconds.
struct Seen {
    /// From the harm to the answer to a put that was sent after it.
    until_next: f64,
    /// The longest time around the harm in which no put was acknowledged.
    longest_gap: f64,
}

fn once(trio: &mut Trio, harm: Harm) -> Seen {
    let (leader, follower) = trio.leader_and_follower();
    let heir = status(trio.at(follower)).expect("it answers").0;
    // To the leader too, where it stays.
    let stay = |seat: &usize| *seat != leader || matches!(harm, Harm::Move);
    let stay: Vec<&Server> = (0..3).filter(stay).map(|seat| trio.at(seat)).collect();
    let seen = run(put_through(&stay, trio.at(leader), harm, heir));
    match harm {
        Harm::Move => {}
        Harm::Kill | Harm::Stop => {
            let home = trio.take(leader).wait();
            trio.seat(leader, home.start());
        }
    }
    trio.wait_until_level();
    // What the return of a member set going is over before the next harm.
    std::thread::sleep(Duration::from_millis(500));
    seen
}

/// When a put was sent and when its answer was there.
type Acknowledged = Rc<RefCell<Vec<(Instant, Instant)>>>;

async fn put_through(stay: &[&Server], leader: &Server, harm: Harm, heir: u64) -> Seen {
    let acknowledged = Acknowledged::default();
    let done = Rc::new(Cell::new(false));
    for server in stay {
        let client = Client::enter(server.access()).await.expect("it is let in");
        let (acknowledged, done) = (acknowledged.clone(), done.clone());
        tokio::task::spawn_local(put_steadily(client, acknowledged, done));
    }
    let hand = Client::enter(leader.access()).await.expect("it is let in");
    tokio::time::sleep(BEFORE).await;
    let harmed = Instant::now();
    match harm {
        Harm::Kill => leader.signal(Signal::KILL),
        Harm::Stop => leader.signal(Signal::TERM),
        Harm::Move => {
            let to = pb::MoveLeaderRequest { target_id: heir };
            let path = "/etcdserverpb.Maintenance/MoveLeader";
            let _: pb::MoveLeaderResponse = hand.ask(path, &to).await;
        }
    }
    let until = harmed + super::PATIENCE;
    let next = loop {
        let sent_after = |put: &&(Instant, Instant)| harmed < put.0;
        let next = acknowledged.borrow().iter().filter(sent_after).map(|put| put.1).min();
        if let Some(next) = next {
            break next;
        }
        assert!(Instant::now() < until, "nothing is acknowledged again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    tokio::time::sleep(AFTER).await;
    done.set(true);
    let mut answers: Vec<Instant> = acknowledged.borrow().iter().map(|put| put.1).collect();
    answers.sort_unstable();
    let around = answers.partition_point(|answer| *answer < harmed).saturating_sub(1);
    let gaps = answers[around..].windows(2).map(|pair| pair[1] - pair[0]);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Seen {
        until_next: millis(next - harmed),
        longest_gap: millis(gaps.max().expect("something is acknowledged after the harm")),
    }
}

/// A put each millisecond, whatever became of those before.
async fn put_steadily(client: Client, acknowledged: Acknowledged, done: Rc<Cell<bool>>) {
    let put = pb::PutRequest {
        key: Bytes::from_static(b"/steady"),
        value: Bytes::from(vec![b's'; 256]),
        ..Default::default()
    };
    let put = frame(&put);
    let under_way = Rc::new(Cell::new(0));
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    while !done.get() {
        beat.tick().await;
        if under_way.get() == UNDER_WAY_MAX {
            continue;
        }
        under_way.set(under_way.get() + 1);
        let (client, put) = (client.clone(), put.clone());
        let (acknowledged, under_way) = (acknowledged.clone(), under_way.clone());
        tokio::task::spawn_local(async move {
            let sent = Instant::now();
            // A put that nobody can take now is refused, which is no acknowledgement.
            if client.call("/etcdserverpb.KV/Put", put).await.is_ok() {
                acknowledged.borrow_mut().push((sent, Instant::now()));
            }
            under_way.set(under_way.get() - 1);
        });
    }
}
