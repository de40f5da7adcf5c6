//! The watch hub: which watcher gets which events next.
//!
//! A pure machine. The driver tells it what happened ([`Input`]) and does what it asks ([`Effect`]):
//! send a response on a stream, read a stretch of history. It knows no socket, thread or clock.
//!
//! What every watcher is promised, and what the model test in `tests/model.rs` holds:
//!
//! - *ordered*: events come in the order of their revisions;
//! - *unique*: no event comes twice;
//! - *reliable*: none is missing between the first event and the last;
//! - *atomic*: all events of one revision travel in one response (or its fragments);
//! - *resumable*: a watcher may start at any revision that is not compacted;
//! - *bookmarkable*: a progress notification at revision R comes after all events up to R.
//!
//! A watcher is **synced** when it has been sent everything up to the current revision; live events
//! reach it straight from [`Input::Applied`]. Otherwise it is **unsynced**: it started in the past,
//! or its stream was full. Then it is caught up from the recent changes the hub remembers or, where
//! those do not reach, from the store by [`Effect::ReadHistory`]; one read serves many watchers. A
//! watcher is never dropped and nothing is queued for it without bound: a full stream's watchers
//! just wait, and the worst that happens to them is what happens to every late reader, compaction.

mod catch_up;
mod event;
mod groups;
mod history;
mod hub;
mod interface;
mod limits;
mod live;
mod range_map;
mod recent;
mod response;
mod streams;
mod watcher;

pub use event::{Changes, Event, EventList, Previous};
pub use history::{History, HistoryReader, HistoryRequest, Interest};
pub use hub::{Hub, Sizes};
pub use interface::{Create, Effect, Filters, Input, range_from_wire};
pub use limits::Limits;
pub use response::{Body, Response};

/// A watch stream, numbered by the driver; never reused while the hub knows it.
pub type StreamId = u64;

/// A watch within its stream, as clients see it.
pub type WatchId = i64;
