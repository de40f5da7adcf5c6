//! `/health`, `/livez` and `/readyz` (`docs/etcd/http.md` 2.1 and 2.2).

use apply::{CORRUPT, NOSPACE};
use http::{Method, Request, Response, StatusCode};
use net::HttpBody;
use node::Node;

use super::answer::{error, not_found, only_get, text, unavailable};

/// The values of a key in a request's query, and whether a key without value is there.
fn values<'a>(request: &'a Request<HttpBody>, name: &str) -> Vec<&'a str> {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
        .collect()
}

pub(super) async fn health(node: &Node, request: &Request<HttpBody>) -> Response<HttpBody> {
    if request.method() != Method::GET {
        return only_get();
    }
    let excluded = values(request, "exclude");
    let serializable = values(request, "serializable").first() == Some(&"true");
    let reason = unhealthy(node, &excluded, serializable).await;
    let counters = &node.metrics().server;
    match reason {
        None => {
            counters.health_successes.inc();
            text(StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}")
        }
        Some(reason) => {
            counters.health_failures.inc();
            let reason = serde_json::Value::from(reason);
            let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}");
            error(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn unhealthy(node: &Node, excluded: &[&str], serializable: bool) -> Option<String> {
    for alarm in &node.cluster().alarms {
        let name = match alarm.alarm {
            NOSPACE => "NOSPACE",
            CORRUPT => "CORRUPT",
            _ => "UNKNOWN",
        };
        if !excluded.contains(&name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if serializable {
        return None;
    }
    if node.standing().leader == 0 {
        return Some("RAFT NO LEADER".into());
    }
    node.barrier().await.err().map(|refusal| format!("RANGE ERROR:{refusal}"))
}

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, node: &Node) -> Result<(), String> {
        match self {
            Check::DataCorruption if node.cluster().alarmed(CORRUPT) => {
                Err("alarm activated: CORRUPT".into())
            }
            Check::NonLearner if node.own_member().is_some_and(|member| member.is_learner) => {
                Err("not supported for learner".into())
            }
            Check::LinearizableRead => node.barrier().await.map_err(|refusal| refusal.to_string()),
            // A view of the local state can always be taken.
            Check::SerializableRead | Check::DataCorruption | Check::NonLearner => Ok(()),
        }
    }
}

const LIVEZ: &[Check] = &[Check::SerializableRead];
const READYZ: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

/// Answers `/livez…` and `/readyz…`; `None` for any other path.
pub(super) async fn check(
    node: &Node,
    path: &str,
    request: &Request<HttpBody>,
) -> Option<Response<HttpBody>> {
    let (kind, checks, rest) =
        [("livez", LIVEZ), ("readyz", READYZ)].into_iter().find_map(|(kind, checks)| {
            let rest = path.strip_prefix('/')?.strip_prefix(kind)?;
            Some((kind, checks, rest))
        })?;
    let wanted: Vec<Check> = match rest.strip_prefix('/') {
        None if rest.is_empty() => checks.to_vec(),
        None => return None,
        Some(name) => match checks.iter().find(|check| check.name() == name) {
            Some(check) => vec![*check],
            None => return Some(not_found()),
        },
    };
    if request.method() != Method::GET {
        return Some(only_get());
    }
    let excluded = values(request, "exclude");
    let verbose = !values(request, "verbose").is_empty();
    Some(run(node, kind, &wanted, &excluded, verbose).await)
}

async fn run(
    node: &Node,
    kind: &'static str,
    wanted: &[Check],
    excluded: &[&str],
    verbose: bool,
) -> Response<HttpBody> {
    let mut lines = String::new();
    let mut healthy = true;
    for check in wanted.iter().filter(|check| !excluded.contains(&check.name())) {
        let name = check.name();
        let outcome = check.run(node).await;
        let status = if outcome.is_ok() { "success" } else { "error" };
        let server = &node.metrics().server;
        server.healthcheck.with(&[name, kind]).set(i64::from(outcome.is_ok()));
        server.healthchecks.with(&[name, status, kind]).inc();
        match outcome {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                healthy = false;
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
            }
        }
    }
    if !healthy {
        return unavailable(&lines);
    }
    let body = if verbose { format!("{lines}ok\n") } else { "ok\n".to_owned() };
    let mut response = text(StatusCode::OK, &body);
    response
        .headers_mut()
        .insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}
