//! What every call passes before its own code looks at it.

use node::Node;
use rpc::Call;
use types::Refusal;

/// What a learner does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLearners {
    /// It needs no more than what a learner has.
    Served,
    /// A voter must answer it.
    Refused,
}

/// The refusals that concern every method: a learner that must not answer it, a client API version that is not
/// text, a leader that is asked for and not there, a member that is going down.
///
/// # Errors
/// Those.
pub(crate) fn enter(node: &Node, call: &Call, at_learners: AtLearners) -> Result<(), Refusal> {
    if at_learners == AtLearners::Refused && node.is_learner() {
        return Err(Refusal::NotSupportedForLearner);
    }
    let version = call.client_api_version()?.unwrap_or("unknown");
    let is_unary = call.method().kind == rpc::Kind::Unary;
    node.metrics().server.client_requests.count(version, is_unary);
    if call.requires_leader() && node.standing().leader == 0 {
        return Err(Refusal::NoLeader);
    }
    if node.is_stopping() {
        return Err(Refusal::Stopped);
    }
    Ok(())
}

/// The token of a call: `token`, else `authorization`, with or without `Bearer ` before it. Only the first value
/// of a key counts, whatever bytes it has.
pub(crate) fn token(call: &Call) -> Option<&[u8]> {
    let raw = call.header("token").or_else(|| call.header("authorization"))?;
    Some(raw.strip_prefix(b"Bearer ").unwrap_or(raw))
}
