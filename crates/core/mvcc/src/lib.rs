//! The versioned keyspace: key index, ranges, transactions, compaction, hashes.
//!
//! Values live elsewhere (the revision log); here is only what decides: for every key the revisions
//! that are still kept, who created it when, how often it changed, and the lease it hangs on. So a
//! put never waits for a disk, and a range reads only the values it returns, through [`RowSource`].
//!
//! One [`Mvcc`] has one writer. [`Mvcc::view`] takes an [`IndexView`] of this instant for the price of
//! a pointer; any number of threads may read it while the writer goes on, because nodes of the tree
//! are changed in place only when nobody else holds them.
//!
//! Always true: every kept revision knows its creation and version without a look at the disk;
//! a revision above the compacted one reads the same before, during and after pruning.
//!
//! Not here: whether a lease exists (see `lease`), who may do it (see `auth`), the wire (see `apply`).

mod codec;
mod compare;
mod error;
mod hash;
mod image;
mod index;
mod mvcc;
mod pages;
mod plan;
mod query;
mod restore;
mod size;
mod txn;
mod view;

pub use compare::{Compare, Operator, Target};
pub use error::{ReadError, Room, RowFault, RowSource};
pub use hash::{CompactionHashes, HashAnswer, HashTriple, Hasher};
pub use image::{ImageError, ImageReader, ImageWriter};
pub use mvcc::{CompactProgress, Mvcc};
pub use pages::{Page, Pages};
pub use query::{Filters, RangeQuery, RangeResult, SortOrder, SortTarget};
pub use restore::{Restore, RestoreError, RowMeta};
pub use txn::{Changes, DeleteRange, Deleted, LeaseMove, Put, Txn};
pub use view::{Attachments, IndexView, KeyAt};
