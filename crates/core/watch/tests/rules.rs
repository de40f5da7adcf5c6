//! The rules of `docs/etcd/api.md` 5 and `docs/etcd/observed.md` C, one by one: what a client sees.
//!
//! Responses are shown as `<watch> @<header revision> <what>`, events as `+key=value` and `-key=`.

mod world;

use holdfast_watch::{Create, Filters, Input, Limits, range_from_wire};
use types::{KeyRange, Refusal};
use world::{World, watch};

/// A world with stream 1 open and a few revisions: a=1 (2), b=1 (3), a=2 (4).
fn world() -> World {
    let mut world = World::new(Limits::default());
    world.open(1);
    world.write(&[("a", Some("1"))]);
    world.write(&[("b", Some("1"))]);
    world.write(&[("a", Some("2"))]);
    world
}

/// Everything the client of stream 1 has seen since the last call, once all is quiet.
#[track_caller]
fn check(world: &mut World, expected: &[&str]) {
    world.settle();
    let seen = std::mem::take(&mut world.streams.get_mut(&1).expect("open").seen);
    assert_eq!(seen, expected);
}

fn compact(world: &mut World, revision: i64) {
    world.compacted = revision;
    world.step(Input::Compacted { revision });
}

fn cancel(world: &mut World, watch: i64) {
    world.step(Input::Cancel { stream: 1, watch });
}

fn ask_progress(world: &mut World) {
    world.step(Input::ProgressRequested { stream: 1 });
}

fn from(start: i64, keys: &str) -> Create {
    Create { start, ..watch(keys) }
}

fn with_id(id: i64, keys: &str) -> Create {
    Create { watch: id, ..watch(keys) }
}

#[test]
fn a_watch_from_now_on_sees_the_next_change_under_its_own_revision() {
    let mut world = world();
    world.create(1, watch("a"));
    world.write(&[("a", Some("3"))]);
    world.write(&[("b", Some("2"))]);
    world.write(&[("a", None)]);
    check(&mut world, &["0 @4 created", "0 @5 +a=3", "0 @7 -a="]);
}

#[test]
fn a_replay_comes_under_the_current_revision_with_whole_revisions_batched() {
    let mut world = world();
    world.create(1, from(2, "a*"));
    world.create(1, from(1, "..")); // Below 2 there is nothing to be missed.
    check(&mut world, &["0 @4 created", "0 @4 +a=1 +a=2", "1 @4 created", "1 @4 +a=1 +b=1 +a=2"]);
}

#[test]
fn a_watch_in_the_future_is_silent_until_then() {
    let mut world = world();
    world.create(1, from(6, "a"));
    world.write(&[("a", Some("3"))]);
    world.write(&[("a", Some("4"))]);
    check(&mut world, &["0 @4 created", "0 @6 +a=4"]);
}

#[test]
fn a_transaction_arrives_in_one_response_in_its_order() {
    let mut world = world();
    world.create(1, watch(".."));
    world.write(&[("b", None), ("a", Some("3")), ("c", Some("1"))]);
    check(&mut world, &["0 @4 created", "0 @5 -b= +a=3 +c=1"]);
}

#[test]
fn filters_drop_kinds_of_events_and_responses_left_empty() {
    let mut world = world();
    world.create(1, Create { filters: Filters { no_put: true, no_delete: false }, ..watch("..") });
    world.create(1, Create { filters: Filters { no_put: false, no_delete: true }, ..watch("..") });
    world.create(1, Create { filters: Filters { no_put: true, no_delete: true }, ..from(2, "..") });
    world.write(&[("a", Some("3")), ("b", None)]);
    world.write(&[("a", None)]);
    check(
        &mut world,
        &["0 @4 created", "1 @4 created", "2 @4 created", "0 @5 -b=", "1 @5 +a=3", "0 @6 -a="],
    );
}

#[test]
fn previous_rows_are_shown_but_for_the_creating_put() {
    for loads_previous in [true, false] {
        let mut world = world();
        world.loads_previous = loads_previous;
        world.create(1, Create { previous: true, ..watch("..") });
        world.write(&[("a", Some("3"))]);
        world.settle();
        world.write(&[("a", None)]);
        world.settle();
        world.write(&[("a", Some("4"))]);
        check(&mut world, &["0 @4 created", "0 @5 +a=3(was 2)", "0 @6 -a=(was 3)", "0 @7 +a=4"]);
    }
}

#[test]
fn a_replay_with_previous_rows_is_one_response_even_if_the_first_needs_no_read() {
    let mut world = world();
    world.create(1, Create { previous: true, ..from(2, "a*") });
    check(&mut world, &["0 @4 created", "0 @4 +a=1 +a=2(was 1)"]);
}

#[test]
fn only_rows_that_somebody_wants_the_previous_of_need_it_loaded() {
    let mut world = world();
    world.create(1, watch(".."));
    world.create(1, Create { previous: true, ..watch("b*") });
    let wanted = |world: &World, place: usize| {
        let row = &world.history[place].events[0].row;
        world.hub.wants_previous(row)
    };
    world.write(&[("b", Some("2"))]);
    assert!(!wanted(&world, 2), "a is watched without");
    assert!(!wanted(&world, 1), "b was created then");
    assert!(wanted(&world, 3));
    cancel(&mut world, 1);
    assert!(!wanted(&world, 3));
}

#[test]
fn ids_are_chosen_rising_and_skip_those_in_use() {
    let mut world = world();
    world.create(1, with_id(1, "a"));
    world.create(1, watch("a"));
    world.create(1, watch("a"));
    cancel(&mut world, 0);
    world.create(1, watch("a"));
    world.create(1, with_id(-7, "a"));
    check(
        &mut world,
        &[
            "1 @4 created",
            "0 @4 created",
            "2 @4 created",
            "0 @4 canceled",
            "3 @4 created",
            "-7 @4 created",
        ],
    );
    world.create(1, with_id(2, "a"));
    let duplicate = "-1 @4 refused: mvcc: duplicate watch ID provided on the WatchStream";
    check(&mut world, &[duplicate]);
    cancel(&mut world, 2);
    world.create(1, with_id(2, "a"));
    check(&mut world, &["2 @4 canceled", "2 @4 created"]);
}

#[test]
fn an_explicit_minus_one_is_an_id_like_any_other() {
    let mut world = world();
    world.create(1, with_id(-1, "a"));
    world.write(&[("a", Some("3"))]);
    cancel(&mut world, -1);
    check(&mut world, &["-1 @4 created", "-1 @5 +a=3", "-1 @5 canceled"]);
}

#[test]
fn checks_at_creation_come_in_etcds_order() {
    let mut world = world();
    let empty = KeyRange::Between { start: "b".into(), end: "a".into() };
    let mut create = Create {
        watch: 5,
        range: empty,
        permission: Err(Refusal::PermissionDenied),
        ..from(-1, "a")
    };
    world.create(1, with_id(5, "a"));
    world.create(1, create.clone());
    create.start = 0;
    world.create(1, create.clone());
    create.permission = Ok(());
    world.create(1, create.clone());
    create.range = world::range("a");
    world.create(1, create);
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    check(
        &mut world,
        &[
            "5 @4 created",
            "-1 @4 refused: etcdserver: mvcc: required revision has been compacted",
            &format!("-1 @4 refused: {denied}"),
            "-1 @4 refused: mvcc: watcher range is empty",
            "-1 @4 refused: mvcc: duplicate watch ID provided on the WatchStream",
        ],
    );
}

#[test]
fn an_empty_key_means_the_first_there_can_be() {
    let wire = |key: &'static [u8], end: &'static [u8]| range_from_wire(&key.into(), &end.into());
    assert_eq!(wire(b"", b""), KeyRange::One(b"\0"[..].into()));
    assert_eq!(wire(b"", b"\0"), KeyRange::From { start: b"\0"[..].into() });
    assert_eq!(wire(b"a", b"\0"), KeyRange::From { start: b"a"[..].into() });
}

#[test]
fn a_cancel_is_answered_and_an_unknown_one_is_not() {
    let mut world = world();
    world.create(1, watch("a"));
    cancel(&mut world, 9);
    cancel(&mut world, 0);
    cancel(&mut world, 0);
    world.write(&[("a", Some("3"))]);
    check(&mut world, &["0 @4 created", "0 @4 canceled"]);
}

#[test]
fn a_start_that_is_compacted_is_created_and_then_cancelled_without_a_header_revision() {
    let mut world = world();
    compact(&mut world, 4);
    world.create(1, from(3, "a"));
    world.create(1, Create { previous: true, ..from(4, "a") });
    check(&mut world, &["0 @4 created", "0 @0 compacted 4", "1 @4 created", "1 @4 +a=2"]);
}

#[test]
fn a_watch_cancelled_by_compaction_stays_registered() {
    let mut world = world();
    compact(&mut world, 4);
    world.create(1, from(3, "a"));
    world.create(1, watch("a"));
    check(&mut world, &["0 @4 created", "0 @0 compacted 4", "1 @4 created"]);
    // Its id is a duplicate, progress is silent.
    ask_progress(&mut world);
    cancel(&mut world, 1);
    check(&mut world, &["1 @4 canceled"]);
    world.create(1, with_id(1, "b"));
    cancel(&mut world, 1);
    check(&mut world, &["1 @4 created", "1 @4 canceled"]);
    // A cancel request is answered by a second cancel, after which progress works again.
    world.create(1, watch("b"));
    cancel(&mut world, 0);
    ask_progress(&mut world);
    check(&mut world, &["2 @4 created", "0 @4 canceled", "-1 @4 progress"]);
}

#[test]
fn the_id_of_a_watch_cancelled_by_compaction_is_a_duplicate() {
    let mut world = world();
    compact(&mut world, 4);
    world.create(1, Create { watch: 6, ..from(3, "a") });
    world.step(Input::Create { stream: 1, create: with_id(6, "a") });
    let client = world.streams.get_mut(&1).expect("open");
    let last = client.queue.pop_back().map(|response| format!("{:?}", response.body));
    assert!(last.is_some_and(|text| text.contains("duplicate watch ID")));
}

#[test]
fn compaction_overtakes_a_watch_that_is_being_caught_up() {
    let mut world = World::new(Limits { recent_bytes_max: 0, ..Limits::default() });
    world.open(1);
    for _ in 0..5 {
        world.write(&[("a", Some("1"))]);
    }
    world.create(1, from(2, "a"));
    compact(&mut world, 5);
    check(&mut world, &["0 @6 created", "0 @0 compacted 5"]);
    world.write(&[("a", Some("2"))]);
    check(&mut world, &[]);
}

#[test]
fn progress_is_answered_when_all_watches_of_the_stream_are_synced() {
    let mut world = World::new(Limits { recent_bytes_max: 0, ..Limits::default() });
    world.open(1);
    ask_progress(&mut world);
    check(&mut world, &[]);
    world.write(&[("a", Some("1"))]);
    world.create(1, from(2, "a"));
    ask_progress(&mut world); // Not synced yet: dropped.
    check(&mut world, &["0 @2 created", "0 @2 +a=1"]);
    ask_progress(&mut world);
    check(&mut world, &["-1 @2 progress"]);
}

#[test]
fn progress_is_silent_while_a_watch_waits_for_a_start_in_the_future() {
    let mut world = world();
    world.create(1, from(6, "a"));
    world.create(1, watch("a"));
    ask_progress(&mut world);
    check(&mut world, &["0 @4 created", "1 @4 created"]);
    world.write(&[("b", Some("2"))]);
    world.write(&[("b", Some("3"))]);
    ask_progress(&mut world);
    check(&mut world, &["-1 @6 progress"]);
    world.create(1, from(9, "a"));
    cancel(&mut world, 2);
    ask_progress(&mut world);
    check(&mut world, &["2 @6 created", "2 @6 canceled", "-1 @6 progress"]);
}

#[test]
fn idle_watches_that_asked_for_it_hear_each_interval_how_far_they_are() {
    let mut world = world();
    let notified = |keys: &str, start: i64| Create { progress_notify: true, ..from(start, keys) };
    world.create(1, notified("a", 0));
    world.create(1, notified("b", 0));
    world.create(1, notified("a", 9));
    world.create(1, watch("a"));
    world.settle();
    world.streams.get_mut(&1).expect("open").seen.clear();
    world.step(Input::Ticked { now_ms: 999 });
    check(&mut world, &[]);
    world.step(Input::Ticked { now_ms: 1000 });
    check(&mut world, &["0 @4 progress", "1 @4 progress"]);
    world.write(&[("b", Some("2"))]);
    world.step(Input::Ticked { now_ms: 2000 });
    check(&mut world, &["1 @5 +b=2", "0 @5 progress"]);
    world.step(Input::Ticked { now_ms: 3000 });
    check(&mut world, &["0 @5 progress", "1 @5 progress"]);
}

#[test]
fn large_responses_are_split_for_those_who_asked() {
    let mut world = World::new(Limits { fragment_bytes: 64 + 40, ..Limits::default() });
    world.open(1);
    world.create(1, watch(".."));
    world.create(1, Create { fragment: true, ..watch("..") });
    world.write(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1")), ("d", Some("1"))]);
    check(
        &mut world,
        &[
            "0 @1 created",
            "1 @1 created",
            "0 @2 +a=1 +b=1 +c=1 +d=1",
            "1 @2 +a=1 +b=1 ...",
            "1 @2 +c=1 +d=1",
        ],
    );
}

#[test]
fn a_full_stream_is_caught_up_later_and_others_do_not_wait_for_it() {
    let mut world = World::new(Limits { stream_responses_max: 2, ..Limits::default() });
    world.open(1);
    world.open(2);
    world.create(1, watch("a"));
    world.create(2, watch("a"));
    world.drain(2, 1);
    for _ in 0..4 {
        world.write(&[("a", Some("1"))]);
        world.drain(2, 9);
    }
    assert_eq!(world.streams[&2].seen.len(), 5);
    assert_eq!(world.streams[&1].queue.len(), 2);
    assert_eq!(world.hub.sizes().unsynced, 1);
    check(&mut world, &["0 @1 created", "0 @2 +a=1", "0 @5 +a=1 +a=1 +a=1"]);
    assert_eq!(world.hub.sizes().unsynced, 0);
}

#[test]
fn one_history_read_serves_many_watchers() {
    let mut world = World::new(Limits { recent_bytes_max: 0, ..Limits::default() });
    world.open(1);
    for _ in 0..100 {
        world.write(&[("a", Some("1")), ("b", Some("1"))]);
    }
    for start in 2..=100 {
        world.create(1, from(start, "a"));
    }
    world.settle();
    world.check_complete();
    assert_eq!(world.reads, 2, "one for the first that came, one for the rest");
}

#[test]
fn a_snapshot_that_skips_revisions_loses_no_event() {
    let mut world = world();
    world.create(1, watch("a"));
    world.write_unseen(&[("a", Some("3"))]);
    world.write_unseen(&[("b", Some("3"))]);
    world.step(Input::Restored { revision: 6, compacted: -1 });
    world.write(&[("a", Some("4"))]);
    check(&mut world, &["0 @4 created", "0 @7 +a=3", "0 @7 +a=4"]);
}

#[test]
fn what_is_said_of_a_closed_stream_is_ignored() {
    let mut world = world();
    world.create(1, watch("a"));
    world.step(Input::StreamClosed { stream: 1 });
    ask_progress(&mut world);
    cancel(&mut world, 0);
    world.step(Input::Sent { stream: 1, responses: 1, bytes: 64 });
    world.step(Input::StreamClosed { stream: 1 });
    world.write(&[("a", Some("3"))]);
    assert_eq!(world.hub.sizes().watches, 0);
    assert_eq!(world.hub.sizes().pending_bytes, 0);
}

#[test]
fn watches_are_bounded() {
    let mut world = World::new(Limits { watches_max: 1, ..Limits::default() });
    world.open(1);
    world.create(1, watch("a"));
    world.create(1, watch("a"));
    check(&mut world, &["0 @1 created", "-1 @1 refused: etcdserver: too many requests"]);
}

#[test]
fn a_row_that_cannot_be_read_hides_no_previous_row_that_can() {
    let mut world = world();
    world.loads_previous = false;
    // The put at 4 wants its previous row, and what came before it is sent with it.
    world.create(1, Create { previous: true, ..from(2, "a") });
    world.lose(3);
    check(&mut world, &["0 @4 created", "0 @0 compacted 4"]);
    // The revision behind it is served, and with its previous row: that one can be read.
    world.create(1, Create { previous: true, ..from(4, "a") });
    check(&mut world, &["1 @4 created", "1 @4 +a=2(was 1)"]);
    world.create(1, from(3, "b"));
    check(&mut world, &["2 @4 created", "2 @0 compacted 4"]);
}
