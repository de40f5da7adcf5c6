//! Go's `strconv`: numbers as text, and its errors.

use super::quote::quote;

/// `strconv.ParseInt(text, base, 64)`; base 0 reads `0x`, `0o`, `0b` and underscores.
pub fn signed(text: &str, base: u32) -> Result<i64, String> {
    let failed = |why| failure("ParseInt", text, why);
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let magnitude = magnitude(digits, base).map_err(failed)?;
    let value = if text.starts_with('-') { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).map_err(|_| failed(OUT_OF_RANGE))
}

/// `strconv.ParseUint(text, base, 64)`.
pub fn unsigned(text: &str, base: u32) -> Result<u64, String> {
    magnitude(text, base).map_err(|why| failure("ParseUint", text, why))
}

/// `strconv.ParseBool`.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(failure("ParseBool", text, INVALID)),
    }
}

const INVALID: &str = "invalid syntax";
const OUT_OF_RANGE: &str = "value out of range";

fn failure(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {}: {why}", quote(text.as_bytes()))
}

fn magnitude(text: &str, base: u32) -> Result<u64, &'static str> {
    let lower = text.to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)];
    let (digits, radix) = match base {
        0 => prefixed
            .iter()
            .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)))
            .unwrap_or(match lower.strip_prefix('0') {
                Some(rest) if !rest.is_empty() => (rest, 8),
                _ => (lower.as_str(), 10),
            }),
        base => (lower.as_str(), base),
    };
    let plain = if base == 0 { digits.replace('_', "") } else { digits.to_owned() };
    if plain.is_empty() || !plain.chars().all(|digit| digit.is_digit(radix)) {
        return Err(INVALID);
    }
    u64::from_str_radix(&plain, radix).map_err(|_| OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_base_and_refused_in_gos_words() {
        assert_eq!(signed("0x1f", 0), Ok(31));
        assert_eq!(signed("-7", 10), Ok(-7));
        assert_eq!(unsigned("ff", 16), Ok(255));
        let refused =
            |text: &str, why: &str| Err(format!("strconv.ParseInt: parsing {text}: {why}"));
        assert_eq!(signed("zz", 16), refused("\"zz\"", "invalid syntax"));
        assert_eq!(signed("", 16), refused("\"\"", "invalid syntax"));
        assert_eq!(
            signed("9999999999999999999", 10),
            refused("\"9999999999999999999\"", "value out of range")
        );
    }
}
