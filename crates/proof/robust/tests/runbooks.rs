//! The operators' day: the real etcdctl, command for command, against us and against real etcd; in plain text, and
//! once more with a certificate and a user on every command.

use std::path::PathBuf;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::runbook::{Door, Runbook, Tools, differences};

/// An etcdctl that commands mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Etcdctl {
    Debians,
    Older,
    Newest,
    Ours,
}

impl Etcdctl {
    const ALL: [Etcdctl; 4] = [Etcdctl::Debians, Etcdctl::Older, Etcdctl::Newest, Etcdctl::Ours];

    fn tools(self, name: &str) -> Option<Tools> {
        let (etcdctl, etcdutl) = match self {
            Etcdctl::Debians => (foreign::need(name, Part::Etcdctl34)?, None),
            Etcdctl::Older => {
                (foreign::need(name, Part::Etcdctl35)?, foreign::need(name, Part::Etcdutl35))
            }
            Etcdctl::Newest => {
                (foreign::need(name, Part::EtcdctlNew)?, foreign::need(name, Part::EtcdutlNew))
            }
            Etcdctl::Ours => (own(name, "etcdctl")?, own(name, "etcdutl")),
        };
        Some(Tools { etcdctl, etcdutl })
    }
}

/// A tool of ours, which lies beside the server.
fn own(name: &str, tool: &str) -> Option<PathBuf> {
    let path = foreign::subject(name)?.with_file_name(tool);
    if path.exists() {
        return Some(path);
    }
    foreign::skip(name, &format!("no {tool} is built (remedy: cargo build --bin {tool})"));
    None
}

/// Plays a runbook against the server under test; the newest real etcd must have given the same answers.
#[track_caller]
fn play(name: &str, text: &str, door: Door, with: &[Etcdctl]) {
    let Some(subject) = foreign::subject(name) else { return };
    let book = Runbook::parse(text);
    for etcdctl in with {
        let name = format!("{name} with {etcdctl:?}, {door:?}");
        let Some(tools) = etcdctl.tools(&name) else { continue };
        let Some(reference) = foreign::need(&name, Part::EtcdNew) else { continue };
        let ours = book.play(&subject, &tools, door);
        let theirs = book.play(&reference, &tools, door);
        let differ = differences(&theirs, &ours);
        assert!(differ.is_empty(), "{name}:\n{differ}");
    }
}

macro_rules! runbooks {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            let text = include_str!(concat!("runbooks/", $file, ".txt"));
            play($file, text, Door::Open, &[Etcdctl::Debians, Etcdctl::Older]);
        })*

        /// With `--cacert --cert --key` and `--user root:...` on every command.
        mod secured {
            use super::*;

            $(#[test]
            fn $test() {
                let text = include_str!(concat!("runbooks/", $file, ".txt"));
                // It makes users itself, and says on each command who it is.
                let door = if $file == "users" { Door::Tls } else { Door::Users };
                play($file, text, door, etcdctls($file));
            })*
        }
    };
}

/// Those with which a runbook is played behind TLS: all four where users and flags are what it is about, fewer where
/// it starts many programs.
fn etcdctls(file: &str) -> &'static [Etcdctl] {
    match file {
        "keys" | "users" => &Etcdctl::ALL,
        "cluster" => &[Etcdctl::Debians, Etcdctl::Newest, Etcdctl::Ours],
        "lease" | "locks" | "watch" => &[Etcdctl::Debians, Etcdctl::Ours],
        "quota" => &[Etcdctl::Older],
        "snapshot-count" => &[Etcdctl::Ours],
        _ => &[Etcdctl::Newest, Etcdctl::Ours],
    }
}

runbooks! {
    a_member_out_of_space_is_healed_by_the_runbook: "quota",
    a_compacted_revision_is_refused_and_the_rest_is_there: "compact",
    keys_are_put_got_and_deleted_with_every_flag: "keys",
    transactions_are_typed_and_piped: "txn",
    leases_live_and_end: "lease",
    watches_show_past_and_present: "watch",
    locks_and_elections_have_one_holder: "locks",
    a_member_tells_about_itself: "cluster",
    a_small_snapshot_count_loses_nothing: "snapshot-count",
    a_backup_is_made_told_of_and_restored: "backup",
    users_may_what_their_roles_allow: "users",
}

#[test]
fn each_way_in_makes_somebody_of_it_as_at_etcd_and_is_told_apart_in_the_log() {
    let text = include_str!("runbooks/certificates.txt");
    play("certificates", text, Door::Tls, &[Etcdctl::Newest, Etcdctl::Ours]);
}
