//! Two of three members are lost, or all of them, or one was sent away: the operator's ways back, command for command
//! the same with members of ours and of Go's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need};

/// What an operator typed and saw, without ids, ports and folders.
#[derive(Debug, Default, PartialEq, Eq)]
struct Transcript(Vec<String>);

impl Transcript {
    fn note(&mut self, cluster: &Cluster, what: &str, seen: &str) {
        let folder = cluster.folder().display().to_string();
        let seen = seen.replace(&folder, "FOLDER");
        // What the tool says of its environment is no answer.
        let answer = seen.lines().filter(|line| !line.starts_with("{\"level\""));
        let mut masked: Vec<String> = answer.map(masked).collect();
        // Members are listed by their ids, which are different ones each time.
        if masked.iter().all(|line| line.starts_with("ID, ")) {
            masked.sort();
        }
        self.0.push(format!("{what}\n{}", masked.join("\n")));
    }

    /// An `etcdctl` against one seat.
    fn etcdctl(&mut self, cluster: &Cluster, etcdctl: &Path, seat: usize, line: &str) -> String {
        let said = cluster.etcdctl_at(etcdctl, seat, line);
        self.note(cluster, &masked(line), &said);
        said
    }
}

/// A line in which every long hexadecimal number and every number of more than two digits is a word. Lists of members
/// are in order, and blanks fill no columns.
fn masked(line: &str) -> String {
    if let Some(list) = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"") {
        let mut members: Vec<String> = list.trim_end_matches('"').split(',').map(masked).collect();
        members.sort();
        return format!("ETCD_INITIAL_CLUSTER {}", members.join(","));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    let mut out = String::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = 12 < bare.len() && bare.chars().all(|c| c.is_ascii_hexdigit());
        let is_number = 2 < bare.len() && bare.chars().all(|c| c.is_ascii_digit());
        match (is_id, is_number) {
            (true, _) => out += &word.replace(bare, "ID"),
            (_, true) => out += &word.replace(bare, "N"),
            _ => out += word,
        }
    }
    out
}

/// Adds a member through `through` until that is taken, and starts it empty.
#[track_caller]
fn add_back(
    cluster: &mut Cluster,
    told: &mut Transcript,
    etcdctl: &Path,
    through: usize,
    seat: usize,
    all: &str,
) {
    cluster.wipe(seat);
    let line = format!("member add m{} --peer-urls={}", seat + 1, cluster.peer_url(seat));
    let added = (0..40).find_map(|_| {
        let said = cluster.etcdctl_at(etcdctl, through, &line);
        let done = said.contains("added to cluster");
        if !done {
            sleep(Duration::from_millis(500));
        }
        done.then_some(said)
    });
    told.note(cluster, "member add", &added.expect("it is taken in the end"));
    cluster.will_join(seat, all);
    cluster.launch(seat);
    cluster.wait_until_ready(seat);
}

/// One of three is left. It goes on alone with what it has, and the others come back empty.
fn two_of_three_are_lost(program: &Path, etcdctl: &Path) -> Transcript {
    let mut told = Transcript::default();
    let mut cluster = Cluster::start(&[program, program, program], &[]);
    for key in 0..20 {
        cluster.put(key % 3, &format!("k{key}"), "before").expect("acknowledged");
    }
    cluster.wait_until_equal();
    for seat in [1, 2] {
        cluster.kill(seat);
    }
    let refused = cluster.put(0, "nobody", "agrees").expect_err("there is no majority");
    assert!(refused.contains("etcdserver: "), "{refused}");
    cluster.stop(0);
    cluster.set_flags(&["--force-new-cluster"]);
    cluster.launch(0);
    cluster.wait_until_ready(0);
    told.etcdctl(&cluster, etcdctl, 0, "member list");
    told.etcdctl(&cluster, etcdctl, 0, "get --prefix k --count-only --write-out=fields");
    cluster.put(0, "alone", "v").expect("it agrees with itself");
    // The flag is for one start.
    cluster.stop(0);
    cluster.set_flags(&[]);
    cluster.launch(0);
    cluster.wait_until_ready(0);
    told.etcdctl(&cluster, etcdctl, 0, "get alone");
    let url = |cluster: &Cluster, seat: usize| format!("m{}={}", seat + 1, cluster.peer_url(seat));
    let two = [url(&cluster, 0), url(&cluster, 1)].join(",");
    add_back(&mut cluster, &mut told, etcdctl, 0, 1, &two);
    let three = cluster.initial();
    add_back(&mut cluster, &mut told, etcdctl, 0, 2, &three);
    cluster.wait_until_equal();
    assert_eq!(cluster.get(2, "k19"), Ok(Some("before".to_owned())));
    let list = told.etcdctl(&cluster, etcdctl, 2, "member list");
    assert_eq!(list.matches(", started, ").count(), 3, "{list}");
    // A cluster like any other: it outlives the one that was left.
    cluster.kill(0);
    cluster.leader();
    cluster.put(1, "after", "v").expect("two of three agree");
    told
}

#[test]
fn one_of_three_goes_on_alone_and_the_others_come_back_empty() {
    let name = "force-new";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let (ours, theirs) =
        (two_of_three_are_lost(&ours, &etcdctl), two_of_three_are_lost(&theirs, &etcdctl));
    assert_eq!(ours, theirs);
}

/// Everything is lost but a snapshot: three directories are made of it, each with its name and one token.
fn all_are_restored(program: &Path, etcdctl: &Path, etcdutl: &Path) -> Transcript {
    let mut told = Transcript::default();
    let mut cluster = Cluster::start(&[program, program, program], &[]);
    for key in 0..20 {
        cluster.put(key % 3, &format!("k{key}"), "before").expect("acknowledged");
    }
    cluster.wait_until_equal();
    let file = cluster.folder().join("saved.db");
    let saved = cluster.etcdctl_at(etcdctl, 1, &format!("snapshot save {}", file.display()));
    assert!(saved.contains("Snapshot saved"), "{saved}");
    cluster.put(0, "late", "not in it").expect("acknowledged");
    for seat in 0..3 {
        cluster.kill(seat);
        cluster.wipe(seat);
    }
    for seat in 0..3 {
        let ran = Command::new(etcdutl)
            .args(["snapshot", "restore"])
            .arg(&file)
            .arg(format!("--name=m{}", seat + 1))
            .arg(format!("--initial-cluster={}", cluster.initial()))
            .arg("--initial-cluster-token=again")
            .arg(format!("--initial-advertise-peer-urls={}", cluster.peer_url(seat)))
            .arg(format!("--data-dir={}", cluster.data_dir(seat).display()))
            .output()
            .expect("etcdutl runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    (0..3).for_each(|seat| cluster.launch(seat));
    (0..3).for_each(|seat| cluster.wait_until_ready(seat));
    cluster.wait_until_equal();
    told.etcdctl(&cluster, etcdctl, 2, "member list");
    told.etcdctl(&cluster, etcdctl, 2, "get --prefix k");
    told.etcdctl(&cluster, etcdctl, 1, "get late");
    cluster.put(0, "after", "v").expect("acknowledged");
    cluster.kill(cluster.leader());
    cluster.leader();
    told
}

#[test]
fn three_members_are_restored_from_one_snapshot() {
    let name = "restore-three";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let Some(their_etcdutl) = need(name, Part::EtcdutlNew) else { return };
    let Some(our_etcdutl) = tool_beside(name, &ours, "etcdutl") else { return };
    let ours = all_are_restored(&ours, &etcdctl, &our_etcdutl);
    let theirs = all_are_restored(&theirs, &etcdctl, &their_etcdutl);
    assert_eq!(ours, theirs);
}

fn tool_beside(name: &str, server: &Path, tool: &str) -> Option<PathBuf> {
    let path = server.with_file_name(tool);
    if path.exists() {
        return Some(path);
    }
    foreign::skip(name, &format!("{tool} is not built (remedy: cargo build --bin {tool})"));
    None
}

/// A member that was removed is started again with the directory it had.
fn removed_ones_return(program: &Path, etcdctl: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    let mut cluster = Cluster::start(&[program, program, program], &[]);
    cluster.put(0, "a", "v").expect("acknowledged");
    // Membership may change once everybody has been connected for five seconds.
    sleep(Duration::from_secs(6));
    for (seat, runs) in [(2, false), (1, true)] {
        let id = cluster.status(seat).and_then(|it| it.header).map_or(0, |it| it.member_id);
        if !runs {
            cluster.kill(seat);
        }
        let mut removed = String::new();
        for _ in 0..20 {
            removed = cluster.etcdctl_at(etcdctl, 0, &format!("member remove {id:x}"));
            if removed.contains("removed from cluster") {
                break;
            }
            sleep(Duration::from_millis(500));
        }
        assert!(removed.contains("removed from cluster"), "{removed}");
        if runs {
            let ended = cluster.wait_for_end(seat);
            seen.push(format!("it runs: {:?}", ended.code()));
        }
        for _ in 0..2 {
            cluster.launch(seat);
            let ended = cluster.wait_for_end(seat);
            let log = cluster.log(seat);
            assert!(log.contains("removed from"), "{log}");
            // One that applied its removal knows at once, and ends with 1 or 0 as it comes.
            let code = if runs { "a code".to_owned() } else { format!("{:?}", ended.code()) };
            seen.push(format!("it comes back, it ran: {runs}: {code}"));
        }
    }
    // Whoever was removed may have led: the others may be choosing somebody still.
    let deadline = Instant::now() + Duration::from_secs(20);
    while cluster.get(0, "a") != Ok(Some("v".to_owned())) {
        assert!(Instant::now() < deadline, "{:?}", cluster.get(0, "a"));
        sleep(Duration::from_millis(200));
    }
    seen
}

#[test]
fn a_removed_member_ends_and_does_not_come_back_with_its_directory() {
    let name = "removed-returns";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let ours = removed_ones_return(&ours, &etcdctl);
    // Go's may end with 1 where ours ends with 0: it depends on which of its threads hears of the removal first.
    let theirs: Vec<_> = removed_ones_return(&theirs, &etcdctl)
        .into_iter()
        .map(|seen| seen.replace("Some(1)", "Some(0)"))
        .collect();
    assert_eq!(ours, theirs);
}
