//! Lines of JSON on stderr, as etcd's logger writes them.

use client::Remark;
use jiff::Timestamp;

/// A field of a line.
pub type Field<'a> = (&'a str, Text<'a>);

/// What a field holds.
pub enum Text<'a> {
    /// A string.
    Quoted(&'a str),
    /// A number.
    Bare(String),
}

/// Writes one line. `logger` may be empty.
pub fn line(level: &str, logger: &str, caller: &str, message: &str, fields: &[Field<'_>]) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let mut out = format!("{{\"level\":\"{level}\",\"ts\":\"{now}\"");
    if !logger.is_empty() {
        add(&mut out, "logger", logger);
    }
    add(&mut out, "caller", caller);
    add(&mut out, "msg", message);
    for (name, value) in fields {
        match value {
            Text::Quoted(text) => add(&mut out, name, text),
            Text::Bare(text) => out.push_str(&format!(",\"{name}\":{text}")),
        }
    }
    out.push_str("}\n");
    crate::output::complain(&out);
}

fn add(out: &mut String, name: &str, text: &str) {
    out.push_str(&format!(",\"{name}\":\""));
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if (char as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", char as u32)),
            char => out.push(char),
        }
    }
    out.push('"');
}

/// What the client remarks, under the name of a logger.
pub fn remark(logger: &str, remark: &Remark<'_>) {
    let Remark::AttemptFailed { target, peer, method, attempt, error } = remark;
    let nobody = "Peer{Addr: <nil>, LocalAddr: <nil>, AuthInfo: <nil>}".to_owned();
    let peer = peer.map_or(nobody, |peer| peer.to_string());
    let target = format!("etcd-endpoints://0x{:x}/{target}", std::process::id());
    let fields = [
        ("target", Text::Quoted(&target)),
        ("peer", Text::Quoted(&peer)),
        ("method", Text::Quoted(method)),
        ("attempt", Text::Bare(attempt.to_string())),
        ("error", Text::Quoted(error)),
    ];
    line("warn", logger, "client/client.rs", "retrying of unary invoker failed", &fields);
}
