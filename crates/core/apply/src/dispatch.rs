//! From a decoded request to what it changes: the gates, then the one function that carries it out.

use types::Refusal;

use crate::applier::{Applier, Decided, Outcome};
use crate::compat::Compat;
use crate::gates::Gates;
use crate::request::{Asked, Request};

impl Applier {
    /// How entries are applied at this place of the log.
    pub fn compat(&self) -> Compat {
        Compat::of(self.membership.version())
    }

    pub(crate) fn decide(&mut self, asked: Asked) -> Decided {
        let compat = self.compat();
        let gates = Gates::of(&asked.request);
        self.pass_alarms(gates)?;
        let told = self.pass_permission(&asked, compat)?;
        let mut outcome = self.carry_out(asked.request, compat)?;
        outcome.refusal = told.or(outcome.refusal);
        self.hold_against_quota(gates, &mut outcome);
        Ok(outcome)
    }

    fn carry_out(&mut self, request: Request, compat: Compat) -> Decided {
        match request {
            Request::ClusterVersionSet(set) => self.cluster_version(&set.ver),
            Request::ClusterMemberAttrSet(set) => self.member_attributes(set),
            Request::DowngradeInfoSet(set) => self.downgrade(&set),
            Request::Range(range) => self.range(&range),
            Request::Put(put) => self.put(&put),
            Request::DeleteRange(delete) => self.delete_range(&delete),
            Request::Txn(txn) => self.txn(&txn, compat),
            Request::Compaction(compaction) => self.compaction(compaction.revision),
            Request::LeaseGrant(grant) => self.lease_grant(&grant),
            Request::LeaseRevoke(revoke) => self.lease_revoke(revoke.id),
            Request::LeaseCheckpoint(checkpoint) => self.lease_checkpoint(&checkpoint, compat),
            Request::Alarm(alarm) => self.alarm(&alarm),
            Request::Auth(request) => self.auth(&request),
            Request::V2(request) => Ok(self.v2_step(&request)),
            Request::DowngradeVersionTest(_) => Ok(Outcome::default()),
            Request::NotText => {
                let text = "etcdserver: a text of this request is not UTF-8";
                Err(Refusal::invalid(text).into())
            }
        }
    }
}
