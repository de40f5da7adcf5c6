//! A snapshot of another member's takes the place of the store, whenever the power goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exchange::Image;
use holdfast_member::{
    Applying, ApplyingEffect as Effect, ApplyingInput as Input, Begin, BootError, Engine,
    EngineEffect, EngineOptions, FrontInput, InitialMember, RecoverOptions, Recovered, Stored,
    recover, spooled,
};
use types::{ConfState, Entry, EntryKind, HardState, Version};
use vfs::{CrashPolicy, Disk, Faults, MemoryDisk};
use wal::{Marker, Wal};

const DIR: &str = "/data/member";
/// Where the snapshot was made.
const AT: (u64, u64) = (10, 2);

fn options(name: &str) -> RecoverOptions {
    let initial = |name: &str| InitialMember {
        name: name.to_owned(),
        peer_urls: vec![format!("http://{name}:2380")],
    };
    let members = ["a", "b", "c"].map(initial).into();
    RecoverOptions {
        wal_dir: PathBuf::from(DIR).join("wal"),
        store_dir: PathBuf::from(DIR).join("store"),
        snap_dir: PathBuf::from(DIR).join("snap"),
        wal: wal::Options::default(),
        store: store::Options::default(),
        name: name.into(),
        begin: Begin::New { members, token: "token".into() },
        unix_ms: 1_700_000_000_000,
        election_ticks: 10,
        pre_vote: true,
        uncommitted_bytes_max: 1 << 20,
        quota_bytes: None,
        learners_max: 1,
        hashed_bytes_max: u64::MAX,
        leases: lease::Options::new(2),
        persist_checkpoints: false,
        seed: 1,
    }
}

fn start(disk: &MemoryDisk, name: &str) -> Result<Recovered, BootError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    recover(&shared, &options(name), &mut |_| {})
}

fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(&Path::new(DIR).join("snap")).expect("an empty disk");
    disk
}

/// The state that member b has at the snapshot's entry.
fn image() -> Image {
    let disk = new_disk();
    let Recovered { mut applier, wal, .. } = start(&disk, "b").unwrap_or_else(|e| panic!("{e}"));
    drop(wal);
    let log = Wal::read(&disk, &Path::new(DIR).join("wal"), &Marker::default());
    let mut entries = log.expect("it was begun").entries;
    let empty = |index| Entry { term: 2, index, kind: EntryKind::Normal, data: "".into() };
    entries.extend((entries.len() as u64 + 1..=AT.0).map(empty));
    for entry in &entries {
        applier.apply(entry).expect("memory gives it");
    }
    applier.flush().expect("memory gives it");
    Image::new(applier.view(), applier.stored().state().clone())
}

/// Member a, whose log begins anew at the snapshot if it is `marked`, and whose file is there.
fn receiver(marked: bool) -> (MemoryDisk, ConfState) {
    let (disk, image) = (new_disk(), image());
    let conf_state = image.conf_state();
    let Recovered { mut wal, .. } = start(&disk, "a").unwrap_or_else(|e| panic!("{e}"));
    if marked {
        let state = HardState { term: 2, vote: 0, commit: AT.0 };
        wal.append(Some(&state), &[]).expect("room");
        let conf_state = Some(conf_state.clone());
        wal.append_marker(&Marker { index: AT.0, term: AT.1, conf_state }).expect("room");
        wal.sync().expect("room");
    }
    bring(&disk, image);
    (disk, conf_state)
}

/// The snapshot's file arrives.
fn bring(disk: &MemoryDisk, image: Image) {
    let file = disk.create(&spooled(&Path::new(DIR).join("snap"), AT.0)).expect("room");
    let mut at = 0;
    for chunk in image.stream(1000).expect("memory gives it") {
        let chunk = chunk.expect("memory gives it");
        file.write_all_at(&chunk, at).expect("room");
        at += chunk.len() as u64;
    }
    file.sync_data().expect("room");
    disk.sync_dir(&Path::new(DIR).join("snap")).expect("room");
}

fn names(disk: &MemoryDisk, dir: &str) -> Vec<String> {
    let dir = Path::new(DIR).join(dir);
    if disk.exists(&dir).expect("the disk works") {
        disk.list(&dir).expect("it is there")
    } else {
        Vec::new()
    }
}

fn is_taken_over(disk: &MemoryDisk, conf_state: &ConfState, story: &str) {
    let taken = start(disk, "a").unwrap_or_else(|error| panic!("{error}: {story}"));
    assert_eq!(taken.applier.applied(), AT, "{story}");
    assert_eq!(taken.applier.conf_state(), *conf_state, "{story}");
    assert_eq!((taken.marked, taken.log_index), (AT.0, AT.0), "{story}");
    for left in ["snap", "store.tmp", "store.new", "store.old"] {
        assert!(names(disk, left).is_empty(), "{left} holds {:?}: {story}", names(disk, left));
    }
}

#[test]
fn a_take_over_is_finished_at_whatever_operation_the_power_went() {
    let mut cuts = 0;
    for operations in 0.. {
        let (disk, conf_state) = receiver(true);
        let stop_after = Some(disk.operations() + operations);
        disk.set_faults(Faults { stop_after, ..Faults::default() });
        let through = start(&disk, "a").is_ok();
        for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::KeepAll] {
            let story = format!("power cut after operation {operations}, {policy:?}");
            is_taken_over(&disk.crash(policy), &conf_state, &story);
            cuts += 1;
        }
        if through {
            break;
        }
    }
    assert!(20 < cuts, "{cuts} are not all");
}

/// Member a as it runs, and the snapshot that raft has taken.
fn running() -> (MemoryDisk, Applying, Stored) {
    let (disk, image) = (new_disk(), image());
    let at = Stored { index: AT.0, term: AT.1, conf_state: image.conf_state() };
    let Recovered { member, applier, installer, .. } =
        start(&disk, "a").unwrap_or_else(|error| panic!("{error}"));
    bring(&disk, image);
    let options = EngineOptions {
        member,
        election_ms: 1000,
        cluster_version: Version::new(3, 7),
        committed_before: 0,
    };
    let engine = Engine::new(applier, watch::Limits::default(), options);
    (disk, Applying::new(engine, 100_000, installer), at)
}

fn step(applying: &mut Applying, input: Input) -> Vec<Effect> {
    applying.step(input, 1000).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The one long step that is asked for.
fn run_job(effects: Vec<Effect>) -> Input {
    let mut jobs = effects.into_iter().filter_map(|effect| match effect {
        Effect::Install(job) => Some(job),
        _ => None,
    });
    let (job, None) = (jobs.next().expect("a step is due"), jobs.next()) else {
        panic!("one at a time");
    };
    Input::InstallStep(job.run(&mut || true))
}

fn applied(effects: &[Effect]) -> Vec<u64> {
    let engine = effects.iter().filter_map(|effect| match effect {
        Effect::Engine(effects) => Some(effects),
        _ => None,
    });
    let index = |effect: &EngineEffect| match effect {
        EngineEffect::Applied { index, .. } => Some(*index),
        _ => None,
    };
    engine.flatten().filter_map(index).collect()
}

fn entry(index: u64) -> Input {
    Input::Apply(vec![Entry { index, term: AT.1, kind: EntryKind::Normal, data: "".into() }])
}

#[test]
fn a_member_goes_on_from_its_old_state_while_a_snapshot_is_taken_over() {
    let (disk, mut applying, at) = running();
    let effects = step(&mut applying, Input::SyncStore);
    let [Effect::Sync(_)] = effects.as_slice() else { panic!("a sync is asked for") };
    let Some(Effect::Sync(syncing)) = effects.into_iter().next() else { unreachable!() };
    let building = step(&mut applying, Input::Install(at.clone()));
    // Nothing of it is done yet, and whoever asks is answered.
    assert!(applying.is_installing());
    assert!(!names(&disk, "store").is_empty());
    assert!(names(&disk, "store.new").is_empty());
    let stream = 1;
    let opened = watch::Input::StreamOpened { stream, progress_interval_ms: 1000 };
    step(&mut applying, Input::Watch(opened));
    step(&mut applying, Input::Ticked);
    assert!(step(&mut applying, entry(AT.0 + 1)).is_empty(), "it waits for the new store");
    let built = run_job(building);
    assert!(!names(&disk, "store.new").is_empty());
    let effects = step(&mut applying, built);
    assert!(effects.is_empty(), "the old store is still being synced");
    step(&mut applying, Input::Ticked);
    assert_eq!(applying.engine().applier().applied().0, 0);
    let done = syncing.handle.sync();
    let exchanging = step(&mut applying, Input::Synced { done, stored: syncing.stored });
    assert!(exchanging.iter().all(|effect| !matches!(effect, Effect::Front(_))), "of the old one");
    step(&mut applying, Input::Ticked);
    let exchanged = run_job(exchanging);
    assert_eq!(applying.engine().applier().applied().0, 0, "until the switch");
    let effects = step(&mut applying, exchanged);
    assert_eq!(applying.engine().applier().applied(), AT);
    let told = |effect: &Effect| matches!(effect, Effect::Front(FrontInput::Installed(told)) if *told == at);
    assert!(effects.iter().any(told));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Replaced(_))));
    assert!(matches!(effects.last(), Some(Effect::GoOn)));
    // What comes meanwhile is behind what has waited.
    assert!(step(&mut applying, entry(AT.0 + 2)).is_empty());
    let effects = step(&mut applying, Input::GoOn);
    assert_eq!(applied(&effects), [AT.0 + 1, AT.0 + 2]);
    assert!(!applying.is_installing());
    assert_eq!(applied(&step(&mut applying, entry(AT.0 + 3))), [AT.0 + 3]);
}

#[test]
fn what_waited_for_a_snapshot_is_made_up_for_a_little_at_a_time() {
    let (_, mut applying, at) = running();
    let building = step(&mut applying, Input::Install(at));
    for behind in 1..=1000 {
        assert!(step(&mut applying, entry(AT.0 + behind)).is_empty());
    }
    let exchanging = step(&mut applying, run_job(building));
    let mut effects = step(&mut applying, run_job(exchanging));
    let (mut all, mut steps) = (Vec::new(), 0);
    while matches!(effects.last(), Some(Effect::GoOn)) {
        effects = step(&mut applying, Input::GoOn);
        let made_up = applied(&effects);
        assert!(made_up.len() <= 256, "{} at once", made_up.len());
        all.extend(made_up);
        steps += 1;
    }
    assert_eq!(all, (AT.0 + 1..=AT.0 + 1000).collect::<Vec<_>>());
    assert_eq!(steps, 4);
    assert!(!applying.is_installing());
}

#[test]
fn a_snapshot_that_nobody_waits_for_any_more_is_not_built() {
    let (disk, mut applying, at) = running();
    let effects = step(&mut applying, Input::Install(at));
    let Some(Effect::Install(job)) = effects.into_iter().next() else { panic!("a step is due") };
    let given_up = job.run(&mut || false).expect_err("nobody wants it");
    assert!(matches!(given_up, BootError::Install(_)), "{given_up}");
    assert!(names(&disk, "store.new").is_empty());
}

#[test]
fn a_snapshot_that_raft_never_took_is_thrown_away() {
    let (disk, _) = receiver(false);
    let started = start(&disk, "a").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(started.applier.applied().0, 0);
    assert!(names(&disk, "snap").is_empty(), "{:?}", names(&disk, "snap"));
}

#[test]
fn a_log_that_begins_at_a_snapshot_is_refused_without_it() {
    let (disk, _) = receiver(true);
    disk.remove(&spooled(&Path::new(DIR).join("snap"), AT.0)).expect("it is there");
    // The store is where it was, and the log has nothing to lead on from there.
    let refused = start(&disk, "a").err().expect("a member must not go on with half its history");
    assert!(matches!(refused, BootError::StoreTooShort { first: 10, .. }), "{refused}");
}

#[test]
fn a_damaged_snapshot_is_refused_and_named() {
    let (disk, _) = receiver(true);
    let path = spooled(&Path::new(DIR).join("snap"), AT.0);
    disk.open(&path).expect("it is there").write_all_at(&[9; 20_000], 0).expect("room");
    let refused = start(&disk, "a").err().expect("it is no database");
    assert!(matches!(refused, BootError::Install(_)), "{refused}");
}
