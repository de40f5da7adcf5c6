//! The text exposition format, version 0.0.4: HELP and TYPE lines, then samples.
//!
//! Numbers are spelled as Go spells them (`%g` with the fewest digits that read back the same), since
//! people compare our page with etcd's.

use std::fmt::Write;

/// The value of the `Content-Type` header that goes with the page (`docs/etcd/observed.md` F).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// A page under construction.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Starts a family.
    pub fn family(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample line; `labels` is what stands between the braces.
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let value = go_float(value);
        if labels.is_empty() {
            self.push(format_args!("{name} {value}\n"));
        } else {
            self.push(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    /// The page so far.
    pub fn finish(self) -> String {
        self.0
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.0.write_fmt(arguments).expect("a String takes whatever is written");
    }
}

/// `name="value",...` with the values escaped.
pub fn labels(names: &[&str], values: &[impl AsRef<str>]) -> String {
    assert_eq!(names.len(), values.len(), "one value per label");
    let pair = |(name, value): (&&str, _)| format!("{name}=\"{}\"", escape(AsRef::as_ref(value)));
    names.iter().zip(values).map(pair).collect::<Vec<_>>().join(",")
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A number as Go's `strconv.FormatFloat(value, 'g', -1, 64)` writes it.
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    // Rust's `{:e}` has the fewest digits too; only exponent and threshold differ.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("{:e} always writes an e");
    let exponent: i32 = exponent.parse().expect("{:e} writes a decimal exponent");
    // Go changes to an exponent below 1e-4 and from a million on.
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_go_spells_them() {
        let spelled = [
            (0.0, "0"),
            (-1.0, "-1"),
            (0.0001, "0.0001"),
            (0.00005, "5e-05"),
            (0.296539559, "0.296539559"),
            (988714.0, "988714"),
            (1048576.0, "1.048576e+06"),
            (226372956.0, "2.26372956e+08"),
            (1e6, "1e+06"),
            (18446744073709551615.0, "1.8446744073709552e+19"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, expected) in spelled {
            assert_eq!(go_float(value), expected);
        }
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(labels(&["a", "b"], &["x\"\\\n", "y"]), "a=\"x\\\"\\\\\\n\",b=\"y\"");
    }
}
