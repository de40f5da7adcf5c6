//! YAML as etcd reads it: in goyaml's dialect, which is YAML 1.1 with numbers in Go's spelling.
//!
//! The parser is libyaml's, of which goyaml is a port as well, so both agree on what is well-formed and say
//! so in the same words. What a scalar means is decided here: `on` is true, `"on"` is a text, `010` is
//! eight, `8e9` a whole number, `08` eight after all. Only the first document counts, and nothing after it
//! is looked at.
//!
//! Written from observed behaviour; `dialect.txt` holds the whole table, and a test asks a real etcd
//! for it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use go::number::{signed, unsigned};
use libyaml_safer::{Error, ErrorKind, EventData, Parser, VersionDirective};

/// Lists and mappings in each other.
const DEPTH_MAX: usize = 1000;
/// Values, those that an alias repeats counted each time.
const NODES_MAX: usize = 100_000;
const CORE_TAG: &str = "tag:yaml.org,2002:";

/// A value, as JSON knows them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Truth(bool),
    /// As Go writes it in JSON.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the keys, which is the order Go looks at them in.
    Block(BTreeMap<String, Node>),
}

impl Node {
    /// What Go calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Truth(_) => "bool",
            Node::Number(_) => "number",
            Node::Text(_) => "string",
            Node::List(_) => "array",
            Node::Block(_) => "object",
        }
    }
}

/// The first document; nothing is as good as null. The error is what follows `error converting YAML to
/// JSON: `.
pub(crate) fn read(bytes: &[u8]) -> Result<Node, String> {
    let text = decoded(bytes).map_err(fault)?;
    let mut bytes = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut reader = Reader { parser, anchors: BTreeMap::new(), open: Vec::new(), nodes: 0 };
    loop {
        match reader.next()? {
            EventData::StreamEnd => return Ok(Node::Null),
            EventData::DocumentStart { version_directive, .. } => {
                reader.check_version(version_directive)?;
                let first = reader.next()?;
                return reader.node(first, 0);
            }
            _ => {}
        }
    }
}

/// The text of a file, in UTF-8 or, where a mark at its front says so, in UTF-16. What a file of YAML may not
/// hold is refused.
fn decoded(bytes: &[u8]) -> Result<String, &'static str> {
    let wide = |rest: &[u8], word: fn([u8; 2]) -> u16| {
        let words = rest.chunks(2).map(|two| two.try_into().map(word));
        let words: Vec<u16> =
            words.collect::<Result<_, _>>().map_err(|_| "incomplete UTF-16 character")?;
        String::from_utf16(&words).map_err(|_| "unexpected low surrogate area")
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => str::from_utf8(rest)
            .map_err(|error| utf8_fault(&rest[error.valid_up_to()..]))?
            .to_owned(),
    };
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | '\u{85}' | ' '..='~' | '\u{a0}'..)
            && !matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if text.chars().all(allowed) { Ok(text) } else { Err("control characters are not allowed") }
}

/// What is wrong with the first character of these bytes, in libyaml's words.
fn utf8_fault(bytes: &[u8]) -> &'static str {
    let (width, first) = match bytes[0] {
        lead @ 0xc0..=0xdf => (2, u32::from(lead & 0x1f)),
        lead @ 0xe0..=0xef => (3, u32::from(lead & 0x0f)),
        lead @ 0xf0..=0xf7 => (4, u32::from(lead & 0x07)),
        _ => return "invalid leading UTF-8 octet",
    };
    let Some(trailing) = bytes.get(1..width) else { return "incomplete UTF-8 octet sequence" };
    if trailing.iter().any(|octet| octet & 0xc0 != 0x80) {
        return "invalid trailing UTF-8 octet";
    }
    let value = trailing.iter().fold(first, |value, octet| value << 6 | u32::from(octet & 0x3f));
    let least = [0x80, 0x800, 0x1_0000][width - 2];
    if value < least { "invalid length of a UTF-8 sequence" } else { "invalid Unicode character" }
}

struct Reader<'r, 'b> {
    parser: Parser<&'r mut &'b [u8]>,
    anchors: BTreeMap<String, Node>,
    /// Anchors of what is being read.
    open: Vec<String>,
    nodes: usize,
}

fn fault(what: impl std::fmt::Display) -> String {
    format!("yaml: {what}")
}

impl Reader<'_, '_> {
    fn next(&mut self) -> Result<EventData, String> {
        self.parser.parse().map(|event| event.data).map_err(|error| syntax_fault(&error))
    }

    fn check_version(&self, version: Option<VersionDirective>) -> Result<(), String> {
        match version {
            Some(VersionDirective { major: 1, minor: 1, .. }) | None => Ok(()),
            Some(_) => Err(fault("found incompatible YAML document")),
        }
    }

    fn node(&mut self, event: EventData, depth: usize) -> Result<Node, String> {
        self.count(1)?;
        if depth > DEPTH_MAX {
            return Err(fault(format!("exceeded max depth of {DEPTH_MAX}")));
        }
        match event {
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                let node = scalar(tag.as_deref(), value, plain_implicit)?;
                Ok(self.anchored(anchor, node))
            }
            EventData::Alias { anchor } => self.alias(&anchor),
            EventData::SequenceStart { anchor, .. } => {
                self.open.extend(anchor.clone());
                let list = self.list(depth)?;
                self.close(&anchor);
                Ok(self.anchored(anchor, list))
            }
            EventData::MappingStart { anchor, .. } => {
                self.open.extend(anchor.clone());
                let block = self.block(depth)?;
                self.close(&anchor);
                Ok(self.anchored(anchor, block))
            }
            // libyaml gives nothing else where a value must stand.
            _ => Err(fault("did not find expected node content")),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES_MAX {
            Ok(())
        } else {
            Err(fault("document contains excessive aliasing"))
        }
    }

    fn anchored(&mut self, anchor: Option<String>, node: Node) -> Node {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, node.clone());
        }
        node
    }

    fn close(&mut self, anchor: &Option<String>) {
        if anchor.is_some() {
            self.open.pop();
        }
    }

    fn alias(&mut self, anchor: &str) -> Result<Node, String> {
        if self.open.iter().any(|open| open == anchor) {
            return Err(fault(format!("anchor '{anchor}' value contains itself")));
        }
        let unknown = || fault(format!("unknown anchor '{anchor}' referenced"));
        let size = nodes_in(self.anchors.get(anchor).ok_or_else(unknown)?);
        self.count(size)?;
        Ok(self.anchors[anchor].clone())
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                EventData::SequenceEnd => return Ok(Node::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn block(&mut self, depth: usize) -> Result<Node, String> {
        let mut block = BTreeMap::new();
        loop {
            let event = self.next()?;
            if event == EventData::MappingEnd {
                return Ok(Node::Block(block));
            }
            let merges = matches!(&event, EventData::Scalar { value, plain_implicit: true, .. } if value == "<<");
            let key = self.node(event, depth + 1)?;
            let value = self.next()?;
            let value = self.node(value, depth + 1)?;
            if merges {
                merge(value, &mut block)?;
            } else {
                block.insert(key_text(key, &value)?, value);
            }
        }
    }
}

fn nodes_in(node: &Node) -> usize {
    1 + match node {
        Node::List(items) => items.iter().map(nodes_in).sum(),
        Node::Block(block) => block.values().map(nodes_in).sum(),
        _ => 0,
    }
}

/// The text of a fault of syntax. goyaml counts lines from one in what its scanner finds and from zero in
/// what its parser finds, and leaves the first of them out.
fn syntax_fault(error: &Error) -> String {
    let problem = error.problem();
    let line = match error.kind() {
        ErrorKind::Scanner => {
            error.problem_mark().map(|mark| mark.line).filter(|line| *line > 0).map(|line| line + 1)
        }
        ErrorKind::Parser => error.problem_mark().map(|mark| mark.line).filter(|line| *line > 0),
        _ => None,
    };
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    fault(format!("{line}{problem}"))
}

fn merge(value: Node, into: &mut BTreeMap<String, Node>) -> Result<(), String> {
    let refused = || fault("map merge requires map or sequence of maps as the value");
    let blocks = match value {
        Node::List(items) => items,
        one => vec![one],
    };
    // The first of several counts, hence it comes last.
    for block in blocks.into_iter().rev() {
        let Node::Block(block) = block else { return Err(refused()) };
        into.extend(block);
    }
    Ok(())
}

/// Keys of JSON are texts.
fn key_text(key: Node, value: &Node) -> Result<String, String> {
    match key {
        Node::Text(text) | Node::Number(text) => Ok(text),
        Node::Truth(truth) => Ok(truth.to_string()),
        Node::Null => {
            let value = match value {
                Node::Text(text) => go::quote(text),
                Node::Number(text) => text.clone(),
                Node::Truth(truth) => truth.to_string(),
                other => other.kind().to_owned(),
            };
            Err(format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {value}"))
        }
        other => Err(fault(format!("invalid map key: {}", other.kind()))),
    }
}

/// A scalar's meaning: that of its tag, and without one that of its text if it stands bare.
fn scalar(tag: Option<&str>, text: String, bare: bool) -> Result<Node, String> {
    let Some(tag) = tag.filter(|tag| *tag != "!") else {
        return if bare { finite(resolved(&text), text) } else { Ok(Node::Text(text)) };
    };
    let wanted = tag.strip_prefix(CORE_TAG).unwrap_or("");
    match wanted {
        "bool" | "int" | "float" | "null" => {
            let found = resolved(&text);
            let fits = found.0 == wanted || (wanted == "float" && found.0 == "int");
            if fits {
                return finite(found, text);
            }
            Err(fault(format!("cannot decode !!{} `{text}` as a !!{wanted}", found.0)))
        }
        "binary" => binary(&text),
        _ => Ok(Node::Text(text)),
    }
}

/// JSON has no word for what is not finite.
fn finite((kind, node): (&'static str, Option<Node>), text: String) -> Result<Node, String> {
    node.ok_or_else(|| {
        let minus = text.starts_with('-');
        let nan = text.to_ascii_lowercase().ends_with("nan");
        debug_assert_eq!(kind, "float");
        let value = if nan {
            "NaN"
        } else if minus {
            "-Inf"
        } else {
            "+Inf"
        };
        format!("json: unsupported value: {value}")
    })
}

/// What a bare scalar is and what it holds; nothing where that is not finite.
fn resolved(text: &str) -> (&'static str, Option<Node>) {
    let number = |text: String| Some(Node::Number(text));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ("null", Some(Node::Null)),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return ("bool", Some(Node::Truth(true)));
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return ("bool", Some(Node::Truth(false)));
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return ("float", None),
        _ => {}
    }
    if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
        if let Ok(value) = signed(&plain, 0) {
            return ("int", number(value.to_string()));
        }
        if let Ok(value) = unsigned(&plain, 0) {
            return ("int", number(value.to_string()));
        }
        if let Some(value) = float(&plain) {
            return ("float", number(json_float(value)));
        }
    }
    ("str", Some(Node::Text(text.to_owned())))
}

/// `5`, `5.`, `.5`, `1e3`, each with or without a sign. What is too large for a number is a text.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    let well_formed =
        exponent && digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0;
    text.parse().ok().filter(|value: &f64| well_formed && value.is_finite())
}

/// As Go writes a number with a fraction in JSON: without an exponent where that is not too long.
fn json_float(value: f64) -> String {
    if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !exponent.starts_with('-') => {
            format!("{mantissa}e+{exponent}")
        }
        _ => text,
    }
}

fn binary(text: &str) -> Result<Node, String> {
    let refused = || fault("!!binary value contains invalid base64 data");
    let body: String = text.split(['\n', '\r']).collect();
    let bytes = BASE64_STANDARD.decode(body).map_err(|_| refused())?;
    Ok(Node::Text(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(read: Result<Node, String>) -> String {
        match read {
            Ok(Node::Block(mut block)) => match block.remove("a").expect("it was written") {
                Node::Null => "null".to_owned(),
                Node::Truth(truth) => format!("bool {truth}"),
                Node::Number(number) => format!("number {number}"),
                Node::Text(text) => format!("string {text}"),
                other => other.kind().to_owned(),
            },
            Ok(other) => other.kind().to_owned(),
            Err(why) => format!("refused {why}"),
        }
    }

    #[test]
    fn scalars_mean_what_they_mean_to_etcd() {
        let table = include_str!("dialect.txt").lines().filter(|line| !line.starts_with('#'));
        let mut wrong = String::new();
        for line in table {
            let (scalar, expected) = line.split_once('\t').expect("a tab");
            let found = shown(read(format!("a: {scalar}\n").as_bytes()));
            if found != expected {
                wrong += &format!("{scalar}: {found}, not {expected}\n");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    #[track_caller]
    fn document(bytes: &[u8], expected: &str) {
        assert_eq!(shown(read(bytes)), expected);
    }

    #[test]
    fn only_the_first_document_counts_in_whatever_clothes_it_comes() {
        for text in [
            "a: 7",
            "---\na: 7\n...\njunk: [",
            "a: 7\n---\n",
            "a: 7\n---\na: 9\n",
            "\u{feff}a: 7",
            "%YAML 1.1\n---\na: 7",
            "a: 7\r\n",
            "{\n\t\"a\": 7,\n}",
            "x: &k 7\na: *k",
            "x: &k {a: 7}\n<<: *k",
            "!foo\na: 7",
            "? a\n: 7",
            "a: 9\na: 7",
        ] {
            document(text.as_bytes(), "number 7");
        }
        let wide: Vec<u8> = "\u{feff}a: 7\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        document(&wide, "number 7");
        document(b"", "null");
        document(b"# x\n", "null");
        document(b"---\n", "null");
        document(b"a: |\n  x\n  y\n", "string x\ny\n");
        document(b"yes: x\n5: y\na: 1.0", "number 1");
    }

    #[test]
    fn what_is_not_well_formed_is_refused_in_etcds_words() {
        for (bytes, why) in [
            (&b"%YAML 1.2\n---\na: 7"[..], "found incompatible YAML document"),
            (b"%FOO bar\n---\na: 7", "found unknown directive name"),
            (b"x:\n\ta: true\n", "line 2: found character that cannot start any token"),
            (b"a: x\n\tbad", "line 2: found a tab character that violates indentation"),
            (b"a: a\x00b", "control characters are not allowed"),
            (b"a: a\x01b", "control characters are not allowed"),
            (b"a: a\xffb\n", "invalid leading UTF-8 octet"),
            (b"# \xe4\na: 7\n", "invalid trailing UTF-8 octet"),
            (b"a: *b", "unknown anchor 'b' referenced"),
            (b"x: &b [*b]", "anchor 'b' value contains itself"),
            (b"a: b: c", "mapping values are not allowed in this context"),
            (b"a: 1\n b: 2\n", "line 2: mapping values are not allowed in this context"),
            (b"a:\n  b: 1\n c: 2\n", "line 2: did not find expected key"),
            (b"a: 1\n- b\n", "line 1: did not find expected key"),
            (b"{a: 7", "line 1: did not find expected ',' or '}'"),
            (b"a: @x\n", "found character that cannot start any token"),
            (b"a: \"\\q\"\n", "found unknown escape character"),
            (b"a: 'x\n", "line 2: found unexpected end of stream"),
            (b": 7\na: 7", "did not find expected key"),
            (b"a: !x!y z\n", "found undefined tag handle"),
            (b"a: \"\x7f\"", "control characters are not allowed"),
            (b"a: \"\xf5\x80\x80\x80\"", "invalid Unicode character"),
            (b"a: \"\xed\xa0\x80\"", "invalid Unicode character"),
            (b"a: \"\xc0\x80\"", "invalid length of a UTF-8 sequence"),
            (b"a: \"\xe4\xb8", "incomplete UTF-8 octet sequence"),
            (b"<<: 5", "map merge requires map or sequence of maps as the value"),
        ] {
            document(bytes, &format!("refused yaml: {why}"));
        }
        let null = "refused unsupported map key of type: %!s(<nil>), key: <nil>, value: \"x\"";
        document(b"~: x", null);
    }

    /// A file is small; what a few bytes of it can ask for is bounded.
    #[test]
    fn a_file_that_repeats_itself_without_end_is_refused() {
        let mut bomb = "x0: &x0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for level in 1..9 {
            let before = format!("*x{},", level - 1).repeat(10);
            bomb += &format!("x{level}: &x{level} [{before}]\n");
        }
        document(bomb.as_bytes(), "refused yaml: document contains excessive aliasing");
        let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
        document(deep.as_bytes(), "refused yaml: exceeded max depth of 1000");
    }
}
