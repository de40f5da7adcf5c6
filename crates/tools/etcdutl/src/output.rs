//! The output formats of commands that print a result.

use std::fmt::Write;

use crate::cli::{Failure, Matches, print};

/// What `--write-out` takes.
pub const FORMATS: &[&str] = &["fields", "json", "protobuf", "simple", "table"];

/// What `--write-out` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Fields,
    Json,
    Simple,
    Table,
}

/// A result, in all the ways it can be shown.
pub trait Shown: serde::Serialize {
    /// Names of the columns, and their values for people.
    fn columns(&self) -> Vec<(&'static str, String)>;
    /// Names and values of `fields`.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

impl Format {
    pub fn of(matches: &Matches) -> Result<Format, Failure> {
        let refuse =
            |message: &str| Err(Failure { code: Failure::BAD_FORMAT, message: message.to_owned() });
        match matches.text("write-out") {
            "fields" => Ok(Format::Fields),
            "json" => Ok(Format::Json),
            "simple" => Ok(Format::Simple),
            "table" => Ok(Format::Table),
            "protobuf" => refuse("protobuf not supported as output format"),
            _ => refuse("unsupported output format"),
        }
    }

    /// Prints a result.
    pub fn show(self, result: &impl Shown) {
        print(&self.text(result));
    }

    fn text(self, result: &impl Shown) -> String {
        match self {
            Format::Json => {
                let json = serde_json::to_string(result);
                json.expect("numbers and text always serialize") + "\n"
            }
            Format::Fields => {
                let lines = result.fields().into_iter();
                lines.map(|(name, value)| format!("\"{name}\" : {value}\n")).collect()
            }
            Format::Simple => {
                let values: Vec<_> = result.columns().into_iter().map(|(_, value)| value).collect();
                values.join(", ") + "\n"
            }
            Format::Table => table(&result.columns()),
        }
    }
}

/// One row under its header, in a box. Headers stand in the middle, values to the right.
fn table(columns: &[(&'static str, String)]) -> String {
    let width = |(name, value): &(&str, String)| name.chars().count().max(value.chars().count());
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let rule = |left, between, right| {
        let lines: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", lines.join(between))
    };
    let mut out = rule("┌", "┬", "┐");
    let cells = columns.iter().zip(&widths);
    for ((name, _), width) in cells.clone() {
        let _ = write!(out, "│ {name:^width$} ");
    }
    out += "│\n";
    out += &rule("├", "┼", "┤");
    for ((_, value), width) in cells {
        let _ = write!(out, "│ {value:>width$} ");
    }
    out += "│\n";
    out + &rule("└", "┴", "┘")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Two {
        hash: u32,
    }

    impl Shown for Two {
        fn columns(&self) -> Vec<(&'static str, String)> {
            vec![("HASH", format!("{:x}", self.hash)), ("REVISION", "22".to_owned())]
        }

        fn fields(&self) -> Vec<(&'static str, String)> {
            vec![("Hash", self.hash.to_string()), ("Revision", "22".to_owned())]
        }
    }

    #[track_caller]
    fn check(format: Format, expected: &str) {
        assert_eq!(format.text(&Two { hash: 0x13fe_bcf8 }), expected);
    }

    #[test]
    fn a_result_is_shown_in_each_format_as_etcd_shows_it() {
        check(Format::Simple, "13febcf8, 22\n");
        check(Format::Json, "{\"hash\":335461624}\n");
        check(Format::Fields, "\"Hash\" : 335461624\n\"Revision\" : 22\n");
        let table = "\
┌──────────┬──────────┐
│   HASH   │ REVISION │
├──────────┼──────────┤
│ 13febcf8 │       22 │
└──────────┴──────────┘
";
        check(Format::Table, table);
    }
}
