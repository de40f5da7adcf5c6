//! What clients may have us hold for them: one owner for all of it.
//!
//! A [`Total`] bounds what is held for all connections together. What it holds stands in three accounts, by its
//! [`Purpose`], each with a bound of its own; the bounds of any two leave something of the total for the third, so
//! that whoever fills one account takes no other's last room. Each connection draws from it by its [`Budget`].
//!
//! An answer counts from before it is made until its last byte was written to the socket: first as what is
//! reserved for its making ([`Unread::reserve`]), then as its frame, whole, until the buffer is let go of.
//! A client that asks for much and reads nothing fills its connection's gate; its further calls then wait
//! before they begin, and so do no harm to anybody else.
//!
//! What would go beyond the bound of all is refused. Two exceptions, so that it harms nobody who asks for little,
//! nor who asks for one thing that is larger than the bound: what is small is counted and never refused, and of
//! what does not fit one answer at a time is made all the same.

mod answers;
mod gate;
mod line;
mod requests;
mod streams;
mod total;

use std::fmt;
use std::sync::Arc;

pub(crate) use gate::{Gate, Held};
pub(crate) use requests::Bodies;
pub(crate) use streams::Streams;
pub(crate) use total::Total;

pub use answers::{Reserved, Unread};
pub use requests::Unfinished;

use types::{Code, Refusal};

use crate::Limits;

/// What something is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Answers that are made or wait for their client, pieces of snapshots and lines of JSON among them.
    Answers,
    /// Requests: what of them has come and was not taken, is not whole, or is being decoded; JSON and frames of
    /// websockets too.
    Requests,
    /// Streams that are open, calls that wait for their turn among them.
    Streams,
}

/// All purposes, in the order of their accounts.
const PURPOSES: usize = 3;

/// What one connection may take. Cheap to clone; all clones are the same connection's.
#[derive(Clone)]
pub struct Budget {
    pub(crate) answers: Arc<Gate>,
    pub(crate) requests: Arc<Gate>,
    pub(crate) total: Arc<Total>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits, total: &Arc<Total>) -> Budget {
        let gate = |bytes_max, purpose| Gate::new(bytes_max, total.clone(), purpose);
        Budget {
            answers: gate(limits.unsent_replies_bytes_max, Purpose::Answers),
            requests: gate(limits.partial_messages_bytes_max, Purpose::Requests),
            total: total.clone(),
        }
    }

    /// Where answers are counted until they were written.
    pub fn unread(&self) -> Unread {
        Unread(Some(self.answers.clone()))
    }

    /// Counts what a request is decoded into until that is dropped.
    pub(crate) fn decoded(&self, bytes: usize) -> Result<Held, Refusal> {
        let mut held = self.requests.hold(0);
        if held.try_set(bytes) {
            return Ok(held);
        }
        self.total.is_short();
        let text = "grpc: the message takes more memory than is left for requests";
        Err(Refusal::Other(Code::ResourceExhausted, text.into()))
    }

    /// Where what a request says is counted until it is whole.
    pub fn unfinished(&self) -> Unfinished {
        Unfinished::of(self.requests.hold(0))
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").finish_non_exhaustive()
    }
}
