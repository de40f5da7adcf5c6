//! A watch at the server: one stream with one watch on it.

use client::{Client, Headers, Sending, Status, Streaming, framed};
use pb::watch_request::RequestUnion;
use prost::Message;
use proto::{Rpc, etcdserverpb as pb};
use types::{Code, Refusal};

use crate::grpc::upstream::refusal;

/// What is watched, as the server knows it. Watches that are alike in this can share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The key, or the start of the range.
    pub key: bytes::Bytes,
    /// The end of the range.
    pub end: bytes::Bytes,
    /// Whether events bring what was before.
    pub prev_kv: bool,
    /// Whether the stream must end when the server knows no leader.
    pub needs_leader: bool,
}

/// The stream.
#[derive(Debug)]
pub struct Source {
    sending: Sending,
    streaming: Streaming,
}

impl Source {
    /// Opens a stream and asks for the watch from a revision on; 0 for now. What the server says of it comes
    /// first.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn open(client: &Client, subject: &Subject, from: i64) -> Result<Source, Refusal> {
        let mut headers = Headers::new();
        if subject.needs_leader {
            headers.push(("hasleader", http::HeaderValue::from_static("true")));
        }
        let opened = client.pass_stream(Rpc::Watch, &headers).await;
        let (sending, streaming) = opened.map_err(refusal)?;
        let create = pb::WatchCreateRequest {
            key: subject.key.clone(),
            range_end: subject.end.clone(),
            start_revision: from,
            prev_kv: subject.prev_kv,
            progress_notify: true,
            ..Default::default()
        };
        let mut source = Source { sending, streaming };
        source.send(RequestUnion::CreateRequest(create)).await?;
        Ok(source)
    }

    async fn send(&mut self, request: RequestUnion) -> Result<(), Refusal> {
        let request = pb::WatchRequest { request_union: Some(request) };
        let framed = framed(&request.encode_to_vec()).map_err(of_status)?;
        self.sending.send_paced(framed).await.map_err(of_status)
    }

    /// Asks the server to say how far it is.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn ask_for_progress(&mut self) -> Result<(), Refusal> {
        self.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await
    }

    /// What the server says next. May be given up and asked again.
    ///
    /// # Errors
    /// How the stream ended.
    pub async fn next(&mut self) -> Result<pb::WatchResponse, Refusal> {
        let ended = || Refusal::Other(Code::Unavailable, "the server ended the stream".into());
        self.streaming.message().await.map_err(of_status)?.ok_or_else(ended)
    }
}

fn of_status(status: Status) -> Refusal {
    Refusal::Other(status.code, status.message.into())
}

/// Whether a stream that ended like this is worth opening again: the server, or the way to it, is at fault.
pub fn is_passing(refusal: &Refusal, subject: &Subject) -> bool {
    let no_leader = refusal.message() == Refusal::NoLeader.message();
    matches!(refusal.code(), Code::Unavailable | Code::Internal | Code::Canceled)
        && !(no_leader && subject.needs_leader)
}
