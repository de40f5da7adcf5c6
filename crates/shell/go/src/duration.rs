//! Durations as Go's `time` package reads and prints them.

use std::fmt;
use std::time::Duration;

use crate::quote::quote;

/// A signed length of time in nanoseconds; negative ones are legal to type and mean "off" or "at once".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// So many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> GoDuration {
        GoDuration(nanos)
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: i64) -> GoDuration {
        GoDuration(millis * 1_000_000)
    }

    /// The length of time, or `None` for zero and below, which stands for "off".
    pub fn positive(self) -> Option<Duration> {
        (self.0 > 0).then(|| Duration::from_nanos(self.0.unsigned_abs()))
    }

    /// The length of time, with anything below zero cut off there.
    pub fn at_least_zero(self) -> Duration {
        self.positive().unwrap_or_default()
    }

    /// Reads a duration; the error is Go's text.
    pub fn parse(text: &str) -> Result<GoDuration, String> {
        let invalid = || format!("time: invalid duration {}", quote(text));
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'));
            let (number, after) = rest.split_at(digits_end.unwrap_or(rest.len()));
            let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.');
            let (unit, after) = after.split_at(unit_end.unwrap_or(after.len()));
            if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
                return Err(invalid());
            }
            if unit.is_empty() {
                return Err(format!("time: missing unit in duration {}", quote(text)));
            }
            let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                let (unit, text) = (quote(unit), quote(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            };
            let part = scaled(number, *scale).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
            rest = after;
        }
        let signed = if text.starts_with('-') {
            0i64.checked_sub_unsigned(total)
        } else {
            total.try_into().ok()
        };
        signed.map(GoDuration).ok_or_else(invalid)
    }
}

/// `number` (digits with at most one point) times `scale`, cut to whole nanoseconds.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(scale)?;
    // Further digits are below any unit's nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    let digits: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    // In this order, because Go rounds in it.
    let part = digits as f64 * (scale as f64 / 10f64.powi(fraction.len() as i32));
    nanos.checked_add(part as u64)
}

impl fmt::Display for GoDuration {
    /// As Go prints it: `1h2m3.5s`, `300ms`, `0s`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            out.write_str("-")?;
        }
        let small =
            [(1_000, "ns", 1), (1_000_000, "\u{b5}s", 1_000), (1_000_000_000, "ms", 1_000_000)];
        if nanos == 0 {
            return out.write_str("0s");
        }
        for (below, unit, scale) in small {
            if nanos < below {
                return write!(out, "{}{unit}", decimal(nanos, scale));
            }
        }
        let minutes = nanos / 60_000_000_000;
        if minutes >= 60 {
            write!(out, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(out, "{}m", minutes % 60)?;
        }
        write!(out, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
    }
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

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> GoDuration {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// How long something took, as Go prints it.
pub fn elapsed(duration: Duration) -> String {
    GoDuration::from(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (typed, nanos, printed) in [
            ("100ms", 100_000_000, "100ms"),
            ("1m", 60_000_000_000, "1m0s"),
            ("1h15m30.918273645s", 4_530_918_273_645, "1h15m30.918273645s"),
            ("-1.5h", -5_400_000_000_000, "-1h30m0s"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("0", 0, "0s"),
            ("+5s", 5_000_000_000, "5s"),
            (".5s", 500_000_000, "500ms"),
            ("5.s", 5_000_000_000, "5s"),
            ("0.3s", 300_000_000, "300ms"),
            ("1us2ns", 1_002, "1.002\u{b5}s"),
            ("0.9999999999999999999999s", 1_000_000_000, "1s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration::parse(typed), Ok(GoDuration(nanos)), "{typed}");
            assert_eq!(GoDuration(nanos).to_string(), printed);
        }
    }

    #[test]
    fn a_bad_duration_is_refused_in_gos_words() {
        for (typed, error) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("-1", "time: missing unit in duration \"-1\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
        ] {
            assert_eq!(GoDuration::parse(typed), Err(error.to_owned()));
        }
    }
}
