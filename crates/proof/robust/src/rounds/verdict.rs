//! The judgement after a round.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use history::lease::{self, LeaseEvent};
use history::watch::{self, Watch};
use history::{Action, Change, Keyspace, Outcome, Request, order};
use proto::etcdserverpb::{HashKvRequest, HashKvResponse};

use super::leases::LEASED;
use super::mishaps::Field;
use super::translate::{self, everything};
use super::{Gathered, Programs, RECOVERY_DURATION_MAX, Report};
use crate::grpc::Connection;

/// Judges everything since the episode began.
pub(super) fn judge(
    gathered: &mut Gathered,
    watches: &[Watch],
    programs: &Programs,
    field: &Field<'_>,
    report: &mut Report,
) {
    let keys = keyspace(gathered);
    let revoked = revoked(&keys);
    let complaint = order::judge(&gathered.operations, &keys, &revoked).err();
    report.complaints.extend(complaint.map(|violation| violation.0));
    for watch in watches {
        report.complaints.extend(watch::judge(watch, &keys).err().map(|violation| violation.0));
    }
    // A deposed leader of Go's answers keep-alives, and the lease then ends early.
    if programs.theirs.is_empty() {
        let events = lease_events(gathered);
        report.complaints.extend(lease::judge(&events).err().map(|violation| violation.0));
        report.leases = events.len();
    }
    all_are_equal(field, &keys, report);
    let unknown = |one: &&history::Operation| one.outcome == Outcome::Unknown;
    report.unknown = gathered.operations.iter().filter(unknown).count();
    report.answered = gathered.operations.len() - report.unknown;
    let events = |response: &watch::Response| match response {
        watch::Response::Events { events, .. } => events.len(),
        _ => 0,
    };
    report.events += watches.iter().flat_map(|one| &one.responses).map(events).sum::<usize>();
}

fn keyspace(gathered: &Gathered) -> Keyspace {
    let mut keys = Keyspace::default();
    for (revision, changes) in &gathered.book.lock().expect("no holder panics").changes {
        keys.push(*revision, changes.clone());
    }
    keys
}

/// Revisions that were made by the end of a lease: nobody else deletes such keys.
fn revoked(keys: &Keyspace) -> BTreeSet<i64> {
    let of_lease =
        |change: &Change| change.after.is_none() && change.key.starts_with(LEASED.as_bytes());
    let made = keys.changes().iter().filter(|(_, made)| made.iter().all(of_lease));
    made.map(|(revision, _)| *revision).collect()
}

/// In the order in which they count.
fn lease_events(gathered: &Gathered) -> Vec<LeaseEvent> {
    let mut events = gathered.leases.clone();
    let book = gathered.book.lock().expect("no holder panics");
    let ended = |(at, lease): &(u64, i64)| (*at, LeaseEvent::Ended { lease: *lease, at: *at });
    events.extend(book.ended.iter().map(ended));
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}

/// Same hash everywhere at the same revision, and the keys that the history leads to.
fn all_are_equal(field: &Field<'_>, keys: &Keyspace, report: &mut Report) {
    let deadline = Instant::now() + RECOVERY_DURATION_MAX;
    let hash = |seat: &usize| {
        let answer = field.ask(*seat, "Maintenance/HashKV", &HashKvRequest { revision: 0 })?;
        let told = answer.is_ok().then(|| answer.ok::<HashKvResponse>())?;
        Some((told.hash, told.compact_revision.max(0), told.header?.revision))
    };
    loop {
        let hashes: Vec<_> = field.present.iter().map(hash).collect();
        if hashes.iter().all(|hash| hash.is_some() && *hash == hashes[0]) {
            break;
        }
        if deadline < Instant::now() {
            report.complaints.push(format!("hashes differ: {hashes:?}"));
            return;
        }
        sleep(Duration::from_millis(30));
    }
    let all = Action::Range { span: everything(), revision: keys.revision(), limit: 0 };
    let request = Request::Serializable(all);
    let expected = keys.effect(&request, keys.revision()).answers;
    for seat in &field.present {
        let told = Connection::open(&field.cluster.address(*seat)).ok().and_then(|connection| {
            translate::outcome(&request, &connection.call(&translate::call(&request)))
        });
        let same = matches!(&told, Some(Outcome::Done { answers, .. }) if *answers == expected);
        if !same {
            report.complaints.push(format!("m{} has other keys: {told:?}", seat + 1));
        }
    }
}
