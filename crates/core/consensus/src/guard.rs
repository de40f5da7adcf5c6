//! What a peer may say.
//!
//! Another member may be of another make, damaged, or hostile. Whatever it sends is looked at here before the
//! machine acts on it: past this point numbers can be added, entries follow one another, and a message means one
//! thing. What is refused is refused with words, for the operator; nobody else is told.

use proto::raftpb::{self, Message, MessageType};
use types::{Entry, EntryKind, MemberId};

use crate::io::{NotProposed, SnapshotPoint};
use crate::wire::{change_from_wire, entry_from_wire};

/// The highest term that elections may reach. A million elections a second take 146,000 years to get there, so a
/// higher one comes from damage or malice; it is refused while one can still count on from here.
pub const TERM_MAX: u64 = 1 << 62;

/// The highest index of an entry, for the same reason.
pub const INDEX_MAX: u64 = 1 << 62;

/// A message from another member that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedMessage {
    /// A kind that a member only sends to itself.
    #[error("the message is of a kind that never crosses the network")]
    Local,
    /// A kind that does not exist.
    #[error("there is no message of type {0}")]
    UnknownType(i32),
    /// A proposal or read request that holds no entry.
    #[error("the message asks for something and holds no entry")]
    Empty,
    /// Addressed to somebody else.
    #[error("the message is for member {to:x}")]
    NotForUs {
        /// The member it is for.
        to: MemberId,
    },
    /// Sent by nobody, or in this member's own name.
    #[error("the message does not say which other member sent it")]
    NoSender,
    /// The sender was removed from the cluster.
    #[error("member {from:x} was removed from the cluster")]
    Removed {
        /// The sender.
        from: MemberId,
    },
    /// An answer from somebody who is no member.
    #[error("member {from:x} is not known here")]
    Unknown {
        /// The sender.
        from: MemberId,
    },
    /// Everything but proposals and read requests belongs to a term.
    #[error("the message names no term")]
    NoTerm,
    /// A term or an index beyond all that elections and proposals reach.
    #[error("the message holds a number beyond any that a cluster reaches: {0}")]
    TooHigh(u64),
    /// The entries do not follow one another, or their terms fall, or exceed the message's.
    #[error("entry {index} of the message does not follow the one before it")]
    OutOfOrder {
        /// The entry.
        index: u64,
    },
    /// A configuration change that cannot be read, or is in the joint form.
    #[error("entry {index} of the message holds a configuration change that is not supported")]
    Change {
        /// The entry; 0 for a proposal.
        index: u64,
    },
    /// The snapshot's configuration is a joint one, has no voter, or names a member twice.
    #[error("the snapshot holds a configuration that is not supported")]
    Configuration,
    /// The snapshot does not say where in the log it stands.
    #[error("the message holds no snapshot")]
    NoSnapshot,
    /// It confirms entries that this leader does not have.
    #[error("member {from:x} confirms entry {index}, but the log ends at {last}")]
    BeyondLog {
        /// The sender.
        from: MemberId,
        /// What it confirms.
        index: u64,
        /// The last entry here.
        last: u64,
    },
    /// A context that is no request id.
    #[error("the context of the message has {0} bytes, not 8")]
    Context(usize),
    /// The leader believes that this member has entries which it has not. Either the leader is broken, or this
    /// member's log has lost its end.
    #[error(
        "the leader says that entry {commit} is committed and confirmed by this member, but its log ends at {last}: \
         the leader is broken, or the log has lost its end"
    )]
    LogLost {
        /// The commit index told.
        commit: u64,
        /// The last entry here.
        last: u64,
    },
    /// The leader's log differs from what is committed here. Either the leader is broken, or one of the logs is.
    #[error(
        "the leader's entry {index} has term {term}, but a different one is committed here up to {committed}: \
         the leader is broken, or one of the two logs is"
    )]
    CommittedDiffers {
        /// The entry.
        index: u64,
        /// The leader's term for it.
        term: u64,
        /// The commit index here.
        committed: u64,
    },
    /// A proposal that was passed on to this member and not taken.
    #[error("the proposal was not taken: {0}")]
    NotProposed(#[from] NotProposed),
    /// Too many read requests wait.
    #[error("too many read requests wait for a quorum")]
    TooManyReads,
    /// An answer that is not from the leader.
    #[error("member {from:x} is not the leader")]
    NotTheLeader {
        /// The sender.
        from: MemberId,
    },
}

impl RefusedMessage {
    /// Whether it shows that this member's log, or the sender's, is not what was acknowledged. If such messages
    /// keep coming, the member must not go on.
    pub fn is_fault(&self) -> bool {
        matches!(self, RefusedMessage::LogLost { .. } | RefusedMessage::CommittedDiffers { .. })
    }
}

/// A message that says one thing, with the entries it holds.
pub(crate) struct Checked {
    pub(crate) kind: MessageType,
    pub(crate) message: Message,
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshot: Option<SnapshotPoint>,
}

/// Looks at a message before the machine does.
pub(crate) fn check(mut message: Message, own: MemberId) -> Result<Checked, RefusedMessage> {
    use MessageType as M;
    let number = message.r#type.unwrap_or_default();
    let kind = M::try_from(number).map_err(|_| RefusedMessage::UnknownType(number))?;
    if message.to() != own {
        return Err(RefusedMessage::NotForUs { to: message.to() });
    }
    if message.from() == 0 || message.from() == own {
        return Err(RefusedMessage::NoSender);
    }
    for number in [message.term(), message.log_term()] {
        if TERM_MAX < number {
            return Err(RefusedMessage::TooHigh(number));
        }
    }
    for number in [message.index(), message.commit(), message.reject_hint()] {
        if INDEX_MAX < number {
            return Err(RefusedMessage::TooHigh(number));
        }
    }
    if is_local(kind) {
        return Err(RefusedMessage::Local);
    }
    if message.term() == 0 && !matches!(kind, M::MsgProp | M::MsgReadIndex) {
        return Err(RefusedMessage::NoTerm);
    }
    let mut snapshot = None;
    let mut entries = Vec::new();
    match kind {
        M::MsgProp => {
            if message.entries.is_empty() {
                return Err(RefusedMessage::Empty);
            }
            entries = proposals(std::mem::take(&mut message.entries))?;
        }
        M::MsgReadIndex | M::MsgReadIndexResp => {
            let [entry] = message.entries.as_slice() else { return Err(RefusedMessage::Empty) };
            read_context(entry)?;
        }
        M::MsgApp => entries = appended(&mut message)?,
        M::MsgSnap => snapshot = Some(point(&message)?),
        // The rest is numbers.
        _ => {}
    }
    Ok(Checked { kind, message, entries, snapshot })
}

/// Kinds that a member only sends to itself.
fn is_local(kind: MessageType) -> bool {
    use MessageType as M;
    match kind {
        M::MsgHup
        | M::MsgBeat
        | M::MsgUnreachable
        | M::MsgSnapStatus
        | M::MsgCheckQuorum
        | M::MsgTransferLeader
        | M::MsgStorageAppend
        | M::MsgStorageAppendResp
        | M::MsgStorageApply
        | M::MsgStorageApplyResp
        | M::MsgForgetLeader => true,
        M::MsgProp
        | M::MsgApp
        | M::MsgAppResp
        | M::MsgVote
        | M::MsgVoteResp
        | M::MsgSnap
        | M::MsgHeartbeat
        | M::MsgHeartbeatResp
        | M::MsgTimeoutNow
        | M::MsgReadIndex
        | M::MsgReadIndexResp
        | M::MsgPreVote
        | M::MsgPreVoteResp => false,
    }
}

/// Entries that somebody proposes: what stands in them of terms and indexes means nothing.
fn proposals(entries: Vec<raftpb::Entry>) -> Result<Vec<Entry>, RefusedMessage> {
    let malformed = RefusedMessage::Change { index: 0 };
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let entry = entry_from_wire(entry).ok_or(malformed)?;
        if !is_supported(&entry) {
            return Err(malformed);
        }
        out.push(entry);
    }
    Ok(out)
}

/// Entries of a leader's log: they follow the one the message names, and one another.
fn appended(message: &mut Message) -> Result<Vec<Entry>, RefusedMessage> {
    let (mut index, mut term) = (message.index(), message.log_term());
    let mut out = Vec::with_capacity(message.entries.len());
    for entry in std::mem::take(&mut message.entries) {
        index += 1;
        let refused = RefusedMessage::OutOfOrder { index };
        let follows = entry.index() == index;
        let rises = (term..=message.term()).contains(&entry.term()) && entry.term() != 0;
        if !follows || !rises {
            return Err(refused);
        }
        let entry = entry_from_wire(entry).ok_or(RefusedMessage::Change { index })?;
        if !is_supported(&entry) {
            return Err(RefusedMessage::Change { index });
        }
        term = entry.term;
        out.push(entry);
    }
    if message.term() < term {
        return Err(RefusedMessage::OutOfOrder { index: message.index() });
    }
    Ok(out)
}

fn is_supported(entry: &Entry) -> bool {
    match entry.kind {
        EntryKind::Normal => true,
        EntryKind::ConfChange => change_from_wire(&entry.data).is_some(),
        EntryKind::ConfChangeV2 => false,
    }
}

/// Where the snapshot of a message stands.
fn point(message: &Message) -> Result<SnapshotPoint, RefusedMessage> {
    let metadata = message.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
    let metadata = metadata.ok_or(RefusedMessage::NoSnapshot)?;
    let (index, term) = (metadata.index(), metadata.term());
    if index == 0 || term == 0 {
        return Err(RefusedMessage::NoSnapshot);
    }
    if INDEX_MAX < index {
        return Err(RefusedMessage::TooHigh(index));
    }
    if message.term() < term {
        return Err(RefusedMessage::OutOfOrder { index });
    }
    let state = metadata.conf_state.clone().unwrap_or_default();
    let joint = !state.voters_outgoing.is_empty() || !state.learners_next.is_empty();
    let mut all: Vec<MemberId> = state.voters.iter().chain(&state.learners).copied().collect();
    all.sort_unstable();
    let doubled = all.windows(2).any(|pair| pair[0] == pair[1]);
    if joint || state.auto_leave() || doubled || state.voters.is_empty() || all.first() == Some(&0)
    {
        return Err(RefusedMessage::Configuration);
    }
    let (mut voters, mut learners) = (state.voters, state.learners);
    voters.sort_unstable();
    learners.sort_unstable();
    Ok(SnapshotPoint { index, term, conf_state: types::ConfState { voters, learners } })
}

/// The id of a read request. Go's are 8 bytes, highest first.
pub(crate) fn read_context(entry: &raftpb::Entry) -> Result<u64, RefusedMessage> {
    let bytes = entry.data.as_deref().unwrap_or_default();
    let context = bytes.try_into().map_err(|_| RefusedMessage::Context(bytes.len()))?;
    Ok(u64::from_be_bytes(context))
}

#[cfg(test)]
mod tests;
