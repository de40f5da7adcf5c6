//! Configuration changes, as Go writes them and as raft-rs reads them.
//!
//! Go's enum says 2 = update, 3 = add learner; raft-rs says 2 = add learner. A change that went
//! through unmapped would turn a voter into a learner on one side only (`reference/peer-protocol.md`
//! 9.2). So an entry's data is rewritten at the border: raft-rs sees its own numbering and finds the
//! untouched Go bytes in `context`; whoever takes an entry out gets those bytes back. An update
//! becomes an addition of node 0, which raft-rs ignores.

use bytes::Bytes;
use prost::Message as _;
use proto::raftpb::{self, ConfChangeType as Go};
use raft::eraftpb;
use types::{Entry, EntryKind};

/// Data of a configuration change that is not one, or one of the second kind, which nobody proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} does not hold a configuration change that can be applied")]
pub struct MalformedChange {
    /// The entry's place in the log; 0 for a proposal.
    pub index: u64,
}

/// Wraps an entry for raft-rs.
pub(crate) fn wrap(entry: &Entry) -> Result<eraftpb::Entry, MalformedChange> {
    let malformed = MalformedChange { index: entry.index };
    let mut wrapped = eraftpb::Entry::default();
    wrapped.set_term(entry.term);
    wrapped.set_index(entry.index);
    match entry.kind {
        EntryKind::Normal => wrapped.data = entry.data.clone(),
        EntryKind::ConfChange => {
            wrapped.set_entry_type(eraftpb::EntryType::EntryConfChange);
            wrapped.data = wrap_change(&entry.data).ok_or(malformed)?;
        }
        EntryKind::ConfChangeV2 => return Err(malformed),
    }
    Ok(wrapped)
}

/// Takes an entry out of raft-rs again.
pub(crate) fn unwrap(wrapped: &eraftpb::Entry) -> Entry {
    let (kind, data) = match wrapped.get_entry_type() {
        eraftpb::EntryType::EntryNormal => (EntryKind::Normal, wrapped.data.clone()),
        eraftpb::EntryType::EntryConfChange => {
            (EntryKind::ConfChange, unwrap_change(&wrapped.data))
        }
        eraftpb::EntryType::EntryConfChangeV2 => (EntryKind::ConfChangeV2, wrapped.data.clone()),
    };
    Entry { term: wrapped.term, index: wrapped.index, kind, data }
}

/// The change as raft-rs must apply it.
pub(crate) fn to_raft(change: &raftpb::ConfChange) -> eraftpb::ConfChange {
    let (kind, node) = map(change);
    let mut mapped = eraftpb::ConfChange::default();
    mapped.set_change_type(kind);
    mapped.set_node_id(node);
    mapped
}

fn map(change: &raftpb::ConfChange) -> (eraftpb::ConfChangeType, u64) {
    match change.r#type() {
        Go::ConfChangeAddNode => (eraftpb::ConfChangeType::AddNode, change.node_id()),
        Go::ConfChangeRemoveNode => (eraftpb::ConfChangeType::RemoveNode, change.node_id()),
        Go::ConfChangeUpdateNode => (eraftpb::ConfChangeType::AddNode, 0),
        Go::ConfChangeAddLearnerNode => (eraftpb::ConfChangeType::AddLearnerNode, change.node_id()),
    }
}

/// Both messages have the same fields under the same numbers, so Go's type writes raft-rs's bytes.
fn wrap_change(go_bytes: &Bytes) -> Option<Bytes> {
    let change = raftpb::ConfChange::decode(go_bytes.clone()).ok()?;
    let known = change.r#type.is_none_or(|number| Go::try_from(number).is_ok());
    if !known {
        return None;
    }
    let (kind, node) = map(&change);
    let wrapped = raftpb::ConfChange {
        id: change.id,
        r#type: Some(kind as i32),
        node_id: Some(node),
        context: Some(go_bytes.clone()),
    };
    Some(wrapped.encode_to_vec().into())
}

fn unwrap_change(data: &Bytes) -> Bytes {
    raftpb::ConfChange::decode(data.clone())
        .ok()
        .and_then(|wrapped| wrapped.context)
        .expect("only wrapped changes are handed to raft-rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: Go) -> Bytes {
        let change = raftpb::ConfChange {
            id: Some(7),
            r#type: Some(kind as i32),
            node_id: Some(9),
            context: Some(Bytes::from_static(b"{}")),
        };
        change.encode_to_vec().into()
    }

    fn entry(data: Bytes) -> Entry {
        Entry { term: 1, index: 3, kind: EntryKind::ConfChange, data }
    }

    #[test]
    fn gos_bytes_come_out_of_the_envelope_untouched() {
        for kind in [
            Go::ConfChangeAddNode,
            Go::ConfChangeRemoveNode,
            Go::ConfChangeUpdateNode,
            Go::ConfChangeAddLearnerNode,
        ] {
            let entry = entry(change(kind));
            let wrapped = wrap(&entry).expect("the change is well formed");
            assert_eq!(unwrap(&wrapped), entry);
        }
    }

    #[test]
    fn an_update_never_reaches_raft_as_the_addition_of_a_learner() {
        let update = raftpb::ConfChange::decode(change(Go::ConfChangeUpdateNode)).expect("ours");
        let mapped = to_raft(&update);
        assert_eq!(mapped.get_change_type(), eraftpb::ConfChangeType::AddNode);
        assert_eq!(mapped.node_id, 0);
    }

    #[test]
    fn a_change_that_is_none_is_refused_and_not_proposed() {
        assert_eq!(wrap(&entry(Bytes::from_static(b"\xff"))), Err(MalformedChange { index: 3 }));
        assert_eq!(
            wrap(&entry(Bytes::from_static(b"\x10\x09"))),
            Err(MalformedChange { index: 3 })
        );
    }
}
