//! Every command in every format, as the newest etcdctl prints it.
//!
//! Each file of `golden` is played with our etcdctl on our server and on the newest Go etcd, and with the
//! newest etcdctl on the latter; those of `golden/v2` with Debian's etcdctl 3.4 and ours on its etcd. All must print what
//! the file says. `HOLDFAST_BLESS=1` writes the files
//! from what the newest etcdctl prints.

use std::path::{Path, PathBuf};

use robust::foreign::{Part, need, subject};
use robust::process::{Home, Server, free_ports};

use crate::play::Golden;

fn ours() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_etcdctl"))
}

fn start(server: &Path, golden: &Golden) -> Server {
    let mut home = Home::new(server, &[]);
    let advertised = format!("--advertise-client-urls=http://{}", home.address());
    let flags = golden.flags.iter().map(String::as_str);
    let v2 = golden.v2.then_some("--enable-v2");
    let flags: Vec<&str> = [advertised.as_str()].into_iter().chain(v2).chain(flags).collect();
    home.set_flags(&flags);
    home.start()
}

fn play(golden: &Golden, server: &Path, etcdctl: &Path) -> Vec<String> {
    let server = start(server, golden);
    let mut addresses = vec![server.address()];
    if golden.v2 {
        let (client, peer) = free_ports().expect("loopback has free ports");
        addresses.extend([client, peer].map(|port| format!("127.0.0.1:{port}")));
    }
    golden.play(etcdctl, &addresses)
}

#[track_caller]
fn check(name: &str) {
    let test = format!("golden {name}");
    let golden = Golden::read(name);
    let mut wrong = String::new();
    let mut judge = |who: &str, printed: &[String], by_ours: bool| {
        let differences = golden.differences(printed, by_ours);
        if !differences.is_empty() {
            wrong += &format!("===== {who} =====\n{differences}");
        }
    };
    let parts = match golden.v2 {
        false => (Part::EtcdNew, Part::EtcdctlNew),
        true => (Part::Etcd34, Part::Etcdctl34),
    };
    if let (Some(server), Some(etcdctl)) = (need(&test, parts.0), need(&test, parts.1)) {
        let (reference, printed) = std::thread::scope(|scope| {
            let reference = scope.spawn(|| play(&golden, &server, &etcdctl));
            let printed = play(&golden, &server, &ours());
            (reference.join().expect("it does not panic"), printed)
        });
        if std::env::var_os("HOLDFAST_BLESS").is_some() {
            golden.write(&reference, &printed);
            return;
        }
        judge(&format!("{:?} on {:?}", parts.1, parts.0), &reference, false);
        judge(&format!("ours on {:?}", parts.0), &printed, true);
        for tool in &golden.tools {
            if let Some(etcdctl) = need(&test, *tool) {
                let printed = play(&golden, &server, &etcdctl);
                judge(&format!("{tool:?} on the newest etcd"), &printed, false);
            }
        }
    }
    if golden.on_ours
        && let Some(server) = subject(&test)
    {
        judge("ours on our server", &play(&golden, &server, &ours()), true);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn keys_and_directories_of_api_v2_look_the_same() {
    check("v2/keys");
}

#[test]
fn requests_of_api_v2_are_shown_as_curl_would_make_them() {
    check("v2/curl");
}

#[test]
fn every_help_of_api_v2_is_the_same() {
    check("v2/help");
}

#[test]
fn wrong_arguments_and_flags_are_refused_by_api_v2_with_the_same_words() {
    check("v2/misuse");
}

#[test]
fn members_that_do_not_answer_by_api_v2_are_reported_the_same_way() {
    check("v2/unreachable");
}

#[test]
fn watches_of_api_v2_show_changes_and_run_programs() {
    check("v2/watch");
}

#[test]
fn members_by_api_v2_come_and_go_with_the_same_words() {
    check("v2/members");
}

#[test]
fn users_and_roles_of_api_v2_look_the_same() {
    check("v2/auth");
}

#[test]
fn a_backup_by_api_v2_becomes_a_cluster_and_a_snapshot_by_api_v3_does_not_bring_its_data_back() {
    check("v2/backup");
}

#[test]
fn keys_are_put_read_and_deleted_in_every_format() {
    check("keys");
}

#[test]
fn ranges_are_sorted_filtered_and_counted() {
    check("ranges");
}

#[test]
fn transactions_are_read_line_by_line_and_shown_in_every_format() {
    check("txn");
}

#[test]
fn watches_show_events_run_programs_and_take_lines() {
    check("watch");
}

#[test]
fn leases_are_granted_kept_listed_and_revoked_in_every_format() {
    check("lease");
}

#[test]
fn endpoints_members_alarms_and_defragmentation_look_the_same() {
    check("maintenance");
}

#[test]
fn snapshots_are_saved_with_the_same_words() {
    check("snapshot");
}

#[test]
fn locks_and_elections_look_the_same() {
    check("concurrency");
}

#[test]
fn users_roles_and_passwords_look_the_same() {
    check("auth");
}

#[test]
fn members_come_and_go_with_the_same_words() {
    check("membership");
}

#[test]
fn wrong_arguments_and_flags_are_refused_with_the_same_words() {
    check("misuse");
}

#[test]
fn every_help_is_the_same() {
    check("help");
}

#[test]
fn a_cluster_that_does_not_answer_is_reported_the_same_way() {
    check("unreachable");
}

#[test]
fn endpoints_are_dialled_by_gos_rules() {
    check("endpoints");
}

#[test]
fn negative_leases_have_a_sign() {
    check("negative");
}

#[test]
fn a_store_without_a_bound_says_so() {
    check("unbounded");
}

#[test]
fn completion_is_cobras() {
    check("complete");
}

#[test]
fn variables_stand_for_flags() {
    check("environment");
}

#[test]
fn what_older_etcdctls_print_is_still_printed() {
    check("shared");
}
