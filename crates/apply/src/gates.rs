//! What stands between an entry and the state: four gates, one table, one place where they are looked at.
//!
//! In etcd's order (`reference/apply-semantics.md` 1.7): an alarm that members disagree, an alarm that a member
//! is full, what the asker may do; and after the deed, this member's own size. A request that a gate refuses
//! changes nothing, on every member alike.

use types::Refusal;

use crate::alarms::{CORRUPT, NOSPACE};
use crate::applier::{Applier, Consequence, Outcome};
use crate::check;
use crate::request::{AuthRequest, Request};

/// Which gates a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gates {
    /// Whether it is refused while a CORRUPT alarm is raised.
    pub corrupt: bool,
    /// What is asked about who asks.
    pub permission: Permission,
    /// Bytes it may add to the store. What costs anything is refused while a NOSPACE alarm is raised, and held
    /// against the quota.
    pub cost: u64,
}

/// What an asker must hold once permissions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Nothing.
    None,
    /// To read and write the keys that the request reads and writes, those on a lease it names included.
    Keys,
    /// The role root.
    Root,
    /// The role root, or to be the user, or to have the role, that is asked about.
    Own,
}

impl Gates {
    /// The table.
    pub fn of(request: &Request) -> Gates {
        use Permission::{Keys, None};
        let gates = |corrupt, permission, cost| Gates { corrupt, permission, cost };
        match request {
            Request::Range(_) => gates(true, Keys, 0),
            Request::Put(put) => gates(true, Keys, check::put_cost(put)),
            Request::DeleteRange(_) => gates(true, Keys, 0),
            Request::Txn(txn) => gates(true, Keys, check::txn_cost(txn)),
            Request::Compaction(_) => gates(true, None, 0),
            Request::LeaseGrant(_) => gates(true, None, check::LEASE_COST),
            Request::LeaseRevoke(_) => gates(true, Keys, 0),
            Request::LeaseCheckpoint(_) => gates(false, None, 0),
            Request::Alarm(_) => gates(false, None, 0),
            Request::ClusterVersionSet(_) => gates(false, None, 0),
            Request::ClusterMemberAttrSet(_) => gates(false, None, 0),
            Request::DowngradeInfoSet(_) => gates(false, None, 0),
            Request::DowngradeVersionTest(_) => gates(false, None, 0),
            Request::Auth(request) => gates(false, Gates::of_auth(request), 0),
            Request::V2Sync | Request::NotText => gates(false, None, 0),
        }
    }

    fn of_auth(request: &AuthRequest) -> Permission {
        match request {
            AuthRequest::Authenticate(_) | AuthRequest::Status(_) => Permission::None,
            AuthRequest::UserGet(_) | AuthRequest::RoleGet(_) => Permission::Own,
            AuthRequest::Enable(_)
            | AuthRequest::Disable(_)
            | AuthRequest::UserAdd(_)
            | AuthRequest::UserDelete(_)
            | AuthRequest::UserChangePassword(_)
            | AuthRequest::UserGrantRole(_)
            | AuthRequest::UserRevokeRole(_)
            | AuthRequest::RoleAdd(_)
            | AuthRequest::RoleGrantPermission(_)
            | AuthRequest::RoleRevokePermission(_)
            | AuthRequest::RoleDelete(_)
            | AuthRequest::UserList(_)
            | AuthRequest::RoleList(_) => Permission::Root,
        }
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
    /// and only the answer and the alarm tell (`reference/apply-semantics.md` 9).
    pub(crate) fn hold_against_quota(&self, gates: Gates, outcome: &mut Outcome) {
        let Some(quota) = self.config.quota_bytes.filter(|_| 0 < gates.cost) else { return };
        if quota <= self.store.sizes().file_bytes + gates.cost && outcome.refusal.is_none() {
            outcome.refusal = Some(Refusal::NoSpace);
            outcome.consequence = Consequence::QuotaExceeded;
        }
    }
}
