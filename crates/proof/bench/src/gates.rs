//! The rows of the report, and what is wanted of each.

use crate::results::Results;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Gate {
    /// At most so often what etcd takes.
    AtMost(f64),
    /// At least so often what etcd does.
    AtLeast(f64),
    /// At most so much, whatever etcd takes.
    Within(f64),
    /// Nothing: shown beside the others.
    Shown,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What a reader is told.
    pub label: &'static str,
    /// Its name among the results.
    pub measure: &'static str,
    /// Behind the figure.
    pub unit: &'static str,
    /// What is wanted first.
    pub gate: Gate,
    /// What the release wants.
    pub goal: Gate,
}

const fn row(
    label: &'static str,
    measure: &'static str,
    unit: &'static str,
    gate: Gate,
    goal: Gate,
) -> Row {
    Row { label, measure, unit, gate, goal }
}

use Gate::{AtLeast, AtMost, Shown, Within};

const THIRD: Gate = AtMost(1.0 / 3.0);
const FIFTH: Gate = AtMost(1.0 / 5.0);

/// The rows of one member, in the order of the report; an empty measure is a heading.
pub const ROWS: &[Row] = &[
    row("Writes", "", "", Shown, Shown),
    row("put 256 B, 1,000 in flight: rate", "put 1000 rate", "/s", AtLeast(2.2), AtLeast(3.5)),
    row("... server CPU", "put 1000 cpu", "us", THIRD, FIFTH),
    row("... generator CPU", "put 1000 generator", "us", Shown, Shown),
    row("put, 100 in flight: rate", "put 100 rate", "/s", AtLeast(2.0), AtLeast(2.0)),
    row("... server CPU", "put 100 cpu", "us", Shown, FIFTH),
    row("... generator CPU", "put 100 generator", "us", Shown, Shown),
    row("put, 1 client: rate", "put 1 rate", "/s", AtLeast(2.0), AtLeast(2.0)),
    row("... server CPU", "put 1 cpu", "us", AtMost(0.25), FIFTH),
    row("... generator CPU", "put 1 generator", "us", Shown, Shown),
    row("txn compare-and-put, 1,000 in flight: rate", "txn 1000 rate", "/s", Shown, Shown),
    row("... server CPU", "txn 1000 cpu", "us", THIRD, FIFTH),
    row("... generator CPU", "txn 1000 generator", "us", Shown, Shown),
    row("Writes, when a sync takes longer", "", "", Shown, Shown),
    row("put, 1,000 in flight, sync +1 ms: rate", "put 1000, sync +1 ms rate", "/s", Shown, Shown),
    row("... server CPU", "put 1000, sync +1 ms cpu", "us", Shown, Shown),
    row("put, 100 in flight, sync +1 ms: rate", "put 100, sync +1 ms rate", "/s", Shown, Shown),
    row("... server CPU", "put 100, sync +1 ms cpu", "us", Shown, Shown),
    row("put, 1 client, sync +1 ms: rate", "put 1, sync +1 ms rate", "/s", Shown, Shown),
    row("... server CPU", "put 1, sync +1 ms cpu", "us", Shown, Shown),
    row("... syncs for each put", "put 1, sync +1 ms syncs a put", "", Shown, Shown),
    row("put, 1,000 in flight, sync +5 ms: rate", "put 1000, sync +5 ms rate", "/s", Shown, Shown),
    row("... server CPU", "put 1000, sync +5 ms cpu", "us", Shown, Shown),
    row("put, 100 in flight, sync +5 ms: rate", "put 100, sync +5 ms rate", "/s", Shown, Shown),
    row("... server CPU", "put 100, sync +5 ms cpu", "us", Shown, Shown),
    row("put, 1 client, sync +5 ms: rate", "put 1, sync +5 ms rate", "/s", Shown, Shown),
    row("... server CPU", "put 1, sync +5 ms cpu", "us", Shown, Shown),
    row("Reads", "", "", Shown, Shown),
    row("get linearizable, 1,000 in flight: rate", "get 1000 rate", "/s", Shown, Shown),
    row("... server CPU", "get 1000 cpu", "us", THIRD, FIFTH),
    row("... generator CPU", "get 1000 generator", "us", Shown, Shown),
    row("get serializable, 1,000 in flight: rate", "serializable 1000 rate", "/s", Shown, Shown),
    row("... server CPU", "serializable 1000 cpu", "us", THIRD, FIFTH),
    row("... generator CPU", "serializable 1000 generator", "us", Shown, Shown),
    row("A million keys", "", "", Shown, Shown),
    row("load, 100 puts a txn, 8 clients: time", "load seconds", "s", Shown, Shown),
    row("... server CPU for a key", "load cpu", "us", THIRD, AtMost(1.0 / 6.0)),
    row("... generator CPU for a key", "load generator", "us", Shown, Shown),
    row("memory after it", "load memory MiB", "MiB", THIRD, AtMost(0.25)),
    row("files after it", "load files MiB", "MiB", AtMost(0.5), AtMost(0.45)),
    row("page of 500 out of all", "page of 500 ms", "ms", Within(3.0), Within(3.0)),
    row("count of all", "count ms", "ms", Within(1.0), Within(1.0)),
    row("list of a tenth, unary: time", "list of a tenth ms", "ms", AtMost(0.5), AtMost(0.5)),
    row("... server CPU", "list of a tenth cpu ms", "ms", Shown, Shown),
    row("... memory for it", "list of a tenth memory MiB", "MiB", Shown, Shown),
    row("... the answer itself", "list of a tenth answer MiB", "MiB", Shown, Shown),
    row("back after kill -9: time", "restart seconds", "s", THIRD, FIFTH),
    row("... memory then", "restart memory MiB", "MiB", Shown, Shown),
    row("start empty: time", "start seconds", "s", THIRD, FIFTH),
    row("... memory then", "start memory MiB", "MiB", Shown, Shown),
    row("A client that puts while two million revisions are maintained", "", "", Shown, Shown),
    row("nothing else going on: longest wait", "nothing longest wait ms", "ms", Shown, Shown),
    row("... p99", "nothing p99 wait ms", "ms", Shown, Shown),
    row("compaction: longest wait", "compaction longest wait ms", "ms", Within(20.0), Within(5.0)),
    row("... p99", "compaction p99 wait ms", "ms", AtMost(1.0), AtMost(1.0)),
    row("... time", "compaction seconds", "s", Shown, Shown),
    row("defragment: longest wait", "defragment longest wait ms", "ms", Within(20.0), Within(5.0)),
    row("... p99", "defragment p99 wait ms", "ms", AtMost(1.0), AtMost(1.0)),
    row("... time", "defragment seconds", "s", Shown, Shown),
    row("snapshot: longest wait", "snapshot longest wait ms", "ms", Within(20.0), Within(5.0)),
    row("... p99", "snapshot p99 wait ms", "ms", AtMost(1.0), AtMost(1.0)),
    row("... time", "snapshot seconds", "s", Shown, Shown),
    row("files after all that", "maintained files MiB", "MiB", Shown, Shown),
    row("Watchers and leases", "", "", Shown, Shown),
    row("1,000 watchers, 10 connections, one key: events", "watch events rate", "/s", Shown, Shown),
    row("... server CPU for an event", "watch events cpu", "us", AtMost(0.5), AtMost(0.25)),
    row("... generator CPU", "watch events generator", "us", Shown, Shown),
    row("10,000 idle watch streams: memory", "idle streams memory MiB", "MiB", AtMost(0.5), THIRD),
    row("... CPU to open one", "idle streams open cpu", "us", AtMost(0.5), THIRD),
    row("... CPU at rest", "idle streams cpu ms per s", "ms/s", AtMost(0.5), THIRD),
    row("100,000 leases: memory", "leases memory MiB", "MiB", AtMost(0.5), THIRD),
    row("... CPU to grant one", "lease grant cpu", "us", AtMost(0.5), THIRD),
    row("... kept alive on 10 streams: rate", "keep-alive rate", "/s", Shown, Shown),
    row("... server CPU for a keep-alive", "keep-alive cpu", "us", AtMost(0.5), THIRD),
    row("... generator CPU", "keep-alive generator", "us", Shown, Shown),
    row("... CPU at rest", "leases at rest cpu ms per s", "ms/s", AtMost(0.5), THIRD),
];

/// The rows of one member that encrypts or asks for users, likewise.
pub const SECURED_ROWS: &[Row] = &[
    row("With certificates on both sides", "", "", Shown, Shown),
    row(
        "put 256 B over TLS, 1,000 in flight: rate",
        "tls put 1000 rate",
        "/s",
        Shown,
        AtLeast(2.2),
    ),
    row("... p99", "tls put 1000 p99 ms", "ms", Shown, AtMost(1.0)),
    row("... server CPU", "tls put 1000 cpu", "us", THIRD, THIRD),
    row("... generator CPU", "tls put 1000 generator", "us", Shown, Shown),
    row("put over TLS, 1 client: rate", "tls put 1 rate", "/s", Shown, Shown),
    row("... p99", "tls put 1 p99 ms", "ms", Shown, AtMost(1.0)),
    row("... server CPU", "tls put 1 cpu", "us", THIRD, THIRD),
    row("get over TLS, 1,000 in flight: rate", "tls get 1000 rate", "/s", Shown, AtLeast(2.2)),
    row("... p99", "tls get 1000 p99 ms", "ms", Shown, AtMost(1.0)),
    row("... server CPU", "tls get 1000 cpu", "us", THIRD, THIRD),
    row("... generator CPU", "tls get 1000 generator", "us", Shown, Shown),
    row("memory after it", "tls memory MiB", "MiB", Shown, Shown),
    row("A client that puts while others shake hands, 1,000 a second", "", "", Shown, Shown),
    row("handshakes made", "handshakes rate", "/s", Shown, Shown),
    row("... server CPU for one, and for the puts beside it", "handshakes cpu", "us", Shown, Shown),
    row("... generator CPU", "handshakes generator", "us", Shown, Shown),
    row("puts without them: p99", "alone p99 ms", "ms", Shown, Shown),
    row("... longest wait", "alone longest ms", "ms", Shown, Shown),
    row("puts beside them: p99", "beside handshakes p99 ms", "ms", AtMost(1.0), AtMost(1.0)),
    row("... longest wait", "beside handshakes longest ms", "ms", Shown, Shown),
    row("As a user", "", "", Shown, Shown),
    row(
        "put, simple token, 1,000 in flight: rate",
        "users simple put 1000 rate",
        "/s",
        Shown,
        AtLeast(2.2),
    ),
    row("... server CPU", "users simple put 1000 cpu", "us", THIRD, THIRD),
    row(
        "get, simple token, 1,000 in flight: rate",
        "users simple get 1000 rate",
        "/s",
        Shown,
        AtLeast(2.2),
    ),
    row("... server CPU", "users simple get 1000 cpu", "us", THIRD, THIRD),
    row(
        "put, JWT (RS256), 1,000 in flight: rate",
        "users jwt put 1000 rate",
        "/s",
        Shown,
        AtLeast(2.2),
    ),
    row("... server CPU", "users jwt put 1000 cpu", "us", THIRD, THIRD),
    row(
        "get, JWT (RS256), 1,000 in flight: rate",
        "users jwt get 1000 rate",
        "/s",
        Shown,
        AtLeast(2.2),
    ),
    row("... server CPU", "users jwt get 1000 cpu", "us", THIRD, THIRD),
];

const QUARTER: Gate = AtMost(0.25);
const SIXTH: Gate = AtMost(1.0 / 6.0);

/// The rows of three members, likewise. CPU and memory are those of the three together.
pub const CLUSTER_ROWS: &[Row] = &[
    row("Writes", "", "", Shown, Shown),
    row(
        "put 256 B to the leader, 1,000 in flight: rate",
        "put leader 1000 rate",
        "/s",
        AtLeast(3.0),
        AtLeast(4.5),
    ),
    row("... CPU of the three", "put leader 1000 cpu", "us", QUARTER, SIXTH),
    row(
        "put to one follower, 1,000 in flight: rate",
        "put follower 1000 rate",
        "/s",
        AtLeast(3.0),
        AtLeast(4.5),
    ),
    row("... CPU of the three", "put follower 1000 cpu", "us", QUARTER, SIXTH),
    row(
        "put spread over both followers, 1,000 in flight: rate",
        "put spread 1000 rate",
        "/s",
        AtLeast(3.0),
        AtLeast(4.5),
    ),
    row("... CPU of the three", "put spread 1000 cpu", "us", QUARTER, SIXTH),
    row(
        "put to the leader, 100 in flight: rate",
        "put leader 100 rate",
        "/s",
        AtLeast(2.5),
        AtLeast(4.0),
    ),
    row("... CPU of the three", "put leader 100 cpu", "us", Shown, Shown),
    row("put to the leader, 1 client: rate", "put leader 1 rate", "/s", AtLeast(1.5), AtLeast(2.2)),
    row("... p99", "put leader 1 p99 ms", "ms", Shown, Shown),
    row("... CPU of the three", "put leader 1 cpu", "us", Shown, FIFTH),
    row(
        "put to a follower, 1 client: rate",
        "put follower 1 rate",
        "/s",
        AtLeast(1.5),
        AtLeast(2.2),
    ),
    row("... p99", "put follower 1 p99 ms", "ms", Shown, Shown),
    row("... CPU of the three", "put follower 1 cpu", "us", Shown, FIFTH),
    row("Reads", "", "", Shown, Shown),
    row(
        "get linearizable of the leader, 1,000 in flight: rate",
        "get leader 1000 rate",
        "/s",
        Shown,
        Shown,
    ),
    row("... CPU of the three", "get leader 1000 cpu", "us", QUARTER, AtMost(1.0 / 7.0)),
    row(
        "get linearizable of a follower, 1,000 in flight: rate",
        "get follower 1000 rate",
        "/s",
        Shown,
        Shown,
    ),
    row("... CPU of the three", "get follower 1000 cpu", "us", QUARTER, AtMost(1.0 / 7.0)),
    row(
        "get serializable of the leader, 1,000 in flight: rate",
        "serializable leader 1000 rate",
        "/s",
        Shown,
        Shown,
    ),
    row("... CPU of the three", "serializable leader 1000 cpu", "us", QUARTER, AtMost(1.0 / 7.0)),
    row(
        "get serializable of a follower, 1,000 in flight: rate",
        "serializable follower 1000 rate",
        "/s",
        Shown,
        Shown,
    ),
    row("... CPU of the three", "serializable follower 1000 cpu", "us", QUARTER, AtMost(1.0 / 7.0)),
    row("Watches: from the sending of a put to the leader to its event", "", "", Shown, Shown),
    row("watcher at the leader: median", "watch leader p50 ms", "ms", AtMost(1.0), AtMost(1.0)),
    row("... p99", "watch leader p99 ms", "ms", Shown, Shown),
    row("watcher at a follower: median", "watch follower p50 ms", "ms", AtMost(1.0), AtMost(1.0)),
    row("... p99", "watch follower p99 ms", "ms", Shown, Shown),
    row("200,000 keys, 100 in a transaction, 8 clients", "", "", Shown, Shown),
    row("load: time", "cluster load seconds", "s", Shown, Shown),
    row("... CPU of the three for a key", "cluster load cpu", "us", THIRD, FIFTH),
    row("... generator CPU for a key", "cluster load generator", "us", Shown, Shown),
    row("memory of the three after it", "cluster load memory MiB", "MiB", THIRD, FIFTH),
    row(
        "No leader: each harm again and again, a figure each (the most is the worst)",
        "",
        "",
        Shown,
        Shown,
    ),
    row(
        "kill -9 of the leader: until the next acknowledged write",
        "kill until next ms",
        "ms",
        THIRD,
        Within(250.0),
    ),
    row(
        "... longest time without an acknowledged write",
        "kill longest gap ms",
        "ms",
        THIRD,
        Shown,
    ),
    row(
        "SIGTERM of the leader: until the next acknowledged write",
        "stop until next ms",
        "ms",
        AtMost(1.0),
        Within(5.0),
    ),
    row(
        "... longest time without an acknowledged write",
        "stop longest gap ms",
        "ms",
        AtMost(1.0),
        Within(20.0),
    ),
    row("move-leader: until the next acknowledged write", "move until next ms", "ms", Shown, Shown),
    row(
        "... longest time without an acknowledged write",
        "move longest gap ms",
        "ms",
        AtMost(1.0),
        Within(20.0),
    ),
    row("A member comes back, or joins, beside a client that puts", "", "", Shown, Shown),
    row("after 50,000 puts, by log: level again", "back by log seconds", "s", AtMost(0.5), QUARTER),
    row(
        "... a putter's longest wait",
        "back by log longest wait ms",
        "ms",
        Within(20.0),
        Within(5.0),
    ),
    row("... its p99", "back by log p99 wait ms", "ms", Shown, Shown),
    row("... snapshots it took", "back by log snapshots", "", Shown, Shown),
    row(
        "after 200,000 keys, by snapshot: level again",
        "back by snapshot seconds",
        "s",
        AtMost(0.5),
        QUARTER,
    ),
    row(
        "... a putter's longest wait",
        "back by snapshot longest wait ms",
        "ms",
        Within(20.0),
        Within(5.0),
    ),
    row("... its p99", "back by snapshot p99 wait ms", "ms", Shown, Shown),
    row("... snapshots it took", "back by snapshot snapshots", "", Shown, Shown),
    row(
        "a fourth joins as learner: promoted",
        "join promoted seconds",
        "s",
        AtMost(1.0),
        Within(1.0),
    ),
    row("... answers a linearizable read", "join served seconds", "s", THIRD, Within(1.0)),
    row("... a putter's longest wait", "join longest wait ms", "ms", Within(20.0), Within(5.0)),
    row("... its p99", "join p99 wait ms", "ms", Shown, Shown),
];

impl Row {
    /// Whether we do what is wanted; nothing when nothing is or nothing was measured.
    pub fn met(&self, gate: Gate, results: &Results) -> Option<bool> {
        let ratio = results.ratio(self.measure, "holdfast", "etcd").map(|ratio| ratio.median);
        let ours = results.of(self.measure, "holdfast").map(|own| own.median);
        match gate {
            Gate::AtMost(most) => ratio.map(|ratio| ratio <= most),
            Gate::AtLeast(least) => ratio.map(|ratio| least <= ratio),
            Gate::Within(most) => ours.map(|ours| ours <= most),
            Gate::Shown => None,
        }
    }

    /// The gate in words.
    pub fn wanted(gate: Gate, unit: &str) -> String {
        match gate {
            Gate::AtMost(most) => format!("<= {most:.2}"),
            Gate::AtLeast(least) => format!(">= {least:.1}"),
            Gate::Within(most) => format!("<= {most:.0} {unit}"),
            Gate::Shown => String::new(),
        }
    }
}
