//! bbolt's file format: a reader that trusts nothing, and a writer that streams.
//!
//! Go etcd keeps its store in a bbolt file, sends it to members that fell behind, and hands it out as
//! a snapshot. So must we, though nothing of ours is stored that way: we read such files (restore,
//! takeover of a Go member, a snapshot from a Go peer) and write them (`snapshot save`, a snapshot to
//! a peer, handing a directory back).
//!
//! The reader ([`Bolt`], [`Cursor`]) holds one page per level of a tree. Whatever a file says is
//! checked before it is followed, so a damaged file ends in an error that names page and offset.
//!
//! The writer holds one open page per level as well: a page goes out when it is full, leaves first,
//! each branch page right after its last child. The two meta pages lie at the front and name the root,
//! which is only known at the end. To a file they are written last ([`write_file`]); to a stream,
//! [`plan`] first walks the sizes of all rows, which decides every page's place, and an
//! [`ImageStream`] then sends the bytes.
//!
//! On top of the format stands what etcd keeps in it: [`status`], [`hash_kv`], the snapshot file's
//! [`digest`](Digest).
//!
//! Layout and rules: `docs/etcd/bbolt-and-backend.md`.

mod access;
mod backend;
mod check;
mod cursor;
mod error;
mod fill;
mod hashkv;
mod image;
mod node;
mod page;
mod reader;
mod rewrite;
mod snapshot;
mod source;
mod tree;

pub use access::ReadAt;
pub use backend::{Backend, RowsError, names};
pub use check::{Check, FAULTS_LISTED_MAX};
pub use cursor::Cursor;
pub use error::{BoltError, Flaw, Place, WriteError};
pub use hashkv::{HashKv, HashKvError, hash_kv};
pub use image::{ImageStream, Layout, Plan, plan, write_file};
pub use page::{KEY_BYTES_MAX, RUN_BYTES_MAX};
pub use reader::{Bolt, Bucket};
pub use rewrite::Rewrite;
pub use snapshot::{
    DIGEST_BYTES, Digest, SnapshotStream, Status, StatusError, digest, image_bytes, status,
};
pub use source::{RowSize, Rows, Sizes, Source, SourceError};
