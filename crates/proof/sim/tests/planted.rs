//! Bugs planted one at a time: each must be found within a stated number of seeds.
//!
//! A harness that has never found anything proves nothing. `cargo xtask planted` runs this; it is a test
//! that fails when the simulation has gone blind.

use holdfast_sim::{Play, run};

/// Plants a bug and plays seeds of a lone member until it shows.
#[track_caller]
fn check(bug: &'static str, seeds_max: u64) {
    check_in(1, bug, seeds_max);
}

/// Plants a bug that takes several members to show, and plays seeds of three.
#[track_caller]
fn check_cluster(bug: &'static str, seeds_max: u64) {
    check_in(3, bug, seeds_max);
}

#[track_caller]
fn check_in(members: usize, bug: &'static str, seeds_max: u64) {
    planted::plant(Some(bug));
    let fails = |seed| run(Play::cluster(seed, members), false).failure.map(|f| (seed, f));
    let found = (0..seeds_max).find_map(fails);
    let reached = planted::reached();
    planted::plant(None);
    match found {
        Some((seed, failure)) => {
            let what: String = failure.what.chars().take(200).collect();
            println!("{bug}: found by seed {seed}: {what}");
        }
        None => panic!("{bug}: not found in {seeds_max} seeds (made {reached} times in the last)"),
    }
}

#[test]
fn an_answer_before_the_sync_is_found() {
    check("acknowledged before the sync", 100);
}

#[test]
fn a_hard_state_that_is_not_written_is_found() {
    check("hard state not written", 100);
}

#[test]
fn a_segment_cut_without_a_sync_is_found() {
    check("segment cut without a sync", 100);
}

#[test]
fn an_index_saved_apart_from_its_change_is_found() {
    check("index saved apart from its change", 100);
}

#[test]
fn a_read_before_it_is_applied_is_found() {
    check("read before it is applied", 100);
}

#[test]
fn a_revoked_lease_that_comes_back_is_found() {
    check("revoked lease comes back", 100);
}

#[test]
fn a_keep_alive_without_effect_is_found() {
    check("keep-alive without effect", 100);
}

#[test]
fn a_compaction_one_revision_too_far_is_found() {
    check("compaction one revision too far", 100);
}

#[test]
fn a_compaction_that_is_not_written_down_is_found() {
    check("compaction not written down", 100);
}

#[test]
fn a_watcher_told_twice_is_found() {
    check("watcher told twice", 100);
}

#[test]
fn a_revision_skipped_after_catching_up_is_found() {
    check("revision skipped after catching up", 100);
}

#[test]
fn a_previous_value_that_is_too_old_is_found() {
    check("previous value too old after a compaction", 100);
}

#[test]
fn a_cleaning_that_drops_a_living_row_is_found() {
    check("cleaning drops a living row", 100);
}

#[test]
fn a_torn_batch_that_is_accepted_is_found() {
    check("torn batch accepted", 500);
}

#[test]
fn a_checkpoint_ahead_of_the_log_is_found() {
    check("checkpoint ahead of the log", 100);
}

#[test]
fn a_store_synced_in_word_only_is_found() {
    check("store synced in word only", 100);
}

#[test]
fn a_rename_that_is_not_made_durable_is_found() {
    check("rename not made durable", 100);
}

#[test]
fn an_append_answered_before_its_sync_is_found() {
    check_cluster("append answered before its sync", 100);
}

#[test]
fn a_vote_answered_before_its_sync_is_found() {
    check_cluster("vote answered before its sync", 100);
}

#[test]
fn two_votes_in_a_term_are_found() {
    check_cluster("two votes in a term", 100);
}

#[test]
fn a_vote_that_is_not_kept_is_found() {
    check_cluster("a vote that is not kept", 100);
}

#[test]
fn a_vote_forgotten_at_a_restart_is_found() {
    check_cluster("a vote forgotten at a restart", 100);
}

#[test]
fn a_vote_for_a_log_that_is_behind_is_found() {
    check_cluster("a vote for a log that is behind", 100);
}

#[test]
fn a_heartbeat_that_commits_too_much_is_found() {
    check_cluster("a heartbeat's commit index not bounded by what was confirmed", 100);
}

#[test]
fn a_leader_that_counts_what_it_has_not_written_is_found() {
    check_cluster("a leader counts what it has not written", 100);
}

#[test]
fn a_read_answered_without_a_quorum_is_found() {
    // It takes a leader that others have replaced, that does not know it yet, and that a client asks just then.
    check_cluster("a read answered without a quorum", 1000);
}

#[test]
fn a_read_before_the_terms_first_commit_is_found() {
    check_cluster("a read before the term's first commit", 100);
}

#[test]
fn a_follower_that_answers_reads_itself_is_found() {
    check_cluster("a follower answers reads itself", 100);
}

#[test]
fn questions_of_reads_named_alike_are_found() {
    check_cluster("all questions of reads named alike", 100);
}

#[test]
fn a_learner_counted_in_a_quorum_is_found() {
    check_cluster("a learner counted in a quorum", 100);
}

#[test]
fn half_counted_as_a_majority_is_found() {
    check_cluster("half counted as a majority", 100);
}

#[test]
fn an_append_taken_without_the_entry_before_it_is_found() {
    check_cluster("an append taken without the entry before it", 100);
}

#[test]
fn a_revoke_that_outlives_its_leaders_term_is_found() {
    check_cluster("a revoke that outlives its leader's term", 100);
}

#[test]
fn a_deposed_leaders_book_of_leases_is_found() {
    check_cluster("a deposed leader's book of leases kept", 100);
}

#[test]
fn watchers_not_told_of_a_snapshot_are_found() {
    check_cluster("watchers not told of a snapshot", 100);
}

#[test]
fn a_snapshot_installed_before_its_marker_is_found() {
    check_cluster("a snapshot installed before its marker", 100);
}

#[test]
fn the_file_of_a_snapshot_thrown_away_too_early_is_found() {
    check_cluster("the file of a snapshot thrown away too early", 100);
}

#[test]
fn all_snapshots_thrown_away_with_one_is_found() {
    check_cluster("all snapshots thrown away with one", 200);
}

#[test]
fn what_has_waited_for_a_snapshot_and_is_overtaken_is_found() {
    check_cluster("what has waited for a snapshot is overtaken", 100);
}

#[test]
fn a_proposal_made_again_is_found() {
    check_cluster("a proposal made again", 100);
}

#[test]
fn a_lease_attached_on_some_members_only_is_found() {
    check_cluster("a lease attached on some members only", 100);
}
