//! The proof that a message was allowed.

use std::sync::Arc;

use types::Refusal;

use crate::judge::{Caller, Judge, Leases};
use crate::needs::Needs;
use crate::rule::Rule;
use crate::users::{ROOT, Users};

/// Who stands behind a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody said who he is: enough while nobody is asked.
    Nobody,
    /// A user, by token or certificate.
    User {
        /// Its name.
        name: Arc<str>,
        /// The revision of users and roles at which it was known: now for a simple token or a
        /// certificate, that of the login for a JWT.
        revision: u64,
    },
    /// The member itself.
    Internal(Why),
}

/// What a member does of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Leases that have ended are revoked, running ones written down.
    Leases,
    /// Old revisions are compacted as configured.
    AutoCompaction,
    /// The store is full, or members disagree.
    Alarm,
    /// The member makes itself and its version known.
    Membership,
    /// Somebody asks whether the member is well.
    Health,
}

impl Principal {
    fn caller<'a>(&'a self, users: &Users) -> Option<Caller<'a>> {
        match self {
            Principal::Nobody => None,
            Principal::User { name, revision } => Some(Caller { name, revision: *revision }),
            Principal::Internal(_) => {
                users.is_enabled().then_some(Caller { name: ROOT, revision: users.revision() })
            }
        }
    }

    /// Whom a proposal names, so that it is decided again when it is applied. The member's own name root,
    /// who cannot be deleted while anybody is asked.
    pub fn proposed_by<'a>(&'a self, users: &Users) -> Caller<'a> {
        self.caller(users).unwrap_or_default()
    }
}

/// A message that its sender may send, and the sender.
///
/// The fields are private and [`Users::admit`] is its only maker, so whoever takes a `Permitted<PutRequest>`
/// cannot be reached around the check.
#[derive(Clone, Debug)]
pub struct Permitted<M> {
    message: M,
    by: Principal,
}

impl Users {
    /// Hands out the proof that `by` may send this message.
    ///
    /// # Errors
    /// Why not.
    pub fn admit<M: Needs>(
        &self,
        rule: Rule,
        by: Principal,
        message: M,
        leases: Leases<'_>,
    ) -> Result<Permitted<M>, Refusal> {
        self.judge(rule, &by, &message, leases)?;
        Ok(Permitted { message, by })
    }

    /// The method's rule and the message's needs: both must be met.
    fn judge(
        &self,
        rule: Rule,
        by: &Principal,
        needs: &impl Needs,
        leases: Leases<'_>,
    ) -> Result<(), Refusal> {
        if matches!(by, Principal::Internal(_)) {
            return Ok(());
        }
        let judge = Judge::new(self, by.caller(self), leases);
        match rule {
            Rule::Open | Rule::AsAsked | Rule::Inner => {}
            Rule::LoggedIn => judge.login()?,
            Rule::Root => judge.root()?,
        }
        needs.judged(&judge)
    }

    /// Decides about an entry's request by whom its header names, on replicated state alone.
    ///
    /// # Errors
    /// Why not.
    pub fn decide(
        &self,
        caller: Caller<'_>,
        needs: &impl Needs,
        leases: Leases<'_>,
    ) -> Result<(), Refusal> {
        if !self.enabled {
            return Ok(());
        }
        needs.judged(&Judge::new(self, Some(caller), leases))
    }
}

impl<M> Permitted<M> {
    /// The message.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Its sender.
    pub fn by(&self) -> &Principal {
        &self.by
    }

    /// The message, for whoever needs no proof any more.
    pub fn into_message(self) -> M {
        self.message
    }

    /// The message and its sender.
    pub fn split(self) -> (M, Principal) {
        (self.message, self.by)
    }

    /// Whether nothing has changed since the sender was known. An answer that was read meanwhile is given to
    /// nobody else.
    ///
    /// # Errors
    /// `AuthOldRevision`.
    pub fn unchanged(&self, users: &Users) -> Result<(), Refusal> {
        match &self.by {
            Principal::User { revision, .. } if *revision != users.revision() => {
                Err(Refusal::AuthOldRevision)
            }
            Principal::User { .. } | Principal::Nobody | Principal::Internal(_) => Ok(()),
        }
    }
}

impl<M: Needs> Permitted<M> {
    /// Asks again, before what has changed since: a read that waited for others.
    ///
    /// # Errors
    /// Why not any more.
    pub fn still(&self, users: &Users) -> Result<(), Refusal> {
        users.judge(Rule::AsAsked, &self.by, &self.message, Leases::DecidedAtApply)
    }
}
