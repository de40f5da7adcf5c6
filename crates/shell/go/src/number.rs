//! Whole numbers and truth values as Go's `strconv` and `flag` read them.

use crate::quote::quote;

/// Why a number was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFault {
    /// Not a number.
    Syntax,
    /// A number too large or too small for its type.
    Range,
}

impl NumberFault {
    /// The words of package `flag`.
    pub fn flag_text(self) -> &'static str {
        match self {
            NumberFault::Syntax => "parse error",
            NumberFault::Range => "value out of range",
        }
    }

    /// The words of package `strconv`.
    pub fn strconv_text(self) -> &'static str {
        match self {
            NumberFault::Syntax => "invalid syntax",
            NumberFault::Range => "value out of range",
        }
    }

    /// The whole text of the error of a function of `strconv`.
    fn of(self, function: &str, text: &str) -> String {
        format!("strconv.{function}: parsing {}: {}", quote(text), self.strconv_text())
    }
}

/// `strconv.ParseUint(text, base, 64)`. Base 0 reads the prefixes 0x, 0o, 0b and 0, and underscores
/// between digits.
pub fn unsigned(text: &str, base: u32) -> Result<u64, NumberFault> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits, prefixed) = match base {
        0 => prefix(&lower),
        base => (base, lower.as_str(), false),
    };
    let digits = if prefixed { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    let is_run = |run: &str| !run.is_empty() && run.chars().all(|digit| digit.is_digit(radix));
    let well_formed = if base == 0 { digits.split('_').all(is_run) } else { is_run(digits) };
    if !well_formed {
        return Err(NumberFault::Syntax);
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).map_err(|_| NumberFault::Range)
}

/// What the number's prefix says of its base, what follows it, and whether there was one.
fn prefix(lower: &str) -> (u32, &str, bool) {
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return (radix, digits, true);
        }
    }
    match lower.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => (8, digits, true),
        _ => (10, lower, false),
    }
}

/// `strconv.ParseInt(text, base, 64)`: as [`unsigned`] with an optional sign.
pub fn signed(text: &str, base: u32) -> Result<i64, NumberFault> {
    let size = unsigned(text.strip_prefix(['-', '+']).unwrap_or(text), base)?;
    let negative = text.starts_with('-');
    let value = if negative { 0i64.checked_sub_unsigned(size) } else { size.try_into().ok() };
    value.ok_or(NumberFault::Range)
}

/// [`unsigned`] with the error of `strconv.ParseUint`.
pub fn parse_uint(text: &str, base: u32) -> Result<u64, String> {
    unsigned(text, base).map_err(|fault| fault.of("ParseUint", text))
}

/// [`signed`] with the error of `strconv.ParseInt`.
pub fn parse_int(text: &str, base: u32) -> Result<i64, String> {
    signed(text, base).map_err(|fault| fault.of("ParseInt", text))
}

/// [`truth`] with the error of `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| NumberFault::Syntax.of("ParseBool", text))
}

/// `strconv.ParseUint(text, 0, 32)`.
pub fn unsigned32(text: &str) -> Result<u32, NumberFault> {
    unsigned(text, 0)?.try_into().map_err(|_| NumberFault::Range)
}

/// `true`, `T`, `1`, `false`, ... and nothing else.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_carry_a_prefix_and_underscores() {
        assert_eq!(unsigned("0x10", 0), Ok(16));
        assert_eq!(unsigned("0x_10", 0), Ok(16));
        assert_eq!(unsigned("1_000", 0), Ok(1000));
        assert_eq!(unsigned("010", 0), Ok(8));
        assert_eq!(unsigned("0_7", 0), Ok(7));
        assert_eq!(unsigned("0", 0), Ok(0));
        assert_eq!(signed("-0b11", 0), Ok(-3));
        assert_eq!(signed("-9223372036854775808", 10), Ok(i64::MIN));
        assert_eq!(signed("-Ff", 16), Ok(-255));
        assert_eq!(signed("010", 10), Ok(10));
    }

    #[test]
    fn what_is_no_number_and_what_is_too_large_are_told_apart() {
        for text in ["", "x", "1.5", "_1", "1_", "1__0", "-1", "09", "0x", "+1"] {
            assert_eq!(unsigned(text, 0), Err(NumberFault::Syntax), "{text}");
        }
        assert_eq!(unsigned("1_0", 10), Err(NumberFault::Syntax));
        assert_eq!(signed("--1", 10), Err(NumberFault::Syntax));
        assert_eq!(unsigned("18446744073709551616", 0), Err(NumberFault::Range));
        assert_eq!(signed("9223372036854775808", 0), Err(NumberFault::Range));
        let text = "strconv.ParseInt: parsing \"zz\": invalid syntax";
        assert_eq!(parse_int("zz", 16), Err(text.to_owned()));
    }
}
