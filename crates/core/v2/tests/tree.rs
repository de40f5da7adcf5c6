//! What requests do to a tree, who is told, and what is kept; where etcd's ways are odd, they are held here too.

use holdfast_v2::{
    Change, Code, HISTORY_EVENTS_MAX, Hub, Method, Outcome, PATH_PARTS_MAX, Request, Tree,
    WatchRequest, json,
};

const SECOND: i64 = 1_000_000_000;
/// Some moment after the year 2000.
const NOW: i64 = 1_800_000_000 * SECOND;

/// A tree with its rows, and a hub beside it.
#[derive(Default)]
struct World {
    tree: Tree,
    rows: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
}

impl World {
    fn step(&mut self, request: Request) -> Outcome {
        let outcome = self.tree.step(&Request { time: NOW, ..request });
        for change in &outcome.changes {
            match change.clone() {
                Change::Set { key, value } => drop(self.rows.insert(key, value)),
                Change::Delete { key } => {
                    assert!(self.rows.remove(&key).is_some(), "what goes was there");
                }
            }
        }
        self.is_what_its_rows_say();
        outcome
    }

    /// Carries a request out and says how it was answered.
    fn told(&mut self, request: Request) -> String {
        match self.step(request).answer {
            Ok(event) => {
                let mut out = String::new();
                json::event(&event.expect("it is a client's"), "/1", false, &mut out);
                out.trim_end().to_owned()
            }
            Err(error) => {
                let mut out = String::new();
                json::error(&error, "/1", &mut out);
                out.trim_end().to_owned()
            }
        }
    }

    fn is_what_its_rows_say(&mut self) {
        let rows = self.rows.iter().map(|(key, value)| (&key[..], &value[..]));
        let mut kept = Tree::restore(rows).expect("it wrote them");
        assert_eq!(kept.index(), self.tree.index());
        assert_eq!(kept.bytes(), self.tree.bytes());
        assert_eq!(kept.first_end(), self.tree.first_end());
        assert_eq!(kept.get("/", true, NOW), self.tree.get("/", true, NOW));
    }
}

fn put(path: &str, value: &str) -> Request {
    Request { method: Method::Put, path: path.into(), value: value.into(), ..Request::default() }
}

fn delete(path: &str) -> Request {
    Request { method: Method::Delete, path: path.into(), ..Request::default() }
}

fn get(path: &str) -> Request {
    Request { path: path.into(), recursive: true, ..Request::default() }
}

#[test]
fn a_write_is_told_as_etcd_tells_it() {
    let mut world = World::default();
    assert_eq!(
        world.told(put("/1/a", "x")),
        r#"{"action":"set","node":{"key":"/a","value":"x","modifiedIndex":1,"createdIndex":1}}"#
    );
    assert_eq!(
        world.told(put("/1/a", "y")),
        r#"{"action":"set","node":{"key":"/a","value":"y","modifiedIndex":2,"createdIndex":2},"prevNode":{"key":"/a","value":"x","modifiedIndex":1,"createdIndex":1}}"#
    );
    let update = Request { previous_exists: Some(true), ..put("/1/a", "z") };
    assert_eq!(
        world.told(update),
        r#"{"action":"update","node":{"key":"/a","value":"z","modifiedIndex":3,"createdIndex":2},"prevNode":{"key":"/a","value":"y","modifiedIndex":2,"createdIndex":2}}"#
    );
    let post = Request { method: Method::Post, ..put("/1/q", "1") };
    assert_eq!(
        world.told(post),
        r#"{"action":"create","node":{"key":"/q/00000000000000000004","value":"1","modifiedIndex":4,"createdIndex":4}}"#
    );
    assert_eq!(
        world.told(get("/1/q")),
        r#"{"action":"get","node":{"key":"/q","dir":true,"nodes":[{"key":"/q/00000000000000000004","value":"1","modifiedIndex":4,"createdIndex":4}],"modifiedIndex":4,"createdIndex":4}}"#
    );
}

#[test]
fn a_condition_that_does_not_hold_says_what_is_there() {
    let mut world = World::default();
    world.step(put("/1/a", "x"));
    let swap = |value: &str, index| Request {
        previous_value: value.into(),
        previous_index: index,
        ..put("/1/a", "n")
    };
    for (request, cause) in [
        (swap("y", 0), "[y != x]"),
        (swap("", 9), "[9 != 1]"),
        (swap("y", 9), "[y != x] [9 != 1]"),
        (swap("x", 9), "[9 != 1]"),
    ] {
        let error = world.step(request).answer.expect_err("it does not hold");
        assert_eq!((error.code, error.cause.as_str()), (Code::TestFailed, cause));
    }
    assert!(world.step(swap("x", 1)).answer.is_ok());
    let gone = Request { previous_value: "n".into(), ..delete("/1/a") };
    assert!(world.told(gone).starts_with(r#"{"action":"compareAndDelete","node":{"key":"/a","#));
}

#[test]
fn what_cannot_be_is_refused_by_its_code() {
    let mut world = World::default();
    world.step(put("/1/d/f", "x"));
    let check = |world: &mut World, request: Request, code: Code, cause: &str| {
        let error = world.step(request).answer.expect_err("it cannot be");
        assert_eq!((error.code, error.cause.as_str(), error.index), (code, cause, 1));
    };
    let dir = |path: &str| Request { dir: true, ..delete(path) };
    check(&mut world, get("/1/x/y"), Code::KeyNotFound, "/1/x");
    check(&mut world, get("/1/d/f/g"), Code::NotDir, "/1/d/f");
    check(&mut world, put("/1/d/f/g", ""), Code::NotDir, "/1/d/f");
    check(&mut world, put("/1/d", "x"), Code::NotFile, "/1/d");
    check(&mut world, put("/1", "x"), Code::RootReadOnly, "/");
    check(&mut world, delete("/1"), Code::RootReadOnly, "/");
    check(&mut world, delete("/1/d"), Code::NotFile, "/1/d");
    check(&mut world, dir("/1/d"), Code::DirNotEmpty, "/1/d");
    let exists = Request { previous_exists: Some(false), ..put("/1/d/f", "y") };
    check(&mut world, exists, Code::NodeExist, "/1/d/f");
    let deep = "/a".repeat(PATH_PARTS_MAX);
    let cause = format!("a key of more than {PATH_PARTS_MAX} parts");
    check(&mut world, put(&deep, "x"), Code::InvalidForm, &cause);
}

#[test]
fn a_node_ends_by_a_look_in_the_log_and_takes_what_is_below_with_it() {
    let mut world = World::default();
    let ending =
        |path: &str, seconds: i64| Request { ends: NOW + seconds * SECOND, ..put(path, "x") };
    world.step(Request { dir: true, ..ending("/1/d", 5) });
    world.step(ending("/1/d/f", 9));
    world.step(ending("/1/g", 2));
    let shown = world.told(get("/1/g"));
    assert!(shown.contains(r#""ttl":2,"#), "{shown}");
    let look = |seconds: i64| Request {
        method: Method::Sync,
        path: String::new(),
        time: NOW + seconds * SECOND,
        ..Request::default()
    };
    assert!(world.tree.step(&look(1)).passed.is_empty());
    let outcome = world.tree.step(&look(6));
    let gone: Vec<_> = outcome.passed.iter().map(|one| &*one.event.node.key).collect();
    assert_eq!(gone, ["/1/g", "/1/d"]);
    assert_eq!(
        outcome.passed[1].removed.iter().map(|it| &**it).collect::<Vec<_>>(),
        ["/1/d/f", "/1/d"]
    );
    assert_eq!((world.tree.index(), world.tree.first_end()), (5, None));
    assert_eq!(world.tree.stats().expire_count, 2);
}

#[test]
fn a_refresh_keeps_the_value_and_nobody_who_watches_hears_of_it() {
    let mut world = World::default();
    let mut hub = Hub::new(0);
    let outcome = world.step(put("/1/a", "x"));
    hub.pass(&outcome.passed[0]);
    let wait = WatchRequest { path: "/1/a".into(), recursive: false, stream: false, since: 0 };
    assert!(hub.watch(7, &wait, 1).expect("there is room").waits);
    let refresh = Request { refresh: true, ends: NOW + SECOND, ..put("/1/a", "") };
    let outcome = world.step(refresh);
    assert!(hub.pass(&outcome.passed[0]).is_empty());
    assert!(world.told(get("/1/a")).contains(r#""value":"x""#));
    let past = WatchRequest { since: 2, ..wait };
    assert!(hub.watch(8, &past, 2).expect("there is room").events.is_empty());
}

#[test]
fn hidden_nodes_are_read_by_name_alone() {
    let mut world = World::default();
    world.step(put("/1/_h/a", "x"));
    world.step(put("/1/b", "x"));
    assert!(!world.told(get("/1")).contains("_h"));
    assert!(world.told(get("/1/_h")).contains(r#""key":"/_h/a""#));
    let mut hub = Hub::new(2);
    let above = WatchRequest { path: "/1".into(), recursive: true, stream: true, since: 0 };
    let within = WatchRequest { path: "/1/_h".into(), ..above.clone() };
    hub.watch(1, &above, 2).expect("there is room");
    hub.watch(2, &within, 2).expect("there is room");
    let outcome = world.step(put("/1/_h/a", "y"));
    let told: Vec<_> = hub.pass(&outcome.passed[0]).iter().map(|told| told.id).collect();
    assert_eq!(told, [2]);
}

#[test]
fn who_watches_below_what_goes_is_told() {
    let mut world = World::default();
    world.step(put("/1/d/e/f", "x"));
    let mut hub = Hub::new(1);
    for (id, path, recursive) in
        [(1, "/1/d/e/f", false), (2, "/1/d/e", false), (3, "/1", true), (4, "/1/d/no", true)]
    {
        let wait = WatchRequest { path: path.into(), recursive, stream: false, since: 0 };
        hub.watch(id, &wait, 1).expect("there is room");
    }
    let outcome = world.step(Request { recursive: true, ..delete("/1/d") });
    let told: Vec<_> =
        hub.pass(&outcome.passed[0]).iter().map(|told| (told.id, told.is_last)).collect();
    assert_eq!(told, [(1, true), (2, true), (3, true)]);
    assert_eq!(hub.watchers(), 1);
}

#[test]
fn history_answers_for_the_last_thousand_events_and_says_when_it_cannot() {
    let mut world = World::default();
    let mut hub = Hub::new(0);
    let keep = HISTORY_EVENTS_MAX as u64;
    for number in 0..keep + 5 {
        let outcome = world.step(put(if number % 2 == 0 { "/1/a" } else { "/1/b" }, "x"));
        hub.pass(&outcome.passed[0]);
    }
    let index = world.tree.index();
    let wait = |since| WatchRequest { path: "/1/a".into(), recursive: false, stream: false, since };
    let error = hub.watch(1, &wait(5), index).expect_err("it is gone");
    let cause = "the requested history has been cleared [6/5]";
    assert_eq!(
        (error.code, error.cause.as_str(), error.index),
        (Code::EventIndexCleared, cause, index)
    );
    let found = hub.watch(1, &wait(6), index).expect("it is there");
    assert_eq!((found.events[0].index, found.waits), (7, false));
    assert!(hub.watch(1, &wait(index + 1), index).expect("it may come").waits);
    // A stream goes on behind what it finds.
    let stream = WatchRequest { stream: true, ..wait(index - 3) };
    let found = hub.watch(2, &stream, index).expect("it is there");
    assert_eq!(
        found.events.iter().map(|event| event.index).collect::<Vec<_>>(),
        [index - 2, index]
    );
    assert!(found.waits);
}

/// Made-up requests against a tree, whose rows are compared after each: what a restart finds is what there was.
#[test]
fn whatever_is_asked_a_tree_is_what_its_rows_say() {
    let mut world = World::default();
    let mut chance = 11u64;
    let mut below = |max: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (chance >> 33) % max
    };
    let (mut done, mut refused) = (0, 0);
    for _ in 0..4000 {
        let parts = 1 + below(3);
        let names = ["a", "a-b", "_c", "d"];
        let path: String = (0..parts).map(|_| format!("/{}", names[below(4) as usize])).collect();
        let methods =
            [Method::Put, Method::Put, Method::Put, Method::Delete, Method::Post, Method::Sync];
        let request = Request {
            method: methods[below(6) as usize],
            path: format!("/1{path}"),
            value: ["", "x", "y"][below(3) as usize].into(),
            dir: below(4) == 0,
            previous_value: ["", "", "x"][below(3) as usize].into(),
            previous_index: [0, 0, 0, world.tree.index()][below(4) as usize],
            previous_exists: [None, None, Some(true), Some(false)][below(4) as usize],
            ends: if below(3) == 0 { NOW + (below(9) as i64 - 4) * SECOND } else { 0 },
            recursive: below(2) == 0,
            refresh: below(8) == 0,
            time: NOW,
        };
        match world.step(request).answer {
            Ok(_) => done += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(1000 < done && 500 < refused, "{done} done, {refused} refused");
}
