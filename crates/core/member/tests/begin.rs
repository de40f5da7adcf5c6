//! How a member begins and goes on, on a disk in memory: what is refused, and that a refusal writes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_member::{Begin, BootError, InitialMember, RecoverOptions, Recovered, Run, recover};
use store::{Batch, Store};
use types::{Entry, EntryKind, HardState};
use vfs::{Disk, MemoryDisk};
use wal::{Marker, Wal};

const DIR: &str = "/data/member";

fn options(begin: Begin) -> RecoverOptions {
    RecoverOptions {
        wal_dir: PathBuf::from(DIR).join("wal"),
        store_dir: PathBuf::from(DIR).join("store"),
        snap_dir: PathBuf::from(DIR).join("snap"),
        wal: wal::Options::default(),
        store: store::Options::default(),
        name: "a".into(),
        begin,
        unix_ms: 1_700_000_000_000,
        election_ticks: 10,
        pre_vote: true,
        uncommitted_bytes_max: 1 << 20,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options::new(2),
        persist_checkpoints: false,
        hashed_bytes_max: u64::MAX,
        seed: 1,
    }
}

fn new(names: &[&str]) -> Begin {
    let initial = |name: &&str| InitialMember {
        name: (*name).to_owned(),
        peer_urls: vec![format!("http://{name}:2380")],
    };
    Begin::New { members: names.iter().map(initial).collect(), token: "token".into() }
}

fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).expect("an empty disk");
    disk
}

fn start(disk: &MemoryDisk, begin: Begin) -> Result<Recovered, BootError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    recover(&shared, &options(begin), &mut |_| {})
}

fn started(disk: &MemoryDisk, begin: Begin) -> Recovered {
    start(disk, begin).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(disk: &MemoryDisk, begin: Begin) -> BootError {
    start(disk, begin).err().expect("it must not start")
}

/// Ends a store with this entry.
fn store_ends_with(disk: &MemoryDisk, index: u64, term: u64) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = PathBuf::from(DIR).join("store");
    let (mut store, _) = Store::open(shared, &dir, store::Options::default()).expect("a store");
    store.append(&Batch { index, term, ..Batch::default() });
    store.flush().expect("the disk works");
    let synced = store.sync_handle().and_then(store::SyncHandle::sync).expect("the disk works");
    store.synced(synced);
}

fn paths(disk: &MemoryDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).expect("it is there")
}

#[test]
fn a_start_without_the_log_is_refused_and_begins_none() {
    let disk = new_disk();
    store_ends_with(&disk, 7, 2);
    let error = refused(&disk, new(&["a"]));
    assert!(matches!(error, BootError::LogTooShort { log_last: 0, applied: 7, .. }), "{error}");
    assert_eq!(paths(&disk), ["store"], "a log of a cluster of one would hide the real one");
}

#[test]
fn whoever_has_begun_before_has_a_log() {
    for begin in [Begin::Restart, Begin::ForceNew] {
        let disk = new_disk();
        let error = refused(&disk, begin);
        assert!(matches!(error, BootError::NoLog { .. }), "{error}");
        assert!(paths(&disk).is_empty(), "{:?}", paths(&disk));
    }
}

#[test]
fn a_founder_that_is_not_named_writes_nothing() {
    let disk = new_disk();
    let error = refused(&disk, new(&["b", "c"]));
    assert!(matches!(error, BootError::NotAmong { .. }), "{error}");
    assert!(paths(&disk).is_empty(), "{:?}", paths(&disk));
}

#[test]
fn a_store_of_another_history_is_refused() {
    let disk = new_disk();
    drop(started(&disk, new(&["a", "b", "c"])));
    store_ends_with(&disk, 2, 9);
    let error = refused(&disk, Begin::Restart);
    let expected =
        matches!(error, BootError::OtherHistory { index: 2, store_term: 9, log_term: 1, .. });
    assert!(expected, "{error}");
}

#[test]
fn the_store_of_another_member_is_refused() {
    let (one, other) = (new_disk(), new_disk());
    drop(started(&one, new(&["a", "b", "c"])));
    let b = RecoverOptions { name: "b".into(), ..options(new(&["a", "b", "c"])) };
    let shared: Arc<dyn Disk> = Arc::new(other.clone());
    drop(recover(&shared, &b, &mut |_| {}).map_err(|e| e.to_string()).expect("a member"));
    // The log of a beside the store of b: the same cluster, the same entries.
    let log = PathBuf::from(DIR).join("wal");
    for name in other.list(&log).expect("it is there") {
        let bytes = vfs::read_all(&one, &log.join(&name)).expect("the same names");
        let file = other.open(&log.join(&name)).expect("the disk works");
        file.write_all_at(&bytes, 0).expect("the disk works");
    }
    let error = refused(&other, Begin::Restart);
    assert!(matches!(error, BootError::OtherMember { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("member/wal") && said.contains("member/store"), "{said}");
}

#[test]
fn a_joiner_that_crashed_before_its_first_entry_goes_on_joining_whatever_it_is_told() {
    let disk = new_disk();
    let join = Begin::Join { cluster: 0xc0ffee, member: 0xa };
    let first = started(&disk, join);
    assert_eq!((first.cluster_id, first.member), (0xc0ffee, 0xa));
    drop(first);
    let again = started(&disk, new(&["a"]));
    assert_eq!((again.cluster_id, again.member, again.log_index), (0xc0ffee, 0xa, 0));
    assert!(again.consensus.conf_state().voters.is_empty(), "it founds no cluster of its own");
}

#[test]
fn each_run_has_a_number_of_its_own_even_when_the_calendar_is_set_back() {
    let disk = new_disk();
    assert_eq!(started(&disk, new(&["a"])).run.number, 0);
    let earlier = RecoverOptions { unix_ms: 5, ..options(Begin::Restart) };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let again = recover(&shared, &earlier, &mut |_| {}).map_err(|e| e.to_string());
    assert_eq!(again.expect("a member").run, Run { number: 1, unix_ms: 5 });
}

#[test]
fn a_member_that_goes_on_alone_drops_what_was_not_committed_and_removes_the_others() {
    let disk = new_disk();
    let Recovered { mut wal, .. } = started(&disk, new(&["a", "b", "c"]));
    let entry = |index| Entry { term: 2, index, kind: EntryKind::Normal, data: "".into() };
    let state = HardState { term: 2, vote: 0, commit: 4 };
    wal.append(Some(&state), &[entry(4), entry(5), entry(6)]).expect("the disk works");
    wal.sync().expect("the disk works");
    drop(wal);
    let alone = started(&disk, Begin::ForceNew);
    assert_eq!((alone.log_index, alone.committed), (6, 6));
    let member = alone.member;
    drop(alone);
    let read = Wal::read(&disk, &PathBuf::from(DIR).join("wal"), &Marker::default());
    let read = read.expect("undamaged");
    assert_eq!(read.hard_state, HardState { term: 2, vote: 0, commit: 6 });
    for entry in &read.entries[4..] {
        use prost::Message as _;
        let change = proto::raftpb::ConfChange::decode(entry.data.clone()).expect("a change");
        assert_eq!(change.r#type(), proto::raftpb::ConfChangeType::ConfChangeRemoveNode);
        assert_ne!(change.node_id(), member);
    }
    // Once more changes nothing: those that are to be removed are, as far as the log says.
    assert_eq!(started(&disk, Begin::ForceNew).log_index, 6);
}
