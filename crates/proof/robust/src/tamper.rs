//! Another value in what a member stores, where nothing notices by itself: every checksum is right.
//!
//! So it looks to others as if this member had applied something else than they have.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bolt::Backend;
use proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use vfs::{Disk, OsDisk};

use crate::grpc::{Call, Connection};

/// Bytes of the digest behind a snapshot.
const DIGEST_BYTES: usize = 32;

/// The database of whoever listens there, as a snapshot holds it.
#[track_caller]
pub fn database(address: &str) -> Vec<u8> {
    use prost::Message as _;
    let connection = Connection::open(address).expect("it serves");
    let request = SnapshotRequest::default().encode_to_vec();
    let answer = connection.call(&Call::unary("/etcdserverpb.Maintenance/Snapshot", &request));
    assert!(answer.is_ok(), "{answer:?}");
    let blob = |message| SnapshotResponse::decode(message).expect("a snapshot's message").blob;
    let mut database: Vec<u8> = answer.messages.into_iter().flat_map(blob).collect();
    database.truncate(database.len() - DIGEST_BYTES);
    database
}

/// Puts one text in the place of another, of the same length.
#[track_caller]
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len(), "nothing moves");
    let mut places = Vec::new();
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from.as_bytes()) {
            places.push(at);
        }
    }
    assert!(!places.is_empty(), "{from} is stored");
    places.iter().for_each(|at| bytes[*at..at + to.len()].copy_from_slice(to.as_bytes()));
}

/// Changes a text in the directory of a member of Go's that has stopped. Its pages have no checksums.
#[track_caller]
pub fn change_theirs(data_dir: &Path, from: &str, to: &str) {
    let file = data_dir.join("member/snap/db");
    let mut bytes = fs::read(&file).expect("a member's database");
    replace(&mut bytes, from, to);
    fs::write(&file, bytes).expect("it is ours");
}

/// Changes a text in the directory of a member of ours that has stopped: its store is made anew, of a changed
/// [`database`] that it served shortly before. What it applied since comes from its log again.
#[track_caller]
pub fn change_ours(data_dir: &Path, mut database: Vec<u8>, from: &str, to: &str) {
    replace(&mut database, from, to);
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let file = data_dir.join("changed.db");
    fs::write(&file, database).expect("it is ours");
    let opened = Backend::open(disk.open_read(&file).expect("it is there")).expect("a database");
    let at = (opened.consistent_index().expect("it says"), opened.term().expect("it says"));
    let store = data_dir.join("member/store");
    fs::remove_dir_all(&store).expect("it is ours");
    exchange::import(&disk, &file, &store, at, None).expect("a store");
    fs::remove_file(&file).expect("it is ours");
}
