//! What the log writer puts down, and when.

use std::path::Path;
use std::sync::Arc;

use consensus::Persist;
use holdfast_member::{LogWork, LogWriter};
use types::{Entry, EntryKind, HardState};
use vfs::{Disk, MemoryDisk};
use wal::{Marker, Wal};

/// A follower's group: entries that come with the news that they are committed.
fn group(number: u64, indexes: std::ops::RangeInclusive<u64>, commit: u64) -> LogWork {
    let entry = |index| Entry { kind: EntryKind::Normal, term: 1, index, data: "data".into() };
    let hard_state = Some(HardState { term: 1, vote: 7, commit });
    let entries = indexes.map(entry).collect();
    LogWork::Persist(Persist { number, snapshot: None, hard_state, entries, must_sync: true })
}

#[test]
fn a_log_states_no_commit_index_ahead_of_what_was_durable_when_it_was_written() {
    let (disk, dir) = (MemoryDisk::new(), Path::new("/wal"));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = LogWriter::new(Wal::create(shared, dir, b"7").expect("memory"), 1, true);
    let committed = || {
        let read = Wal::read(&disk, dir, &Marker::default()).expect("it is whole");
        (read.hard_state.commit, read.entries.len())
    };
    for (work, expected) in [
        (vec![group(1, 1..=3, 3)], (0, 3)),
        // What it had no room for goes with the next group, as far as it may.
        (vec![group(2, 4..=4, 3)], (3, 4)),
        (vec![group(3, 5..=5, 5), group(4, 6..=7, 5)], (4, 7)),
        // The one who led replaces two entries of its own.
        (vec![group(5, 6..=8, 7)], (5, 8)),
    ] {
        for work in work {
            writer.take(work).expect("memory");
        }
        assert!(writer.sync().expect("memory"));
        writer.finish().expect("memory");
        assert_eq!(committed(), expected);
    }
    writer.sync_all().expect("memory");
    assert_eq!(committed(), (7, 8));
}
