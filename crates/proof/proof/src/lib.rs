//! Raft log and store together, as a member drives them, on a disk that can be cut, torn, failed and rotted
//! at every single operation.
//!
//! Each of the two logs has tests of its own that enumerate crashes. What they cannot see is the bargain
//! between them: the raft log lets go only of what the store has synced, and the store holds nothing that the
//! raft log has not synced. Here a [`Lone`] member lives in one thread, through the same code as in
//! production, over one [`vfs::MemoryDisk`]; a [`workload`] touches everything that writes; and a [`Picture`]
//! is all that clients could ever find out, so two pictures tell whether anything was lost, or came back.
//!
//! Always true: the same steps on a disk without faults give the same entries at the same indexes. So one run
//! without faults says what must be found at any index after any crash.
//!
//! Not here: threads and sockets (see `node`), many members (see `sim`).

mod chance;
mod lone;
mod picture;
pub mod workload;

pub use chance::Chance;
pub use lone::{Lone, Stopped, options};
pub use picture::Picture;
