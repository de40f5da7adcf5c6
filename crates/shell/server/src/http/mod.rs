//! What is served over HTTP/1.1: health, version, metrics, and the JSON gateway behind them.
//!
//! Paths, bodies and status codes are etcd's (`docs/etcd/http.md`, corrected by
//! `docs/etcd/observed.md` F).

mod address;
mod answer;
mod health;
mod info;
mod v2;

pub(crate) use info::version_texts;
pub(crate) use v2::V2;

use std::sync::Arc;

use gateway::Gateway;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use metrics::Metrics;
use net::{Connections, HttpBody, HttpHandler, LocalFuture, Remote};
use node::Node;

use answer::{bad_request, empty, error, moved, not_found};

/// Which paths a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// Everything clients ask for.
    Clients,
    /// Metrics and health only (`--listen-metrics-urls`).
    Metrics,
}

impl Serves {
    /// What its threads are called by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Serves::Clients => "rpc",
            Serves::Metrics => "metrics",
        }
    }
}

/// The HTTP side of one listener.
pub(crate) struct Site(pub(crate) Arc<Settings>);

/// What a listener's HTTP side knows.
pub(crate) struct Settings {
    pub(crate) node: Node,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Connections,
    pub(crate) serves: Serves,
    /// Origins that browsers may call from; empty for all.
    pub(crate) origins: Vec<String>,
    /// Host names this server may be called by; empty for all.
    pub(crate) hosts: Vec<String>,
    /// Whether a verified certificate's common name is its user (`--client-cert-auth`).
    pub(crate) certificates_count: bool,
    /// Answers `/v3/…`; `None` with `--enable-grpc-gateway=false`.
    pub(crate) gateway: Option<Gateway>,
    /// Answers `/v2/…`; `None` without `--enable-v2`.
    pub(crate) v2: Option<Arc<V2>>,
}

/// What is said to a certificate with a name that asks over JSON while users are asked for.
const NAME_IN_VAIN: &str = "CommonName of client sending a request against gateway will be ignored and not used \
                            as expected";

impl HttpHandler for Site {
    fn handle(
        &self,
        request: Request<HttpBody>,
        remote: Arc<Remote>,
    ) -> LocalFuture<Response<HttpBody>> {
        let site = self.0.clone();
        Box::pin(async move {
            let origin = request.headers().get(header::ORIGIN).cloned();
            let host = match address::host(&request) {
                Ok(host) => host,
                Err(wrong) => return bad_request(wrong),
            };
            let mut response = match site.refused_host(host, &remote) {
                Some(refused) => refused,
                None if request.method() == Method::OPTIONS && site.serves == Serves::Clients => {
                    empty(StatusCode::OK)
                }
                None => site.route(request, remote).await,
            };
            if site.serves == Serves::Clients {
                site.allow_origin(origin.as_ref(), &mut response);
            }
            response
        })
    }
}

impl Settings {
    async fn route(&self, request: Request<HttpBody>, remote: Arc<Remote>) -> Response<HttpBody> {
        let path = address::decoded_path(request.uri()).into_owned();
        if self.serves == Serves::Clients
            && let Some(clean) = cleaned(&path)
        {
            let query = request.uri().query().map(|query| format!("?{query}"));
            let to = address::encoded_path(&clean) + &query.unwrap_or_default();
            return moved(&to, request.method());
        }
        match path.as_str() {
            "/metrics" => info::metrics(self),
            "/health" => health::health(&self.node, &request).await,
            "/version" if self.serves == Serves::Clients => info::version(&self.node, &request),
            "/debug/vars" if self.serves == Serves::Clients => info::vars(&self.node, &request),
            _ => match health::check(&self.node, &path, &request).await {
                Some(response) => response,
                None => match &self.v2 {
                    Some(v2) if V2::serves(&path) => v2.handle(&path, request).await,
                    _ => self.gateway(&path, request, remote).await,
                },
            },
        }
    }

    async fn gateway(
        &self,
        path: &str,
        mut request: Request<HttpBody>,
        remote: Arc<Remote>,
    ) -> Response<HttpBody> {
        if path != request.uri().path()
            && let Ok(uri) = address::encoded_path(path).parse()
        {
            *request.uri_mut() = uri;
        }
        match &self.gateway {
            Some(gateway) if self.serves == Serves::Clients && Gateway::serves(path) => {
                if self.shows_a_name_in_vain(path, &remote) {
                    return error(StatusCode::BAD_REQUEST, NAME_IN_VAIN);
                }
                gateway.handle(request, remote).await
            }
            _ => not_found(),
        }
    }

    /// A certificate makes nobody a user over JSON. Whoever might think so is told, as by etcd.
    fn shows_a_name_in_vain(&self, path: &str, remote: &Remote) -> bool {
        let name = remote.identity().and_then(|shown| shown.common_name.as_deref());
        self.certificates_count
            && Gateway::serves(path)
            && name.is_some_and(|name| !name.is_empty())
            && self.node.users(auth::Users::is_enabled)
    }

    /// A browser that was tricked into calling us by another name is turned away (CVE-2018-5702).
    /// Encrypted, our certificate has said by which names we may be called.
    fn refused_host(&self, host: &str, remote: &Remote) -> Option<Response<HttpBody>> {
        if self.hosts.is_empty() || self.serves != Serves::Clients || remote.is_encrypted() {
            return None;
        }
        let name = address::without_port(host);
        if self.hosts.iter().any(|allowed| allowed == name) {
            return None;
        }
        let body = format!(
            "\netcd received your request, but the Host header was unrecognized.\n\n\
             To fix this, choose one of the following options:\n\
             - Enable TLS, then any HTTPS request will be allowed.\n\
             - Add the hostname you want to use to the whitelist in settings.\n  \
             - e.g. etcd --host-whitelist \"{name}\"\n\n\
             This requirement has been added to help prevent \"DNS Rebinding\" attacks \
             (CVE-2018-5702)."
        );
        Some(error(StatusCode::MISDIRECTED_REQUEST, &body))
    }

    fn allow_origin(&self, origin: Option<&HeaderValue>, response: &mut Response<HttpBody>) {
        let allowed = if self.origins.is_empty() {
            HeaderValue::from_static("*")
        } else {
            let listed = |origin: &&HeaderValue| {
                self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
            };
            let Some(origin) = origin.filter(listed) else { return };
            origin.clone()
        };
        let headers = response.headers_mut();
        headers.insert("Access-Control-Allow-Origin", allowed);
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        headers.insert("Access-Control-Allow-Methods", methods);
        let names = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert("Access-Control-Allow-Headers", names);
    }
}

/// The path Go's server sends a client to that asked for an unclean one; `None` for a clean one.
/// `/v3` alone is sent to `/v3/`, which is where the gateway begins (`docs/etcd/observed.md` F).
fn cleaned(path: &str) -> Option<String> {
    if path == "/v3" {
        return Some("/v3/".into());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclean_path_is_sent_where_it_means() {
        let cases = [
            ("/version", None),
            ("/v3/kv/put/", None),
            ("/", None),
            ("/v3", Some("/v3/")),
            ("//version", Some("/version")),
            ("/v3//kv/put", Some("/v3/kv/put")),
            ("/v3/../health", Some("/health")),
        ];
        for (path, expected) in cases {
            assert_eq!(cleaned(path).as_deref(), expected, "{path}");
        }
    }
}
