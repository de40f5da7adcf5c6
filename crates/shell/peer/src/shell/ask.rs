//! What one member asks another beside raft: who the members are, versions, promotions, hashes, leases. Needs no
//! [`super::Transport`]: a member that joins asks before it is anybody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use tokio::runtime::{Builder, LocalOptions};

use super::answers::HashPage;
use super::link::{NoAnswer, PATIENT, ask, connect, nothing, plain, read_answer};
use super::sockets::Connector;
use super::timed::Patience;
use super::traits::{HashKv, LeaseRefusal, MemberJson, PromoteRefusal, Versions};
use super::{LocalBody, whole};
use crate::rules::{BadUrl, PeerUrl, header, parse_id};

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// Nobody answered.
    #[error("{0}")]
    NoAnswer(String),
    /// Somebody refused.
    #[error("unhandled http status {status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// The body.
        text: String,
    },
    /// The answer is not what it should be.
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

/// A cluster as one of its members knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteMembers {
    /// Its id.
    pub cluster: u64,
    /// Its members, by id.
    pub members: Vec<MemberJson>,
}

/// Asks members. Futures are local and need a runtime of tokio; [`Asker::block_on`] is one for threads that have none.
#[derive(Clone)]
pub struct Asker {
    connector: Option<Arc<dyn Connector>>,
    dial_timeout: Duration,
    answer_timeout: Duration,
}

/// An answer, whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().chars().take(1000).collect()
    }

    fn refused(&self) -> AskError {
        AskError::Refused { status: self.status.as_u16(), text: self.text() }
    }

    fn ok(self) -> Result<Answer, AskError> {
        if self.status == StatusCode::OK { Ok(self) } else { Err(self.refused()) }
    }
}

fn unreadable(error: impl ToString) -> AskError {
    AskError::Unreadable(error.to_string())
}

impl Asker {
    /// Gives up after these times.
    pub fn new(
        connector: Option<Arc<dyn Connector>>,
        dial_timeout: Duration,
        answer_timeout: Duration,
    ) -> Asker {
        Asker { connector, dial_timeout, answer_timeout }
    }

    /// Runs a question on this thread until it is answered.
    ///
    /// # Errors
    /// When the system gives no event queue.
    pub fn block_on<T>(question: impl Future<Output = T>) -> std::io::Result<T> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default())?;
        let answer = runtime.block_on(question);
        runtime.shutdown_background();
        Ok(answer)
    }

    /// Who the members are.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn members(&self, url: &str) -> Result<RemoteMembers, AskError> {
        let answer = self.get(url, "/members").await?.ok()?;
        let id = answer.headers.get(header::CLUSTER).and_then(|id| id.to_str().ok());
        let cluster = id.and_then(parse_id).ok_or_else(|| unreadable("it names no cluster"))?;
        let mut members: Vec<MemberJson> =
            serde_json::from_slice(&answer.body).map_err(unreadable)?;
        members.sort_by_key(|member| member.id);
        Ok(RemoteMembers { cluster, members })
    }

    /// Which versions a member and its cluster have.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn versions(&self, url: &str) -> Result<Versions, AskError> {
        let answer = self.get(url, "/version").await?.ok()?;
        serde_json::from_slice(&answer.body).map_err(unreadable)
    }

    /// Whether the cluster is being downgraded. A member before 3.5 knows nothing of that: no.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn downgrade_enabled(&self, url: &str) -> Result<bool, AskError> {
        let answer = self.get(url, "/downgrade/enabled").await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.ok()?.text().parse().map_err(unreadable)
    }

    /// Asks a member of ours to send its state to this one, which has none. It comes as a snapshot.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn want_snapshot(
        &self,
        url: &str,
        cluster: u64,
        member: u64,
        version: &str,
    ) -> Result<(), AskError> {
        let answer = self.ask(url, |url| {
            let request = plain(Method::POST, url, "/holdfast/snapshot");
            let request = request.header(header::CLUSTER, format!("{cluster:x}"));
            let request = request.header(header::FROM, format!("{member:x}"));
            let request = request.header(header::VERSION, version);
            request.header(header::MIN_VERSION, "3.0.0").body(nothing())
        });
        let answer = answer.await?;
        if answer.status == StatusCode::NO_CONTENT { Ok(()) } else { Err(answer.refused()) }
    }

    /// Whether a member has no state and waits for that of another. Members of Go's never do.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn is_repairing(&self, url: &str) -> Result<bool, AskError> {
        let answer = self.get(url, "/holdfast/repairing").await?;
        Ok(answer.status == StatusCode::OK && answer.text() == "true")
    }

    /// Whether a member applies requests of the API v2 as ours do. Members of Go's never say so.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn applies_v2(&self, url: &str) -> Result<bool, AskError> {
        let answer = self.get(url, "/holdfast/v2").await?;
        Ok(answer.status == StatusCode::OK && answer.text() == "true")
    }

    /// Asks the leader to make a learner a voter, in the name of whoever holds this token. A refusal is inside.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn promote(
        &self,
        url: &str,
        member: u64,
        token: Option<&str>,
    ) -> Result<Result<Vec<MemberJson>, PromoteRefusal>, AskError> {
        let path = format!("/members/promote/{member}");
        let answer = self.ask(url, |url| {
            let mut request = plain(Method::POST, url, &path);
            if let Some(token) = token {
                request = request.header(http::header::AUTHORIZATION, token);
            }
            request.body(nothing())
        });
        let answer = answer.await?;
        let refusals =
            [PromoteRefusal::NotFound, PromoteRefusal::NotLearner, PromoteRefusal::NotReady];
        let text = answer.text();
        if let Some(refusal) = refusals.into_iter().find(|known| text == known.to_string()) {
            return Ok(Err(refusal));
        }
        let answer = answer.ok()?;
        serde_json::from_slice(&answer.body).map(Ok).map_err(unreadable)
    }

    /// The hash of a member's keys at a revision.
    ///
    /// # Errors
    /// [`AskError`]; a refused revision's text is its body.
    pub async fn hash_kv(
        &self,
        url: &str,
        cluster: u64,
        revision: i64,
    ) -> Result<HashKv, AskError> {
        let body = format!("{{\"revision\":{revision}}}");
        let answer = self.ask(url, |url| {
            let request = plain(Method::GET, url, "/members/hashkv");
            let request = request.header(header::CLUSTER, format!("{cluster:x}"));
            request.header(http::header::CONTENT_TYPE, "application/json").body(whole(body.clone()))
        });
        let answer = answer.await?.ok()?;
        let page: HashPage = serde_json::from_slice(&answer.body).map_err(unreadable)?;
        Ok(page.into())
    }

    /// Asks the leader to keep a lease alive; the answer is its new time to live. A refusal is inside.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn keep_alive(
        &self,
        url: &str,
        lease: i64,
    ) -> Result<Result<i64, LeaseRefusal>, AskError> {
        let body = LeaseKeepAliveRequest { id: lease }.encode_to_vec();
        let answer = self.post(url, "/leases", body).await?;
        if let Some(refusal) = lease_refusal(&answer) {
            return Ok(Err(refusal));
        }
        let answer = answer.ok()?;
        let read = LeaseKeepAliveResponse::decode(answer.body).map_err(unreadable)?;
        Ok(Ok(read.ttl))
    }

    /// Asks the leader how long a lease lives. A refusal is inside.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn time_to_live(
        &self,
        url: &str,
        request: LeaseTimeToLiveRequest,
    ) -> Result<Result<LeaseTimeToLiveResponse, LeaseRefusal>, AskError> {
        let request = LeaseInternalRequest { lease_time_to_live_request: Some(request) };
        let answer = self.post(url, "/leases/internal", request.encode_to_vec()).await?;
        if let Some(refusal) = lease_refusal(&answer) {
            return Ok(Err(refusal));
        }
        let answer = answer.ok()?;
        let read = LeaseInternalResponse::decode(answer.body).map_err(unreadable)?;
        read.lease_time_to_live_response.map(Ok).ok_or_else(|| unreadable("it is empty"))
    }

    async fn get(&self, url: &str, path: &str) -> Result<Answer, AskError> {
        self.ask(url, |url| plain(Method::GET, url, path).body(nothing())).await
    }

    async fn post(&self, url: &str, path: &str, body: Vec<u8>) -> Result<Answer, AskError> {
        let ask = self.ask(url, |url| {
            let request = plain(Method::POST, url, path);
            request.header(http::header::CONTENT_TYPE, "application/protobuf").body(whole(body))
        });
        ask.await
    }

    async fn ask(
        &self,
        url: &str,
        make: impl FnOnce(&PeerUrl) -> http::Result<Request<LocalBody>>,
    ) -> Result<Answer, AskError> {
        let url = PeerUrl::parse(url)?;
        let request = make(&url).map_err(unreadable)?;
        let asking = self.ask_at(&url, request);
        match tokio::time::timeout(self.dial_timeout + self.answer_timeout, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(AskError::NoAnswer(error.reason)),
            Err(_) => Err(AskError::NoAnswer(format!("{url}: i/o timeout"))),
        }
    }

    async fn ask_at(&self, url: &PeerUrl, request: Request<LocalBody>) -> Result<Answer, NoAnswer> {
        let patience = Patience { read: self.answer_timeout, ..PATIENT };
        let connector = self.connector.as_ref();
        let mut connection = connect(url, connector, self.dial_timeout, patience).await?;
        let answer = ask(&mut connection, request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Answer { status, headers, body: read_answer(answer).await? })
    }
}

fn lease_refusal(answer: &Answer) -> Option<LeaseRefusal> {
    let text = answer.text();
    [LeaseRefusal::NotFound, LeaseRefusal::NotPrimary, LeaseRefusal::TimedOut]
        .into_iter()
        .find(|refusal| answer.status != StatusCode::OK && text == refusal.to_string())
}
