//! A whole member with its threads, on a disk that waits, fails or loses power when told to.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use auth::Principal;
use holdfast_node::{BootError, Node, SERVING_THREADS_MAX};
use lease::KeepAlive;
use proto::etcdserverpb as pb;
use support::{GatedDisk, begin, block_on, config, get, path, put, put_when_led};
use types::{Code, Limits, Refusal};
use vfs::{CrashPolicy, Disk, FaultKind, Faults, MemoryDisk};

/// Long enough for an answer that nothing holds up.
const AT_ONCE: Duration = Duration::from_secs(20);
/// Long enough that an answer that was not held up would be there.
const A_WHILE: Duration = Duration::from_millis(200);

#[test]
fn what_was_put_is_there_after_an_orderly_end_and_another_start() {
    let disk = MemoryDisk::new();
    let member = begin(config(), disk.clone()).expect("a new member");
    let first = block_on(|| put_when_led(member.running.node(), "greeting", "hello"));
    member.running.stop();

    let member = begin(config(), disk).expect("the same member");
    let node = member.running.node();
    block_on(async || {
        assert_eq!(get(node, "greeting").await.as_deref(), Some("hello"));
        assert_eq!(put_when_led(node, "greeting", "again").await, first + 1);
    });
    member.running.stop();
}

#[test]
fn an_answer_waits_for_the_sync_of_the_log() {
    let disk = GatedDisk::default();
    let member = begin(config(), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "before", "").await;
        disk.gate.close();
        let mut waiting = std::pin::pin!(put(node, "key", "value"));
        let early = tokio::time::timeout(A_WHILE, &mut waiting).await;
        assert!(early.is_err(), "answered before the sync: {early:?}");
        let view = node.view();
        assert_eq!(view.index.current_revision(), 2, "and nobody sees it before");
        disk.gate.open();
        let answer = tokio::time::timeout(AT_ONCE, waiting).await.expect("in time");
        assert_eq!(answer, Ok(3));
    });
    member.running.stop();
}

#[test]
fn a_thread_that_waits_for_the_disk_itself_is_answered_after_the_sync_and_holds_up_no_reader() {
    let disk = GatedDisk::default();
    let member = begin(config(), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        let first = put_when_led(node, "key", "").await;
        // One after the other, until this thread does without the others.
        for turn in 1..100 {
            assert_eq!(put(node, "key", "early").await, Ok(first + turn));
        }
        disk.gate.close();
        let reader = std::thread::spawn({
            let (node, gate) = (node.clone(), disk.gate.clone());
            move || {
                std::thread::sleep(A_WHILE);
                let seen = block_on(async || get(&node, "key").await);
                gate.open();
                seen
            }
        });
        let began = Instant::now();
        assert_eq!(put(node, "key", "late").await, Ok(first + 100));
        assert!(A_WHILE <= began.elapsed(), "answered before the sync");
        let seen = reader.join().expect("it does not panic");
        assert_eq!(seen.as_deref(), Some("early"), "and nobody sees it before");
    });
    member.running.stop();
}

#[test]
fn whoever_was_answered_sees_what_was_written() {
    let member = begin(config(), MemoryDisk::new()).expect("a new member");
    let node = member.running.node();
    block_on(|| put_when_led(node, "before", ""));
    // Alone, and in groups with others: the two take different ways.
    for (threads, puts) in [(1, 300), (4, 2000)] {
        let write = |thread: usize| {
            block_on(async || {
                for number in 0..puts {
                    let key = format!("{thread}/{number}");
                    let revision = put(node, &key, "value").await.expect("nothing is in the way");
                    let seen = node.view().index.current_revision();
                    assert!(revision <= seen, "answered {revision} and saw {seen}");
                    assert!(revision <= node.revision(), "the figure is behind the answer");
                }
            });
        };
        std::thread::scope(|scope| {
            (0..threads).for_each(|thread| drop(scope.spawn(move || write(thread))));
        });
    }
    member.running.stop();
}

#[test]
fn what_gathers_during_a_sync_shares_the_next() {
    let disk = GatedDisk::default();
    let member = begin(config(), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "before", "").await;
        disk.gate.close();
        let before = disk.gate.passed();
        let put_one = |number: usize| {
            let node = node.clone();
            tokio::task::spawn_local(async move { put(&node, &number.to_string(), "").await })
        };
        let mut waiting = vec![put_one(0)];
        // The first is at the gate before the others come.
        tokio::time::sleep(A_WHILE).await;
        waiting.extend((1..100).map(put_one));
        tokio::time::sleep(A_WHILE).await;
        disk.gate.open();
        for answer in waiting {
            assert!(answer.await.expect("it does not panic").is_ok());
        }
        // One for the first, one for all others, and whatever the log or the store did for itself.
        let syncs = disk.gate.passed() - before;
        assert!(syncs < 10, "{syncs} syncs for 100 puts");
    });
    member.running.stop();
}

#[test]
fn a_request_waits_for_the_log_no_longer_than_it_may() {
    let disk = GatedDisk::default();
    let limits = Limits { request_timeout: A_WHILE, ..Limits::default() };
    let member = begin(support_config(limits), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "before", "").await;
        disk.gate.close();
        assert_eq!(put(node, "key", "value").await, Err(Refusal::Timeout));
        disk.gate.open();
        // It was only late. Nobody was told that it is there, so the first read may be earlier.
        let began = Instant::now();
        while get(node, "key").await.as_deref() != Some("value") {
            assert!(began.elapsed() < AT_ONCE, "it never came");
        }
    });
    member.running.stop();
}

#[test]
fn more_proposals_than_may_wait_are_refused() {
    let disk = GatedDisk::default();
    let limits = Limits { proposals_pending_max: 8, ..Limits::default() };
    let member = begin(support_config(limits), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "before", "").await;
        disk.gate.close();
        let waiting: Vec<_> = (0..8)
            .map(|number| {
                let node = node.clone();
                tokio::task::spawn_local(async move { put(&node, &number.to_string(), "").await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(put(node, "one too many", "").await, Err(Refusal::RequestTooManyRequests));
        disk.gate.open();
        for answer in waiting {
            assert!(answer.await.expect("it does not panic").is_ok());
        }
        assert!(put(node, "room again", "").await.is_ok());
    });
    member.running.stop();
}

/// Guarantee (leases end once).
#[test]
fn a_lease_that_ended_while_its_checkpoint_was_cleared_was_not_kept_alive() {
    let disk = GatedDisk::default();
    let config = holdfast_node::Config { lease_checkpoints: true, ..config() };
    let member = begin(config, disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "before", "").await;
        let grant = pb::LeaseGrantRequest { id: 7, ttl: 1 };
        let grant = pb::InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
        node.propose(grant, &Principal::Nobody).await.expect("a new lease");
        let left = lease::Checkpoint { id: 7, remaining_seconds: 1 };
        node.propose(member::checkpoint_request(vec![left]), &Principal::Nobody)
            .await
            .expect("it is there");
        disk.gate.close();
        let mut kept = std::pin::pin!(node.keep_alive(7));
        let early = tokio::time::timeout(Duration::from_millis(1500), &mut kept).await;
        assert!(early.is_err(), "answered before the checkpoint was cleared: {early:?}");
        disk.gate.open();
        let kept = tokio::time::timeout(AT_ONCE, kept).await.expect("in time");
        assert!(
            matches!(kept, Ok(KeepAlive::Expired | KeepAlive::NotFound)),
            "its second was over, and it was {kept:?}"
        );
    });
    member.running.stop();
}

#[test]
fn a_failed_operation_of_the_disk_ends_the_member_and_is_not_tried_again() {
    for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
        // The next operations of a member at rest are a write and a sync of its log.
        for later in 1..=2 {
            let disk = MemoryDisk::new();
            let limits = Limits { request_timeout: A_WHILE, ..Limits::default() };
            let member = begin(support_config(limits), disk.clone()).expect("a new member");
            let node = member.running.node();
            block_on(async || {
                put_when_led(node, "before", "").await;
                tokio::time::sleep(A_WHILE).await;
                let fail_at = Some((disk.operations() + later, kind));
                disk.set_faults(Faults { fail_at, ..Faults::default() });
                assert_eq!(put(node, "key", "value").await, Err(Refusal::Timeout), "{kind:?}");
            });
            let fault = member.faults.recv_timeout(AT_ONCE).expect("the process is told to end");
            assert!(fault.starts_with("writing the raft log: "), "{fault}");
            let operations = disk.operations();
            std::thread::sleep(A_WHILE);
            assert_eq!(disk.operations(), operations, "nothing is written after it");
        }
    }
}

#[test]
fn a_row_that_cannot_be_read_is_refused_alone_and_the_member_goes_on() {
    let disk = MemoryDisk::new();
    let member = begin(config(), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "sound", "value").await;
        let lost = put(node, "rotten", "letter").await.expect("nothing is in the way");
        // Watchers find the newest changes in memory.
        let filler = "filler".repeat(100_000);
        for _ in 0..8 {
            put(node, "filler", &filler).await.expect("there is room");
        }
        let log = path("member/store/0000000000000001.log");
        let bytes = vfs::read_all(&disk, &log).expect("it is there");
        let at = bytes.windows(6).position(|window| window == b"letter").expect("it is there");
        disk.flip_bit(&log, at as u64 * 8).expect("the file is that long");

        let view = node.view();
        let request = pb::RangeRequest { key: "rotten".into(), ..Default::default() };
        let read = apply::read_range(&view.index, &view.rows(), &request);
        let Err(mvcc::ReadError::Fault(fault)) = read else { panic!("{read:?}") };
        let refusal = node.fault("reading", &fault);
        assert_eq!(refusal.code(), Code::DataLoss);
        assert!(
            refusal.message().contains("0000000000000001.log is damaged at byte"),
            "{refusal:?}"
        );
        assert_eq!(get(node, "sound").await.as_deref(), Some("value"));

        watch_around(node, lost).await;
        put(node, "rotten", "new").await.expect("it is taken");
        assert_eq!(get(node, "rotten").await.as_deref(), Some("new"));
        let shown = &node.figures().damages;
        for _ in 0..1000 {
            if shown.load().len() == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the damage is not shown: {:?}", shown.load());
    });
    assert_eq!(member.faults.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
    member.running.stop();
}

/// A watch from the lost revision on ends with where it may begin; one from behind it hears everything.
async fn watch_around(node: &Node, lost: i64) {
    let mut watches = node.watch(0);
    for (watch, start) in [(1, lost), (2, lost + 1)] {
        watches.create(watch::Create {
            watch,
            range: types::KeyRange::From { start: "a".into() },
            start,
            progress_notify: false,
            previous: true,
            filters: watch::Filters::default(),
            fragment: false,
            permission: Ok(()),
        });
    }
    let (mut cancelled, mut events) = (false, 0);
    while !cancelled || events < 8 {
        let next = tokio::time::timeout(AT_ONCE, watches.next()).await;
        let responses = next.expect("in time").expect("the member lives");
        watches.sent(responses.len(), responses.iter().map(watch::Response::bytes).sum());
        for response in responses {
            match (response.watch, &response.body) {
                (1, watch::Body::Compacted { compact_revision }) => {
                    assert_eq!(*compact_revision, lost + 1);
                    cancelled = true;
                }
                (2, watch::Body::Events { events: list, .. }) => events += list.events().len(),
                (_, watch::Body::Created) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What clients know: for each key the value acknowledged last, and the one they heard nothing of.
type Known = BTreeMap<String, (Option<String>, Option<String>)>;

#[test]
fn power_cut_at_any_moment_costs_nothing_that_was_acknowledged() {
    let mut disk = MemoryDisk::new();
    let mut known = Known::new();
    let limits = Limits { request_timeout: A_WHILE, ..Limits::default() };
    for round in 0..24_u64 {
        let member = begin(support_config(limits.clone()), disk.clone()).expect("it starts");
        let node = member.running.node();
        block_on(async || {
            for (key, (acknowledged, attempted)) in &mut known {
                let found = get(node, key).await;
                let kept = found == *acknowledged || attempted.is_some() && found == *attempted;
                assert!(kept, "round {round}: {key} is {found:?}, not {acknowledged:?}");
                (*acknowledged, *attempted) = (found, None);
            }
            put_when_led(node, "led", &round.to_string()).await;
            let stop_after = Some(disk.operations() + 7 + round * 13 % 97);
            disk.set_faults(Faults { stop_after, ..Faults::default() });
            write_until_the_end(node, round, &mut known).await;
        });
        let policy = match round % 4 {
            0 => CrashPolicy::KeepAll,
            1 => CrashPolicy::LoseUnsynced,
            2 => CrashPolicy::Torn { seed: round },
            _ => CrashPolicy::Reordered { seed: round },
        };
        disk = disk.crash(policy);
    }
    assert!(known.len() > 4);
}

/// Several writers, each with a key of its own, until the first hears nothing any more.
async fn write_until_the_end(node: &holdfast_node::Node, round: u64, known: &mut Known) {
    let writers: Vec<_> = (0..5)
        .map(|writer| {
            let (node, key) = (node.clone(), format!("writer {writer}"));
            tokio::task::spawn_local(async move {
                let mut acknowledged = None;
                for number in 0..10_000 {
                    let value = format!("{round} {number}");
                    match put(&node, &key, &value).await {
                        Ok(_) => acknowledged = Some(value),
                        Err(_) => return (key, acknowledged, Some(value)),
                    }
                }
                panic!("the power was never cut");
            })
        })
        .collect();
    for writer in writers {
        let (key, acknowledged, attempted) = writer.await.expect("it does not panic");
        let entry = known.entry(key).or_default();
        entry.0 = acknowledged.or(entry.0.take());
        entry.1 = attempted;
    }
}

#[test]
fn more_bytes_than_may_wait_are_refused() {
    let disk = GatedDisk::default();
    let limits = Limits { proposals_pending_bytes_max: 3000, ..Limits::default() };
    let member = begin(support_config(limits), disk.clone()).expect("a new member");
    let node = member.running.node();
    block_on(async || {
        put_when_led(node, "before", "").await;
        disk.gate.close();
        let large = "v".repeat(2000);
        let waiting = tokio::task::spawn_local({
            let (node, large) = (node.clone(), large.clone());
            async move { put(&node, "large", &large).await }
        });
        tokio::task::yield_now().await;
        assert!(2000 < node.proposal_bytes_pending());
        assert_eq!(put(node, "too much", &large).await, Err(Refusal::RequestTooManyRequests));
        disk.gate.open();
        assert!(waiting.await.expect("it does not panic").is_ok());
        assert_eq!(node.proposal_bytes_pending(), 0);
        assert!(put(node, "room again", &large).await.is_ok());
    });
    member.running.stop();
}

#[test]
fn there_are_as_many_lanes_as_threads_that_serve() {
    let config = holdfast_node::Config { serving_threads: SERVING_THREADS_MAX, ..config() };
    let member = begin(config, MemoryDisk::new()).expect("a new member");
    let node = member.running.node();
    block_on(|| put_when_led(node, "before", ""));
    // Each of these threads has its own, until it ends with the member.
    for _ in 1..SERVING_THREADS_MAX + 4 {
        block_on(|| put(node, "key", "value")).expect("it has a lane");
    }
    member.running.stop();
}

fn support_config(limits: Limits) -> holdfast_node::Config {
    holdfast_node::Config { limits, ..config() }
}

/// A disk with a member of some history, at rest.
fn disk_with_history() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let member = begin(config(), disk.clone()).expect("a new member");
    block_on(async || {
        for number in 0..60 {
            put_when_led(member.running.node(), "key", &number.to_string()).await;
        }
    });
    member.running.stop();
    disk
}

fn remove_all(disk: &MemoryDisk, dir: &str) {
    for name in disk.list(&path(dir)).expect("it is there") {
        disk.remove(&path(dir).join(name)).expect("it is there");
    }
}

fn refusal(disk: MemoryDisk) -> BootError {
    match begin(config(), disk) {
        Ok(_) => panic!("it was served"),
        Err(refusal) => refusal,
    }
}

#[test]
fn a_store_without_its_log_is_refused_naming_both() {
    let disk = disk_with_history();
    remove_all(&disk, "member/wal");
    let refusal = refusal(disk);
    assert!(matches!(refusal, BootError::LogTooShort { .. }), "{refusal}");
    let said = refusal.to_string();
    assert!(said.contains("member/wal") && said.contains("member/store"), "{said}");
}

#[test]
fn a_lost_store_is_made_again_from_a_log_that_has_everything() {
    let disk = MemoryDisk::new();
    let small = holdfast_node::Config { snapshot_count: 5, ..config() };
    let member = begin(small.clone(), disk.clone()).expect("a new member");
    block_on(async || {
        for number in 0..30 {
            put_when_led(member.running.node(), "key", &number.to_string()).await;
        }
    });
    member.running.stop();
    remove_all(&disk, "member/store");
    // The log still begins at its first entry: all of it is applied again.
    let member = begin(small, disk).expect("the log has everything");
    assert_eq!(block_on(|| get(member.running.node(), "key")).as_deref(), Some("29"));
    member.running.stop();
}

#[test]
fn the_database_of_a_go_etcd_without_its_log_is_refused_by_name_and_left_alone() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(&path("member/snap")).expect("an empty disk");
    disk.create(&path("member/snap/db")).expect("an empty disk");
    let refused = refusal(disk.clone());
    let said = std::error::Error::source(&refused).expect("it has a reason").to_string();
    let expected =
        "/member.etcd/member/snap/db is the database of a Go etcd, but there is no raft log in";
    assert!(said.starts_with(expected), "{said}");
    assert!(disk.exists(&path("member/snap/db")).is_ok_and(|there| there));
    assert!(disk.exists(&path("member/store")).is_ok_and(|there| !there));
}

#[test]
fn a_log_whose_beginning_is_released_is_refused_without_its_store() {
    let disk = MemoryDisk::new();
    let config = holdfast_node::Config { snapshot_count: 10, wals_max: 1, ..config() };
    let member = begin(config.clone(), disk.clone()).expect("a new member");
    block_on(async || {
        let value = "v".repeat(1 << 20);
        for _ in 0..140 {
            put_when_led(member.running.node(), "key", &value).await;
        }
    });
    member.running.stop();
    let logs = disk.list(&path("member/wal")).expect("it is there");
    assert!(!logs.iter().any(|name| name.starts_with("0000000000000000-")), "{logs:?}");
    remove_all(&disk, "member/store");
    let refusal = refusal(disk);
    assert!(matches!(refusal, BootError::StoreTooShort { .. }), "{refusal}");
    let said = refusal.to_string();
    assert!(said.contains("member/wal") && said.contains("member/store"), "{said}");
}
