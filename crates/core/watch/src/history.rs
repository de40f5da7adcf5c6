//! Reading history for many unsynced watchers at once.
//!
//! The hub hands out a [`HistoryRequest`]; whoever owns a view of the log feeds its rows, in order,
//! to a [`HistoryReader`], which keeps what somebody wants and says when it has enough. Only whole
//! revisions are ever returned, so that a response is never half a transaction.

use std::sync::Arc;

use types::{KeyRange, Row};

use crate::event::{Event, Previous};
use crate::range_map::RangeMap;

/// What the hub wants read.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// The first revision.
    pub from: i64,
    /// The last one: the current revision when the request was made.
    pub to: i64,
    /// Who wants what.
    pub interest: Arc<Interest>,
    /// Bytes of wanted rows after which it is enough.
    pub bytes_max: usize,
    /// Bytes of rows, wanted or not, after which it is enough.
    pub scan_bytes_max: usize,
}

/// The ranges of the watchers one read serves. May be asked from any thread.
#[derive(Debug, Default)]
pub struct Interest {
    pub(crate) wanted: RangeMap<Wanted>,
}

/// What the watchers of one range want of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The earliest revision any of them lacks.
    pub from: i64,
    /// Whether any of them wants previous rows.
    pub previous: bool,
}

/// The answer: a stretch of history without gaps.
#[derive(Clone, Debug)]
pub struct History {
    /// Events somebody wanted, in order.
    pub events: Vec<Event>,
    /// Every wanted event from the request's `from` up to this revision is in `events`.
    pub through: i64,
    /// The compact revision, looked up **after** the rows were read: rows below it may have been
    /// missing, so the hub must hear of it first.
    pub compacted: i64,
    /// The revision behind a row that cannot be read; 0 if none was met.
    pub lost_before: i64,
}

/// Takes rows until it has enough. See [`HistoryRequest::reader`].
#[derive(Debug)]
pub struct HistoryReader {
    request: HistoryRequest,
    events: Vec<Event>,
    /// The revision of the last row taken or passed.
    at: i64,
    bytes: usize,
    scanned_bytes: usize,
}

impl HistoryRequest {
    /// Starts taking rows for this request.
    pub fn reader(self) -> HistoryReader {
        let at = self.from - 1;
        HistoryReader { request: self, events: Vec::new(), at, bytes: 0, scanned_bytes: 0 }
    }
}

impl Interest {
    /// The earliest revision at which anybody wants changes of `key` and whether somebody wants the
    /// previous row with it; `None` if nobody watches the key.
    fn of(&self, key: &[u8], revision: i64) -> Option<Wanted> {
        let mut found: Option<Wanted> = None;
        self.wanted.stab(key, |wanted| {
            if wanted.from <= revision {
                let previous = wanted.previous || found.is_some_and(|f| f.previous);
                found = Some(Wanted { previous, ..*wanted });
            }
        });
        found
    }

    /// Adds a watcher's wish.
    pub(crate) fn add(&mut self, range: &KeyRange, wanted: Wanted) {
        let known = self.wanted.entry(range, |_| wanted);
        known.from = known.from.min(wanted.from);
        known.previous |= wanted.previous;
    }
}

impl HistoryReader {
    /// Takes the next row of a scan that started at the request's `from`, in revision order, and
    /// says whether to go on. `previous` is called only if somebody wants it: it looks the row's key
    /// up at the revision before the row's, `None` if it was absent or that revision is compacted.
    ///
    /// # Errors
    /// Only what `previous` returns.
    pub fn offer<E>(
        &mut self,
        row: Row,
        previous: impl FnOnce(&Row) -> Result<Option<Row>, E>,
    ) -> Result<bool, E> {
        let revision = row.revision.main;
        assert!(self.at <= revision, "rows are offered in order");
        let begins_another = self.at < revision;
        if self.request.to < revision {
            self.at = self.request.to;
            return Ok(false);
        }
        if begins_another && self.is_full() {
            return Ok(false);
        }
        self.at = revision;
        self.scanned_bytes += row.encoded.len();
        let Some(wanted) = self.request.interest.of(row.key(), revision) else {
            return Ok(true);
        };
        let previous = if !wanted.previous {
            Previous::Unloaded
        } else if Event::creates(&row) {
            Previous::Absent
        } else {
            previous(&row)?.map_or(Previous::Absent, Previous::Row)
        };
        let event = Event { row, previous };
        self.bytes += event.bytes();
        self.events.push(event);
        Ok(true)
    }

    /// The scan has no more rows up to the request's `to`.
    pub fn ended(self, compacted: i64) -> History {
        let through = self.request.to;
        History { events: self.events, through, compacted, lost_before: 0 }
    }

    /// `offer` said to stop.
    pub fn stopped(self, compacted: i64) -> History {
        let through = self.at;
        History { events: self.events, through, compacted, lost_before: 0 }
    }

    /// The row at `revision` cannot be read: who needs it or what is before it is told that it is compacted.
    pub fn lost(self, revision: i64, compacted: i64) -> History {
        History { events: Vec::new(), through: revision, compacted, lost_before: revision + 1 }
    }

    fn is_full(&self) -> bool {
        self.request.bytes_max <= self.bytes || self.request.scan_bytes_max <= self.scanned_bytes
    }
}
