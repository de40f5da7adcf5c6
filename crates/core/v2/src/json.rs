//! Answers as etcd 3.4 writes them: the order of its fields, what it leaves out, and Go's way with strings and times.

use std::fmt::Write as _;

use crate::{Error, Event, NodeView, Stats, UnixNanos};

/// An event for clients, who do not see the namespace `prefix` in front of each key. `bare` leaves out the nodes
/// (`noValueOnSuccess`).
pub fn event(event: &Event, prefix: &str, bare: bool, out: &mut String) {
    out.push_str("{\"action\":");
    string(event.action.name(), out);
    if !bare {
        out.push_str(",\"node\":");
        node(&event.node, prefix, out);
        if let Some(previous) = &event.previous {
            out.push_str(",\"prevNode\":");
            node(previous, prefix, out);
        }
    }
    out.push_str("}\n");
}

/// A refusal for clients.
pub fn error(error: &Error, prefix: &str, out: &mut String) {
    let _ = write!(out, "{{\"errorCode\":{},\"message\":", error.code.number());
    string(error.code.message(), out);
    let cause = error.cause.strip_prefix(prefix).unwrap_or(&error.cause);
    if !cause.is_empty() {
        out.push_str(",\"cause\":");
        string(cause, out);
    }
    let _ = writeln!(out, ",\"index\":{}}}", error.index);
}

/// `/v2/stats/store`.
pub fn stats(stats: &Stats, watchers: usize, out: &mut String) {
    out.push('{');
    for (name, count) in stats.named() {
        let _ = write!(out, "\"{name}\":{count},");
    }
    let _ = write!(out, "\"watchers\":{watchers}}}");
}

fn node(node: &NodeView, prefix: &str, out: &mut String) {
    let begin = out.len();
    let field = |name: &str, out: &mut String| {
        out.push(if out.len() == begin { '{' } else { ',' });
        let _ = write!(out, "\"{name}\":");
    };
    let key = node.key.strip_prefix(prefix).unwrap_or(&node.key);
    if !key.is_empty() {
        field("key", out);
        string(key, out);
    }
    if let Some(value) = &node.value {
        field("value", out);
        string(value, out);
    }
    if node.dir {
        field("dir", out);
        out.push_str("true");
    }
    if let Some((end, left)) = node.ends {
        field("expiration", out);
        let _ = write!(out, "\"{}\"", time(end));
        if left != 0 {
            field("ttl", out);
            let _ = write!(out, "{left}");
        }
    }
    if !node.nodes.is_empty() {
        field("nodes", out);
        for (place, child) in node.nodes.iter().enumerate() {
            out.push(if place == 0 { '[' } else { ',' });
            self::node(child, prefix, out);
        }
        out.push(']');
    }
    for (name, index) in [("modifiedIndex", node.modified), ("createdIndex", node.created)] {
        if index != 0 {
            field(name, out);
            let _ = write!(out, "{index}");
        }
    }
    if out.len() == begin {
        out.push('{');
    }
    out.push('}');
}

/// A string as Go's encoder writes it, which also keeps HTML out.
pub fn string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// A moment as `2006-01-02T15:04:05.999999999Z`, with no zero at the end of the fraction.
pub fn time(nanos: UnixNanos) -> String {
    const NANOS: i64 = 1_000_000_000;
    let (seconds, fraction) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The date so many days after 1970-01-01, in the Gregorian calendar: eras of 400 years, which begin in March so that
/// the day that comes and goes is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_1970: i64 = 719_468;
    const ERA_DAYS: i64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (400 * era + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_go_writes_it() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_796_056_201_866_331_042, "2026-11-30T16:30:01.866331042Z"),
            (1_796_056_201_860_000_000, "2026-11-30T16:30:01.86Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(time(nanos), expected);
        }
    }

    #[test]
    fn a_string_is_escaped_as_go_escapes_it() {
        let mut out = String::new();
        string("a\"\\\n<&>\u{1}\u{2028}\u{7f}é", &mut out);
        assert_eq!(out, "\"a\\\"\\\\\\n\\u003c\\u0026\\u003e\\u0001\\u2028\u{7f}é\"");
    }
}
