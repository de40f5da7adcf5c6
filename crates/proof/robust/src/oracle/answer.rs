//! An answer as fields: the transport's, the status, then every field of every message.

use std::io;

use serde_json::Value;

use crate::grpc::{Answer, Call, frame};
use crate::http;
use crate::schema::{self, Field, MADE_BY_SERVER, squeeze};

pub(super) fn describe_call(call: &Call) -> String {
    let message = call.body.get(5..).unwrap_or_default();
    let described = match schema::method(&call.path) {
        Some((input, _)) => schema::describe(&input, message),
        None => schema::shorten(&schema::escape(&call.body), 200),
    };
    // A body that is not just one frame is shown as it is.
    let odd = call.body.len() < 5 || call.body != frame(message);
    let body = format!("body of {} bytes {}", call.body.len(), schema::escape(&call.body));
    let described = if odd { schema::shorten(&body, 400) } else { described };
    let usual = call.method == "POST" && call.headers.is_empty();
    let extra = if usual { String::new() } else { format!("{} {:?} ", call.method, call.headers) };
    format!("{extra}{} {described}", call.path)
}

pub(super) fn call_fields(call: &Call, answer: &Answer) -> Vec<Field> {
    let mut out = vec![
        ("http.status".to_string(), answer.http_status.to_string()),
        ("http.content-type".to_string(), answer.content_type.clone()),
        ("messages".to_string(), answer.messages.len().to_string()),
    ];
    if let Some(status) = answer.status {
        out.push(("grpc.status".to_string(), status.to_string()));
        let text = answer.message.as_deref().unwrap_or_default();
        out.push(("grpc.message".to_string(), schema::shorten(&squeeze(text), 300)));
    }
    if let Some(broken) = &answer.broken {
        out.push(("broken".to_string(), broken.clone()));
    }
    for (index, message) in answer.messages.iter().enumerate() {
        match schema::method(&call.path) {
            Some((_, output)) => {
                let fields = schema::fields(&output, message);
                let named =
                    fields.into_iter().map(|(path, value)| (format!("{index}.{path}"), value));
                out.extend(named);
            }
            None => out.push((format!("{index}"), schema::escape(message))),
        }
    }
    out
}

/// Headers that a client may care for.
const HEADERS: [&str; 8] = [
    "content-type",
    "allow",
    "location",
    "www-authenticate",
    "x-content-type-options",
    "grpc-metadata-content-type",
    "access-control-allow-origin",
    "access-control-allow-methods",
];

/// Values that depend on time, layout or release.
const MASKED: [&str; 11] = [
    "storage",
    "storageVersion",
    "raft_term",
    "version",
    "dbSize",
    "dbSizeInUse",
    "raftIndex",
    "raftTerm",
    "raftAppliedIndex",
    "etcdserver",
    "hash",
];

pub(super) fn http_fields(request: &str, answer: io::Result<http::Answer>) -> Vec<Field> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![("broken".to_string(), format!("{:?}", error.kind()))],
    };
    let mut out = vec![("http.status".to_string(), answer.status.to_string())];
    for name in HEADERS {
        if let Some(value) = answer.header(name) {
            out.push((format!("http.{name}"), value.to_string()));
        }
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(value) if value.is_object() => flatten("json", &value, &mut out),
        _ => {
            let text = answer.text();
            let mut lines: Vec<&str> = text.split('\n').collect();
            // The checks of these two run and print in random order.
            if request.contains("/livez") || request.contains("/readyz") {
                lines.sort_unstable();
            }
            out.push(("body".to_string(), format!("{:?}", squeeze(&lines.join("\n")))));
        }
    }
    out
}

fn flatten(path: &str, value: &Value, out: &mut Vec<Field>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let masked = MASKED.contains(&name.as_str());
                // A key's own version is what it should be; a release's is not.
                let release = name != "version" || !path.contains("kv");
                if masked && release && !value.is_object() {
                    out.push((format!("{path}.{name}"), "masked".to_string()));
                } else {
                    flatten(&format!("{path}.{name}"), value, out);
                }
            }
        }
        Value::Array(items) if path.ends_with(".leases") => {
            // In the order of their ends, and with ids that a server may have made from its clock.
            let id =
                |item: &Value| item["ID"].as_str().map_or(0, |id| id.parse::<i64>().unwrap_or(0));
            let mut ids: Vec<i64> = items.iter().map(|item| id(item).min(MADE_BY_SERVER)).collect();
            ids.sort_unstable();
            out.push((path.to_string(), format!("{ids:?}")));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, out);
            }
        }
        Value::String(text) => out.push((path.to_string(), squeeze(text))),
        other => out.push((path.to_string(), other.to_string())),
    }
}
