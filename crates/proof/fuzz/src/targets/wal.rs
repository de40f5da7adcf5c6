//! The raft log's reader. A log that opens says the same however it is read, takes what is appended, and says
//! it all again; one that does not is refused.

use std::path::Path;
use std::sync::Arc;

use ::wal::{Marker, Options, Wal};
use types::{Entry, EntryKind, HardState};
use vfs::Disk;

use super::disk_with;
use crate::unpack;

const SMALL: Options = Options {
    segment_bytes: 4096,
    tail_step_bytes: 1024,
    tail_ahead_bytes: 1024,
    spare_step_bytes: 2048,
    commits_are_durable: false,
};

pub(crate) fn wal(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let mut files = unpack(data);
    files.sort();
    if mode & 1 == 1 {
        let mut checksum = 0;
        for (_, content) in files.iter_mut().filter(|(name, _)| name.ends_with(".wal")) {
            mend(content, &mut checksum);
        }
    }
    let dir = Path::new("/d/wal");
    let disk = disk_with(dir, &files);
    let Ok(markers) = Wal::valid_markers(&disk, dir) else { return };
    for marker in markers.iter().chain([&Marker::default()]) {
        let read = Wal::read(&disk, dir, marker);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let Ok((mut log, opened)) = Wal::open_with(shared.clone(), dir, marker, SMALL) else {
            continue;
        };
        if let Ok(read) = read {
            assert_eq!(read.entries, opened.entries, "read and opened");
        }
        let indexes = opened.entries.iter().map(|entry| entry.index);
        assert!(indexes.eq(marker.index + 1..=marker.index + opened.entries.len() as u64));
        // The end of numbers is nobody's index.
        if log.last_index() == u64::MAX || opened.hard_state.term == u64::MAX {
            continue;
        }
        let term = opened.hard_state.term.max(1);
        let (index, data) = (log.last_index() + 1, "more".into());
        let entry = Entry { term, index, kind: EntryKind::Normal, data };
        let state = HardState { term, ..opened.hard_state };
        log.append(Some(&state), std::slice::from_ref(&entry)).expect("the disk works");
        log.sync().expect("the disk works");
        drop(log);
        let again = Wal::open_with(shared, dir, marker, SMALL);
        if let Ok((_, again)) = again {
            let kept = again.entries.starts_with(&opened.entries);
            assert!(kept, "what was read is there after more was written");
        } else {
            // Only what was damaged before may be refused: a gap behind a marker ahead of its entries.
            assert!(marker.index + opened.entries.len() as u64 != index - 1, "it was whole");
        }
    }
}

/// Puts the checksums of the records right, as far as frames can be told apart.
fn mend(content: &mut [u8], running: &mut u32) {
    let mut at = 0;
    while let Some(head) = content.get(at..at + 8) {
        let field = u64::from_le_bytes(head.try_into().expect("eight bytes"));
        let (record, padding) = (field & ((1 << 56) - 1), (field >> 56) & 7);
        let Some(end) =
            usize::try_from(record).ok().and_then(|length| (at + 8).checked_add(length))
        else {
            return;
        };
        if record == 0 || content.len() < end {
            return;
        }
        mend_record(&mut content[at + 8..end], running);
        at = end + padding as usize;
    }
}

/// `08 type 10 checksum [1a length data]`: the checksum goes where there is room for it.
fn mend_record(record: &mut [u8], running: &mut u32) {
    if record.len() < 3 || record[0] != 8 || record[2] != 0x10 {
        return;
    }
    let Some(width) = record[3..].iter().position(|byte| byte & 0x80 == 0).map(|last| last + 1)
    else {
        return;
    };
    let data = match record.get(3 + width) {
        Some(0x1a) => {
            let length = record[4 + width..].iter().position(|byte| byte & 0x80 == 0);
            length.map_or(&[][..], |last| &record[4 + width + last + 1..])
        }
        _ => &[],
    };
    let checksum = if record[1] == 4 { *running } else { crc32c::crc32c_append(*running, data) };
    *running = checksum;
    let mut rest = checksum;
    for (place, byte) in record[3..3 + width].iter_mut().enumerate() {
        *byte = (rest & 0x7f) as u8 | if place + 1 < width { 0x80 } else { 0 };
        rest >>= 7;
    }
}
