//! gRPC's spelling of statuses and timeouts in headers.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http2::Field;
use types::{Code, Refusal};

/// The trailers that end a call. `grpc-message` is always there, as Go sends it, also when empty.
pub(crate) fn trailers(outcome: &Result<(), Refusal>) -> [Field; 2] {
    let (code, message) = match outcome {
        Ok(()) => (Code::Ok, Bytes::new()),
        Err(refusal) => (refusal.code(), percent_encoded(refusal.message())),
    };
    let message = Field { name: Bytes::from_static(b"grpc-message"), value: message };
    [Field::from_static("grpc-status", digits(code)), message]
}

fn digits(code: Code) -> &'static str {
    const DIGITS: [&str; 17] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    ];
    DIGITS[code as usize]
}

/// The longest `grpc-message`, in bytes: what a client quotes to us must not cost more than it sent.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The longest word of a client that we quote, in bytes.
const QUOTED_BYTES_MAX: usize = 128;

/// As much of a client's word as is quoted, with a sign if that is not all.
pub(crate) fn cut(word: &str) -> Cow<'_, str> {
    let end = word.floor_char_boundary(QUOTED_BYTES_MAX);
    if end == word.len() { word.into() } else { format!("{}...", &word[..end]).into() }
}

/// A client's word as Go's `%q` shows it, as much as is quoted of it.
pub(crate) fn quoted(word: &[u8]) -> String {
    let shown = &word[..word.len().min(QUOTED_BYTES_MAX)];
    let more = if shown.len() < word.len() { "..." } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(shown))
}

/// Printable ASCII but `%` stands for itself, every other byte is `%XX`. What is too long is cut.
fn percent_encoded(message: &str) -> Bytes {
    let mut out = String::with_capacity(message.len().min(MESSAGE_BYTES_MAX));
    for byte in message.bytes() {
        if out.len() + 3 > MESSAGE_BYTES_MAX {
            break;
        }
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)] as char);
                out.push(HEX[usize::from(byte & 15)] as char);
            }
            _ => out.push(byte as char),
        }
    }
    out.into()
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
///
/// # Errors
/// What is wrong with it, in Go's words.
pub fn parse_timeout(value: &[u8]) -> Result<Duration, String> {
    let text = quoted(value);
    if value.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text}"));
    }
    if value.len() > 9 {
        return Err(format!("transport: timeout string is too long: {text}"));
    }
    let (digits, unit) = value.split_at(value.len() - 1);
    let nanos_per_unit: u64 = match unit {
        b"H" => 3_600_000_000_000,
        b"M" => 60_000_000_000,
        b"S" => 1_000_000_000,
        b"m" => 1_000_000,
        b"u" => 1_000,
        b"n" => 1,
        _ => return Err(format!("transport: timeout unit is not recognized: {text}")),
    };
    let digits = String::from_utf8_lossy(digits);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"));
    }
    let count: u64 = digits.parse().expect("at most eight digits");
    Ok(Duration::from_nanos(count.saturating_mul(nanos_per_unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_outcome_still_carries_an_empty_message() {
        let [code, message] = trailers(&Ok(()));
        assert_eq!(code, Field::from_static("grpc-status", "0"));
        assert_eq!(message, Field::from_static("grpc-message", ""));
    }

    #[test]
    fn a_message_is_percent_encoded_byte_by_byte() {
        let refusal = Refusal::unknown("100% \u{e9}\n~");
        let [_, message] = trailers(&Err(refusal));
        assert_eq!(message.value, "100%25 %C3%A9%0A~");
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(parse_timeout(b"2H"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_timeout(b"3M"), Ok(Duration::from_secs(180)));
        assert_eq!(parse_timeout(b"99999999m"), Ok(Duration::from_millis(99_999_999)));
        assert_eq!(parse_timeout(b"1n"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn malformed_timeouts_are_described_in_the_words_of_go() {
        let said = |value: &[u8]| parse_timeout(value).expect_err("it is malformed");
        assert_eq!(said(b"1"), "transport: timeout string is too short: \"1\"");
        assert_eq!(said(b"123456789S"), "transport: timeout string is too long: \"123456789S\"");
        assert_eq!(said(b"10"), "transport: timeout unit is not recognized: \"10\"");
        assert_eq!(said(b"-1S"), "strconv.ParseUint: parsing \"-1\": invalid syntax");
    }

    #[test]
    fn a_message_longer_than_its_bound_is_cut() {
        let refusal = Refusal::unknown("\u{e9}".repeat(3000));
        let [_, message] = trailers(&Err(refusal));
        assert_eq!(message.value.len(), 4095);
        assert!(message.value.ends_with(b"%C3"));
    }

    #[test]
    fn of_a_long_word_its_beginning_is_quoted() {
        assert_eq!(quoted(b"a\"b"), "\"a\\\"b\"");
        assert_eq!(quoted(&[b'x'; 4000]).len(), 128 + 2 + 3);
        assert_eq!(cut(&"\u{e9}".repeat(100)), "\u{e9}".repeat(64) + "...");
        assert_eq!(cut("short"), "short");
    }
}
