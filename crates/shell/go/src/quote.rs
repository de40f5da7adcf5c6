//! Go's quoted text: `%q` writes it, transactions read it.

/// `strconv.Quote`, of bytes that need not be text.
pub fn quote(bytes: impl AsRef<[u8]>) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.as_ref().utf8_chunks() {
        chunk.valid().chars().for_each(|char| push(&mut out, char));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

fn push(out: &mut String, char: char) {
    match char {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\'' => out.push('\''),
        char if (char as u32) < 0x20 || char == '\u{7f}' => {
            out.push_str(&format!("\\x{:02x}", char as u32));
        }
        char if is_printable(char) => out.push(char),
        char if (char as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", char as u32)),
        char => out.push_str(&format!("\\U{:08x}", char as u32)),
    }
}

fn is_printable(char: char) -> bool {
    // Marks that combine with the letter before them are printable in Go and escaped by Rust.
    let mark = ('\u{300}'..='\u{36f}').contains(&char);
    mark || char.escape_debug().count() == 1
}

/// Reads quoted text (double quotes or backquotes) from the front; gives it and what follows.
pub fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        let (inside, after) = rest.split_once('`')?;
        return Some((inside.replace('\r', "").into_bytes(), after));
    }
    let rest = text.strip_prefix('"')?;
    let mut out = Vec::new();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((out, &rest[at + 1..])),
            '\n' => return None,
            '\\' => {
                let (_, escape) = chars.next()?;
                let mut digits = |count: usize, radix: u32| -> Option<u32> {
                    let text: String = chars.by_ref().take(count).map(|(_, char)| char).collect();
                    (text.len() == count).then(|| u32::from_str_radix(&text, radix).ok()).flatten()
                };
                let byte = match escape {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 11,
                    '\\' => b'\\',
                    '"' => b'"',
                    'x' => u8::try_from(digits(2, 16)?).ok()?,
                    '0'..='3' => {
                        let low = digits(2, 8)?;
                        u8::try_from(escape.to_digit(8)? * 64 + low).ok()?
                    }
                    'u' | 'U' => {
                        let code = digits(if escape == 'u' { 4 } else { 8 }, 16)?;
                        let mut buffer = [0; 4];
                        let char = char::from_u32(code)?.encode_utf8(&mut buffer);
                        out.extend_from_slice(char.as_bytes());
                        continue;
                    }
                    _ => return None,
                };
                out.push(byte);
            }
            char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        assert_eq!(quote(b"a\"\\\n\x01\xff\x7f'"), r#""a\"\\\n\x01\xff\x7f'""#);
        assert_eq!(quote("ä\u{a0}\u{1f600}".as_bytes()), "\"ä\\u00a0\u{1f600}\"");
    }

    #[test]
    fn quoted_text_is_read_back() {
        assert_eq!(unquote(r#""a\x41\101\u00e4\n") = x"#), Some(("aAA\u{e4}\n".into(), ") = x")));
        assert_eq!(unquote("`a\\b` c"), Some((b"a\\b".to_vec(), " c")));
        assert_eq!(unquote("\"a"), None);
        assert_eq!(unquote("a"), None);
    }
}
