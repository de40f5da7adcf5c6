//! JSON into protobuf, as Go's `protojson` reads it with unknown names discarded
//! (`docs/etcd/http.md` 3.2, `docs/etcd/observed.md` F).
//!
//! The value is well-formed already (see `scan`), so only its meaning can be wrong: an error names
//! the line and column, in Go's words.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::schema::{Field, Kind, Message, MessageId, Schema};

/// How deep messages may nest: as deep as those who read the result allow.
const DEPTH_MAX: usize = 100;

/// Turns one JSON value into the wire form of a message.
///
/// # Errors
/// What Go's `protojson` says.
pub fn read(schema: &Schema, message: MessageId, json: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = Reader { schema, json, at: 0 };
    let mut out = Vec::with_capacity(json.len());
    reader.message(message, DEPTH_MAX, &mut out)?;
    Ok(out)
}

struct Reader<'a> {
    schema: &'a Schema,
    json: &'a [u8],
    at: usize,
}

/// A piece of JSON as far as one looks at a time: a scalar whole, of anything else its bracket.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn message(&mut self, id: MessageId, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let open = self.token();
        if open.raw != b"{" {
            return Err(self.unexpected(open));
        }
        if depth == 0 {
            return Err("proto: exceeded max recursion depth".into());
        }
        let shape = self.schema.message(id);
        let mut fields_seen = BTreeSet::new();
        let mut oneofs_seen = BTreeSet::new();
        while let Some(name) = self.next_name() {
            let text = self.text(name)?;
            let Some(index) = shape.field_named(&text) else {
                self.skip_value();
                continue;
            };
            if !fields_seen.insert(index) {
                let text = format!("duplicate field {}", name.show());
                return Err(self.error(name.at, &text));
            }
            let field = &shape.fields[index];
            if self.peek() == b'n' {
                self.token();
                continue;
            }
            if field.is_repeated {
                self.list(field, depth, out)?;
                continue;
            }
            if let Some(oneof) = field.oneof
                && !oneofs_seen.insert(oneof)
            {
                return Err(self.error(name.at, &oneof_twice(name, shape, oneof)));
            }
            self.value(field, depth, out)?;
        }
        Ok(())
    }

    fn list(&mut self, field: &Field, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let open = self.token();
        if open.raw != b"[" {
            return Err(self.unexpected(open));
        }
        while self.peek() != b']' {
            self.value(field, depth, out)?;
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Reads one value and appends it with its key. Values that mean "unset" append nothing.
    fn value(&mut self, field: &Field, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        if let Kind::Message(id) = field.kind {
            let mut nested = Vec::new();
            self.message(id, depth - 1, &mut nested)?;
            put_bytes(field.number, &nested, out);
            return Ok(());
        }
        let token = self.token();
        let wrong = |reader: &Self| {
            let kind = field.kind.name();
            let (name, raw) = (&field.json_name, token.show());
            Err(reader.error(token.at, &format!("invalid value for {kind} field {name}: {raw}")))
        };
        if matches!(field.kind, Kind::String | Kind::Bytes) {
            if token.raw[0] != b'"' {
                return wrong(self);
            }
            let text = self.text(token)?;
            if field.kind == Kind::String {
                put_bytes(field.number, text.as_bytes(), out);
                return Ok(());
            }
            let Some(bytes) = from_base64(&text) else { return wrong(self) };
            put_bytes(field.number, &bytes, out);
            return Ok(());
        }
        let number = match field.kind {
            Kind::Enum(id) if token.raw[0] == b'"' => {
                match self.schema.enumeration(id).number(&self.text(token)?) {
                    Some(number) => Some(i64::from(number) as u64),
                    // Names from the future are discarded like unknown fields.
                    None => return Ok(()),
                }
            }
            Kind::Bool => match token.raw {
                b"true" => Some(1),
                b"false" => Some(0),
                _ => None,
            },
            Kind::Enum(_) => integer(token.raw).and_then(|n| signed(n, Kind::Int32)),
            kind if token.raw[0] == b'"' => {
                let text = self.text(token)?;
                integer(text.as_bytes()).and_then(|n| signed(n, kind))
            }
            kind => integer(token.raw).and_then(|n| signed(n, kind)),
        };
        let Some(number) = number else { return wrong(self) };
        encode_key(field.number, WireType::Varint, out);
        encode_varint(number, out);
        Ok(())
    }

    /// The name of the next member, with the reader behind its colon; `None` behind the brace.
    fn next_name(&mut self) -> Option<Token<'a>> {
        if self.peek() == b',' {
            self.at += 1;
        }
        let token = self.token();
        if token.raw == b"}" {
            return None;
        }
        assert_eq!(self.peek(), b':', "the scanner saw to it");
        self.at += 1;
        Some(token)
    }

    /// The first byte of what comes next.
    fn peek(&mut self) -> u8 {
        while self.json[self.at].is_ascii_whitespace() {
            self.at += 1;
        }
        self.json[self.at]
    }

    fn token(&mut self) -> Token<'a> {
        let first = self.peek();
        let at = self.at;
        let rest = &self.json[at..];
        let len = match first {
            b'{' | b'}' | b'[' | b']' => 1,
            b'"' => text_len(rest),
            _ => rest
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace())
                .unwrap_or(rest.len()),
        };
        self.at += len;
        Token { raw: &rest[..len], at }
    }

    /// Steps over a value nobody knows, however deep it is.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                b',' | b':' => {
                    self.at += 1;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.token();
            if depth == 0 {
                return;
            }
        }
    }

    /// What a string means.
    fn text(&self, token: Token<'a>) -> Result<Cow<'a, str>, String> {
        let inner = &token.raw[1..token.raw.len() - 1];
        let (plain, is_text) = match std::str::from_utf8(inner) {
            Ok(plain) => (plain, true),
            Err(error) => {
                let plain = std::str::from_utf8(&inner[..error.valid_up_to()]);
                (plain.expect("it is valid up to there"), false)
            }
        };
        let whole = match plain.contains('\\') {
            false => Cow::Borrowed(plain),
            true => {
                let behind = &self.json[token.at + 1 + plain.len()..];
                Cow::Owned(unescaped(plain, behind).map_err(|half| match half {
                    Half::AtTheEnd => "proto: unexpected EOF".to_owned(),
                    Half::Before(bytes) => {
                        let text = format!("invalid escape code {} in string", go::quote(bytes));
                        self.syntax_error(token.at, &text)
                    }
                })?)
            }
        };
        if !is_text {
            return Err(self.syntax_error(token.at, "invalid UTF-8 in string"));
        }
        Ok(whole)
    }

    fn unexpected(&self, token: Token<'_>) -> String {
        self.syntax_error(token.at, &format!("unexpected token {}", token.show()))
    }

    fn syntax_error(&self, at: usize, text: &str) -> String {
        let (line, column) = self.position(at);
        format!("proto: syntax error (line {line}:{column}): {text}")
    }

    fn error(&self, at: usize, text: &str) -> String {
        let (line, column) = self.position(at);
        format!("proto: (line {line}:{column}): {text}")
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let before = String::from_utf8_lossy(&self.json[..at]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        (line, column)
    }
}

impl Token<'_> {
    fn show(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.raw)
    }
}

fn oneof_twice(name: Token<'_>, shape: &Message, oneof: usize) -> String {
    let oneof = &shape.oneofs[oneof];
    format!("error parsing {}, oneof {oneof} is already set", name.show())
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Bytes of the string that begins here, quotes included.
fn text_len(rest: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match rest[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Half of a surrogate pair, and what stands where the other half should: Go looks at six bytes there, beyond the end of
/// the string too.
#[derive(Debug, PartialEq, Eq)]
enum Half {
    /// There are not as many.
    AtTheEnd,
    /// They are something else.
    Before([u8; 6]),
}

/// Resolves escapes in a text, of which the JSON goes on with `behind`.
fn unescaped(text: &str, behind: &[u8]) -> Result<String, Half> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (letter, len) = match rest.as_bytes()[1] {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => unicode(rest).ok_or_else(|| {
                let mut next = rest.as_bytes()[6..].iter().chain(behind).copied();
                let [a, b, c, d, e, f] = [(); 6].map(|()| next.next());
                match (a, b, c, d, e, f) {
                    (Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)) => {
                        Half::Before([a, b, c, d, e, f])
                    }
                    _ => Half::AtTheEnd,
                }
            })?,
            other => (char::from(other), 2),
        };
        out.push(letter);
        rest = &rest[len..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The letter that `\uXXXX`, or a pair of them, stands for, and the length of its spelling.
fn unicode(escape: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    if let Some(letter) = char::from_u32(first.into()) {
        return Some((letter, 6));
    }
    let pair = [first, unit(6)?];
    let letter = char::decode_utf16(pair).next()?.ok()?;
    Some((letter, 12))
}

/// Standard or URL-safe alphabet, padded or not; line breaks do not count.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let padding = match text.len() % 4 {
        0 => DecodePaddingMode::RequireCanonical,
        _ => DecodePaddingMode::RequireNone,
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(padding);
    let engine = GeneralPurpose::new(alphabet, config);
    match text.contains(['\r', '\n']) {
        false => engine.decode(text).ok(),
        true => engine.decode(text.replace(['\r', '\n'], "")).ok(),
    }
}

/// The integer that a JSON number means, if it means one: `1e2` and `1.0` do, `1.5` does not.
fn integer(number: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(number).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let leading_zero = 1 < whole.len() && whole.starts_with('0');
    if whole.is_empty() || leading_zero || (mantissa.contains('.') && fraction.is_empty()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let dropped = i32::try_from(digits.len() - significant.len()).ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    // No integer of ours has more digits than a power of ten can make of it here.
    let power = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
    let size = significant.parse::<i128>().ok()?.checked_mul(power)?;
    Some(if negative { -size } else { size })
}

/// An integer as its kind encodes it; `None` when it does not fit.
fn signed(number: i128, kind: Kind) -> Option<u64> {
    match kind {
        Kind::Int32 => i32::try_from(number).ok().map(|n| i64::from(n) as u64),
        Kind::Int64 => i64::try_from(number).ok().map(|n| n as u64),
        Kind::Uint32 => u32::try_from(number).ok().map(u64::from),
        Kind::Uint64 => u64::try_from(number).ok(),
        _ => None,
    }
}
