//! Between our store and the bbolt file in which etcd keeps the same state.
//!
//! Whatever leaves or enters a member as a snapshot goes through here: `snapshot save` and `restore`, what members
//! send each other, a directory that is taken over or handed back. Outwards an [`Image`], the state at one entry, is
//! a [`bolt::Source`]; inwards [`write_store`] makes a store of any source. Neither holds more in memory than a
//! piece of what passes through.
//!
//! Not here: who asks for a snapshot and when (see `server`, `member`), bbolt's pages (see `bolt`).

mod image;
mod import;
mod v2json;

pub use image::{Image, MemberSnapshot};
pub use import::{Arrived, ImportError, import, write_store};
pub use v2json::members_json;

/// The row of the store's meta data that says whose the store is: member, cluster, and the number of its last run,
/// eight bytes each. No other member has it, so it is no part of a snapshot.
pub const STORE_IDENTITY: &[u8] = b"holdfastIdentity";
