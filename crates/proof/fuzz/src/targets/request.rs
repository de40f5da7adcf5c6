//! Requests as they come from a client, and entries as they come from a log that another member wrote: checked,
//! translated and applied without a panic; and a member that starts over from what was stored has the
//! very same state.

use std::path::Path;
use std::sync::Arc;

use ::store::{Options, Store};
use apply::{Applier, Config, Fault, check, wire};
use bytes::Bytes;
use proof::Picture;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use types::{Entry, EntryKind};
use vfs::{Disk, MemoryDisk};

pub(crate) fn request(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let data = Bytes::copy_from_slice(data);
    match kind % 4 {
        0 => front(data),
        1 => apply_all(&entries(&data, EntryKind::Normal)),
        2 => apply_all(&entries(&data, EntryKind::ConfChange)),
        _ => apply_all(&txns(&data)),
    }
}

/// What is asked about a request before it is proposed.
fn front(data: Bytes) {
    if let Ok(put) = rpc::decode::<pb::PutRequest>(data.clone()) {
        let _ = (check::put(&put), wire::put(&put), check::put_cost(&put));
    }
    if let Ok(range) = rpc::decode::<pb::RangeRequest>(data.clone()) {
        let _ = (check::range(&range), wire::range_query(&range));
    }
    if let Ok(delete) = rpc::decode::<pb::DeleteRangeRequest>(data.clone()) {
        let _ = (check::delete_range(&delete), wire::delete_range(&delete));
    }
    if let Ok(txn) = rpc::decode::<pb::TxnRequest>(data.clone()) {
        let _ = (check::txn(&txn, 128), check::txn_cost(&txn));
        let _ = (check::is_read_only(&txn), check::is_serializable(&txn));
        for compare in &txn.compare {
            let _ = wire::compare(compare);
        }
        let ops = txn.success.iter().chain(&txn.failure);
        for put in ops.filter_map(|op| match &op.request {
            Some(Request::RequestPut(put)) => Some(put),
            _ => None,
        }) {
            let _ = wire::put(put);
        }
    }
    let _ = rpc::decode_streamed::<pb::WatchRequest>(data.clone());
    let _ = rpc::decode_streamed::<pb::LeaseKeepAliveRequest>(data.clone());
    let _ = rpc::decode::<pb::MemberAddRequest>(data);
}

/// Rows of `length, bytes`: the entries of a log.
fn entries(data: &Bytes, kind: EntryKind) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = data.clone();
    while 2 <= rest.len() && entries.len() < 40 {
        let length = usize::from(u16::from_le_bytes([rest[0], rest[1]])).min(rest.len() - 2);
        let data = rest.slice(2..2 + length);
        rest = rest.slice(2 + length..);
        entries.push(Entry { term: 1, index: entries.len() as u64 + 1, kind, data });
    }
    entries
}

/// The same rows as transactions only, which nest.
fn txns(data: &Bytes) -> Vec<Entry> {
    let entries = entries(data, EntryKind::Normal).into_iter();
    let wrapped = entries.filter_map(|entry| {
        let txn = pb::TxnRequest::decode(entry.data.clone()).ok()?;
        let request = pb::InternalRaftRequest { txn: Some(txn), ..Default::default() };
        Some(request.encode_to_vec().into())
    });
    let numbered = wrapped.enumerate().map(|(place, data)| Entry {
        term: 1,
        index: place as u64 + 1,
        kind: EntryKind::Normal,
        data,
    });
    numbered.collect()
}

fn open(disk: &MemoryDisk) -> Applier {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (store, restored) =
        Store::open(shared, Path::new("/d/store"), Options::default()).expect("nothing is damaged");
    let config = Config {
        member: 7,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options::new(2),
        persist_checkpoints: false,
        hashed_bytes_max: u64::MAX,
    };
    Applier::open(config, store, &restored).expect("what was applied can be restored")
}

fn apply_all(entries: &[Entry]) {
    let disk = MemoryDisk::new();
    let mut applier = open(&disk);
    for entry in entries {
        match applier.apply(entry) {
            Ok(applied) => assert_eq!(applied.index, entry.index),
            // Here the member ends, and what it applied before must stand.
            Err(Fault::Unknown { .. } | Fault::InvalidDowngrade { .. }) => break,
            Err(fault) => panic!("the disk works: {fault}"),
        }
    }
    // The hash of a compaction keeps pruning waiting.
    while applier.take_hash_job().is_some() {
        applier.hashed(None);
    }
    while applier.prune(7) {}
    applier.flush().expect("the disk works");
    if 64 < applier.revision() - applier.compact_revision().max(0) {
        return;
    }
    let before = Picture::take(&applier).expect("what was stored can be read");
    drop(applier);
    let after = Picture::take(&open(&disk)).expect("what was stored can be read");
    assert!(before == after, "{}", before.difference(&after));
}
