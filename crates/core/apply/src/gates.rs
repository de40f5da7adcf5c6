//! What stands between an entry and the state: four gates, one table, one place where they are looked at.
//!
//! In etcd's order (`docs/etcd/apply-semantics.md` 1.7): an alarm that members disagree, an alarm that a member
//! is full, what the asker may do; and after the deed, this member's own size. A request that a gate refuses
//! changes nothing, on every member alike.

use types::Refusal;

use crate::alarms::{CORRUPT, NOSPACE};
use crate::applier::{Applier, Outcome};
use crate::check;
use crate::fact::Fact;
use crate::request::Request;

/// Which gates a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gates {
    /// Whether it is refused while a CORRUPT alarm is raised.
    pub corrupt: bool,
    /// Bytes it may add to the store. What costs anything is refused while a NOSPACE alarm is raised, and held
    /// against the quota.
    pub cost: u64,
}

impl Gates {
    /// The table.
    pub fn of(request: &Request) -> Gates {
        let gates = |corrupt, cost| Gates { corrupt, cost };
        match request {
            Request::Range(_) => gates(true, 0),
            Request::Put(put) => gates(true, check::put_cost(put)),
            Request::DeleteRange(_) => gates(true, 0),
            Request::Txn(txn) => gates(true, check::txn_cost(txn)),
            Request::Compaction(_) => gates(true, 0),
            Request::LeaseGrant(_) => gates(true, check::LEASE_COST),
            Request::LeaseRevoke(_) => gates(true, 0),
            Request::LeaseCheckpoint(_) => gates(false, 0),
            Request::Alarm(_) => gates(false, 0),
            Request::ClusterVersionSet(_) => gates(false, 0),
            Request::ClusterMemberAttrSet(_) => gates(false, 0),
            Request::DowngradeInfoSet(_) => gates(false, 0),
            Request::DowngradeVersionTest(_) => gates(false, 0),
            Request::Auth(_) => gates(false, 0),
            Request::V2(request) => gates(true, v2_cost(request)),
            Request::NotText => gates(false, 0),
        }
    }
}

/// Bytes that a request of the API v2 may add. Ends are for every member, however full it is.
fn v2_cost(request: &v2::Request) -> u64 {
    match request.method {
        v2::Method::Put | v2::Method::Post => (request.path.len() + request.value.len()) as u64,
        v2::Method::Delete | v2::Method::QGet | v2::Method::Sync => 0,
    }
}

impl Applier {
    /// The gates of alarms, before anything is decided.
    pub(crate) fn pass_alarms(&self, gates: Gates) -> Result<(), Refusal> {
        if gates.corrupt && self.alarms.any(CORRUPT) {
            return Err(Refusal::Corrupt);
        }
        if 0 < gates.cost && self.alarms.any(NOSPACE) {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    /// The gate of this member's size, after the deed: the write stands on every member, whatever its size here,
    /// and only the answer and the alarm tell (`docs/etcd/apply-semantics.md` 9).
    pub(crate) fn hold_against_quota(&self, gates: Gates, outcome: &mut Outcome) {
        let Some(quota) = self.config.quota_bytes.filter(|_| 0 < gates.cost) else { return };
        if quota <= self.store.sizes().own_bytes() + gates.cost && outcome.refusal.is_none() {
            outcome.refusal = Some(Refusal::NoSpace);
            outcome.facts.push(Fact::QuotaExceeded);
        }
    }
}
