//! What cannot be the same in two plays: addresses, times, ids somebody drew, sizes on the disk.

use std::path::Path;

/// The member and the cluster of every single server a test starts: they follow from its URLs.
const KNOWN: [&str; 4] =
    ["8e9e05c52164694d", "cdf818194e3a8c32", "10276657743932975437", "14841639068965178418"];
/// Names before numbers that depend on time or on the layout of a file.
const LOOSE: [&str; 18] = [
    "remaining(",
    "\"ttl\":",
    "\"TTL\" : ",
    "\"dbSize\":",
    "\"dbSizeInUse\":",
    "\"DBSize\" : ",
    "\"DBSizeInUse\" : ",
    "\"raftIndex\":",
    "\"raftAppliedIndex\":",
    "\"RaftIndex\" : ",
    "\"RaftAppliedIndex\" : ",
    "\"raft_term\":",
    "\"RaftTerm\" : ",
    "\"raftTerm\":",
    "0x",
    "LocalAddr: '127.0.0.1:",
    "read tcp 127.0.0.1:",
    "pid=",
];
/// Fields of log lines that say where in somebody's source they come from.
const LOGGED: [&str; 2] = ["\"ts\":\"", "\"caller\":\""];

pub struct Mask<'a> {
    pub addresses: &'a [String],
    pub folder: &'a Path,
}

impl Mask<'_> {
    /// The text with all that hidden; bytes that are no text as escapes.
    pub fn hide(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            let printable = |char: char| char == '\n' || char == '\t' || !char.is_control();
            for char in chunk.valid().chars() {
                match printable(char) {
                    true => text.push(char),
                    false => text += &char.escape_default().to_string(),
                }
            }
            text += &chunk.invalid().escape_ascii().to_string();
        }
        let drawn = "\u{2500}\u{2502}\u{250c}\u{252c}\u{2510}\u{251c}\u{253c}\u{2524}\u{2514}\u{2534}\u{2518}";
        for (line, ascii) in drawn.chars().zip("-|+++++++++".chars()) {
            text = text.replace(line, &ascii.to_string());
        }
        text = text.replace(&self.folder.display().to_string(), "FOLDER");
        for (number, address) in self.addresses.iter().enumerate() {
            let host = address.split(':').next().unwrap_or_default();
            text = text.replace(address, &format!("{host}:PORT{}", number + 1));
        }
        text.split_inclusive('\n').map(|line| self.line(line)).collect()
    }

    fn line(&self, line: &str) -> String {
        let mut line = status_row(line);
        for name in LOOSE {
            line = hide_after(&line, name, |char| char.is_ascii_hexdigit());
        }
        if line.starts_with("{\"level\":") {
            if let Some((before, _)) = line.split_once(",\"stacktrace\":") {
                line = format!("{before}}}\n");
            }
            for name in LOGGED {
                line = hide_after(&line, name, |char| char != '"');
            }
        }
        let mut out = String::new();
        let is_part = |char: char| char.is_ascii_alphanumeric() || char == '.' || char == '\u{b5}';
        for word in line.split_inclusive(|char| !is_part(char)) {
            let end = word.trim_end_matches(|char| !is_part(char) || char == '.').len();
            let (body, tail) = word.split_at(end);
            out += &hide_word(body);
            out += tail;
        }
        squeezed(out)
    }
}

/// Replaces the run of characters after each `name`.
fn hide_after(line: &str, name: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut parts = line.split(name);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(&hidden);
        out += name;
        out += if rest.len() < part.len() { "~" } else { "" };
        out += rest;
    }
    out
}

fn hide_word(word: &str) -> String {
    let id = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let drawn = word.len() >= 15 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = word.trim_end_matches(|char: char| char.is_alphabetic());
    let whole = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let unit = &word[number.len()..];
    let duration = whole && number.contains('.') && matches!(unit, "ms" | "\u{b5}s" | "s" | "m");
    if word.len() == 5 && word.starts_with("3.7.") && word != "3.7.0" {
        "3.7.x".to_owned()
    } else if KNOWN.contains(&word) {
        word.to_owned()
    } else if id || drawn {
        "ID".to_owned()
    } else if duration {
        "TIME".to_owned()
    } else {
        word.to_owned()
    }
}

/// A row of `endpoint status`: sizes and raft indexes go.
fn status_row(line: &str) -> String {
    const CELLS: usize = 16;
    for (separator, extra) in [(", ", 0), ("|", 2)] {
        let cells: Vec<&str> = line.split(separator).collect();
        if cells.len() == CELLS + extra && cells[3 + extra / 2].contains("3.") {
            let loose = [4, 5, 6, 10, 11, 12].map(|cell| cell + extra / 2);
            let cells =
                cells.iter().enumerate().map(|(number, cell)| match loose.contains(&number) {
                    true => "~",
                    false => *cell,
                });
            return cells.collect::<Vec<_>>().join(separator);
        }
    }
    if line.contains("\"msg\":\"fetched snapshot\"") {
        return hide_after(line, "\"size\":\"", |char| char != '"');
    }
    line.to_owned()
}

/// Tables are as wide as what they hold.
fn squeezed(line: String) -> String {
    if !line.starts_with(['|', '+']) {
        return line;
    }
    let mut out = String::new();
    for char in line.chars() {
        if !(matches!(char, ' ' | '-') && out.ends_with(char)) {
            out.push(char);
        }
    }
    out
}
