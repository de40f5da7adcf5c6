//! Go members' directories that are not as an orderly stop leaves them, or whose members are no ordinary voters: each
//! goes on under ours with all that was acknowledged.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::grpc::Connection;
use proto::etcdserverpb as pb;

use crate::takeover::{ask, compare, etcdutl, fill, migrate, picture, start_with, until};

/// What Go writes of its log at once, in bytes.
const SECTOR_BYTES: u64 = 512;

fn snap(cluster: &Cluster, seat: usize) -> PathBuf {
    cluster.data_dir(seat).join("member/snap")
}

/// The index in the name of the newest `.snap` file; nothing if there is none.
fn newest_snap(cluster: &Cluster, seat: usize) -> Option<u64> {
    let entries = fs::read_dir(snap(cluster, seat)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let index = |name: std::ffi::OsString| {
        let name = name.into_string().ok()?;
        let (_, index) = name.strip_suffix(".snap")?.split_once('-')?;
        u64::from_str_radix(index, 16).ok()
    };
    names.filter_map(index).max()
}

/// Writes so many keys through a seat.
#[track_caller]
fn write(cluster: &Cluster, seat: usize, prefix: &str, count: usize) {
    let connection = cluster.connect(seat);
    for number in 0..count {
        let key = format!("{prefix}{number}").into();
        let put = pb::PutRequest { key, value: "v".into(), ..Default::default() };
        ask::<pb::PutResponse>(&connection, "KV/Put", &put);
    }
}

/// The log's newest file and where what was written of it ends.
fn end_of_log(wal: &Path) -> (PathBuf, u64) {
    let entries = fs::read_dir(wal).expect("a folder").map(|entry| entry.expect("an entry").path());
    let newest = entries.filter(|path| path.extension().is_some_and(|it| it == "wal")).max();
    let newest = newest.expect("a log has a file");
    let bytes = fs::read(&newest).expect("it is there");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
    (newest, (last as u64 + 1).next_multiple_of(8))
}

/// The begin of an entry of 2,989 bytes, in a record of 3,000: its length, its kind, a checksum, and how long the entry is.
const BEGUN: [u8; 19] =
    [0xb8, 0x0b, 0, 0, 0, 0, 0, 0, 8, 2, 0x10, 0x80, 0x80, 0x80, 0x80, 8, 0x1a, 0xad, 0x17];

/// The begin of a record, up to the end of a sector; the rest never reached the disk.
fn tear(wal: &Path) {
    let (file, end) = end_of_log(wal);
    let sector_ends = (end + BEGUN.len() as u64 + 1).next_multiple_of(SECTOR_BYTES);
    let mut torn = vec![b'v'; (sector_ends - end) as usize];
    torn[..BEGUN.len()].copy_from_slice(&BEGUN);
    let opened = OpenOptions::new().write(true).open(file).expect("it is there");
    opened.write_all_at(&torn, end).expect("it is written");
}

fn torn(name: &str, part: Part) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(go) = need(name, part) else { return };
    let mut cluster = Cluster::start(&[&go], &["--snapshot-count=100"]);
    fill(&cluster, 0, "k");
    let before = picture(&cluster, 0);
    cluster.stop(0);
    tear(&cluster.data_dir(0).join("member/wal"));
    start_with(&mut cluster, 0, &ours);
    let log = cluster.log(0);
    assert!(log.contains("took over the data directory") && log.contains("cut off a torn end"));
    compare(&before, &picture(&cluster, 0), "with a torn end");
}

#[test]
fn a_torn_end_of_the_log_is_cut_off_when_3_4_is_taken_over() {
    torn("takeover-torn-3.4", Part::Etcd34);
}

#[test]
fn a_torn_end_of_the_log_is_cut_off_when_the_newest_is_taken_over() {
    torn("takeover-torn-new", Part::EtcdNew);
}

/// The database is as it was some thousand entries ago: all behind it is applied from the log.
fn unapplied(name: &str, part: Part) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(go) = need(name, part) else { return };
    let mut cluster = Cluster::start(&[&go], &[]);
    fill(&cluster, 0, "k");
    cluster.stop(0);
    let database = snap(&cluster, 0).join("db");
    let old = fs::read(&database).expect("it is there");
    start_with(&mut cluster, 0, &go);
    fill(&cluster, 0, "k2");
    write(&cluster, 0, "k3", 2_000);
    let before = picture(&cluster, 0);
    cluster.kill(0);
    fs::write(&database, old).expect("it is written");
    start_with(&mut cluster, 0, &ours);
    assert!(cluster.log(0).contains("took over the data directory"));
    compare(&before, &picture(&cluster, 0), "with a tail that was not applied");
}

#[test]
fn a_tail_that_3_4_had_not_applied_is_applied() {
    unapplied("takeover-tail-3.4", Part::Etcd34);
}

#[test]
fn a_tail_that_the_newest_had_not_applied_is_applied() {
    unapplied("takeover-tail-new", Part::EtcdNew);
}

/// A follower that was away is sent a snapshot by whoever leads, and is taken over right then: once as it is, once as it
/// was a moment before, when the database that was sent had not taken its place yet.
fn received(name: &str, part: Part) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(go) = need(name, part) else { return };
    // A leader of 3.4 keeps 5,000 entries for who lags.
    let mut cluster = Cluster::start(&[&go, &go, &go], &["--snapshot-count=500"]);
    fill(&cluster, 0, "k");
    cluster.move_leader(0);
    cluster.stop(2);
    let old = fs::read(snap(&cluster, 2).join("db")).expect("it is there");
    let had = newest_snap(&cluster, 2);
    write(&cluster, 0, "k2", 6_200);
    cluster.launch(2);
    cluster.wait_until_ready(2);
    cluster.wait_until_equal();
    cluster.kill(2);
    let index = newest_snap(&cluster, 2).expect("it was sent one");
    assert!(had.unwrap_or(0) + 5_000 < index, "{had:?} {index}: it was not sent a snapshot");
    let directory = cluster.data_dir(2);
    let kept = directory.with_extension("kept");
    copy(&directory, &kept);

    start_with(&mut cluster, 2, &ours);
    assert!(cluster.log(2).contains("took over the data directory"));
    cluster.wait_until_equal();
    cluster.stop(2);

    cluster.wipe(2);
    copy(&kept, &directory);
    let folder = snap(&cluster, 2);
    fs::rename(folder.join("db"), folder.join(format!("{index:016x}.snap.db"))).expect("renamed");
    fs::write(folder.join("db"), old).expect("it is written");
    start_with(&mut cluster, 2, &ours);
    assert!(cluster.log(2).contains("took over the data directory"));
    cluster.wait_until_equal();
    println!("{name}: a snapshot at {index}, with and without its place");
}

/// Copies a folder with all in it.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    // Go asks for the mode of its own.
    fs::set_permissions(to, fs::metadata(from).expect("it is there").permissions()).expect("ours");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("it is copied")),
        }
    }
}

#[test]
fn a_follower_of_3_4_that_was_sent_a_snapshot_is_taken_over_before_and_after_it_had_its_place() {
    received("takeover-received-3.4", Part::Etcd34);
}

#[test]
fn a_follower_of_3_6_that_was_sent_a_snapshot_is_taken_over_before_and_after_it_had_its_place() {
    received("takeover-received-3.6", Part::Etcd36);
}

/// 3.4 knows no term in its database, and leaves the one that a newer member sent it as it was.
#[test]
fn a_member_of_3_4_that_a_newer_one_fed_is_taken_over_though_its_term_is_stale() {
    let name = "takeover-stale-term";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(old) = need(name, Part::Etcd34) else { return };
    let mut cluster = Cluster::new(&[&old, &old, &ours], &["--snapshot-count=100"]);
    cluster.set_own_flags(2, &["--snapshot-catchup-entries=10"]);
    (0..3).for_each(|seat| cluster.launch(seat));
    (0..3).for_each(|seat| cluster.wait_until_ready(seat));
    fill(&cluster, 1, "k");
    cluster.move_leader(2);
    cluster.stop(0);
    write(&cluster, 2, "k2", 400);
    cluster.launch(0);
    cluster.wait_until_ready(0);
    cluster.wait_until_equal();
    assert!(newest_snap(&cluster, 0).is_some_and(|index| 400 < index), "it was sent no snapshot");
    // Terms go on, and the row does not.
    cluster.move_leader(1);
    write(&cluster, 1, "k3", 50);
    cluster.wait_until_equal();
    cluster.stop(0);
    start_with(&mut cluster, 0, &ours);
    assert!(cluster.log(0).contains("took over the data directory"));
    cluster.wait_until_equal();
}

/// A learner is one under ours, and is promoted there.
fn learner(name: &str, part: Part) {
    let Some(ours) = foreign::subject(name) else { return };
    let Some(go) = need(name, part) else { return };
    let mut cluster = Cluster::start(&[&go], &[]);
    fill(&cluster, 0, "k");
    let seat = cluster.add_seat(&go);
    let add = pb::MemberAddRequest { peer_ur_ls: vec![cluster.peer_url(seat)], is_learner: true };
    let added: pb::MemberAddResponse = ask(&cluster.connect(0), "Cluster/MemberAdd", &add);
    let id = added.member.expect("it says whom").id;
    cluster.launch(seat);
    let caught_up = |cluster: &Cluster| {
        let Ok(connection) = Connection::open(&cluster.address(seat)) else { return false };
        // A learner answers nothing else.
        let range =
            pb::RangeRequest { key: "last".into(), serializable: true, ..Default::default() };
        let answer = connection.unary("/etcdserverpb.KV/Range", &range);
        answer.is_ok() && answer.ok::<pb::RangeResponse>().count == 1
    };
    cluster.put(0, "last", "v").expect("acknowledged");
    until("the learner has all", || caught_up(&cluster));
    cluster.stop(seat);
    cluster.set_binary(seat, &ours);
    cluster.launch(seat);
    until("the learner has all under ours", || caught_up(&cluster));
    assert!(cluster.log(seat).contains("took over the data directory"));
    assert!(cluster.status(seat).is_some_and(|status| status.is_learner), "it votes");
    let promote = pb::MemberPromoteRequest { id };
    until("it is promoted", || {
        cluster.connect(0).unary("/etcdserverpb.Cluster/MemberPromote", &promote).is_ok()
    });
    cluster.wait_until_ready(seat);
    cluster.wait_until_equal();
    assert!(cluster.status(seat).is_some_and(|status| !status.is_learner));
}

#[test]
fn a_learner_of_3_4_stays_one_and_is_promoted_under_ours() {
    learner("takeover-learner-3.4", Part::Etcd34);
}

#[test]
fn a_learner_of_the_newest_stays_one_and_is_promoted_under_ours() {
    learner("takeover-learner-new", Part::EtcdNew);
}

#[test]
fn a_log_elsewhere_goes_to_ours_and_back_with_the_newest() {
    let name = "takeover-wal-dir";
    let Some(ours) = foreign::subject(name) else { return };
    let (Some(go), Some(etcdutl)) = (need(name, Part::EtcdNew), etcdutl(&ours, name)) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let wal_dir = format!("--wal-dir={}", folder.path().join("wal").display());
    let mut cluster = Cluster::start(&[&go], &[&wal_dir, "--snapshot-count=100"]);
    fill(&cluster, 0, "k");
    let before = picture(&cluster, 0);
    cluster.kill(0);
    start_with(&mut cluster, 0, &ours);
    compare(&before, &picture(&cluster, 0), "taken over");
    cluster.stop(0);
    assert!(!cluster.data_dir(0).join("member/wal").exists(), "the log is elsewhere");
    let said = migrate(
        &etcdutl,
        &cluster.data_dir(0),
        &[&wal_dir, "--target-format=go", "--target-version=3.7"],
    );
    assert!(said.contains("gave the data directory the form of a Go etcd"), "{said}");
    start_with(&mut cluster, 0, &go);
    compare(&before, &picture(&cluster, 0), "Go again");
    // Its log may not be synced at once; a member that is killed then is fine as well.
    sleep(Duration::from_millis(50));
    cluster.kill(0);
    start_with(&mut cluster, 0, &ours);
    compare(&before, &picture(&cluster, 0), "ours again");
}
