//! Bugs planted one at a time: each must be found within a stated number of seeds.
//!
//! A harness that has never found anything proves nothing. `cargo xtask sim --planted` runs this; it is a test
//! that fails when the simulation has gone blind.

/// Plants a bug and plays seeds until it shows.
#[track_caller]
fn check(bug: &'static str, seeds_max: u64) {
    planted::plant(Some(bug));
    let found = (0..seeds_max)
        .find_map(|seed| holdfast_sim::run(Play::alone(seed), false).failure.map(|f| (seed, f)));
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
