//! Users and roles as entries change them, and the permission gate before all others.
//!
//! Decided on replicated state alone (`docs/etcd/apply-semantics.md` 8): whom the entry's header names, as of which
//! revision of users and roles, and what they are now. What a member decided at its own door counts for nothing
//! here.

use std::sync::Arc;

use auth::{Caller, Changed, Leases, NewUser, ROOT, TokenChange, Users};
use bytes::Bytes;
use proto::authpb;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Operation;
use types::{LeaseId, Refusal};

use crate::answer::{Answer, AuthAnswer};
use crate::applier::{Applier, Decided, Outcome};
use crate::compat::Compat;
use crate::fact::Fact;
use crate::request::{Asked, AuthRequest, Request};

impl Applier {
    /// Users and roles now.
    pub fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// The permission gate. What comes back beside the pass is told to the client instead of the answer, although
    /// the change stands: where members do not look at a transaction's ranges ([`Compat::txn_ranges_checked`]), they
    /// carry it out whatever those ask for, and so must we.
    pub(crate) fn pass_permission(
        &self,
        asked: &Asked,
        compat: Compat,
    ) -> Result<Option<Refusal>, Refusal> {
        if !self.users.is_enabled() {
            return Ok(None);
        }
        if let Request::Txn(txn) = &asked.request
            && !compat.txn_ranges_checked
        {
            self.judge(asked, &Request::Txn(without_ranges(txn)))?;
            return Ok(self.judge(asked, &asked.request).err());
        }
        self.judge(asked, &asked.request).map(|()| None)
    }

    fn judge(&self, asked: &Asked, request: &Request) -> Result<(), Refusal> {
        let asker = &asked.asker;
        let by = Caller { name: &asker.user, revision: asker.auth_revision };
        let keys = |lease: Option<LeaseId>| {
            let keys = lease.map(|lease| self.leases.keys(lease).cloned().collect());
            keys.unwrap_or_default()
        };
        let (users, leases) = (&self.users, Leases::Known(&keys));
        match request {
            Request::Range(request) => users.decide(by, request, leases),
            Request::Put(request) => users.decide(by, request, leases),
            Request::DeleteRange(request) => users.decide(by, request, leases),
            Request::Txn(request) => users.decide(by, request, leases),
            Request::LeaseRevoke(request) => users.decide(by, request, leases),
            Request::Auth(request) => judge_auth(users, by, request, leases),
            // Whether these may be is asked at the door alone: they come from members too, in nobody's name.
            Request::Compaction(_)
            | Request::LeaseGrant(_)
            | Request::LeaseCheckpoint(_)
            | Request::Alarm(_)
            | Request::ClusterVersionSet(_)
            | Request::ClusterMemberAttrSet(_)
            | Request::DowngradeInfoSet(_)
            | Request::DowngradeVersionTest(_)
            | Request::V2(_)
            | Request::NotText => Ok(()),
        }
    }

    /// Carries out a request about users and roles.
    pub(crate) fn auth(&mut self, request: &AuthRequest) -> Decided {
        let revision = self.mvcc.current_revision();
        let (answer, changed) = match request {
            AuthRequest::Authenticate(request) => self.authenticate(request)?,
            AuthRequest::Status(_) => (self.status(), Changed::default()),
            AuthRequest::UserGet(request) => {
                let user = self.users.user(&request.name).ok_or(Refusal::UserNotFound)?;
                (AuthAnswer::Names(user.roles().to_vec()), Changed::default())
            }
            AuthRequest::RoleGet(request) => {
                (AuthAnswer::Permissions(self.permissions(&request.role)?), Changed::default())
            }
            AuthRequest::UserList(_) => {
                (AuthAnswer::Names(self.users.user_names().cloned().collect()), Changed::default())
            }
            AuthRequest::RoleList(_) => {
                (AuthAnswer::Names(self.users.role_names().cloned().collect()), Changed::default())
            }
            other => (AuthAnswer::Done, self.change_users(other)?),
        };
        Ok(Outcome {
            answer: Some(Answer::Auth { revision, answer }),
            state: changed.rows,
            facts: vec![Fact::Users(changed.tokens)],
            ..Outcome::default()
        })
    }

    fn change_users(&mut self, request: &AuthRequest) -> Result<Changed, Refusal> {
        let index = self.applied.0 + 1;
        let users = Arc::make_mut(&mut self.users);
        match request {
            AuthRequest::Enable(_) => users.enable(),
            AuthRequest::Disable(_) => Ok(users.disable()),
            AuthRequest::UserAdd(request) => {
                let no_password = request.options.as_ref().is_some_and(|o| o.no_password);
                // Asked first: hashing the password of a log takes long.
                if users.user(&request.name).is_some() || no_password {
                    let new = NewUser { hash: Bytes::new(), no_password };
                    return users.add_user(&request.name, new);
                }
                let (plain, hashed) = (&request.password, &request.hashed_password);
                let hash = auth::of_proposal(plain, hashed, &request.name, index)?;
                users.add_user(&request.name, NewUser { hash, no_password })
            }
            AuthRequest::UserChangePassword(request) => {
                let user = users.user(&request.name).ok_or(Refusal::UserNotFound)?;
                if user.has_no_password() {
                    return users.change_password(&request.name, Bytes::new());
                }
                let (plain, hashed) = (&request.password, &request.hashed_password);
                let hash = auth::of_proposal(plain, hashed, &request.name, index)?;
                users.change_password(&request.name, hash)
            }
            AuthRequest::UserDelete(request) => users.delete_user(&request.name),
            AuthRequest::UserGrantRole(request) => users.grant_role(&request.user, &request.role),
            AuthRequest::UserRevokeRole(request) => users.revoke_role(&request.name, &request.role),
            AuthRequest::RoleAdd(request) => users.add_role(&request.name),
            AuthRequest::RoleDelete(request) => users.delete_role(&request.role),
            AuthRequest::RoleGrantPermission(request) => {
                users.grant_permission(&request.name, request.perm.as_ref())
            }
            AuthRequest::RoleRevokePermission(request) => {
                users.revoke_permission(&request.role, &request.key, &request.range_end)
            }
            AuthRequest::Authenticate(_)
            | AuthRequest::Status(_)
            | AuthRequest::UserGet(_)
            | AuthRequest::RoleGet(_)
            | AuthRequest::UserList(_)
            | AuthRequest::RoleList(_) => Ok(Changed::default()),
        }
    }

    fn status(&self) -> AuthAnswer {
        AuthAnswer::Status { enabled: self.users.is_enabled(), revision: self.users.revision() }
    }

    /// The password was compared before this was proposed. The token ends in the index before the entry's, as in
    /// the newest releases; a token without letters could be guessed, so none is made of it.
    fn authenticate(
        &self,
        request: &pb::InternalAuthenticateRequest,
    ) -> Result<(AuthAnswer, Changed), Refusal> {
        if !self.users.is_enabled() {
            return Err(Refusal::AuthNotEnabled);
        }
        let user = self.users.user(&request.name).filter(|user| !user.has_no_password());
        user.ok_or(Refusal::AuthFailed)?;
        let auth_revision = self.users.revision();
        let token = format!("{}.{}", request.simple_token, self.applied.0);
        let tokens = match request.simple_token.is_empty() {
            true => TokenChange::None,
            false => TokenChange::Assign { token: token.clone(), user: request.name.clone() },
        };
        let changed = Changed { tokens, ..Changed::default() };
        Ok((AuthAnswer::Authenticated { token, auth_revision }, changed))
    }

    /// Whatever the role root holds, it allows everything.
    fn permissions(&self, name: &str) -> Result<Vec<authpb::Permission>, Refusal> {
        let role = self.users.role(name).ok_or(Refusal::RoleNotFound)?;
        if name != ROOT {
            return Ok(role.permissions().to_vec());
        }
        Ok(vec![authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite as i32,
            key: Bytes::new(),
            range_end: Bytes::from_static(&[0]),
        }])
    }
}

fn judge_auth(
    users: &Users,
    by: Caller<'_>,
    request: &AuthRequest,
    leases: Leases<'_>,
) -> Result<(), Refusal> {
    match request {
        AuthRequest::Authenticate(_) => Ok(()),
        AuthRequest::Enable(request) => users.decide(by, request, leases),
        AuthRequest::Disable(request) => users.decide(by, request, leases),
        AuthRequest::Status(request) => users.decide(by, request, leases),
        AuthRequest::UserAdd(request) => users.decide(by, request, leases),
        AuthRequest::UserDelete(request) => users.decide(by, request, leases),
        AuthRequest::UserChangePassword(request) => users.decide(by, request, leases),
        AuthRequest::UserGrantRole(request) => users.decide(by, request, leases),
        AuthRequest::UserGet(request) => users.decide(by, request, leases),
        AuthRequest::UserRevokeRole(request) => users.decide(by, request, leases),
        AuthRequest::RoleAdd(request) => users.decide(by, request, leases),
        AuthRequest::RoleGrantPermission(request) => users.decide(by, request, leases),
        AuthRequest::RoleGet(request) => users.decide(by, request, leases),
        AuthRequest::RoleRevokePermission(request) => users.decide(by, request, leases),
        AuthRequest::RoleDelete(request) => users.decide(by, request, leases),
        AuthRequest::UserList(request) => users.decide(by, request, leases),
        AuthRequest::RoleList(request) => users.decide(by, request, leases),
    }
}

/// What members that do not look at a transaction's own ranges look at.
fn without_ranges(txn: &pb::TxnRequest) -> pb::TxnRequest {
    let rest = |branch: &[pb::RequestOp]| {
        let kept =
            branch.iter().filter(|op| !matches!(op.request, Some(Operation::RequestRange(_))));
        kept.cloned().collect()
    };
    pb::TxnRequest {
        compare: txn.compare.clone(),
        success: rest(&txn.success),
        failure: rest(&txn.failure),
    }
}
