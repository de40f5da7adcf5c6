//! What the proxy answers over HTTP: whether it and the servers are well, and metrics of both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Error, http_get, methods};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use metrics::{CONTENT_TYPE, ProxyMetrics};
use net::{HttpBody, HttpHandler, LocalFuture, Remote, whole};
use proto::etcdserverpb as pb;
use tokio::time::{Instant, timeout};
use types::Refusal;

use super::upstream::{OWN_DURATION_MAX, Upstream};
use super::watch::can_watch;

/// How long a server may take to say that it is well, and a watch to be made.
const HEALTH_DURATION_MAX: Duration = Duration::from_secs(1);
const WATCH_DURATION_MAX: Duration = Duration::from_secs(3);

/// The key that is read for it, as in etcd.
const HEALTH_KEY: &str = "a";

/// The HTTP side of the listeners.
#[derive(Clone, Debug)]
pub struct Site {
    /// The servers.
    pub upstream: Arc<Upstream>,
    /// The proxy's own figures.
    pub metrics: Arc<ProxyMetrics>,
}

impl HttpHandler for Site {
    fn handle(
        &self,
        request: Request<HttpBody>,
        _remote: Arc<Remote>,
    ) -> LocalFuture<Response<HttpBody>> {
        let site = self.clone();
        Box::pin(async move {
            let path = request.uri().path();
            match path {
                "/health" | "/proxy/health" if request.method() != Method::GET => {
                    let mut answer =
                        plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
                    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
                    answer
                }
                "/health" => health(site.trouble().await),
                "/proxy/health" => health(site.trouble_of_proxy().await),
                "/metrics" => site.metrics_of_server().await,
                "/proxy/metrics" => page(CONTENT_TYPE, site.metrics.page()),
                _ => plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
            }
        })
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<HttpBody> {
    let mut answer = Response::new(whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn page(kind: &'static str, body: String) -> Response<HttpBody> {
    answer(StatusCode::OK, kind, body)
}

/// As Go's own server says it: a text, and no guessing at its type.
fn plain(status: StatusCode, body: String) -> Response<HttpBody> {
    let mut answer = answer(status, "text/plain; charset=utf-8", body);
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

fn health(trouble: Option<String>) -> Response<HttpBody> {
    match trouble {
        None => {
            page("text/plain; charset=utf-8", "{\"health\":\"true\",\"reason\":\"\"}".to_owned())
        }
        Some(reason) => {
            let reason = serde_json::Value::from(reason);
            let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            plain(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

impl Site {
    /// Why no server can be read from. One that asks who we are is well.
    async fn trouble(&self) -> Option<String> {
        let client = self.upstream.clients().quick;
        let client = client.until(Some(Instant::now() + HEALTH_DURATION_MAX));
        let range = pb::RangeRequest { key: HEALTH_KEY.into(), ..Default::default() };
        match client.call(methods::RANGE, &range).await {
            Ok(_) => None,
            Err(error) if asks_who(&error) => None,
            Err(error) => Some(format!("GET ERROR:{error}")),
        }
    }

    async fn trouble_of_proxy(&self) -> Option<String> {
        if let Some(trouble) = self.trouble().await {
            return Some(trouble);
        }
        let watching = can_watch(self.upstream.clients().paced, HEALTH_KEY);
        match timeout(WATCH_DURATION_MAX, watching).await {
            Ok(true) => None,
            Ok(false) | Err(_) => Some("WATCH TIMEOUT".to_owned()),
        }
    }

    async fn metrics_of_server(&self) -> Response<HttpBody> {
        let endpoints = self.upstream.endpoints();
        for endpoint in endpoints.iter() {
            let asking = http_get(endpoint, self.upstream.tls(), "/metrics");
            if let Ok(Ok(body)) = timeout(OWN_DURATION_MAX, asking).await {
                return page("text/plain; version=0.0.4", body);
            }
        }
        plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n".to_owned())
    }
}

fn asks_who(error: &Error) -> bool {
    error.is(&Refusal::PermissionDenied) || error.is(&Refusal::UserEmpty)
}
