//! A full disk: writes end clearly, nothing acknowledged is lost, and with space again it goes on.
//!
//! On a real small file system: a tmpfs of a few MiB more than an empty member needs, which only root can
//! mount. The quota is off, so that the disk is what ends it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign;
use holdfast_robust::generate::MEMBER_ID;
use holdfast_robust::process::{Home, Server};
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse,
    DefragmentRequest, DefragmentResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    alarm_request::AlarmAction,
};

const PUT: &str = "/etcdserverpb.KV/Put";

/// A mounted tmpfs. It must go before the folder it lies in.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a file system of so many MiB, or says why not.
    fn mount(name: &str, path: &Path, mib: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(path).expect("a folder to mount on");
        let size = format!("size={mib}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        match mount {
            Ok(done) if done.status.success() => Some(SmallDisk(path.to_path_buf())),
            Ok(done) => {
                let why = String::from_utf8_lossy(&done.stderr).trim().to_string();
                let remedy = "only root may mount a tmpfs";
                let reason = format!("a small file system cannot be mounted here, {remedy}: {why}");
                foreign::skip(name, &reason);
                None
            }
            Err(error) => {
                foreign::skip(name, &format!("there is no mount here: {error}"));
                None
            }
        }
    }

    fn grow(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "it grows");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What cannot be taken off now goes when its last user ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn put(key: &str, value: &[u8]) -> PutRequest {
    PutRequest { key: key.to_string().into(), value: value.to_vec().into(), ..Default::default() }
}

fn value(n: usize) -> Vec<u8> {
    format!("{n}-").into_bytes().into_iter().cycle().take(512 << 10).collect()
}

/// Puts until something else than OK comes back. How many were acknowledged, and what came.
fn fill(server: &Server, from: usize) -> (usize, String) {
    let connection = server.connect();
    for n in from..from + 2000 {
        let answer = connection.unary(PUT, &put(&format!("key{n}"), &value(n)));
        if !answer.is_ok() {
            return (n, format!("{:?} {:?} {:?}", answer.status, answer.message, answer.broken));
        }
    }
    panic!("1000 MiB fitted");
}

#[track_caller]
fn everything_is_there(server: &Server, count: usize) {
    let connection = server.connect();
    for n in 0..count {
        let request = RangeRequest { key: format!("key{n}").into(), ..RangeRequest::default() };
        let answer: RangeResponse = connection.unary("/etcdserverpb.KV/Range", &request).ok();
        let kv = answer.kvs.first().unwrap_or_else(|| panic!("key{n} of {count} is gone"));
        assert!(kv.value == value(n), "key{n} of {count} has another value");
    }
}

/// A member with the disk at `small` below its folder too small for what comes. `None` where none can be mounted.
fn on_a_small_disk(name: &str, small: &str, mib: u32) -> Option<(Server, SmallDisk)> {
    let subject = crate::corners::holdfast(name)?;
    let mut home = Home::new(&subject, &[]);
    let wal = format!("--wal-dir={}", home.folder().join("wal").display());
    let mut flags = vec!["--quota-backend-bytes=-1", "--snapshot-count=50"];
    if small != "both" {
        flags.push(&wal);
    }
    home.set_flags(&flags);
    let path = home.folder().join(if small == "wal" { "wal" } else { "data" });
    let mounted = SmallDisk::mount(name, &path, mib)?;
    Some((home.start(), mounted))
}

/// Fills the disk of the log: a log that cannot be written ends the member.
fn fill_the_log_and_go_on(name: &str, mib: u32) {
    let Some((mut server, mounted)) = on_a_small_disk(name, "wal", mib) else { return };
    let (count, said) = fill(&server, 0);
    println!("{name}: {count} puts of 512 KiB were acknowledged, then: {said}");
    assert!(count > 0, "something fits");
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.is_alive() && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
    let log = server.log();
    assert!(!server.is_alive(), "a member that cannot write ends: {log}");
    let last = log.lines().last().unwrap_or_default();
    for words in ["fatal", "No space left on device", "make room on the file system"] {
        assert!(last.contains(words), "{words:?} in {last}");
    }
    let folder = server.home().data_dir();
    assert!(last.contains(&*folder.to_string_lossy()), "the directory is named: {last}");
    assert!(last.contains(".wal"), "the file is named: {last}");

    // Started again on a disk that is still full it serves what it has or refuses, and breaks nothing.
    let mut home = server.kill();
    let (status, log) = home.try_start(Duration::from_secs(3));
    println!("{name}: started on the full disk: {status:?}");
    assert!(status.is_none_or(|status| status.code() == Some(1)), "{log}");
    assert!(!log.contains("impossibility"), "{log}");
    mounted.grow(mib * 4);
    goes_on(home.start(), count);
}

/// Fills the disk of the store: the member keeps a reserve, so it refuses what grows and serves all else.
fn fill_the_store_and_go_on(name: &str, small: &str, mib: u32) {
    let Some((mut server, mounted)) = on_a_small_disk(name, small, mib) else { return };
    let (count, said) = fill(&server, 0);
    println!("{name}: {count} puts of 512 KiB were acknowledged, then: {said}");
    assert!(count > 0, "something fits");
    assert!(said.contains("etcdserver: mvcc: database space exceeded"), "{said}");
    sleep(Duration::from_secs(1));
    assert!(server.is_alive(), "{}", server.log());
    everything_is_there(&server, count);

    let server = server.kill_and_restart();
    everything_is_there(&server, count);
    mounted.grow(mib * 8);
    goes_on(server, count);
}

/// With space again it takes writes, and nothing acknowledged is gone.
#[track_caller]
fn goes_on(server: Server, count: usize) {
    everything_is_there(&server, count);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.connect().unary(PUT, &put("after", b"x")).is_ok() {
        assert!(Instant::now() < deadline, "there is space again: {}", server.log());
        sleep(Duration::from_millis(200));
    }
    let server = server.kill_and_restart();
    everything_is_there(&server, count);
    drop(server);
}

#[test]
fn a_disk_full_of_log_and_store_loses_nothing() {
    fill_the_store_and_go_on("full-both", "both", 200);
}

#[test]
fn a_disk_full_of_log_loses_nothing() {
    // Less than one segment: of more, the log would let go of what is in the store, and never be full.
    fill_the_log_and_go_on("full-log", 12);
}

#[test]
fn a_disk_full_of_store_loses_nothing() {
    fill_the_store_and_go_on("full-store", "store", 24);
}

fn alarms(server: &Server) -> usize {
    let list = AlarmRequest::default();
    let answer = server.connect().unary("/etcdserverpb.Maintenance/Alarm", &list);
    answer.ok::<AlarmResponse>().alarms.len()
}

/// docs/decisions/0009-quota-heals.md: not before a runbook could disarm it itself, but without anybody.
#[test]
fn out_of_quota_a_member_heals_itself_once_there_is_space() {
    let Some(subject) = crate::corners::holdfast("quota-heals") else { return };
    let server = Home::new(&subject, &["--quota-backend-bytes=16777216"]).start();
    let connection = server.connect();
    let mut last = PutResponse::default();
    for _ in 0..100 {
        let answer = connection.unary(PUT, &put("key", &value(1)));
        if !answer.is_ok() {
            let text = "etcdserver: mvcc: database space exceeded";
            assert_eq!(answer.message.as_deref(), Some(text));
            break;
        }
        last = answer.ok();
    }
    sleep(Duration::from_secs(2));
    assert_eq!(alarms(&server), 1, "without space the alarm stays");

    let revision = last.header.expect("a header").revision;
    let compaction = CompactionRequest { revision, physical: true };
    connection.unary("/etcdserverpb.KV/Compact", &compaction).ok::<CompactionResponse>();
    let path = "/etcdserverpb.Maintenance/Defragment";
    connection.unary(path, &DefragmentRequest {}).ok::<DefragmentResponse>();
    sleep(Duration::from_secs(4));
    assert_eq!(alarms(&server), 1, "a runbook's own disarm finds what it expects");
    let deadline = Instant::now() + Duration::from_secs(30);
    while alarms(&server) > 0 {
        assert!(Instant::now() < deadline, "the alarm is never taken back");
        sleep(Duration::from_millis(200));
    }
    connection.unary(PUT, &put("key", b"x")).ok::<PutResponse>();
    assert!(server.log().contains("disarmed the member's own alarm"), "and it says so");

    // What somebody else raised is theirs to take back.
    let raise = AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id: MEMBER_ID,
        alarm: AlarmType::Nospace as i32,
    };
    connection.unary("/etcdserverpb.Maintenance/Alarm", &raise).ok::<AlarmResponse>();
    sleep(Duration::from_secs(13));
    assert_eq!(alarms(&server), 1);
}
