//! The operators' day: the real etcdctl, command for command, against us and against real etcd.

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::runbook::{Runbook, Tools, differences};

/// Plays a runbook with etcdctl 3.4 and 3.5.1 against the server under test; the newest real etcd, when
/// it is there, must have given the same answers.
#[track_caller]
fn play(name: &str, text: &str) {
    let Some(subject) = foreign::subject(name) else { return };
    let book = Runbook::parse(text);
    let tools = [(Part::Etcdctl34, None), (Part::Etcdctl35, Some(Part::Etcdutl35))];
    for (etcdctl, etcdutl) in tools {
        let name = format!("{name} with {etcdctl:?}");
        let Some(etcdctl) = foreign::need(&name, etcdctl) else { continue };
        let Some(reference) = foreign::need(&name, Part::EtcdNew) else { continue };
        let etcdutl = etcdutl.and_then(|part| foreign::need(&name, part));
        let tools = Tools { etcdctl, etcdutl };
        let ours = book.play(&subject, &tools);
        let theirs = book.play(&reference, &tools);
        let differ = differences(&theirs, &ours);
        assert!(differ.is_empty(), "{name}:\n{differ}");
    }
}

macro_rules! runbooks {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            play($file, include_str!(concat!("runbooks/", $file, ".txt")));
        })*
    };
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
    users_may_what_their_roles_allow: "users",
}
