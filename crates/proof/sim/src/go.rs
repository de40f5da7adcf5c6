//! A member with a Go member's habits, as far as others can notice them.
//!
//! Its raft is the same machine: `robust` shows in lockstep that ours and etcd's library do the same. What differs is what
//! etcd puts around it (`docs/etcd/peer-protocol.md` 1.1, 4.2, 9.3, 9.4): every field is spelled out, zeros too; a frame of the append stream
//! has only what it has room for; of several answers to appends only the last is sent; as a follower it sends
//! nothing while its log is being written (see `running`); it does not notice that a leader's host closed its
//! connections; up to 3.4 a refusal names no term, and its members tell who they are in the form of the v2 store.

use consensus::Message;
use proto::raftpb::{ConfState, MessageType, Snapshot, SnapshotMetadata};

/// What a Go member makes of the messages of one turn.
pub(crate) fn sent(messages: Vec<Message>) -> Vec<Message> {
    let is_answer = |message: &Message| message.r#type() == MessageType::MsgAppResp;
    let last = messages.iter().rposition(is_answer);
    let kept = messages.into_iter().enumerate();
    kept.filter(|(at, message)| !is_answer(message) || Some(*at) == last)
        .map(|(_, message)| spelled(message))
        .collect()
}

/// All fields stand there, whether they say anything or not.
fn spelled(message: Message) -> Message {
    let kind = message.r#type();
    let old = kind == MessageType::MsgAppResp && message.reject();
    Message {
        to: Some(message.to()),
        from: Some(message.from()),
        term: Some(message.term()),
        log_term: Some(if old { 0 } else { message.log_term() }),
        index: Some(message.index()),
        commit: Some(message.commit()),
        reject: Some(message.reject()),
        reject_hint: Some(message.reject_hint()),
        context: Some(message.context.clone().unwrap_or_default()),
        snapshot: Some(message.snapshot.clone().unwrap_or_else(nothing)),
        ..message
    }
}

fn nothing() -> Snapshot {
    let conf_state = ConfState { auto_leave: Some(false), ..Default::default() };
    let metadata = SnapshotMetadata { conf_state: Some(conf_state), index: Some(0), term: Some(0) };
    Snapshot { data: None, metadata: Some(metadata) }
}

/// What a message is after a frame of the append stream: an append whose entries follow what was sent before has
/// room for its entries and the commit index alone; all else is what the stream knows.
pub(crate) fn framed(message: Message) -> Message {
    if message.r#type() != MessageType::MsgApp || message.log_term() != message.term() {
        return message;
    }
    Message {
        r#type: message.r#type,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        entries: message.entries,
        ..Default::default()
    }
}

/// How a member of 3.4 tells who it is.
pub(crate) fn attributes(member: u64, name: &str) -> (String, String) {
    let path = format!("/0/members/{member:x}/attributes");
    let value = format!("{{\"name\":\"{name}\",\"clientURLs\":[\"http://{name}:2379\"]}}");
    (path, value)
}
