//! Between our store and the bbolt file in which etcd keeps the same state.
//!
//! Whatever leaves or enters a member as a snapshot goes through here: `snapshot save` and `restore`, what members
//! send each other, a directory that is taken over or handed back. Outwards an [`Image`], the state at one entry, is
//! a [`bolt::Source`]; inwards [`write_store`] makes a store of any source. Neither holds more in memory than a
//! piece of what passes through.
//!
//! Not here: who asks for a snapshot and when (see `server`, `member`), bbolt's pages (see `bolt`).

use bytes::Bytes;
use types::MemberId;

mod image;
mod import;
pub mod place;
mod snap_file;
mod v2json;

pub use image::{Image, MemberSnapshot};
pub use import::{Arrived, ImportError, import, import_while, write_store};
pub use snap_file::{SnapFile, SnapFileError, read_snap_file, snap_file};
pub use v2json::{V2Json, members_json, read_members_json, with_lone_member};

/// The row of the store's meta data that says whose the store is: member, cluster, and the number of its last run,
/// eight bytes each. No other member has it, so it is no part of a snapshot.
pub const STORE_IDENTITY: &[u8] = b"holdfastIdentity";

/// What stands there.
pub fn identity_row((member, cluster): (MemberId, u64), run: u64) -> Bytes {
    [member, cluster, run].map(u64::to_be_bytes).concat().into()
}
