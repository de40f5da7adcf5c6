//! Which alarms are raised, and what they forbid (`docs/etcd/apply-semantics.md` 9).

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb as pb;
use store::{Bucket, StateChange};
use types::MemberId;

/// Out of space: nothing that grows the store.
pub const NOSPACE: i32 = pb::AlarmType::Nospace as i32;
/// Members disagree: nothing at all through the log.
pub const CORRUPT: i32 = pb::AlarmType::Corrupt as i32;

/// The raised alarms: who, and what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    raised: BTreeSet<(MemberId, i32)>,
}

impl Alarms {
    /// Reads the rows of the store's bucket. A row that is no alarm is passed over.
    pub fn restore(state: &store::State) -> Alarms {
        let raised = state
            .iter(Bucket::Alarm)
            .filter_map(|(key, _)| pb::AlarmMember::decode(&key[..]).ok())
            .map(|alarm| (alarm.member_id, alarm.alarm))
            .collect();
        Alarms { raised }
    }

    /// Whether any member raised this kind.
    pub fn any(&self, kind: i32) -> bool {
        self.raised.iter().any(|(_, raised)| *raised == kind)
    }

    /// Whether this member raised this kind.
    pub fn has(&self, member: MemberId, kind: i32) -> bool {
        self.raised.contains(&(member, kind))
    }

    /// The raised alarms of a kind, or all of them for kind 0.
    pub fn list(&self, kind: i32) -> Vec<pb::AlarmMember> {
        self.raised
            .iter()
            .filter(|(_, raised)| kind == 0 || *raised == kind)
            .map(|(member, alarm)| pb::AlarmMember { member_id: *member, alarm: *alarm })
            .collect()
    }

    /// Raises an alarm. `None` when it is of no kind; then nothing is raised.
    pub fn raise(&mut self, member: MemberId, kind: i32) -> Option<StateChange> {
        if kind == 0 {
            return None;
        }
        self.raised.insert((member, kind));
        Some(StateChange::Set {
            bucket: Bucket::Alarm,
            key: key(member, kind),
            value: Bytes::new(),
        })
    }

    /// Takes an alarm back; `None` when it was not raised.
    pub fn clear(&mut self, member: MemberId, kind: i32) -> Option<StateChange> {
        self.raised
            .remove(&(member, kind))
            .then(|| StateChange::Delete { bucket: Bucket::Alarm, key: key(member, kind) })
    }
}

fn key(member_id: MemberId, alarm: i32) -> Bytes {
    pb::AlarmMember { member_id, alarm }.encode_to_vec().into()
}
