//! Frames and header blocks as a client writes them.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const HAS_PRIORITY: u8 = 32;

pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A number with a prefix of so many bits, the rest of the first byte being `pattern`.
fn integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let mask = (1 << prefix_bits) - 1;
    if value < mask {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The number at the front of these bytes, behind a prefix of so many bits.
pub(crate) fn integer_of(bytes: &[u8], prefix_bits: u32) -> usize {
    let mask = (1 << prefix_bits) - 1;
    let first = usize::from(bytes[0]) & mask;
    if first < mask {
        return first;
    }
    let last = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).expect("it ends");
    let more = bytes[1..=last].iter().rev();
    mask + more.fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f))
}

/// Texts in Huffman's code, from RFC 7541's appendix C.
const PACKED: [(&str, &[u8]); 4] = [
    ("www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
    ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
    ("custom-key", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]),
    ("custom-value", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]),
];

fn text(out: &mut Vec<u8>, text: &str) {
    match PACKED.iter().find(|(known, _)| *known == text) {
        Some((_, packed)) => {
            integer(out, 0x80, 7, packed.len());
            out.extend(*packed);
        }
        None => {
            integer(out, 0, 7, text.len());
            out.extend(text.as_bytes());
        }
    }
}

/// How a field is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Written out, not to be remembered.
    Plain,
    /// The same, and nobody on the way may remember it either.
    Secret,
    /// Written out and remembered; afterwards referred to.
    Remembered,
}

/// What a client has had remembered of its headers: the last first.
#[derive(Debug)]
pub(crate) struct Table {
    entries: std::collections::VecDeque<(String, String)>,
    bytes_max: usize,
}

/// Entries of the fixed table, and the number of the first that was remembered.
const FIXED: [(usize, &str, &str); 6] = [
    (3, ":method", "POST"),
    (2, ":method", "GET"),
    (6, ":scheme", "http"),
    (7, ":scheme", "https"),
    (4, ":path", "/"),
    (16, "accept-encoding", "gzip, deflate"),
];
const FIRST_REMEMBERED: usize = 62;

impl Table {
    pub(crate) fn new() -> Table {
        Table { entries: std::collections::VecDeque::new(), bytes_max: 4096 }
    }

    /// Says that the table is smaller or larger from here on: a block may begin with that.
    pub(crate) fn resize(&mut self, out: &mut Vec<u8>, bytes_max: usize) {
        integer(out, 0x20, 5, bytes_max);
        self.bytes_max = bytes_max;
        self.evict();
    }

    pub(crate) fn field(&mut self, out: &mut Vec<u8>, name: &str, value: &str, way: Way) {
        let fixed = FIXED.iter().find(|(_, known, said)| (*known, *said) == (name, value));
        let known = self.entries.iter().position(|entry| (&*entry.0, &*entry.1) == (name, value));
        let number = fixed.map(|(number, ..)| *number);
        match (way, number.or(known.map(|at| at + FIRST_REMEMBERED))) {
            (Way::Remembered, Some(number)) => integer(out, 0x80, 7, number),
            (Way::Remembered, None) => {
                self.literal(out, 0x40, 6, name, value);
                self.entries.push_front((name.to_string(), value.to_string()));
                self.evict();
            }
            (Way::Plain, _) => self.literal(out, 0, 4, name, value),
            (Way::Secret, _) => self.literal(out, 0x10, 4, name, value),
        }
    }

    fn literal(&self, out: &mut Vec<u8>, pattern: u8, bits: u32, name: &str, value: &str) {
        let fixed = FIXED.iter().find(|(_, known, _)| *known == name).map(|(number, ..)| *number);
        let known = self.entries.iter().position(|entry| entry.0 == name);
        match fixed.or(known.map(|at| at + FIRST_REMEMBERED)) {
            Some(number) => integer(out, pattern, bits, number),
            None => {
                out.push(pattern);
                text(out, name);
            }
        }
        text(out, value);
    }

    fn evict(&mut self) {
        let bytes = |entries: &std::collections::VecDeque<(String, String)>| {
            entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>()
        };
        while bytes(&self.entries) > self.bytes_max {
            self.entries.pop_back();
        }
    }
}
