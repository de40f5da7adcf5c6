//! The store: an append-only, self-cleaning log of revisions, with the small state beside them.
//!
//! A versioned store's natural order is its revision, and revisions only grow: so the log *is* sorted,
//! and a row is found by its revision alone. Segments hold checksummed batches; a batch is what one
//! entry changed, with the entry's index, so after any crash the store is an exact prefix of what was
//! applied. Each segment keeps a table revision -> offset that never changes once it is sealed, which
//! lets cleaning exchange a segment for its rewritten successor while readers go on with the old one.
//!
//! Who does what: one writer owns the [`Store`] and appends, flushes and takes snapshots; nothing it
//! does waits for a sync. Everything slow is an object of its own that any thread may drive:
//! [`SyncHandle`], [`Cleaning`], [`CheckpointWriter`]. Readers use a [`LogView`] each. There is no thread
//! and no clock in here.
//!
//! Always true: what a [`SyncHandle`] confirmed is there after every crash; a row is given back as it was
//! appended or not at all, because its checksum is looked at on each read; damage is refused with the
//! name of the file and the place in it.
//!
//! Not here: which revisions are alive (see `mvcc`), what the small state means (see `apply`), the lock
//! against a second process (see `server`). The files, byte by byte: `docs/data-dir.md`.

mod active;
mod batch;
mod bury;
mod change;
mod checkpoint;
mod clean;
mod dump;
mod ends;
mod error;
mod files;
mod footer;
mod frame;
mod manifest;
mod marks;
mod open;
mod recent;
mod record;
mod restored;
mod row_meta;
mod salvage;
mod scrub;
mod sealed;
mod segment;
mod shared;
mod span_walk;
mod state;
mod store;
mod sync;
mod sync_handle;
mod table;
mod varint;
mod view;

pub use batch::Batch;
pub use change::{Bucket, StateChange};
pub use checkpoint::{Checkpoint, CheckpointDone, CheckpointWriter};
pub use clean::{CleanProgress, Cleaning, Replaced};
pub use error::{Damage, OpenError, StoreError};
pub use restored::{Repair, Restored, RowMetas};
pub use row_meta::RowMeta;
pub use salvage::{Loss, Salvaged, salvage};
pub use scrub::{Scrub, ScrubDone, Scrubbed};
pub use state::State;
pub use store::{Options, Sizes, Store};
pub use sync::Synced;
pub use sync_handle::{SyncHandle, WriteOut};
pub use view::{LogView, Places, Scan};
