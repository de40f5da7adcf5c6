//! `.snap` files: where a Go member's log goes on, and for 3.4 to 3.6 who its members are
//! (`docs/etcd/wal-and-snap.md` 3).

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use proto::{raftpb, snappb};
use types::ConfState;
use vfs::Disk;

/// The largest that is read: the v2 store of a cluster whose clients do not use it takes kilobytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum SnapFileError {
    /// The file is not there, or cannot be read.
    #[error("reading {file} failed")]
    File {
        /// Which.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is damaged, or was never one.
    #[error("{file} is no snapshot of a raft log, or a damaged one")]
    Damaged {
        /// Which.
        file: PathBuf,
    },
}

/// What such a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapFile {
    /// The entry the log goes on after.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Who votes there.
    pub conf_state: ConfState,
    /// The v2 store as JSON.
    pub json: Bytes,
}

impl SnapFile {
    /// As etcd calls it.
    pub fn name(index: u64, term: u64) -> String {
        format!("{term:016x}-{index:016x}.snap")
    }
}

/// The bytes of such a file.
pub fn snap_file(snap: &SnapFile) -> Vec<u8> {
    let ConfState { voters, learners } = snap.conf_state.clone();
    let conf_state =
        raftpb::ConfState { voters, learners, auto_leave: Some(false), ..Default::default() };
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(conf_state),
        index: Some(snap.index),
        term: Some(snap.term),
    };
    let snapshot = raftpb::Snapshot { data: Some(snap.json.clone()), metadata: Some(metadata) };
    let data = Bytes::from(snapshot.encode_to_vec());
    snappb::Snapshot { crc: Some(crc32c::crc32c(&data)), data: Some(data) }.encode_to_vec()
}

/// Reads one, and compares its checksum.
///
/// # Errors
/// [`SnapFileError`].
pub fn read_snap_file(disk: &dyn Disk, path: &Path) -> Result<SnapFile, SnapFileError> {
    let fault = |source| SnapFileError::File { file: path.to_owned(), source };
    let damaged = || SnapFileError::Damaged { file: path.to_owned() };
    let file = disk.open_read(path).map_err(fault)?;
    let bytes = file.len().map_err(fault)?;
    if FILE_BYTES_MAX < bytes {
        return Err(damaged());
    }
    let mut content = vec![0; bytes as usize];
    file.read_exact_at(&mut content, 0).map_err(fault)?;
    decode(content.into()).ok_or_else(damaged)
}

fn decode(content: Bytes) -> Option<SnapFile> {
    let outer = snappb::Snapshot::decode(content).ok()?;
    let data = outer.data.filter(|data| !data.is_empty())?;
    if outer.crc? != crc32c::crc32c(&data) {
        return None;
    }
    let snapshot = raftpb::Snapshot::decode(data).ok()?;
    let metadata = snapshot.metadata?;
    let raftpb::ConfState { voters, learners, .. } = metadata.conf_state.unwrap_or_default();
    Some(SnapFile {
        index: metadata.index?,
        term: metadata.term?,
        conf_state: ConfState { voters, learners },
        json: snapshot.data.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_and_no_flipped_bit_is_taken_for_one() {
        let conf_state = ConfState { voters: vec![1, 2], learners: vec![3] };
        let snap = SnapFile { index: 9, term: 4, conf_state, json: Bytes::from_static(b"{}") };
        let bytes = snap_file(&snap);
        assert_eq!(decode(bytes.clone().into()), Some(snap.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = decode(flipped.into());
            assert!(read.is_none() || read.as_ref() == Some(&snap), "bit {bit}: {read:?}");
        }
    }
}
