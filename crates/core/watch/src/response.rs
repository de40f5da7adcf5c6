//! What goes out on a stream.

use std::borrow::Cow;
use std::sync::Arc;

use crate::WatchId;
use crate::event::EventList;

/// One `WatchResponse`, but for the header's ids and term, which the shell adds.
#[derive(Clone, Debug)]
pub struct Response {
    /// Which watch; −1 for a refusal and for the answer to a progress request.
    pub watch: WatchId,
    /// The header's revision. For live events the revision they happened at, for replayed ones the
    /// current one, for a cancel by compaction 0, for all else the current one.
    pub revision: i64,
    /// What it says.
    pub body: Body,
}

/// What a response says. On the wire these are flags, of which only these combinations occur.
#[derive(Clone, Debug)]
pub enum Body {
    /// `created`: the watch stands; its events come after this.
    Created,
    /// `created` and `canceled` with `cancel_reason`: the watch was never made.
    Refused {
        /// The text clients compare.
        reason: Cow<'static, str>,
    },
    /// `canceled`: as the client asked.
    Canceled,
    /// `canceled` with `compact_revision`: history it needs is gone.
    Compacted {
        /// The oldest revision it could start from again.
        compact_revision: i64,
    },
    /// `events`.
    Events {
        /// The events; [`EventList::encoded`] is the field as it goes on the wire.
        events: Arc<EventList>,
        /// `fragment`: more events of the same response follow in the next one.
        fragment: bool,
    },
    /// Nothing but the header: all events up to its revision have been sent.
    Progress,
}

impl Response {
    /// Bytes that the fields other than events take, at most.
    pub(crate) const OVERHEAD_BYTES: usize = 64;

    /// What this response counts for in the stream's budget: report it back in
    /// [`crate::Input::Sent`] once the transport has taken it.
    pub fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Events { events, .. } => events.encoded_len(),
            Body::Refused { reason } => reason.len(),
            Body::Created | Body::Canceled | Body::Compacted { .. } | Body::Progress => 0,
        };
        Response::OVERHEAD_BYTES + body
    }
}
