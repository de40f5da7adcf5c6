//! The API v2 of etcd 3.4, for whoever starts the member with `--enable-v2`: `/v2/keys`, `/v2/members`, `/v2/machines`
//! and `/v2/stats` (`docs/etcd/http.md` 5, `docs/api-v2.md`). Without the flag none of these paths is there.
//!
//! `keys` reads what a client wants from its form (`form`) and asks the member; `members` and `stats` tell of the
//! cluster and of this member. Whether the other members can follow is known to `fellows`.
//!
//! Not here: what a request does to the tree (see the crate `v2`), `/v2/auth`, which ours does not have.

mod answers;
mod fellows;
mod form;
mod keys;
mod members;
mod stats;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use net::HttpBody;
use node::{Node, unix_nanos};
use tokio::sync::Semaphore;

use super::answer::{error, not_found, text};
use crate::desk::Desk;
use fellows::Fellows;

/// The namespace of clients' keys in the tree.
const KEYS: &str = "/1";

/// Answers of this API that clients have not read yet may take so much together, in KiB. Above it a request is refused.
const ANSWERS_KIB_MAX: usize = 512 << 10;

/// Forms that are read at a time. One more is refused.
const FORMS_MAX: usize = 64;

/// What this API knows of its member.
pub(crate) struct V2 {
    desk: Desk,
    fellows: Fellows,
    /// When this member began, in nanoseconds since 1970.
    started: v2::UnixNanos,
    answers: Arc<Semaphore>,
    forms: Arc<Semaphore>,
}

impl V2 {
    pub(crate) fn new(desk: Desk) -> V2 {
        V2 {
            desk,
            fellows: Fellows::default(),
            started: unix_nanos(),
            answers: Arc::new(Semaphore::new(ANSWERS_KIB_MAX)),
            forms: Arc::new(Semaphore::new(FORMS_MAX)),
        }
    }

    /// Whether a path belongs to this API.
    pub(crate) fn serves(path: &str) -> bool {
        path.starts_with("/v2/")
    }

    /// Answers a request for one of its paths.
    pub(crate) async fn handle(
        self: &Arc<V2>,
        path: &str,
        request: Request<HttpBody>,
    ) -> Response<HttpBody> {
        if let Some(key) = below(path, "/v2/keys") {
            return keys::handle(self, key, request).await;
        }
        if let Some(id) = below(path, "/v2/members") {
            return members::handle(self, id, request).await;
        }
        match path {
            "/v2/machines" => self.machines(request.method()),
            "/v2/stats/self" => stats::own(self, request.method()),
            "/v2/stats/leader" => stats::leader(self, request.method()),
            "/v2/stats/store" => stats::store(self, request.method()).await,
            _ => not_found(),
        }
    }

    fn node(&self) -> &Node {
        self.desk.node()
    }

    fn machines(&self, method: &Method) -> Response<HttpBody> {
        if let Some(refused) = only(method, "GET,HEAD") {
            return refused;
        }
        let cluster = self.node().cluster();
        let mut urls: Vec<String> =
            cluster.members.members().flat_map(|member| member.client_urls.clone()).collect();
        urls.sort_unstable();
        text(StatusCode::OK, &urls.join(", "))
    }

    fn with_cluster(&self, mut response: Response<HttpBody>) -> Response<HttpBody> {
        let id = format!("{:x}", self.node().cluster_id());
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("X-Etcd-Cluster-Id", id);
        }
        response
    }
}

/// What of a path lies below another; empty for that path itself.
fn below<'a>(path: &'a str, top: &str) -> Option<&'a str> {
    path.strip_prefix(top).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A refusal for a method that is not among `allowed`, which is a list as the header `Allow` has it.
fn only(method: &Method, allowed: &'static str) -> Option<Response<HttpBody>> {
    if allowed.split(',').any(|allowed| allowed == method.as_str()) {
        return None;
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    Some(response)
}
