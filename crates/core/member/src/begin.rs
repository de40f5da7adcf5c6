//! How a member begins: what a new log holds from its first moment on, and how a member goes on alone.
//!
//! Whether a member founds a cluster or joins one is decided once, when its log is made, and the log says so: that
//! of a founder holds the addition of all first members, that of a joiner nothing. A joiner that crashes before it
//! heard of anything therefore never founds a cluster of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use apply::{Applier, ChangeContext, Member};
use bytes::Bytes;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType};
use types::{Entry, EntryKind, HardState, MemberId};

use crate::boot_error::BootError;
use crate::{bootstrap_member_id, cluster_id};

/// How a member begins. Where there is a log, everything but [`Begin::ForceNew`] goes on with that.
#[derive(Clone, Debug)]
pub enum Begin {
    /// It founds a cluster of these members, and is the one that has its name.
    New {
        /// All of them.
        members: Vec<InitialMember>,
        /// Enters the ids (`--initial-cluster-token`).
        token: String,
    },
    /// It joins a cluster that knows it already.
    Join {
        /// The cluster's id.
        cluster: u64,
        /// Its own.
        member: MemberId,
    },
    /// It has begun before.
    Restart,
    /// It has begun before, and goes on without the others (`--force-new-cluster`).
    ForceNew,
}

/// A member of a cluster that is founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// Where its peers reach it. With the token they make its id.
    pub peer_urls: Vec<String>,
}

impl Begin {
    /// A cluster of one.
    pub fn alone(name: &str, peer_urls: &[String], token: &str) -> Begin {
        let (name, peer_urls) = (name.to_owned(), peer_urls.to_owned());
        Begin::New { members: vec![InitialMember { name, peer_urls }], token: token.to_owned() }
    }
}

/// What a new log begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub member: MemberId,
    pub cluster: u64,
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
}

/// The log of a member that has none.
pub(crate) fn beginning(
    begin: &Begin,
    name: &str,
    dir: &std::path::Path,
) -> Result<Beginning, BootError> {
    match begin {
        Begin::New { members, token } => found(members, token, name),
        Begin::Join { cluster, member } => Ok(Beginning {
            member: *member,
            cluster: *cluster,
            hard_state: HardState::default(),
            entries: Vec::new(),
        }),
        Begin::Restart | Begin::ForceNew => Err(BootError::NoLog { dir: PathBuf::from(dir) }),
    }
}

/// The entries every first member begins with, the same for all of them: one addition each, by id, committed at
/// term 1 (`docs/etcd/peer-protocol.md` 9.5).
fn found(members: &[InitialMember], token: &str, name: &str) -> Result<Beginning, BootError> {
    let mut by_id = BTreeMap::new();
    for initial in members {
        let id = bootstrap_member_id(&initial.peer_urls, token);
        if let Some(other) = by_id.insert(id, initial) {
            let (one, other) = (initial.name.clone(), other.name.clone());
            return Err(BootError::SameUrls { one, other });
        }
    }
    let own = by_id.iter().find(|(_, initial)| initial.name == name);
    let member = *own.ok_or_else(|| BootError::NotAmong { name: name.to_owned() })?.0;
    let ids: Vec<MemberId> = by_id.keys().copied().collect();
    let entries: Vec<Entry> =
        by_id.iter().zip(1..).map(|(first, at)| addition(first, at)).collect();
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
    Ok(Beginning { member, cluster: cluster_id(&ids), hard_state, entries })
}

fn addition((id, initial): (&MemberId, &&InitialMember), index: u64) -> Entry {
    let member = Member {
        id: *id,
        peer_urls: initial.peer_urls.clone(),
        name: initial.name.clone(),
        ..Default::default()
    };
    let context = ChangeContext { member, is_promote: false };
    change_entry(ConfChangeType::ConfChangeAddNode, *id, Some(&context), 1, index)
}

fn change_entry(
    kind: ConfChangeType,
    node: MemberId,
    context: Option<&ChangeContext>,
    term: u64,
    index: u64,
) -> Entry {
    let json = |context| serde_json::to_vec(context).expect("strings and numbers always serialize");
    let change = ConfChange {
        id: Some(0),
        r#type: Some(kind as i32),
        node_id: Some(node),
        context: context.map(|context| Bytes::from(json(context))),
    };
    Entry { term, index, kind: EntryKind::ConfChange, data: change.encode_to_vec().into() }
}

/// What makes the only member of its cluster of one among several: where its log ends, and what goes behind
/// (`docs/etcd/wal-and-snap.md` 6).
pub(crate) struct Alone {
    /// The last entry that is kept: what lies behind was never committed.
    pub commit: u64,
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
}

/// Everybody else is removed, in the log's own term. Applied is what `applier` holds, `entries` lie behind it or
/// before, and `start` is the entry before the first of them.
pub(crate) fn alone(
    applier: &Applier,
    member: MemberId,
    start: u64,
    entries: &[Entry],
    hard_state: HardState,
) -> Result<Alone, BootError> {
    if applier.membership().was_removed(member) {
        return Err(BootError::Removed { member });
    }
    let applied = applier.applied().0;
    let commit = hard_state.commit.max(applied).min(start + entries.len() as u64);
    let kept = &entries[..(commit - start) as usize];
    let conf_state = applier.conf_state();
    let mut voters: BTreeSet<MemberId> = conf_state.voters.into_iter().collect();
    let mut learners: BTreeSet<MemberId> = conf_state.learners.into_iter().collect();
    for entry in kept.iter().filter(|entry| applied < entry.index) {
        note(entry, &mut voters, &mut learners);
    }
    let term = kept.last().map_or(0, |entry| entry.term).max(hard_state.term);
    let mut behind = Vec::new();
    let mut put = |kind, node, context: Option<&ChangeContext>| {
        behind.push(change_entry(kind, node, context, term, commit + 1 + behind.len() as u64));
    };
    if !voters.contains(&member) {
        let is_promote = learners.contains(&member);
        let peer_urls =
            if is_promote { Vec::new() } else { vec!["http://localhost:2380".to_owned()] };
        let own = Member { id: member, peer_urls, ..Default::default() };
        let context = ChangeContext { member: own, is_promote };
        put(ConfChangeType::ConfChangeAddNode, member, Some(&context));
    }
    for other in voters.union(&learners).filter(|id| **id != member) {
        put(ConfChangeType::ConfChangeRemoveNode, *other, None);
    }
    let commit_state = HardState { term, commit: commit + behind.len() as u64, ..hard_state };
    Ok(Alone { commit, hard_state: commit_state, entries: behind })
}

/// Follows a committed change that is not applied yet.
fn note(entry: &Entry, voters: &mut BTreeSet<MemberId>, learners: &mut BTreeSet<MemberId>) {
    if entry.kind != EntryKind::ConfChange {
        return;
    }
    let Ok(change) = ConfChange::decode(entry.data.clone()) else { return };
    let id = change.node_id();
    match change.r#type() {
        ConfChangeType::ConfChangeAddNode => {
            learners.remove(&id);
            voters.insert(id);
        }
        ConfChangeType::ConfChangeAddLearnerNode => drop(learners.insert(id)),
        ConfChangeType::ConfChangeRemoveNode => {
            voters.remove(&id);
            learners.remove(&id);
        }
        ConfChangeType::ConfChangeUpdateNode => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<InitialMember> {
        ["a", "b", "c"]
            .map(|name| InitialMember {
                name: name.to_owned(),
                peer_urls: vec![format!("http://{name}:2380")],
            })
            .into()
    }

    #[test]
    fn all_first_members_begin_with_the_same_entries_in_the_order_of_their_ids() {
        let begin = |name| found(&three(), "token", name).expect("it is among them");
        let (a, b) = (begin("a"), begin("b"));
        assert_eq!(a.entries, b.entries);
        assert_eq!(a.cluster, b.cluster);
        assert_ne!(a.member, b.member);
        assert_eq!(a.hard_state, HardState { term: 1, vote: 0, commit: 3 });
        let ids: Vec<u64> = a
            .entries
            .iter()
            .map(|entry| ConfChange::decode(entry.data.clone()).expect("ours").node_id())
            .collect();
        assert!(ids.is_sorted());
        assert_eq!(a.cluster, cluster_id(&ids));
        assert!(ids.contains(&bootstrap_member_id(&three()[0].peer_urls, "token")));
    }

    #[test]
    fn a_founder_is_among_those_it_names_and_no_two_are_one() {
        let refused = found(&three(), "token", "d").expect_err("d is none of them");
        assert!(matches!(refused, BootError::NotAmong { .. }), "{refused}");
        let mut twice = three();
        twice[1].peer_urls = twice[0].peer_urls.clone();
        let refused = found(&twice, "token", "a").expect_err("a and b are one");
        assert!(matches!(refused, BootError::SameUrls { .. }), "{refused}");
    }

    #[test]
    fn a_joiner_begins_with_nothing() {
        let join = Begin::Join { cluster: 5, member: 9 };
        let begun = beginning(&join, "a", std::path::Path::new("wal")).expect("it knows who it is");
        let nothing = Beginning {
            member: 9,
            cluster: 5,
            hard_state: HardState::default(),
            entries: Vec::new(),
        };
        assert_eq!(begun, nothing);
    }
}
