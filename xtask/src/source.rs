//! Rust source, read just well enough: comments and texts blanked out, functions found by braces.

/// The source with comments, strings and characters blanked, line for line, so that words and braces
/// in them do not count.
pub fn blanked(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let skipped = match &bytes[at..] {
            [b'/', b'/', ..] => line_comment(&bytes[at..]),
            [b'/', b'*', ..] => block_comment(&bytes[at..]),
            [b'"', ..] => string(&bytes[at..]),
            [b'r', b'"' | b'#', ..] if !is_word(at, bytes) => raw_string(&bytes[at..]),
            [b'\'', ..] => character(&bytes[at..]),
            _ => 0,
        };
        if skipped == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
            out.extend(bytes[at..at + skipped].iter().map(blank));
            at += skipped;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_word(at: usize, bytes: &[u8]) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_comment(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn raw_string(bytes: &[u8]) -> usize {
    let hashes = bytes[1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let from = 2 + hashes;
    let found = bytes[from..].windows(end.len()).position(|window| window == end);
    found.map_or(bytes.len(), |position| from + position + end.len())
}

/// A character, but not a lifetime.
fn character(bytes: &[u8]) -> usize {
    if bytes.get(1) == Some(&b'\\') {
        let end = bytes[2..].iter().skip(1).position(|byte| *byte == b'\'');
        return end.map_or(0, |position| position + 4);
    }
    let text = String::from_utf8_lossy(&bytes[1..bytes.len().min(6)]).into_owned();
    let Some(first) = text.chars().next() else { return 0 };
    let width = first.len_utf8();
    if bytes.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

/// A function and how many lines it has, from `fn` to its last brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// How many lines it has.
    pub lines: usize,
}

/// All functions with a body.
pub fn functions(blanked: &str) -> Vec<Function> {
    let mut out = Vec::new();
    for (start, _) in blanked.match_indices("fn ") {
        if is_word(start, blanked.as_bytes()) {
            continue;
        }
        let rest = &blanked[start + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(length) = body_end(rest) {
            let line = blanked[..start].matches('\n').count() + 1;
            out.push(Function { name, line, lines: rest[..length].matches('\n').count() + 1 });
        }
    }
    out
}

/// Where the body ends, or `None` for a declaration without one.
fn body_end(rest: &str) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b';' if braces == 0 && others == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_comments_and_texts_do_not_count() {
        let source = "a // fs\n/* fs /* fs */ */ b \"fs\\\" fs\" r#\"fs \" fs\"# 'x' '\\'' 'life c";
        let blank = blanked(source);
        assert!(!blank.contains("fs"), "{blank}");
        assert_eq!(blank.split_whitespace().collect::<Vec<_>>(), ["a", "b", "'life", "c"]);
        assert_eq!(blank.len(), source.len());
    }

    #[test]
    fn a_functions_length_is_from_its_name_to_its_last_brace() {
        let source = "fn a() -> [u8; 2] {\n  if x {\n  }\n}\ntrait T { fn b(&self); }\n";
        let found = functions(&blanked(source));
        assert_eq!(found, [Function { name: "a".into(), line: 1, lines: 4 }]);
    }
}
