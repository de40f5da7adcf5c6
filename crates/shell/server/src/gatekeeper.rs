//! Who somebody is, and whether he may.
//!
//! Every message of every call passes here, whichever way it came: gRPC, JSON, websocket. What comes out is a
//! [`Permitted`] message, without which the [`Desk`](crate::desk::Desk) does nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use auth::{Leases, Needs, Permitted, Principal, Rule, Users};
use node::Node;
use proto::etcdserverpb as pb;
use rpc::Call;
use types::{LeaseId, Refusal};

use crate::login::{Passwords, Provider, Told};
use crate::proposals::Asked;
use crate::{door, quota};

/// Knows how users are told by their tokens and certificates.
pub(crate) struct Gatekeeper {
    /// What tokens are.
    pub(crate) provider: Provider,
    /// Where passwords are hashed.
    pub(crate) passwords: Passwords,
    /// Whether a verified certificate's common name is its user (`--client-cert-auth`).
    pub(crate) certificates_count: bool,
    /// Where it is said who was let in how, and who was not.
    pub(crate) told: Told,
}

/// How often it is looked whether an entry has been applied that a token is of.
const TOKEN_WAIT_STEP: Duration = Duration::from_millis(5);

impl Gatekeeper {
    /// Lets a message in: is there room for it, does it have its form, may its sender send it? In this order,
    /// as in etcd.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn admit<M: Asked>(
        &self,
        node: &Node,
        rule: Rule,
        call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        quota::check(node, message.cost()).await?;
        message.check(node.limits())?;
        let by = self.principal(node, call).await?;
        let cost = message.cost();
        let corruptible = message.is_held_up_by_corruption();
        let unknown = node.users(|users| unknown(users, &by));
        let admitted = node.users(|users| users.admit(rule, by, message, Leases::DecidedAtApply));
        if let (Err(Refusal::PermissionDenied), Some(name)) = (&admitted, unknown) {
            self.told.unknown_user(&name);
        }
        // What alarms hold up is refused for that, whoever asks.
        admitted.map_err(|why| held_up(node, cost, corruptible).unwrap_or(why))
    }

    /// Lets a question about leases in, whose keys are looked at first.
    ///
    /// # Errors
    /// Why not; `AuthOldRevision` when users changed meanwhile.
    pub(crate) async fn admit_with_keys<M: AboutLeases>(
        &self,
        node: &Node,
        rule: Rule,
        call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        let by = self.principal(node, call).await?;
        let users = node.view().users.clone();
        if !users.is_enabled() || message.which() == Which::None {
            return users.admit(rule, by, message, Leases::DecidedAtApply);
        }
        let keys = keys_of(node, message.which()).await?;
        if node.view().users.revision() != users.revision() {
            return Err(Refusal::AuthOldRevision);
        }
        users.admit(rule, by, message, Leases::Known(&|_| keys.clone()))
    }

    /// Who makes a call.
    ///
    /// # Errors
    /// `InvalidAuthToken`.
    pub(crate) async fn principal(&self, node: &Node, call: &Call) -> Result<Principal, Refusal> {
        if !node.users(Users::is_enabled) {
            return Ok(Principal::Nobody);
        }
        let users = node.view().users.clone();
        let Some(token) = door::token(call) else { return Ok(self.by_certificate(&users, call)) };
        let known = match std::str::from_utf8(token) {
            Ok(token) => self.by_token(node, &users, call.deadline(), token).await,
            Err(_) => Err(Refusal::InvalidAuthToken),
        };
        if let Err(Refusal::InvalidAuthToken) = known {
            self.told.invalid_token(token);
        }
        known
    }

    /// Who holds a token, for a question that another member hands on.
    ///
    /// # Errors
    /// `InvalidAuthToken`.
    pub(crate) async fn principal_of(
        &self,
        node: &Node,
        token: Option<&str>,
    ) -> Result<Principal, Refusal> {
        if !node.users(Users::is_enabled) {
            return Ok(Principal::Nobody);
        }
        let users = node.view().users.clone();
        match token {
            Some(token) => self.by_token(node, &users, None, token).await,
            None => Ok(Principal::Nobody),
        }
    }

    async fn by_token(
        &self,
        node: &Node,
        users: &Users,
        deadline: Option<Instant>,
        token: &str,
    ) -> Result<Principal, Refusal> {
        match &self.provider {
            Provider::None => Err(Refusal::InvalidAuthToken),
            Provider::Simple => {
                let index = index_of(token).ok_or(Refusal::InvalidAuthToken)?;
                wait_for(node, deadline, index).await?;
                let name = node.token_owner(token).ok_or(Refusal::InvalidAuthToken)?;
                // As of now: the login's entry may be what was waited for.
                let revision = node.view().users.revision().max(users.revision());
                Ok(Principal::User { name, revision })
            }
            Provider::Jwt(jwt) => {
                let worth = jwt.worth(token, unix_seconds()).ok_or(Refusal::InvalidAuthToken)?;
                Ok(Principal::User { name: worth.user.into(), revision: worth.revision })
            }
        }
    }

    /// Through the JSON gateway the certificate is that of who asked it, whom it does not speak for. A
    /// certificate without a name is somebody without a name, who may what any login may, as in etcd.
    fn by_certificate(&self, users: &Users, call: &Call) -> Principal {
        if !self.certificates_count || call.is_from_gateway() {
            return Principal::Nobody;
        }
        let Some(shown) = call.remote().identity() else { return Principal::Nobody };
        let (name, revision) = (shown.common_name.as_deref().unwrap_or(""), users.revision());
        self.told.certificate(name, revision);
        Principal::User { name: name.into(), revision }
    }
}

/// The caller's name, if there is no such user.
fn unknown(users: &Users, by: &Principal) -> Option<Arc<str>> {
    let Principal::User { name, .. } = by else { return None };
    (users.is_enabled() && users.user(name).is_none()).then(|| name.clone())
}

fn held_up(node: &Node, cost: u64, corruptible: bool) -> Option<Refusal> {
    let cluster = node.cluster();
    if corruptible && cluster.alarmed(apply::CORRUPT) {
        return Some(Refusal::Corrupt);
    }
    (0 < cost && cluster.alarmed(apply::NOSPACE)).then_some(Refusal::NoSpace)
}

/// A question about leases whose answer tells of their keys, or lets them live.
pub(crate) trait AboutLeases: Needs {
    /// Whose keys matter.
    fn which(&self) -> Which;
}

/// Leases whose keys are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    None,
    One(LeaseId),
    All,
}

impl AboutLeases for pb::LeaseKeepAliveRequest {
    fn which(&self) -> Which {
        Which::One(self.id)
    }
}

impl AboutLeases for pb::LeaseTimeToLiveRequest {
    fn which(&self) -> Which {
        if self.keys { Which::One(self.id) } else { Which::None }
    }
}

impl AboutLeases for pb::LeaseLeasesRequest {
    fn which(&self) -> Which {
        Which::All
    }
}

async fn keys_of(node: &Node, which: Which) -> Result<Vec<bytes::Bytes>, Refusal> {
    let leases = match which {
        Which::None => Vec::new(),
        Which::One(lease) => vec![lease],
        Which::All => node.leases().await?.into_iter().map(|(_, id)| id).collect(),
    };
    let mut keys = Vec::new();
    for lease in leases {
        let left = node.time_to_live(lease, true).await?;
        keys.extend(left.into_iter().flat_map(|left| left.keys));
    }
    Ok(keys)
}

/// The index at the end of a simple token: the entry before the one that made it. Until that is applied here, the
/// token cannot be known here.
fn index_of(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    index.bytes().all(|byte| byte.is_ascii_digit()).then(|| index.parse().ok())?
}

async fn wait_for(node: &Node, deadline: Option<Instant>, index: u64) -> Result<(), Refusal> {
    if index <= node.applied() {
        return Ok(());
    }
    let longest = Instant::now() + node.limits().request_timeout;
    let until = deadline.map_or(longest, |deadline| deadline.min(longest));
    while node.applied() < index {
        if until <= Instant::now() || node.is_stopping() {
            return Err(Refusal::InvalidAuthToken);
        }
        tokio::time::sleep(TOKEN_WAIT_STEP).await;
    }
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_token_ends_in_an_index() {
        assert_eq!(index_of("abcdefghijklmnop.17"), Some(17));
        assert_eq!(index_of(".0"), Some(0));
        for bad in ["", "abc", "abc.", "abc.x", "abc.1.2", "abc.+1", "abc.99999999999999999999"] {
            assert_eq!(index_of(bad), None, "{bad}");
        }
    }
}
