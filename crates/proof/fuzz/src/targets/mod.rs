//! What each reader is asked, and what may never come of it.

mod bolt;
mod connection;
mod frames;
mod http2;
mod peer;
mod raft;
mod request;
mod store;
mod wal;

pub(crate) use bolt::bolt;
pub(crate) use connection::{json, rpc};
pub(crate) use frames::frames;
pub(crate) use http2::http2;
pub(crate) use peer::peer;
pub(crate) use raft::raft;
pub(crate) use request::request;
pub(crate) use store::store;
pub(crate) use wal::wal;

use std::path::Path;

use vfs::{Disk, MemoryDisk};

/// A disk with these files in `dir`, all of them durable.
fn disk_with(dir: &Path, files: &[(String, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(dir).expect("a disk in memory");
    for (name, content) in files {
        let file = disk.create(&dir.join(name)).expect("names differ");
        file.write_all_at(content, 0).expect("a disk in memory");
        file.sync_data().expect("a disk in memory");
    }
    disk.sync_dir(dir).expect("a disk in memory");
    disk
}
