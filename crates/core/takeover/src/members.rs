//! Who the members are at an entry, as etcd 3.4 and 3.5 know it: from the v2 store of a `.snap` file, and what the log
//! did to it since.
//!
//! Their database says it too, but 3.5.1 to 3.5.19 never rewrite a row of it once it is there
//! (`docs/etcd/bbolt-and-backend.md` 2), and what 3.4 restored from a snapshot keeps the members of the former cluster.

use apply::{Asked, ChangeContext, Member, Membership, Request};
use bolt::{Rewrite, Source, names};
use bytes::Bytes;
use exchange::V2Json;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType};
use types::{Entry, EntryKind, MemberId, Version};

use crate::TakeoverError;

/// The members a `.snap` file names.
pub(crate) fn seeded(own: MemberId, v2: &V2Json) -> Membership {
    let mut membership = Membership::new(own, usize::MAX);
    let add = |membership: &mut Membership, member: &Member| {
        let kind = match member.is_learner {
            true => ConfChangeType::ConfChangeAddLearnerNode,
            false => ConfChangeType::ConfChangeAddNode,
        };
        // A member that is there twice is there once.
        let _ = membership.change(&change(kind, member.id, Some(member.clone())));
    };
    // Nobody listens where nobody votes.
    for member in v2.members.iter().filter(|member| !member.is_learner) {
        add(&mut membership, member);
    }
    for member in v2.members.iter().filter(|member| member.is_learner) {
        add(&mut membership, member);
    }
    for id in &v2.removed {
        add(&mut membership, &Member { id: *id, ..Member::default() });
        let _ = membership.change(&change(ConfChangeType::ConfChangeRemoveNode, *id, None));
    }
    if let Some(version) = v2.version.as_ref().and_then(|text| text.parse().ok()) {
        let _ = membership.set_version(version);
    }
    membership
}

fn change(kind: ConfChangeType, id: MemberId, member: Option<Member>) -> ConfChange {
    let context = member.map(|member| ChangeContext { member, is_promote: false });
    let json = |context| serde_json::to_vec(&context).expect("text and numbers always serialize");
    ConfChange {
        id: Some(0),
        r#type: Some(kind as i32),
        node_id: Some(id),
        context: context.map(|context| Bytes::from(json(context))),
    }
}

/// What an entry does to the members. One that this release cannot read is an error: others have applied it.
pub(crate) fn follow(membership: &mut Membership, entry: &Entry) -> Result<(), TakeoverError> {
    match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => {}
        EntryKind::Normal => match asked(entry)?.request {
            Request::ClusterVersionSet(set) => {
                if let Ok(version) = set.ver.parse::<Version>() {
                    let _ = membership.set_version(version);
                }
            }
            Request::ClusterMemberAttrSet(set) => {
                let told = set.member_attributes.unwrap_or_default();
                let _ = membership.set_attributes(set.member_id, told.name, told.client_urls);
            }
            _ => {}
        },
        EntryKind::ConfChange => {
            let what = || "a change of members that cannot be read".to_owned();
            let change = ConfChange::decode(entry.data.clone())
                .map_err(|_| TakeoverError::Entry { index: entry.index, what: what() })?;
            // What is refused here was refused there, and changed nothing.
            let _ = membership.change(&change);
        }
        EntryKind::ConfChangeV2 => {
            let what = "a change of members in the joint form, which is not supported".to_owned();
            return Err(TakeoverError::Entry { index: entry.index, what });
        }
    }
    Ok(())
}

/// What a normal entry asks for.
pub(crate) fn asked(entry: &Entry) -> Result<Asked, TakeoverError> {
    let unknown = |unknown: apply::Unknown| TakeoverError::Entry {
        index: entry.index,
        what: unknown.to_string(),
    };
    Asked::decode(&entry.data).map_err(unknown)
}

/// Puts them in the place of those the database names.
pub(crate) fn put<S: Source>(membership: &Membership, rewrite: &mut Rewrite<S>) {
    rewrite.empty(names::MEMBERS);
    rewrite.empty(names::MEMBERS_REMOVED);
    for member in membership.members() {
        let json = serde_json::to_vec(member).expect("text and numbers always serialize");
        rewrite.set(names::MEMBERS, format!("{:x}", member.id).as_bytes(), &json);
    }
    for id in membership.removed() {
        rewrite.set(names::MEMBERS_REMOVED, format!("{id:x}").as_bytes(), b"removed");
    }
    if let Some(version) = membership.version() {
        rewrite.set(names::CLUSTER, names::CLUSTER_VERSION, version.to_string().as_bytes());
    }
}
