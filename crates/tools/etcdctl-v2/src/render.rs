//! How answers look: simple, extended, json. And what Go says of JSON that is none.

use std::fmt::Write as _;

use crate::api::{Node, Reply};
use crate::exit::{complain, say};

/// A text as Go's JSON writes it: what could end a script in a web page is escaped.
pub fn go_json(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write!(out, "\\u{:04x}", u32::from(char)).expect("a string takes everything");
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// Prints what became of a key. A format that is none is said, and is no error.
pub fn reply(reply: &Reply, format: &str) {
    let node = &reply.node;
    let before = reply.prev_node.as_ref();
    let is_deleted = reply.action == "delete";
    match format {
        "simple" if is_deleted => {
            say(format!("PrevNode.Value: {}", before.map_or("", |node| &node.value)));
        }
        "simple" => say(&node.value),
        "extended" => {
            let mut lines = vec![
                format!("Key: {}", node.key),
                format!("Created-Index: {}", node.created_index),
                format!("Modified-Index: {}", node.modified_index),
            ];
            lines.extend(before.map(|node| format!("PrevNode.Value: {}", node.value)));
            lines.extend([format!("TTL: {}", node.ttl), format!("Index: {}", reply.index)]);
            if !is_deleted {
                lines.extend([String::new(), node.value.clone()]);
            }
            say(lines.join("\n"));
        }
        "json" => say(reply_json(reply)),
        other => complain(&format!("Unsupported output format: {other}\n")),
    }
}

fn reply_json(reply: &Reply) -> String {
    let before = reply.prev_node.as_ref().map_or("null".to_owned(), node_json);
    let (action, node) = (go_json(&reply.action), node_json(&reply.node));
    format!("{{\"action\":{action},\"node\":{node},\"prevNode\":{before}}}")
}

/// In the order of Go's structure.
fn node_json(node: &Node) -> String {
    let nodes = node.nodes.as_ref().map_or("null".to_owned(), |nodes| {
        format!("[{}]", nodes.iter().map(node_json).collect::<Vec<_>>().join(","))
    });
    let dir = if node.dir { ",\"dir\":true" } else { "" };
    let expiration = node.expiration.as_ref().map(|at| format!(",\"expiration\":{}", go_json(at)));
    let ttl = (node.ttl != 0).then(|| format!(",\"ttl\":{}", node.ttl));
    format!(
        "{{\"key\":{}{dir},\"value\":{},\"nodes\":{nodes},\"createdIndex\":{},\"modifiedIndex\":{}{}{}}}",
        go_json(&node.key),
        go_json(&node.value),
        node.created_index,
        node.modified_index,
        expiration.unwrap_or_default(),
        ttl.unwrap_or_default(),
    )
}

/// Why bytes are no JSON, in Go's words where they are those of some web server.
pub fn json_fault(body: &[u8], error: &serde_json::Error) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start();
    let Some(first) = text.chars().next() else { return "unexpected end of JSON input".to_owned() };
    let numbered = text.trim_start_matches(|char: char| char.is_ascii_digit());
    if numbered.len() < text.len() {
        let next = numbered.trim_start().chars().next();
        return next.map_or(error.to_string(), |next| {
            format!("invalid character {} after top-level value", quoted(next))
        });
    }
    match first {
        '{' | '[' | '"' => error.to_string(),
        first => format!("invalid character {} looking for beginning of value", quoted(first)),
    }
}

fn quoted(char: char) -> String {
    if char == '\'' { "'\\''".to_owned() } else { format!("'{char}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        assert_eq!(go_json("<é>&\"\n\u{8}"), "\"\\u003cé\\u003e\\u0026\\\"\\n\\u0008\"");
    }

    #[test]
    fn what_is_no_json_is_named_in_gos_words() {
        let fault = |body: &str| {
            let error = serde_json::from_str::<serde_json::Value>(body).expect_err("it is none");
            json_fault(body.as_bytes(), &error)
        };
        assert_eq!(fault("404 page not found\n"), "invalid character 'p' after top-level value");
        assert_eq!(fault("<html>"), "invalid character '<' looking for beginning of value");
        assert_eq!(fault(""), "unexpected end of JSON input");
    }
}
