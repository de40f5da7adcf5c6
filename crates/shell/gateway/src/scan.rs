//! Finds where a JSON value ends, one byte at a time, and says what is wrong with it in the words
//! of Go's `encoding/json`.
//!
//! A request body may be a sequence of values that arrive over hours, so the scanner keeps its
//! place between pieces. What it lets through is well-formed; later stages rely on that. It nests
//! without recursion.

use bytes::{Buf, Bytes, BytesMut};

/// How deep values may nest.
const DEPTH_MAX: usize = 10_000;

/// Where in the grammar the scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value.
    Value,
    /// Behind `[`.
    ValueOrClose,
    /// Behind `{`.
    NameOrClose,
    /// Behind a comma in an object.
    Name,
    /// Behind a value or name.
    After,
    Text,
    Escape,
    /// So many hexadecimal digits are missing.
    Hex(u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// A word, and how much of it was seen.
    Word(&'static str, usize),
}

/// What the scanner is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Name,
    Member,
    Array,
}

/// What a byte did.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    More,
    /// The value ends with this byte.
    Last,
    /// The value ended before this byte.
    Past,
}

/// Follows one value.
#[derive(Debug)]
struct Scanner {
    state: State,
    within: Vec<Within>,
}

impl Scanner {
    fn new() -> Scanner {
        Scanner { state: State::Value, within: Vec::new() }
    }

    fn step(&mut self, byte: u8) -> Result<Step, String> {
        let bad = |context: &str| Err(invalid(byte, context));
        let next = match (self.state, byte) {
            (State::Value | State::ValueOrClose | State::NameOrClose | State::Name, _)
                if is_blank(byte) =>
            {
                self.state
            }
            (State::ValueOrClose, b']') | (State::NameOrClose, b'}') => return Ok(self.close()),
            (State::Value | State::ValueOrClose, _) => return self.begin(byte),
            (State::NameOrClose | State::Name, b'"') => State::Text,
            (State::NameOrClose | State::Name, _) => {
                return bad("looking for beginning of object key string");
            }
            (State::After, _) => return self.after(byte),
            (State::Text, b'"') => return Ok(self.end_scalar()),
            (State::Text, b'\\') => State::Escape,
            (State::Text, 0..0x20) => return bad("in string literal"),
            (State::Text, _) => State::Text,
            (State::Escape, b'u') => State::Hex(4),
            (State::Escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => State::Text,
            (State::Escape, _) => return bad("in string escape code"),
            (State::Hex(1), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => State::Text,
            (State::Hex(n), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => State::Hex(n - 1),
            (State::Hex(_), _) => return bad("in \\u hexadecimal character escape"),
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Digits, b'0'..=b'9') => State::Digits,
            (State::Minus, _) => return bad("in numeric literal"),
            (State::Zero | State::Digits, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Point, _) => return bad("after decimal point in numeric literal"),
            (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => {
                State::ExponentDigits
            }
            (State::Exponent | State::ExponentSign, _) => {
                return bad("in exponent of numeric literal");
            }
            // Only its successor tells that a number has ended.
            (State::Zero | State::Digits | State::Fraction | State::ExponentDigits, _) => {
                return match self.end_scalar() {
                    Step::Last => Ok(Step::Past),
                    _ => self.after(byte),
                };
            }
            (State::Word(word, seen), _) if word.as_bytes()[seen] == byte => {
                if seen + 1 == word.len() {
                    return Ok(self.end_scalar());
                }
                State::Word(word, seen + 1)
            }
            (State::Word(word, seen), _) => {
                let expected = char::from(word.as_bytes()[seen]);
                return bad(&format!("in literal {word} (expecting '{expected}')"));
            }
        };
        self.state = next;
        Ok(Step::More)
    }

    fn begin(&mut self, byte: u8) -> Result<Step, String> {
        self.state = match byte {
            b'{' => {
                self.enter(Within::Name, byte)?;
                State::NameOrClose
            }
            b'[' => {
                self.enter(Within::Array, byte)?;
                State::ValueOrClose
            }
            b'"' => State::Text,
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Digits,
            b't' => State::Word("true", 1),
            b'f' => State::Word("false", 1),
            b'n' => State::Word("null", 1),
            _ => return Err(invalid(byte, "looking for beginning of value")),
        };
        Ok(Step::More)
    }

    fn enter(&mut self, within: Within, byte: u8) -> Result<(), String> {
        if DEPTH_MAX <= self.within.len() {
            return Err(invalid(byte, "exceeded max depth"));
        }
        self.within.push(within);
        Ok(())
    }

    /// Behind a name or value inside something.
    fn after(&mut self, byte: u8) -> Result<Step, String> {
        let within = self.within.last_mut().expect("a value inside nothing has ended already");
        let next = match (*within, byte) {
            _ if is_blank(byte) => State::After,
            (Within::Name, b':') => {
                *within = Within::Member;
                State::Value
            }
            (Within::Member, b',') => {
                *within = Within::Name;
                State::Name
            }
            (Within::Array, b',') => State::Value,
            (Within::Member, b'}') | (Within::Array, b']') => return Ok(self.close()),
            (Within::Name, _) => return Err(invalid(byte, "after object key")),
            (Within::Member, _) => return Err(invalid(byte, "after object key:value pair")),
            (Within::Array, _) => return Err(invalid(byte, "after array element")),
        };
        self.state = next;
        Ok(Step::More)
    }

    fn close(&mut self) -> Step {
        self.within.pop();
        self.end_scalar()
    }

    fn end_scalar(&mut self) -> Step {
        self.state = State::After;
        if self.within.is_empty() { Step::Last } else { Step::More }
    }

    /// Whether what was seen is a whole value if nothing follows.
    fn may_end(&self) -> bool {
        let number = matches!(
            self.state,
            State::Zero | State::Digits | State::Fraction | State::ExponentDigits
        );
        number && self.within.is_empty()
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Go's words for a byte in the wrong place.
fn invalid(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        7 => "\\a".to_owned(),
        8 => "\\b".to_owned(),
        11 => "\\v".to_owned(),
        12 => "\\f".to_owned(),
        0x20..0x7f | 0xa1..=0xac | 0xae.. => char::from(byte).to_string(),
        0x7f => "\\x7f".to_owned(),
        0..0x20 => format!("\\x{byte:02x}"),
        _ => format!("\\u{byte:04x}"),
    };
    format!("invalid character '{shown}' {context}")
}

/// Why no value could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// It is not JSON; in Go's words.
    Malformed(String),
    /// It is longer than so many bytes.
    TooLong(usize),
}

/// Takes JSON values out of a sequence that arrives in pieces.
#[derive(Debug)]
pub struct Values {
    bytes_max: usize,
    buffer: BytesMut,
    scanner: Scanner,
    scanned: usize,
}

impl Values {
    /// Values of at most so many bytes each.
    pub fn new(bytes_max: usize) -> Values {
        Values { bytes_max, buffer: BytesMut::new(), scanner: Scanner::new(), scanned: 0 }
    }

    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole value, without the white space around it.
    ///
    /// # Errors
    /// When no value can come any more.
    pub fn next_value(&mut self) -> Result<Option<Bytes>, NoValue> {
        if self.scanned == 0 {
            let blank = self.buffer.iter().take_while(|b| is_blank(**b)).count();
            self.buffer.advance(blank);
        }
        while self.scanned < self.buffer.len() {
            if self.bytes_max <= self.scanned {
                return Err(NoValue::TooLong(self.bytes_max));
            }
            let step = self.scanner.step(self.buffer[self.scanned]).map_err(NoValue::Malformed)?;
            self.scanned += usize::from(step != Step::Past);
            if step != Step::More {
                return Ok(Some(self.take()));
            }
        }
        Ok(None)
    }

    /// The value that the end of the sequence completes, if any.
    ///
    /// # Errors
    /// When a value was cut short.
    pub fn finish(&mut self) -> Result<Option<Bytes>, NoValue> {
        if self.scanned == 0 {
            return Ok(None);
        }
        if self.scanner.may_end() {
            return Ok(Some(self.take()));
        }
        Err(NoValue::Malformed("unexpected EOF".into()))
    }

    /// Bytes that came and belong to no value that was taken.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing is left to be looked at.
    pub fn is_spent(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Forgets what has arrived.
    pub fn discard(&mut self) {
        self.buffer.clear();
        self.scanned = 0;
        self.scanner = Scanner::new();
    }

    fn take(&mut self) -> Bytes {
        self.scanner = Scanner::new();
        self.buffer.split_to(std::mem::take(&mut self.scanned)).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All values of a text that arrives in pieces of `piece` bytes.
    fn values(text: &str, piece: usize) -> Result<Vec<String>, NoValue> {
        let mut values = Values::new(100);
        let mut found = Vec::new();
        for chunk in text.as_bytes().chunks(piece) {
            values.push(chunk);
            while let Some(value) = values.next_value()? {
                found.push(String::from_utf8_lossy(&value).into_owned());
            }
        }
        found.extend(values.finish()?.map(|value| String::from_utf8_lossy(&value).into_owned()));
        Ok(found)
    }

    #[test]
    fn values_are_found_however_they_arrive() {
        let text = " {\"a\\\"}\":[1,{}, []]} \n[true]  \"x\" 12 -0.5e+7 null{}{ } 7";
        let expected = [
            "{\"a\\\"}\":[1,{}, []]}",
            "[true]",
            "\"x\"",
            "12",
            "-0.5e+7",
            "null",
            "{}",
            "{ }",
            "7",
        ];
        for piece in 1..=text.len() {
            assert_eq!(values(text, piece), Ok(expected.map(String::from).to_vec()), "by {piece}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(values(text, 3), Err(NoValue::Malformed(expected.into())), "{text}");
    }

    #[test]
    fn what_is_malformed_is_described_in_the_words_of_go() {
        check("garbage", "invalid character 'g' looking for beginning of value");
        check("{a", "invalid character 'a' looking for beginning of object key string");
        check("{\"a\" 1", "invalid character '1' after object key");
        check("{\"a\":1 2", "invalid character '2' after object key:value pair");
        check("[1 2", "invalid character '2' after array element");
        check("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
        check("\"\n", "invalid character '\\n' in string literal");
        check("\"\\x", "invalid character 'x' in string escape code");
        check("\"\\u00g", "invalid character 'g' in \\u hexadecimal character escape");
        check("-a", "invalid character 'a' in numeric literal");
        check("1.}", "invalid character '}' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("tru{", "invalid character '{' in literal true (expecting 'e')");
        check("'", "invalid character '\\'' looking for beginning of value");
        check("{\"a\":", "unexpected EOF");
        check("nul", "unexpected EOF");
    }

    #[test]
    fn nesting_and_length_have_an_end() {
        let mut deep = Values::new(1 << 20);
        deep.push(&[b'['; 10_001]);
        let refused = NoValue::Malformed("invalid character '[' exceeded max depth".into());
        assert_eq!(deep.next_value(), Err(refused));
        assert_eq!(values(&format!("\"{}\"", "x".repeat(98)), 7).map(|v| v.len()), Ok(1));
        assert_eq!(values(&format!("\"{}\"", "x".repeat(99)), 7), Err(NoValue::TooLong(100)));
    }
}
