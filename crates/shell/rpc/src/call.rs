//! What a handler may know about the call it answers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use net::Remote;
use proto::weight::weigh;
use types::Refusal;

use crate::Method;
use crate::budget::{Budget, Held, Unread};
use crate::reply;

/// The request's headers, gRPC's own included.
pub use http2::Fields as Metadata;

/// The shortest message that is weighed before it is decoded, in bytes: what a shorter one becomes is of the size of
/// its stream.
const WEIGHED_BYTES_MIN: usize = 512;

/// What is decoded into less than this is not counted, in bytes.
const DECODED_BYTES_FREE: usize = 64 * 1024;

/// One call: its method, who makes it, until when, and with which metadata.
///
/// The metadata is looked at only when asked for.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) metadata: Rc<Metadata>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) deadline: Option<Instant>,
    /// What this client may have held; `None` before the call is made.
    pub(crate) budget: Option<Budget>,
    /// Messages that one message of it may hold.
    pub(crate) parts_max: usize,
}

impl Call {
    /// A call made inside the process, as the JSON gateway makes them.
    pub fn local(
        method: Method,
        metadata: Metadata,
        remote: Arc<Remote>,
        deadline: Option<Instant>,
    ) -> Call {
        let metadata = Rc::new(metadata);
        Call { method, metadata, remote, deadline, budget: None, parts_max: usize::MAX }
    }

    /// The same call, counted with whatever else is held for its client.
    #[must_use]
    pub fn within(self, budget: Budget) -> Call {
        Call { budget: Some(budget), ..self }
    }

    /// Whether [`Call::room`] would not wait.
    pub fn has_room(&self) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.answers.is_open())
    }

    /// Where a handler reserves what making a large answer will take, on whichever thread.
    pub fn unread(&self) -> Unread {
        Unread(self.budget.as_ref().map(|budget| budget.answers.clone()))
    }

    /// Waits while this client leaves too many answers unread. Calls that begin together all pass when
    /// they begin; a handler that is about to make an answer of rows asks again.
    pub async fn room(&self) {
        if let Some(budget) = &self.budget {
            budget.answers.pass().await;
        }
    }

    /// Its request, decoded, and what is counted for that until the second is dropped.
    pub(crate) fn decode<M: prost::Message + prost::Name + Default>(
        &self,
        message: Bytes,
    ) -> Result<(M, Option<Held>), Refusal> {
        let mut counted = None;
        if WEIGHED_BYTES_MIN <= message.len() {
            let weight = weigh(&M::full_name(), &message, self.parts_max);
            if self.parts_max < weight.parts {
                // Only a transaction has so many, and none that would be taken.
                return Err(Refusal::TooManyOps);
            }
            let budget = self.budget.as_ref().filter(|_| DECODED_BYTES_FREE < weight.bytes);
            counted = budget.map(|budget| budget.decoded(weight.bytes)).transpose()?;
        }
        Ok((reply::decode(message)?, counted))
    }

    /// The method that was called.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Who calls.
    pub fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// When the client stops waiting. `rpc` itself ends the call then; a handler needs this only to
    /// hand it on.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// All metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The first value of a metadata key, which may be any bytes.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.metadata.get(name).map(|value| &value[..])
    }

    /// The auth token: `token`, else `authorization` with or without `Bearer `. `None` for a token
    /// that is not text, which no token ever is.
    pub fn token(&self) -> Option<&str> {
        let raw = self.metadata.get("token").or_else(|| self.metadata.get("authorization"))?;
        let text = std::str::from_utf8(raw).ok()?;
        Some(text.strip_prefix("Bearer ").unwrap_or(text))
    }

    /// Whether the client wants to be refused when the member knows no leader.
    pub fn requires_leader(&self) -> bool {
        self.header("hasleader") == Some(b"true")
    }

    /// The API version the client says it speaks, for the counter of requests.
    ///
    /// # Errors
    /// [`Refusal::InvalidClientAPIVersion`] when it is not text.
    pub fn client_api_version(&self) -> Result<Option<&str>, Refusal> {
        let Some(raw) = self.header("client-api-version") else { return Ok(None) };
        let text = std::str::from_utf8(raw).map_err(|_| Refusal::InvalidClientAPIVersion)?;
        Ok(Some(text))
    }

    /// Whether the call came through the JSON gateway; a certificate then says nothing about the
    /// user.
    pub fn is_from_gateway(&self) -> bool {
        self.metadata.get("grpcgateway-accept").is_some()
    }
}
