//! A directory changes hands, Go's to ours and ours to Go's, and the power is cut after every operation of it.
//!
//! Guarantee (takeover): a crash at any point leaves one of the two forms whole, and the next start finds in it what the
//! life before had committed.
//!
//! A life of a member makes the store; [`takeover::hand_back`] makes Go's form of it, and with the store taken away
//! that is a Go member's directory (that Go members start from it, and what theirs look like, is for `robust`).

use std::path::Path;
use std::sync::Arc;

use bolt::Backend;
use holdfast_proof::{Lone, Picture, options, workload};
use store::Bucket;
use takeover::{BackOptions, Dirs, Outcome, TakeOptions, Told};
use types::Version;
use vfs::{CrashPolicy, Disk, Faults, MemoryDisk};

fn dirs() -> Dirs {
    Dirs::of(Path::new("/data/member"), None)
}

fn copy(disk: &MemoryDisk) -> MemoryDisk {
    disk.crash(CrashPolicy::KeepAll)
}

fn door(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn take(disk: &MemoryDisk) -> Result<Outcome, takeover::TakeoverError> {
    let options = TakeOptions { refuse: false, store: options().store, told: Told::nobody() };
    takeover::take_over(&door(disk), &dirs(), &options, &mut |_, _, _| {})
}

fn hand_back(disk: &MemoryDisk) -> Result<takeover::Back, takeover::TakeoverError> {
    let image = takeover::stored_image(&door(disk), &dirs(), &options().store)?;
    let target = Version::OURS;
    let told = Told::nobody();
    let options = BackOptions { target, force: false, wal: options().wal, told };
    takeover::hand_back(&door(disk), &dirs(), image, &options)
}

/// What a start finds, and the entry it is at.
#[track_caller]
fn start(disk: &MemoryDisk, story: &str) -> (u64, Picture) {
    take(disk).unwrap_or_else(|error| panic!("not taken over: {error}: {story}"));
    let mut lone = Lone::boot(disk, 2_000_000_000).unwrap_or_else(|error| {
        panic!("refused: {error} ({:?}): {story}", std::error::Error::source(&error))
    });
    lone.start().unwrap_or_else(|stopped| panic!("{}: {story}", stopped.0));
    let (index, picture) = lone.take_found().expect("it elected itself");
    (index, plain(picture.unwrap_or_else(|error| panic!("{error}: {story}"))))
}

/// Without what Go's form writes down and ours knows otherwise: the entry it is at, who votes (the members say it), how
/// far it was compacted (the picture says it), and the first revision of users that have never changed.
fn plain(mut picture: Picture) -> Picture {
    let kept = ["storageVersion".as_bytes()];
    picture.state.retain(|(bucket, key), _| *bucket != Bucket::Meta || kept.contains(&&key[..]));
    picture
        .state
        .retain(|(bucket, _), value| *bucket != Bucket::Auth || value[..] != 1u64.to_be_bytes());
    picture
}

/// A life on a disk, and what a start finds of it.
fn life() -> (MemoryDisk, (u64, Picture)) {
    let disk = MemoryDisk::new();
    let ledger = workload::run(&disk, 1, workload::STEPS, false);
    assert_eq!(ledger.stopped, None);
    let disk = copy(&disk);
    let found = start(&copy(&disk), "without a takeover");
    (disk, found)
}

/// Takes our store away: what is left is a Go member's.
fn without_store(disk: &MemoryDisk) -> MemoryDisk {
    let dir = dirs().store;
    for name in disk.list(&dir).expect("the disk works") {
        disk.remove(&dir.join(name)).expect("the disk works");
    }
    copy(disk)
}

/// All bytes of a file; nothing if there is none.
fn content(disk: &MemoryDisk, path: &Path) -> Option<Vec<u8>> {
    disk.exists(path)
        .expect("the disk works")
        .then(|| vfs::read_all(disk, path).expect("the disk works"))
}

/// The ways a disk can look, few enough for each operation.
fn policies(disk: &MemoryDisk) -> Vec<CrashPolicy> {
    let unsynced = disk.unsynced();
    let some = (0..=unsynced).step_by(unsynced / 6 + 1);
    let firsts = some.clone().map(|pieces| CrashPolicy::First { pieces });
    let all_but = some.filter(|piece| *piece < unsynced).map(|piece| CrashPolicy::AllBut { piece });
    let ends = [CrashPolicy::KeepAll, CrashPolicy::LoseUnsynced];
    firsts.chain(all_but).chain(ends).collect()
}

/// Runs `work` on a copy of `disk` with the power cut after each operation, and hands what can be found to `check`.
fn cut_everywhere(
    disk: &MemoryDisk,
    work: impl Fn(&MemoryDisk) -> bool,
    check: impl Fn(&MemoryDisk, &str),
) {
    let whole = copy(disk);
    assert!(work(&whole), "it works on a disk that works");
    let operations = whole.operations();
    let mut found = 0;
    for last in 0..operations {
        let cut = copy(disk);
        cut.set_faults(Faults { stop_after: Some(last), ..Faults::default() });
        assert!(!work(&cut), "operation {last} of {operations} was the last, and nobody noticed");
        for policy in policies(&cut) {
            check(&cut.crash(policy), &format!("cut after {last} of {operations}, {policy:?}"));
            found += 1;
        }
    }
    println!("{operations} operations, {found} disks found after a cut");
    assert!(10 < operations);
}

#[test]
fn wherever_a_takeover_is_cut_one_of_the_two_forms_is_whole() {
    let (disk, expected) = life();
    hand_back(&disk).expect("the disk works");
    let go = without_store(&disk);
    let database = content(&go, &dirs().database()).expect("it was written");
    let outcome = take(&copy(&go)).expect("the disk works");
    assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    cut_everywhere(
        &go,
        |disk| take(disk).is_ok(),
        |found, story| {
            if let Some(now) = content(found, &dirs().database()) {
                assert!(now == database, "Go's database has changed: {story}");
            } else {
                assert_eq!(content(found, &dirs().kept()).as_ref(), Some(&database), "{story}");
            }
            let (index, picture) = start(found, story);
            assert_eq!(index, expected.0, "{story}");
            assert!(picture == expected.1, "{}: {story}", picture.difference(&expected.1));
            let again = start(&copy(found), "the next start");
            assert!(again.0 >= index, "{story}");
        },
    );
}

#[test]
fn wherever_handing_back_is_cut_the_store_is_whole_and_the_database_is_or_is_not_there() {
    let (disk, expected) = life();
    let at = hand_back(&copy(&disk)).expect("the disk works").index;
    cut_everywhere(
        &disk,
        |disk| hand_back(disk).is_ok(),
        |found, story| {
            if found.exists(&dirs().database()).expect("the disk works") {
                let file = found.open_read(&dirs().database()).expect("it is there");
                let backend = Backend::open(file).unwrap_or_else(|e| panic!("{e}: {story}"));
                assert_eq!(backend.consistent_index().ok(), Some(at), "{story}");
                assert_eq!(backend.bolt().check().faults_count, 0, "{story}");
            }
            let (index, picture) = start(found, story);
            assert_eq!(index, expected.0, "{story}");
            assert!(picture == expected.1, "{}: {story}", picture.difference(&expected.1));
        },
    );
}

#[test]
fn of_two_forms_the_one_that_is_further_counts() {
    let (disk, expected) = life();
    let back = hand_back(&disk).expect("the disk works");
    // Nobody went further: the store stays, the database goes.
    let same = copy(&disk);
    let outcome = take(&same).expect("the disk works");
    let current = Outcome::StoreIsCurrent { database: back.index, store: back.index };
    assert_eq!(outcome, current);
    assert_eq!(content(&same, &dirs().database()), None);
    assert_eq!(start(&same, "the same").1, expected.1);

    // A store that was left behind by a Go member: one of an earlier moment stands for it.
    let earlier = MemoryDisk::new();
    let ledger = workload::run(&earlier, 1, workload::STEPS / 2, false);
    assert_eq!(ledger.stopped, None);
    let behind = without_store(&disk);
    for name in earlier.list(&dirs().store).expect("the disk works") {
        let bytes = content(&earlier, &dirs().store.join(&name)).expect("it is listed");
        let file = behind.create(&dirs().store.join(&name)).expect("the disk works");
        file.write_all_at(&bytes, 0).expect("the disk works");
    }
    let outcome = take(&behind).expect("the disk works");
    let Outcome::Taken(taken) = outcome else { panic!("{outcome:?}") };
    assert!(taken.anew && taken.index == back.index, "{taken:?}");
    assert_eq!(start(&behind, "behind").1, expected.1);
}
