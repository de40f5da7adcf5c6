//! Requests about leases, alarms and the cluster itself.

use bytes::Bytes;
use planted::planted;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::{leasepb, membershippb, raftpb};
use store::{Bucket, StateChange};
use types::{LeaseId, Refusal, Version};

use crate::answer::Answer;
use crate::applier::{Applier, Decided, Fault, Outcome, Stopped};
use crate::compat::Compat;
use crate::fact::{Change, Fact};

impl Applier {
    pub(crate) fn lease_grant(&mut self, request: &pb::LeaseGrantRequest) -> Decided {
        let lease = self.leases.grant(request.id, request.ttl)?;
        let answer = Answer::LeaseGrant {
            revision: self.mvcc.current_revision(),
            id: lease.id,
            ttl: lease.ttl_seconds,
        };
        Ok(Outcome {
            answer: Some(answer),
            state: vec![lease_row(&lease)],
            facts: vec![Fact::LeaseGranted(lease)],
            ..Outcome::default()
        })
    }

    /// Guarantee (lease, revoke): all keys of the lease are deleted in one revision, and the lease's own
    /// row goes in the same batch.
    pub(crate) fn lease_revoke(&mut self, id: LeaseId) -> Decided {
        let keys = self.leases.revoke(id)?;
        let store = crate::source::Written(&self.store);
        let mut txn = self.mvcc.begin();
        for key in keys {
            let range = types::KeyRange::One(key);
            txn.delete_range(&store, &mvcc::DeleteRange { range, prev_kv: false })?;
        }
        let changes = txn.finish();
        let revision = changes.revision;
        let mut state = vec![StateChange::Delete { bucket: Bucket::Lease, key: lease_key(id) }];
        if planted!("revoked lease comes back") {
            state.clear();
        }
        let answer = Some(Answer::Done { revision });
        let facts = vec![Fact::LeaseRevoked(id)];
        Ok(Outcome { answer, changes: Some(changes), state, facts, ..Outcome::default() })
    }

    pub(crate) fn lease_checkpoint(
        &mut self,
        request: &pb::LeaseCheckpointRequest,
        compat: Compat,
    ) -> Decided {
        let stored = compat.checkpoints_stored || self.config.persist_checkpoints;
        let mut outcome = Outcome::default();
        for checkpoint in &request.checkpoints {
            let noted = lease::Checkpoint {
                id: checkpoint.id,
                remaining_seconds: checkpoint.remaining_ttl,
            };
            let Some(lease) = self.leases.checkpoint(noted) else { continue };
            outcome.state.extend(stored.then(|| lease_row(&lease)));
            outcome.facts.push(Fact::LeaseCheckpointed(lease));
        }
        Ok(outcome)
    }

    pub(crate) fn alarm(&mut self, request: &pb::AlarmRequest) -> Decided {
        use pb::alarm_request::AlarmAction;
        let concerned = pb::AlarmMember { member_id: request.member_id, alarm: request.alarm };
        let (alarms, state) = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => (self.alarms.list(request.alarm), None),
            Ok(AlarmAction::Activate) => {
                let raised = self.alarms.raise(request.member_id, request.alarm);
                (raised.iter().map(|_| concerned).collect(), raised)
            }
            Ok(AlarmAction::Deactivate) => {
                let cleared = self.alarms.clear(request.member_id, request.alarm);
                (cleared.iter().map(|_| concerned).collect(), cleared)
            }
            Err(_) => return Err(Refusal::invalid("etcdserver: unknown alarm action").into()),
        };
        let facts = state.iter().map(|_| Fact::Alarms).collect();
        Ok(Outcome {
            answer: Some(Answer::Alarm { revision: self.mvcc.current_revision(), alarms }),
            state: state.into_iter().collect(),
            facts,
            ..Outcome::default()
        })
    }

    pub(crate) fn cluster_version(&mut self, version: &str) -> Decided {
        let agreed: Version = version
            .parse()
            .map_err(|_| Refusal::invalid("etcdserver: the cluster's version is none"))?;
        if Version::OURS < agreed {
            return Err(Stopped::Fault(Fault::InvalidDowngrade { agreed }));
        }
        let before = self.membership.version();
        let state = self.membership.set_version(agreed);
        let facts = vec![Fact::Membership, Fact::Version { before, now: agreed }];
        Ok(Outcome { state, facts, ..Outcome::default() })
    }

    pub(crate) fn member_attributes(
        &mut self,
        request: membershippb::ClusterMemberAttrSetRequest,
    ) -> Decided {
        let attributes = request.member_attributes.unwrap_or_default();
        let state = self.membership.set_attributes(
            request.member_id,
            attributes.name,
            attributes.client_urls,
        );
        Ok(Outcome { state, facts: vec![Fact::Membership], ..Outcome::default() })
    }

    pub(crate) fn downgrade(&mut self, request: &membershippb::DowngradeInfoSetRequest) -> Decided {
        let state = self.membership.set_downgrade(request.enabled, &request.ver);
        Ok(Outcome { state: vec![state], facts: vec![Fact::Membership], ..Outcome::default() })
    }

    /// A configuration change. Refused or not, raft must hear that it is over.
    pub(crate) fn configuration(&mut self, change: raftpb::ConfChange) -> Decided {
        let changed = change.node_id();
        match self.membership.change(&change) {
            Ok(state) => {
                let mut facts = vec![Fact::Configuration(Change::Made(Box::new(change)))];
                let gone = self.membership.was_removed(self.config.member);
                if gone && changed == self.config.member {
                    facts.push(Fact::Removed);
                }
                let answer = Answer::Members { members: self.membership.to_wire(), changed };
                Ok(Outcome { answer: Some(answer), state, facts, ..Outcome::default() })
            }
            Err(refusal) => {
                Err(Stopped::Refused(refusal, vec![Fact::Configuration(Change::Refused)]))
            }
        }
    }
}

/// A lease's row: `leasepb.Lease` under the id in eight bytes, the highest first.
fn lease_row(lease: &lease::Lease) -> StateChange {
    let stored = leasepb::Lease {
        id: lease.id,
        ttl: lease.ttl_seconds,
        remaining_ttl: lease.remaining_seconds,
    };
    StateChange::Set {
        bucket: Bucket::Lease,
        key: lease_key(lease.id),
        value: stored.encode_to_vec().into(),
    }
}

fn lease_key(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}
