//! The store's files. A store that opens can be read and cleaned without a panic, and whatever is read of it
//! before cleaning and another start is the same after.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::store::{Options, Store, SyncHandle};
use types::{Revision, Row};
use vfs::{Disk, MemoryDisk};

use super::disk_with;
use crate::unpack;

fn small() -> Options {
    Options {
        segment_bytes: 3000,
        clean_live_percent: 60,
        clean_garbage_bytes_min: 400,
        clean_spare_bytes: 0,
        quota_bytes: None,
        frame_bytes_max: 400,
        tail_bytes_max: 1500,
        recent_bytes_max: 600,
    }
}

pub(crate) fn store(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let mut files = unpack(data);
    if mode & 1 == 1 {
        for (name, content) in &mut files {
            mend(name, content);
        }
    }
    let dir = Path::new("/d/store");
    let disk = disk_with(dir, &files);
    let Some(before) = look(&disk, dir, true) else { return };
    // It opened, so its torn end, if any, was cut: from now on it holds still.
    let Some(after) = look(&disk, dir, false) else { return };
    assert_eq!(before.0, after.0, "the applied index");
    for (revision, row) in &after.1 {
        let same = before.1.get(revision).is_none_or(|known| known == row);
        assert!(same, "row {revision} is another after cleaning");
    }
}

/// Reads everything there is.
fn look(disk: &MemoryDisk, dir: &Path, clean: bool) -> Option<(u64, BTreeMap<Revision, Row>)> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut store, restored) = Store::open(shared, dir, small()).ok()?;
    let mut rows = BTreeMap::new();
    let mut metas = Vec::new();
    for meta in store.rows_after(0) {
        match meta {
            Ok(meta) => metas.push(meta.revision),
            Err(_) => break,
        }
    }
    let mut scan = store.view().scan(Revision::default());
    while let Ok(chunk) = scan.next_chunk(1000) {
        if chunk.is_empty() {
            break;
        }
        rows.extend(chunk.into_iter().map(|row| (row.revision, row)));
    }
    for revision in &metas {
        if let Ok(row) = store.read(*revision) {
            let scanned = rows.get(revision).is_none_or(|known| *known == row);
            assert!(scanned, "read and scanned");
        }
    }
    if let Some(checkpoint) = &restored.checkpoint {
        for chunk in checkpoint.chunks() {
            let _ = chunk;
        }
    }
    if clean {
        store.mark_dead(&metas.iter().copied().step_by(3).collect::<Vec<_>>());
        let _ = store.clean_all();
        if let Ok(done) = store.sync_handle().and_then(SyncHandle::sync) {
            store.synced(done);
        }
    }
    Some((restored.applied_index, rows))
}

/// Puts the checksum of a file's header right, and a manifest's at its end.
fn mend(name: &str, content: &mut [u8]) {
    let starts: &[usize] = if name == "synced" { &[0, 4096] } else { &[0] };
    for start in starts {
        if let Some(header) = content.get_mut(*start..start + 64) {
            let checksum = crc32c::crc32c(&header[..60]);
            header[60..].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    if name == "manifest" && 68 <= content.len() {
        let end = content.len() - 4;
        let checksum = crc32c::crc32c(&content[..end]);
        content[end..].copy_from_slice(&checksum.to_le_bytes());
    }
}
