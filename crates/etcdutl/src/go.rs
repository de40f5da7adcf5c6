//! Values spelled as Go spells them, and refused in its words: scripts match on them.

use std::io;
use std::time::Duration;

/// As `strconv.Quote` prints plain text.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            '\r' => out += "\\r",
            letter if letter.is_control() => out += &format!("\\x{:02x}", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out + "\""
}

pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(refused("ParseBool", text, "invalid syntax")),
    }
}

pub fn signed(text: &str) -> Result<i64, String> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, "-"),
        None => (text.strip_prefix('+').unwrap_or(text), ""),
    };
    let (digits, base) = base_of(digits);
    let parsed = i64::from_str_radix(&format!("{sign}{digits}"), base);
    if digits.starts_with(['-', '+']) {
        return Err(refused("ParseInt", text, "invalid syntax"));
    }
    parsed.map_err(|error| refused("ParseInt", text, words(error.kind())))
}

pub fn unsigned(text: &str) -> Result<u64, String> {
    let (digits, base) = base_of(text);
    if digits.starts_with(['-', '+']) {
        return Err(refused("ParseUint", text, "invalid syntax"));
    }
    let parsed = u64::from_str_radix(digits, base);
    parsed.map_err(|error| refused("ParseUint", text, words(error.kind())))
}

/// Decimal only, as `strconv.ParseInt(text, 10, 64)`.
pub fn decimal(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|error: std::num::ParseIntError| refused("ParseInt", text, words(error.kind())))
}

fn base_of(digits: &str) -> (&str, u32) {
    let lower = digits.to_ascii_lowercase();
    for (prefix, base) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if lower.starts_with(prefix) {
            return (&digits[2..], base);
        }
    }
    let octal = digits.len() > 1 && digits.starts_with('0');
    if octal { (&digits[1..], 8) } else { (digits, 10) }
}

fn words(kind: &std::num::IntErrorKind) -> &'static str {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match kind {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

fn refused(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {}: {why}", quoted(text))
}

/// A duration such as `10s`, `1m30s`, `1.5h`. Negative ones are taken as zero: nothing waits so long.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (mut rest, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, after) = rest.split_at(number.unwrap_or(rest.len()));
        let unit = after.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = after.split_at(unit.unwrap_or(after.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit_seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("time: missing unit in duration {}", quoted(text))),
            unit => {
                let (unit, text) = (quoted(unit), quoted(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            }
        };
        seconds += number * unit_seconds;
        rest = after;
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
    Ok(if negative { Duration::ZERO } else { duration })
}

/// A size for people, in steps of a thousand.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut unit, mut steps) = (0, bytes as f64);
    while steps >= 1000.0 && unit + 1 < UNITS.len() {
        steps /= 1000.0;
        unit += 1;
    }
    let rounded = (steps * 10.0 + 0.5).floor() / 10.0;
    let digits = usize::from(unit > 0 && rounded < 10.0);
    format!("{rounded:.digits$} {}", UNITS[unit])
}

/// An error of the system in the words Go uses for the usual ones.
pub fn system(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AlreadyExists => "file exists".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::StorageFull => "no space left on device".to_owned(),
        _ => error.to_string(),
    }
}

/// An error with all its causes in one line, as Go's wrapped errors print.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_refused_as_by_go() {
        assert_eq!(unsigned("0x1f"), Ok(31));
        assert_eq!(signed("-12"), Ok(-12));
        assert_eq!(
            unsigned("-1"),
            Err("strconv.ParseUint: parsing \"-1\": invalid syntax".to_owned())
        );
        assert_eq!(
            signed("9223372036854775808"),
            Err("strconv.ParseInt: parsing \"9223372036854775808\": value out of range".to_owned())
        );
        assert!(signed("--1").is_err());
        assert!(signed("").is_err());
    }

    #[test]
    fn durations_are_read_and_refused_as_by_go() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(duration("5q"), Err("time: unknown unit \"q\" in duration \"5q\"".to_owned()));
        assert_eq!(duration("x"), Err("time: invalid duration \"x\"".to_owned()));
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        for (bytes, shown) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (20480, "20 kB"), (1_250_000, "1.3 MB")]
        {
            assert_eq!(size(bytes), shown);
        }
    }
}
