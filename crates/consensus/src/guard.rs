//! What must not reach raft-rs from the network.
//!
//! The library stops the process on some messages it should never see
//! (`reference/peer-protocol.md` 9.3). They are refused here, with a reason for the log.

use raft::eraftpb::{Message, MessageType};
use types::MemberId;

/// A message from another member that was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedMessage {
    /// A kind that a member only sends to itself.
    #[error("the message is of a kind that never crosses the network")]
    Local,
    /// A proposal or read request that holds no entry.
    #[error("the message asks for something and holds no entry")]
    Empty,
    /// Addressed to somebody else.
    #[error("the message is for member {to:x}")]
    NotForUs {
        /// The member it is for.
        to: MemberId,
    },
    /// Sent by nobody this member knows, or of no use in its present state.
    #[error("raft refused the message")]
    ByRaft,
}

/// Looks at a message before raft does.
pub(crate) fn check(message: &Message, own: MemberId) -> Result<(), RefusedMessage> {
    use MessageType as M;
    if message.to != own {
        return Err(RefusedMessage::NotForUs { to: message.to });
    }
    match message.get_msg_type() {
        M::MsgHup
        | M::MsgBeat
        | M::MsgUnreachable
        | M::MsgSnapStatus
        | M::MsgCheckQuorum
        | M::MsgTransferLeader => Err(RefusedMessage::Local),
        M::MsgPropose | M::MsgReadIndex if message.entries.is_empty() => Err(RefusedMessage::Empty),
        M::MsgPropose
        | M::MsgReadIndex
        | M::MsgAppend
        | M::MsgAppendResponse
        | M::MsgRequestVote
        | M::MsgRequestVoteResponse
        | M::MsgSnapshot
        | M::MsgHeartbeat
        | M::MsgHeartbeatResponse
        | M::MsgTimeoutNow
        | M::MsgReadIndexResp
        | M::MsgRequestPreVote
        | M::MsgRequestPreVoteResponse => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_kind(kind: MessageType, expected: Result<(), RefusedMessage>) {
        let mut message = Message::default();
        message.set_msg_type(kind);
        message.to = 1;
        assert_eq!(check(&message, 1), expected);
    }

    #[test]
    fn kinds_that_never_cross_the_network_are_refused() {
        check_kind(MessageType::MsgHup, Err(RefusedMessage::Local));
        check_kind(MessageType::MsgTransferLeader, Err(RefusedMessage::Local));
        check_kind(MessageType::MsgPropose, Err(RefusedMessage::Empty));
        check_kind(MessageType::MsgHeartbeat, Ok(()));
    }
}
