//! Whether members store the same: what their hashes say about them, in etcd's words
//! (`docs/etcd/apply-semantics.md` 13).
//!
//! Here answers are judged; nobody is asked. See `compare`.

use mvcc::HashTriple;
use node::{Level, Line};
use peer::HashKv;
use types::MemberId;

/// What one of the others answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// Who was asked.
    pub member: MemberId,
    /// Where it was asked.
    pub peer_urls: Vec<String>,
    /// Its hash, or why there is none.
    pub hash: Result<HashKv, String>,
}

/// What came of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What an operator should read.
    pub lines: Vec<Line>,
    /// For whom CORRUPT is to be raised; 0 for the whole cluster.
    pub alarms: Vec<MemberId>,
    /// How many answers were compared.
    pub compared: usize,
}

impl Verdict {
    fn say(&mut self, level: Level, text: &'static str, fields: &[(&'static str, go::Value)]) {
        self.lines.push(Line { level, text, fields: fields.to_vec() });
    }

    /// At most one alarm comes of a periodic comparison.
    fn blame(&mut self, member: MemberId) {
        if self.alarms.is_empty() {
            self.alarms.push(member);
        }
    }
}

fn hex(member: MemberId) -> String {
    format!("{member:x}")
}

/// Compares this member's data with that of the others before it takes part. True if they differ.
pub(super) fn judge_first(
    local: MemberId,
    own: HashTriple,
    others: &[Answered],
) -> (Verdict, bool) {
    let (mut verdict, mut differs) = (Verdict::default(), false);
    for other in others {
        let mut fields = vec![
            ("local-member-id", hex(local).into()),
            ("local-member-revision", own.revision.into()),
            ("local-member-compact-revision", own.compact_revision.into()),
            ("local-member-hash", own.hash.into()),
            ("remote-peer-id", hex(other.member).into()),
            ("remote-peer-endpoints", other.peer_urls.clone().into()),
        ];
        match &other.hash {
            Ok(theirs) => {
                verdict.compared += 1;
                if theirs.hash == own.hash {
                    continue;
                }
                fields.push(("remote-peer-revision", theirs.revision.into()));
                fields.push(("remote-peer-compact-revision", theirs.compact_revision.into()));
                fields.push(("remote-peer-hash", theirs.hash.into()));
                let comparable = theirs.compact_revision == own.compact_revision;
                differs |= comparable;
                let text = match comparable {
                    true => "found different hash values from remote peer",
                    false => "found different compact revision values from remote peer",
                };
                verdict.say(Level::Warn, text, &fields);
            }
            Err(why) => {
                fields.push(("error", why.into()));
                verdict.say(Level::Warn, unasked(why), &fields);
            }
        }
    }
    (verdict, differs)
}

/// What a member without a hash is said to be.
fn unasked(why: &str) -> &'static str {
    if why.contains("future revision") {
        "cannot fetch hash from slow remote peer"
    } else if why.contains("compacted") {
        "cannot fetch hash from remote peer; local member is behind"
    } else if why.contains("cluster ID mismatch") {
        "cluster ID mismatch"
    } else {
        "cannot fetch hash from remote peer"
    }
}

/// A leader's own hash, taken before and after the others were asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leading {
    pub member: MemberId,
    /// What was asked for at the others.
    pub before: HashTriple,
    /// The hash after everything that was committed meanwhile; `None` where the keyspace moved on.
    pub again: Option<HashTriple>,
    /// Revision and compact revision by then.
    pub now: (i64, i64),
}

/// Compares the newest data of a leader with that of the others at the same revision.
pub(super) fn judge_newest(leader: Leading, others: &[Answered]) -> Verdict {
    let mut verdict = Verdict::default();
    let before = leader.before;
    if let Some(again) = leader.again.filter(|again| again.hash != before.hash) {
        let fields = [
            ("revision-1", before.revision.into()),
            ("compact-revision-1", before.compact_revision.into()),
            ("hash-1", before.hash.into()),
            ("revision-2", again.revision.into()),
            ("compact-revision-2", again.compact_revision.into()),
            ("hash-2", again.hash.into()),
        ];
        verdict.say(Level::Warn, "found hash mismatch", &fields);
        verdict.blame(leader.member);
    }
    let (revision, compact_revision) = leader.now;
    for other in others {
        let Ok(theirs) = &other.hash else { continue };
        verdict.compared += 1;
        let id: (&str, go::Value) = ("follower-peer-id", hex(other.member).into());
        if revision < theirs.revision {
            let fields = [
                ("leader-revision", revision.into()),
                ("follower-revision", theirs.revision.into()),
                id.clone(),
            ];
            let text = "revision from follower must be less than or equal to leader's";
            verdict.say(Level::Warn, text, &fields);
            verdict.blame(other.member);
        }
        let compact = [
            ("leader-compact-revision", compact_revision.into()),
            ("follower-compact-revision", theirs.compact_revision.into()),
            id,
        ];
        if compact_revision < theirs.compact_revision {
            let text = "compact revision from follower must be less than or equal to leader's";
            verdict.say(Level::Warn, text, &compact);
            verdict.blame(other.member);
        }
        if theirs.compact_revision == before.compact_revision && theirs.hash != before.hash {
            let hashes =
                [("leader-hash", before.hash.into()), ("follower-hash", theirs.hash.into())];
            let fields = [&compact[..], &hashes[..]].concat();
            verdict.say(Level::Warn, "same compact revision then hashes must match", &fields);
            verdict.blame(other.member);
        }
    }
    let count = [("number-of-peers-checked", verdict.compared.into())];
    verdict.say(Level::Info, "finished peer corruption check", &count);
    verdict
}

/// Compares what a compaction left behind. True if there is no need to look at an older one: everybody was compared,
/// or somebody differs.
pub(super) fn judge_compaction(
    leader: MemberId,
    own: HashTriple,
    others: &[Answered],
) -> (Verdict, bool) {
    let mut verdict = Verdict::default();
    let mut by_hash: Vec<(u32, Vec<MemberId>)> = vec![(own.hash, vec![leader])];
    for other in others {
        let reason = match &other.hash {
            Err(_) => "no response".to_owned(),
            Ok(theirs) if theirs.compact_revision != own.compact_revision => format!(
                "the peer's CompactRevision {} doesn't match leader's CompactRevision {}",
                theirs.compact_revision, own.compact_revision
            ),
            Ok(theirs) => {
                verdict.compared += 1;
                match by_hash.iter_mut().find(|(hash, _)| *hash == theirs.hash) {
                    Some((_, members)) => members.push(other.member),
                    None => by_hash.push((theirs.hash, vec![other.member])),
                }
                continue;
            }
        };
        let fields = [
            ("number-of-peers", others.len().into()),
            ("leader-id", hex(leader).into()),
            ("peer-id", hex(other.member).into()),
            ("reason", reason.into()),
        ];
        verdict.say(Level::Warn, "Skipped peer's hash", &fields);
    }
    if by_hash.len() == 1 {
        let done = verdict.compared == others.len();
        say_equal(&mut verdict, own, others.len(), done);
        return (verdict, done);
    }
    let quorum = others.len().div_ceil(2) + 1;
    let most = by_hash.iter().position(|(_, members)| quorum <= members.len());
    if let Some(right) = most {
        by_hash.remove(right);
    }
    say_different(&mut verdict, leader, own, &by_hash, most.is_some());
    (verdict, true)
}

fn say_equal(verdict: &mut Verdict, own: HashTriple, others: usize, done: bool) {
    let mut fields = vec![
        ("number-of-peers-checked", verdict.compared.into()),
        ("revision", own.revision.into()),
        ("compactRevision", own.compact_revision.into()),
    ];
    if done {
        verdict.say(Level::Info, "successfully checked hash on whole cluster", &fields);
    } else {
        fields.insert(1, ("number-of-peers", others.into()));
        let text = "skipped revision in compaction hash check; was not able to check all peers";
        verdict.say(Level::Warn, text, &fields);
    }
}

/// With a majority that agrees, everybody else is to blame; without one nobody knows who is.
fn say_different(
    verdict: &mut Verdict,
    leader: MemberId,
    own: HashTriple,
    suspects: &[(u32, Vec<MemberId>)],
    has_majority: bool,
) {
    let about_leader = [
        ("leader-id", hex(leader).into()),
        ("leader-revision", own.revision.into()),
        ("leader-compact-revision", own.compact_revision.into()),
        ("leader-hash", own.hash.into()),
    ];
    if !has_majority {
        let text = "Detected compaction hash mismatch but cannot identify the corrupted members, so \
                    intentionally set the memberID as 0";
        verdict.say(Level::Error, text, &about_leader);
        verdict.alarms.push(0);
    }
    for (hash, members) in suspects {
        if has_majority {
            verdict.alarms.extend(members);
        }
        let ids: Vec<String> = members.iter().map(|id| hex(*id)).collect();
        let about_peers = [
            ("peer-hash", (*hash).into()),
            ("peer-ids", ids.join(",").into()),
            ("quorum-exist", has_majority.into()),
        ];
        let fields = [&about_leader[..], &about_peers[..]].concat();
        verdict.say(Level::Error, "Detected compaction hash mismatch", &fields);
    }
}

#[cfg(test)]
#[path = "corruption_tests.rs"]
mod tests;
