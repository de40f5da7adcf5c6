//! A member whose store is damaged is refused by name, and with `--repair-from-peers` it gets its cluster's state from
//! another member.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign;

/// Logs are cut early, so that no member can do without its store.
const SHORT_LOG: [&str; 2] = ["--snapshot-count=50", "--snapshot-catchup-entries=10"];

/// The files of a member's store that hold rows.
fn files_of_rows(cluster: &Cluster, seat: usize) -> Vec<PathBuf> {
    let store = cluster.data_dir(seat).join("member/store");
    let all = fs::read_dir(store).expect("a store").flatten().map(|entry| entry.path());
    all.filter(|path| contains(path, b"a-value-of-a-row")).collect()
}

fn contains(path: &Path, text: &[u8]) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text)
}

/// Flips one bit of a value in each of them.
fn flip(files: &[PathBuf]) {
    for file in files {
        let mut bytes = fs::read(file).expect("it is there");
        let text = b"a-value-of-a-row";
        let at = bytes.windows(text.len()).position(|window| window == text).expect("a value");
        bytes[at + 3] ^= 1;
        fs::write(file, bytes).expect("it is ours");
    }
}

/// How many stores were kept aside.
fn kept_aside(cluster: &Cluster, seat: usize) -> usize {
    let names = fs::read_dir(cluster.data_dir(seat).join("member")).expect("a member").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("store.damaged-")).count()
}

#[track_caller]
fn repaired(cluster: &mut Cluster, seat: usize, times: usize) {
    cluster.launch(seat);
    cluster.wait_until_ready(seat);
    cluster.wait_until_equal();
    let log = cluster.log(seat);
    assert!(log.contains("the store was repaired from a peer"), "{log}");
    assert_eq!(kept_aside(cluster, seat), times);
    assert_eq!(cluster.get(seat, "k7"), Ok(Some("a-value-of-a-row".to_owned())));
}

#[test]
fn a_damaged_member_gets_its_clusters_state_from_another_and_keeps_its_word() {
    let Some(ours) = foreign::subject("repair") else { return };
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &SHORT_LOG);
    for key in 0..120 {
        cluster.put(key % 3, &format!("k{key}"), "a-value-of-a-row").expect("acknowledged");
    }
    let seat = (cluster.leader() + 1) % 3;
    let id = cluster.status(seat).and_then(|it| it.header).map_or(0, |header| header.member_id);

    // The store is gone: refused by name, and repaired when asked to.
    cluster.stop(seat);
    let store = cluster.data_dir(seat).join("member/store");
    fs::remove_file(store.join("manifest")).expect("it is there");
    cluster.launch(seat);
    let ended = cluster.wait_for_end(seat);
    let log = cluster.log(seat);
    assert_eq!(ended.code(), Some(1), "{log}");
    assert!(log.contains("manifest is missing") || log.contains("lost its end"), "{log}");
    let through = (seat + 1) % 3;
    cluster.put(through, "meanwhile", "v").expect("two of three agree");
    cluster.set_flags(&[SHORT_LOG[0], SHORT_LOG[1], "--repair-from-peers"]);
    repaired(&mut cluster, seat, 1);
    assert_eq!(cluster.get(seat, "meanwhile"), Ok(Some("v".to_owned())));

    // One value has rotted: it is found at the start.
    cluster.stop(seat);
    let files = files_of_rows(&cluster, seat);
    assert!(!files.is_empty(), "rows are in files");
    flip(&files);
    repaired(&mut cluster, seat, 2);

    // It is who it was, and a member like any other.
    let now = cluster.status(seat).and_then(|it| it.header).map_or(0, |header| header.member_id);
    assert_eq!(now, id);
    cluster.set_flags(&SHORT_LOG);
    cluster.move_leader(seat);
    cluster.put(seat, "after", "v").expect("it leads");
    cluster.kill(seat);
    cluster.launch(seat);
    cluster.wait_until_ready(seat);
    cluster.wait_until_equal();
}
