//! Go's durations: `1h2m3.5s`, `300ms`; signed nanoseconds.

use std::time::Duration;

use super::quote::quote;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads a duration in nanoseconds; the error is Go's.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text.as_bytes()));
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let whole = quote(text.as_bytes());
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {whole}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let unit = quote(unit.as_bytes());
            return Err(format!("time: unknown unit {unit} in duration {whole}"));
        };
        total += number * scale;
        rest = after;
    }
    if total >= i64::MAX as f64 {
        return Err(invalid());
    }
    let nanos = total.round() as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// As Go prints it.
pub fn show(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (below, unit, scale) in
        [(1_000, "ns", 1), (1_000_000, "\u{b5}s", 1_000), (1_000_000_000, "ms", 1_000_000)]
    {
        if nanos < below {
            return format!("{sign}{}{unit}", decimal(nanos, scale));
        }
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// As Go prints it.
pub fn show_elapsed(elapsed: Duration) -> String {
    show(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
}

/// `nanos / scale` with as many decimals as it takes.
fn decimal(nanos: u64, scale: u64) -> String {
    let (whole, rest) = (nanos / scale, nanos % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["1h2m3.5s", "300ms", "2s", "1m0s", "-1.5s", "0s", "18.762959ms"] {
            assert_eq!(parse(text).map(show), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_gos_words() {
        assert_eq!(parse("x"), Err("time: invalid duration \"x\"".to_owned()));
        assert_eq!(parse("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(parse("5d"), Err("time: unknown unit \"d\" in duration \"5d\"".to_owned()));
    }
}
