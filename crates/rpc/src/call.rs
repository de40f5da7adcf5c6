//! What a handler may know about the call it answers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use net::Remote;
use types::Refusal;

use crate::Method;
use crate::gate::{Gate, Unread};

/// The request's headers, gRPC's own included.
pub use http2::Fields as Metadata;

/// One call: its method, who makes it, until when, and with which metadata.
///
/// The metadata is looked at only when asked for.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) metadata: Rc<Metadata>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) deadline: Option<Instant>,
    /// Answers this client has not read; `None` before the call is made.
    pub(crate) unsent: Option<Arc<Gate>>,
}

impl Call {
    /// A call made inside the process, as the JSON gateway makes them.
    pub fn local(
        method: Method,
        metadata: Metadata,
        remote: Arc<Remote>,
        deadline: Option<Instant>,
    ) -> Call {
        Call { method, metadata: Rc::new(metadata), remote, deadline, unsent: None }
    }

    /// Whether [`Call::room`] would not wait.
    pub fn has_room(&self) -> bool {
        self.unsent.as_ref().is_none_or(|unsent| unsent.is_open())
    }

    /// Where a handler reserves what making a large answer will take, on whichever thread.
    pub fn unread(&self) -> Unread {
        Unread(self.unsent.clone())
    }

    /// Waits while this client leaves too many answers unread. Calls that begin together all pass when
    /// they begin; a handler that is about to make an answer of rows asks again.
    pub async fn room(&self) {
        if let Some(unsent) = &self.unsent {
            unsent.pass().await;
        }
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
