//! A line as it is written: JSON as etcd's, or columns for eyes.

use std::fmt::Write;
use std::panic::Location;

use options::{Format, Level};

use crate::field::{Field, push_escaped};

/// Everything a line is made of.
pub(crate) struct Line<'a> {
    pub level: Level,
    /// Ready to print, see `clock`.
    pub time: &'a str,
    /// The part of the program that speaks; empty for none.
    pub logger: &'a str,
    pub caller: Caller,
    pub message: &'a str,
    pub fields: &'a [(&'a str, &'a dyn Field)],
}

/// Where in our source a line was written.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
}

impl Caller {
    /// Where the function that asks was called from.
    #[track_caller]
    pub fn here() -> Caller {
        let here = Location::caller();
        Caller { file: here.file(), line: here.line() }
    }

    /// The crate and the file: `crates/shell/server/src/run.rs` is `server/run.rs`.
    fn short(self) -> String {
        let mut parts = self.file.rsplit('/').filter(|part| *part != "src");
        let file = parts.next().unwrap_or(self.file);
        match parts.next() {
            Some(above) => format!("{above}/{file}:{}", self.line),
            None => format!("{file}:{}", self.line),
        }
    }
}

/// What stands in for the value of a field that must not be seen.
const HIDDEN: &str = "\"(hidden)\"";

/// Whether a field of this name holds what nobody may read.
fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.contains("password") || lower == "token" || lower.ends_with("auth-token")
}

impl Line<'_> {
    /// Appends the line with its end.
    pub fn write(&self, format: Format, out: &mut String) {
        match format {
            Format::Json => self.write_json(out),
            Format::Console => self.write_console(out),
        }
        out.push('\n');
    }

    fn write_json(&self, out: &mut String) {
        let mut text = |key: &str, value: &str| {
            let separator = if key == "level" { '{' } else { ',' };
            push(out, format_args!("{separator}\"{key}\":\""));
            push_escaped(value, out);
            out.push('"');
        };
        text("level", self.level.name());
        text("ts", self.time);
        if !self.logger.is_empty() {
            text("logger", self.logger);
        }
        text("caller", &self.caller.short());
        text("msg", self.message);
        self.write_fields(",", ":", out);
        out.push('}');
    }

    fn write_console(&self, out: &mut String) {
        push(out, format_args!("{}\t{}\t", self.time, self.level.name()));
        if !self.logger.is_empty() {
            push(out, format_args!("{}\t", self.logger));
        }
        push(out, format_args!("{}\t{}", self.caller.short(), self.message));
        if !self.fields.is_empty() {
            let mut fields = String::new();
            self.write_fields(", ", ": ", &mut fields);
            push(out, format_args!("\t{{{}}}", fields.trim_start_matches(", ")));
        }
    }

    fn write_fields(&self, before: &str, between: &str, out: &mut String) {
        for (name, value) in self.fields {
            push(out, format_args!("{before}\""));
            push_escaped(name, out);
            push(out, format_args!("\"{between}"));
            if is_secret(name) {
                out.push_str(HIDDEN);
            } else {
                value.write_json(out);
            }
        }
    }
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a String takes whatever is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, logger: &str) -> String {
        let line = Line {
            level: Level::Info,
            time: "2026-11-21T11:20:54.358231Z",
            logger,
            caller: Caller { file: "crates/shell/server/src/run.rs", line: 7 },
            message: "ready",
            fields: &[("a-b", &1u64), ("list", &["x", "y"]), ("password", &"secret")],
        };
        let mut out = String::new();
        line.write(format, &mut out);
        out
    }

    #[test]
    fn a_json_line_has_etcds_keys_in_etcds_order() {
        assert_eq!(
            written(Format::Json, "raft"),
            "{\"level\":\"info\",\"ts\":\"2026-11-21T11:20:54.358231Z\",\"logger\":\"raft\",\
             \"caller\":\"server/run.rs:7\",\"msg\":\"ready\",\"a-b\":1,\"list\":[\"x\",\"y\"],\
             \"password\":\"(hidden)\"}\n"
        );
        assert!(!written(Format::Json, "").contains("logger"));
    }

    #[test]
    fn a_console_line_has_columns_and_its_fields_at_the_end() {
        assert_eq!(
            written(Format::Console, ""),
            "2026-11-21T11:20:54.358231Z\tinfo\tserver/run.rs:7\tready\t\
             {\"a-b\": 1, \"list\": [\"x\",\"y\"], \"password\": \"(hidden)\"}\n"
        );
    }
}
