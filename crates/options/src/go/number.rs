//! Whole numbers and truth values as Go's `flag` and `strconv` read them.

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
}

/// An unsigned number: decimal, or with one of the prefixes 0x, 0o, 0b, 0; underscores between digits.
pub fn unsigned(text: &str) -> Result<u64, NumberFault> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits)
    } else if let Some(digits) = lower.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        (8, digits)
    } else {
        (10, lower.as_str())
    };
    let prefixed = digits.len() < lower.len();
    let digits = if prefixed { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    let well_formed = digits
        .split('_')
        .all(|run| !run.is_empty() && run.chars().all(|digit| digit.is_digit(radix)));
    if !well_formed {
        return Err(NumberFault::Syntax);
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).map_err(|_| NumberFault::Range)
}

/// A signed number, as [`unsigned`] with an optional sign.
pub fn signed(text: &str) -> Result<i64, NumberFault> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let size = unsigned(digits)?;
    let value = if negative { 0i64.checked_sub_unsigned(size) } else { size.try_into().ok() };
    value.ok_or(NumberFault::Range)
}

/// A decimal number below 2^32, as etcd's own flag type reads it.
pub fn decimal_u32(text: &str) -> Result<u32, NumberFault> {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(NumberFault::Syntax);
    }
    text.parse().map_err(|_| NumberFault::Range)
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
        assert_eq!(unsigned("0x10"), Ok(16));
        assert_eq!(unsigned("1_000"), Ok(1000));
        assert_eq!(unsigned("010"), Ok(8));
        assert_eq!(unsigned("0"), Ok(0));
        assert_eq!(signed("-0b11"), Ok(-3));
        assert_eq!(signed("-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn what_is_no_number_and_what_is_too_large_are_told_apart() {
        for text in ["", "x", "1.5", "_1", "1__0", "-1", "09"] {
            assert_eq!(unsigned(text), Err(NumberFault::Syntax), "{text}");
        }
        assert_eq!(unsigned("18446744073709551616"), Err(NumberFault::Range));
        assert_eq!(signed("9223372036854775808"), Err(NumberFault::Range));
    }
}
