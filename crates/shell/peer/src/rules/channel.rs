//! Which way a message takes.

use proto::raftpb::{Message, MessageType};

/// A way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The stream for MsgApp.
    MsgApp,
    /// The stream for everything.
    Message,
    /// One POST for each message.
    Pipeline,
}

/// Which streams the peer has opened to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// The stream for MsgApp.
    pub msgapp: bool,
    /// The stream for everything.
    pub message: bool,
}

/// The best way for this message that is open; `None` for what never leaves a member, and for snapshots, which
/// travel by themselves.
pub fn channel_for(message: &Message, attached: Attached) -> Option<Channel> {
    use MessageType::{
        MsgApp, MsgAppResp, MsgHeartbeat, MsgHeartbeatResp, MsgPreVote, MsgPreVoteResp, MsgProp,
        MsgReadIndex, MsgReadIndexResp, MsgTimeoutNow, MsgVote, MsgVoteResp,
    };
    if message.to() == 0 {
        return None;
    }
    match message.r#type() {
        MsgApp if attached.msgapp => Some(Channel::MsgApp),
        MsgApp | MsgProp | MsgAppResp | MsgVote | MsgVoteResp | MsgHeartbeat | MsgHeartbeatResp
        | MsgTimeoutNow | MsgReadIndex | MsgReadIndexResp | MsgPreVote | MsgPreVoteResp => {
            Some(if attached.message { Channel::Message } else { Channel::Pipeline })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: MessageType, (msgapp, message): (bool, bool), expected: Option<Channel>) {
        let mut sent = Message { to: Some(1), ..Message::default() };
        sent.set_type(kind);
        assert_eq!(channel_for(&sent, Attached { msgapp, message }), expected);
    }

    #[test]
    fn entries_prefer_their_own_stream_and_the_rest_the_other() {
        check(MessageType::MsgApp, (true, true), Some(Channel::MsgApp));
        check(MessageType::MsgApp, (false, true), Some(Channel::Message));
        check(MessageType::MsgApp, (false, false), Some(Channel::Pipeline));
        check(MessageType::MsgVote, (true, true), Some(Channel::Message));
        check(MessageType::MsgVote, (true, false), Some(Channel::Pipeline));
    }

    #[test]
    fn what_is_local_to_a_member_never_leaves_it() {
        for kind in (0..=23).filter_map(|kind| MessageType::try_from(kind).ok()) {
            let local = matches!(kind as i32, 0 | 1 | 10..=13 | 19..);
            let expected = (!local && kind != MessageType::MsgSnap).then_some(Channel::Pipeline);
            check(kind, (false, false), expected);
        }
        assert_eq!(channel_for(&Message::default(), Attached::default()), None);
    }
}
