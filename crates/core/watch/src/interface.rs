//! What can happen to the hub and what it can ask for.
//!
//! Circle: a watcher keeps the `Create` it came from, and what the hub asks for is history that its watchers read.

use std::sync::Arc;

use bytes::Bytes;
use types::{KeyRange, Refusal, Row};

use crate::event::Changes;
use crate::history::{History, HistoryRequest};
use crate::response::Response;
use crate::{StreamId, WatchId};

/// Everything that can happen to a hub.
#[derive(Debug)]
pub enum Input {
    /// A client opened a stream.
    StreamOpened {
        /// Its number, not in use.
        stream: StreamId,
        /// How often its idle `progress_notify` watches hear of it: the configured interval plus
        /// this stream's own jitter of up to a tenth.
        progress_interval_ms: u64,
    },
    /// A stream ended, for whatever reason. Its watches are forgotten and nothing is sent.
    StreamClosed {
        /// The stream.
        stream: StreamId,
    },
    /// A client asked for a watch.
    Create {
        /// On this stream.
        stream: StreamId,
        /// What it asked for.
        create: Create,
    },
    /// A client asked to end a watch.
    Cancel {
        /// On this stream.
        stream: StreamId,
        /// The watch it named; an unknown one is not answered.
        watch: WatchId,
    },
    /// A client asked how far its stream has got.
    ProgressRequested {
        /// The stream.
        stream: StreamId,
    },
    /// A revision was applied. Every revision is handed in, once, in order.
    Applied(Arc<Changes>),
    /// A revision was applied that changed so much that nobody should hold all of it: whoever watches one of these
    /// rows reads it from history, in pieces. In the place of [`Input::Applied`].
    Passed {
        /// The revision.
        revision: i64,
        /// What it changed.
        rows: Vec<Row>,
    },
    /// The store was replaced by a snapshot: the changes in between were never handed in.
    Restored {
        /// The revision it is at now; not below the one before.
        revision: i64,
        /// Its compact revision; −1 if never compacted.
        compacted: i64,
    },
    /// History before `revision` is gone (the revision itself can still be read).
    Compacted {
        /// The compact revision.
        revision: i64,
    },
    /// The answer to [`Effect::ReadHistory`].
    HistoryRead(History),
    /// The transport took responses of a stream: their sum frees its budget.
    Sent {
        /// The stream.
        stream: StreamId,
        /// How many responses.
        responses: usize,
        /// The sum of their [`Response::bytes`].
        bytes: usize,
    },
    /// Time passed. Any clock that only moves forward, in milliseconds; every 100 ms or so is fine.
    Ticked {
        /// The time now.
        now_ms: u64,
    },
}

/// Everything a hub can ask of its driver.
#[derive(Debug)]
pub enum Effect {
    /// Put a response at the end of a stream's outgoing queue. The queue is bounded by the hub's
    /// [`crate::Limits`] (control responses beyond it are bounded by the client's own requests: stop
    /// reading requests from a stream whose queue does not drain).
    Send {
        /// The stream.
        stream: StreamId,
        /// What to send.
        response: Response,
    },
    /// Read history away from this thread and answer with [`Input::HistoryRead`]. One is under way
    /// at a time, and it must be answered.
    ReadHistory(HistoryRequest),
}

/// A watch as asked for.
#[derive(Clone, Debug)]
pub struct Create {
    /// The id the client chose; 0 to have one chosen.
    pub watch: WatchId,
    /// The keys, by [`range_from_wire`].
    pub range: KeyRange,
    /// The first revision it wants; 0 for from now on.
    pub start: i64,
    /// Whether to send periodic progress notifications when idle.
    pub progress_notify: bool,
    /// Whether events carry the key before the change.
    pub previous: bool,
    /// What not to send.
    pub filters: Filters,
    /// Whether large responses may be split.
    pub fragment: bool,
    /// Whether the user may read these keys. Decided by the driver, told here because the answer
    /// has its place in the order of the checks.
    pub permission: Result<(), Refusal>,
}

/// Kinds of events a watch does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// NOPUT.
    pub no_put: bool,
    /// NODELETE.
    pub no_delete: bool,
}

/// Reads a watch's range: unlike other requests an empty key means the first key there can be
/// (`docs/etcd/api.md` 5.1).
pub fn range_from_wire(key: &Bytes, range_end: &Bytes) -> KeyRange {
    let first = Bytes::from_static(b"\0");
    let key = if key.is_empty() { &first } else { key };
    KeyRange::from_wire(key, range_end).expect("the key is not empty")
}
