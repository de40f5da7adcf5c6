//! A client that says whatever it may say.

use std::collections::BTreeSet;

use super::Choices;
use super::plan::Plan;
use super::seen::{Seen, Settings};
use super::words::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HAS_PRIORITY, HEADER_TABLE_SIZE, HEADERS,
    INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PADDED, PING, PRIORITY, RST_STREAM, Table, WINDOW_UPDATE,
    Way, frame, settings,
};

/// Streams it has open at once.
const OPEN_MAX: usize = 16;
/// Settings and unknown frames it says: an attack says thousands.
const SETTINGS_MAX: usize = 60;
/// Frames it cuts a block into: the server of `h2` takes more for an attack.
const PIECES_MAX: usize = 4;

const FIELDS: [(&str, &str); 11] = [
    ("te", "trailers"),
    ("user-agent", "a client/1.0"),
    ("cache-control", "no-cache"),
    ("custom-key", "custom-value"),
    ("custom-key", "another value"),
    ("some-bin", "AAECAw"),
    ("cookie", "a=b"),
    ("cookie", "c=d"),
    ("empty", ""),
    ("content-type", "application/grpc"),
    ("accept-encoding", "gzip, deflate"),
];

/// A stream whose request is not over.
struct Open {
    id: u32,
    /// Bytes it has promised and not sent.
    left: Option<usize>,
}

pub(crate) struct Client {
    table: Table,
    next: u32,
    open: Vec<Open>,
    gave_up: BTreeSet<u32>,
    said: Settings,
    /// Whether everything was let in for the end.
    wide: bool,
    pub pings: Vec<[u8; 8]>,
    pub settings: usize,
}

impl Client {
    pub(crate) fn new() -> Client {
        Client {
            table: Table::new(),
            next: 1,
            open: Vec::new(),
            gave_up: BTreeSet::new(),
            said: Settings::default(),
            wide: false,
            pings: Vec::new(),
            settings: 0,
        }
    }

    /// Streams it has opened.
    pub(crate) fn asked(&self) -> impl Iterator<Item = u32> {
        (1..self.next).step_by(2)
    }

    pub(crate) fn gave_up(&self, id: u32) -> bool {
        self.gave_up.contains(&id)
    }

    /// The preface and first settings, which say nothing: a server may not wait for more.
    pub(crate) fn greet(&mut self, both: &mut [&mut Seen]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), self.set(&[], both)].concat()
    }

    /// What it says in one breath.
    pub(crate) fn breath(&mut self, choices: &mut Choices, both: &mut [&mut Seen]) -> Vec<u8> {
        (0..=choices.below(4)).flat_map(|_| self.step(choices, both)).collect()
    }

    fn step(&mut self, choices: &mut Choices, both: &mut [&mut Seen]) -> Vec<u8> {
        match choices.below(16) {
            0..=3 if self.open.len() < OPEN_MAX => self.request(choices),
            4..=7 => self.data(choices, both),
            8 => self.trailers(choices),
            9 => self.give_up(choices),
            10 | 11 => self.grant(choices, both),
            12 if self.settings < SETTINGS_MAX => self.change(choices, both),
            13 => {
                let payload = [choices.byte(); 8];
                self.pings.push(payload);
                frame(PING, 0, 0, &payload)
            }
            14 => {
                let (id, on) = (self.next + 2 * choices.below(3) as u32, choices.below(40) as u32);
                let on = if on == id { 0 } else { on | (u32::from(choices.one_in(2)) << 31) };
                frame(PRIORITY, 0, id, &[&on.to_be_bytes()[..], &[choices.byte()]].concat())
            }
            15 => {
                let kind = choices.pick(&[0xa, 0xc, 0x42, 0xff]);
                let payload = vec![choices.byte(); choices.below(300)];
                frame(kind, choices.byte(), choices.below(9) as u32, &payload)
            }
            _ => Vec::new(),
        }
    }

    fn request(&mut self, choices: &mut Choices) -> Vec<u8> {
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        if choices.one_in(8) {
            let bytes = choices.pick(&[0, 40, 200, 4096]);
            self.table.resize(&mut block, bytes);
        }
        let (method, scheme) =
            (choices.pick(&["POST", "GET", "PUT"]), choices.pick(&["http", "https"]));
        let path = choices.pick(&Plan::PATHS);
        let authority = choices.pick(&["www.example.com", "localhost:2379", ""]);
        let pseudo = [(":method", method), (":scheme", scheme), (":path", path)];
        for (name, value) in pseudo.into_iter().chain([(":authority", authority)]) {
            if !value.is_empty() {
                self.field(choices, &mut block, name, value);
            }
        }
        for _ in 0..choices.below(6) {
            let (name, value) = choices.pick(&FIELDS);
            self.field(choices, &mut block, name, value);
        }
        for _ in 0..choices.pick(&[0, 0, 0, 0, 1, 4]) {
            let value = "v".repeat(choices.pick(&[100, 300, 5000]));
            self.field(choices, &mut block, "long", &value);
        }
        let length = choices.pick(&[None, None, Some(0), Some(1), Some(300)]);
        if let Some(length) = length {
            self.field(choices, &mut block, "content-length", &length.to_string());
        }
        let ends = length.unwrap_or(0) == 0 && choices.one_in(2);
        if !ends {
            self.open.push(Open { id, left: length });
        }
        headers(choices, id, ends, &block)
    }

    fn field(&mut self, choices: &mut Choices, block: &mut Vec<u8>, name: &str, value: &str) {
        let way = choices.pick(&[Way::Remembered, Way::Plain, Way::Secret, Way::Remembered]);
        self.table.field(block, name, value, way);
    }

    fn data(&mut self, choices: &mut Choices, both: &mut [&mut Seen]) -> Vec<u8> {
        if self.open.is_empty() {
            return Vec::new();
        }
        let at = choices.below(self.open.len());
        let Open { id, left } = &mut self.open[at];
        let id = *id;
        let window = both.iter_mut().map(|seen| seen.may_send(id)).min().expect("two of them");
        let padding = choices.pick(&[None, None, Some(0), Some(7), Some(255u8)]);
        let overhead = padding.map_or(0, |padding| usize::from(padding) + 1);
        let room = usize::try_from(window).unwrap_or(0).min(16_384);
        let Some(room) = room.checked_sub(overhead) else { return Vec::new() };
        let wanted = choices.pick(&[0, 1, 5, 100, 1000, 16_384]);
        let len = wanted.min(room).min(left.unwrap_or(usize::MAX));
        *left = left.map(|left| left - len);
        let ends = left.unwrap_or(0) == 0 && choices.one_in(3);
        let mut payload = Vec::new();
        payload.extend(padding);
        payload.extend((0..len).map(|at| at as u8));
        payload.resize(payload.len() + usize::from(padding.unwrap_or(0)), 0);
        for seen in both {
            seen.sent(id, payload.len());
        }
        if ends {
            self.open.remove(at);
        }
        let flags = if ends { END_STREAM } else { 0 } | if padding.is_some() { PADDED } else { 0 };
        frame(DATA, flags, id, &payload)
    }

    fn trailers(&mut self, choices: &mut Choices) -> Vec<u8> {
        let Some(at) = self.open.iter().position(|open| open.left.unwrap_or(0) == 0) else {
            return Vec::new();
        };
        let Open { id, .. } = self.open.remove(at);
        let mut block = Vec::new();
        for _ in 0..choices.below(3) {
            let (name, value) = choices.pick(&[("x-sum", "17"), ("custom-key", "custom-value")]);
            self.field(choices, &mut block, name, value);
        }
        headers(choices, id, true, &block)
    }

    fn give_up(&mut self, choices: &mut Choices) -> Vec<u8> {
        if self.next == 1 {
            return Vec::new();
        }
        let id = 1 + 2 * choices.below((self.next / 2) as usize) as u32;
        self.open.retain(|open| open.id != id);
        self.gave_up.insert(id);
        frame(RST_STREAM, 0, id, &choices.pick(&[8u32, 0, 5, 99]).to_be_bytes())
    }

    fn grant(&mut self, choices: &mut Choices, both: &mut [&mut Seen]) -> Vec<u8> {
        let id = match choices.below(2) {
            1 if self.next > 1 => 1 + 2 * choices.below((self.next / 2) as usize) as u32,
            _ => 0,
        };
        let bytes = choices.pick(&[1u32, 100, 16_384, 65_535]);
        for seen in both {
            seen.granted(id, bytes);
        }
        frame(WINDOW_UPDATE, 0, id, &bytes.to_be_bytes())
    }

    fn change(&mut self, choices: &mut Choices, both: &mut [&mut Seen]) -> Vec<u8> {
        let mut pairs = Vec::new();
        for _ in 0..choices.below(4) {
            pairs.push(match choices.below(5) {
                0 | 1 => (INITIAL_WINDOW_SIZE, choices.pick(&[0, 1, 100, 16_384, 65_535, 1 << 20])),
                2 => (HEADER_TABLE_SIZE, choices.pick(&[0, 100, 4096, 8192])),
                3 => (MAX_FRAME_SIZE, choices.pick(&[16_384, 20_000, (1 << 24) - 1])),
                _ => choices.pick(&[(2, 0), (3, 10), (6, 100_000), (0x99, 7)]),
            });
        }
        self.set(&pairs, both)
    }

    fn set(&mut self, pairs: &[(u16, u32)], both: &mut [&mut Seen]) -> Vec<u8> {
        self.said = self.said.with(pairs);
        self.settings += 1;
        for seen in both {
            seen.announce(self.said);
        }
        settings(pairs)
    }

    /// Lets everything in, then ends what it has begun, as far as it may; nothing is left to say in the end.
    pub(crate) fn end(&mut self, both: &mut [&mut Seen]) -> Vec<u8> {
        let mut said = Vec::new();
        if !std::mem::replace(&mut self.wide, true) {
            said.extend(self.set(&[(INITIAL_WINDOW_SIZE, 1 << 20)], both));
            let bytes = 64u32 << 20;
            both.iter_mut().for_each(|seen| seen.granted(0, bytes));
            said.extend(frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes()));
        }
        for Open { id, left } in std::mem::take(&mut self.open) {
            let window = both.iter_mut().map(|seen| seen.may_send(id)).min().expect("two of them");
            let left = left.unwrap_or(0);
            assert!(left as i64 <= window, "stream {id}: a window that was used up opens again");
            both.iter_mut().for_each(|seen| seen.sent(id, left));
            said.extend(frame(DATA, END_STREAM, id, &vec![b'e'; left]));
        }
        said
    }

    /// A stream of its own that is open, and how it was opened.
    pub(crate) fn fresh(&mut self, more: &[(&str, &str)]) -> (u32, Vec<u8>) {
        let id = self.next;
        self.next += 2;
        let block = self.block("/echo", more);
        (id, frame(HEADERS, END_HEADERS, id, &block))
    }

    /// A plain request's block.
    pub(crate) fn block(&mut self, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        let usual = [(":method", "POST"), (":scheme", "http"), (":path", path)];
        for (name, value) in usual.iter().chain(more).filter(|(_, value)| !value.is_empty()) {
            self.table.field(&mut block, name, value, Way::Plain);
        }
        block
    }

    /// The stream it would open next.
    pub(crate) fn next_stream(&self) -> u32 {
        self.next
    }
}

/// HEADERS and what continues them, with or without padding and a priority.
fn headers(choices: &mut Choices, id: u32, ends: bool, block: &[u8]) -> Vec<u8> {
    let least = block.len().div_ceil(16_000).max(1);
    let pieces = least + choices.below(PIECES_MAX - least + 1);
    let mut cuts: Vec<usize> = (1..pieces).map(|piece| piece * block.len() / pieces).collect();
    // Anywhere at all, where that leaves no piece that is too long.
    if block.len() < 16_000 {
        cuts.iter_mut().for_each(|cut| *cut = choices.below(block.len() + 1));
        cuts.sort_unstable();
    }
    cuts.push(block.len());
    let mut flags = if ends { END_STREAM } else { 0 };
    let mut payload = Vec::new();
    let padding = choices.pick(&[None, None, Some(0), Some(200u8)]);
    if let Some(padding) = padding {
        flags |= PADDED;
        payload.push(padding);
    }
    if choices.one_in(4) {
        flags |= HAS_PRIORITY;
        let on = choices.below(3) as u32 * 2;
        payload.extend(on.to_be_bytes());
        payload.push(choices.byte());
    }
    payload.extend(&block[..cuts[0]]);
    payload.resize(payload.len() + usize::from(padding.unwrap_or(0)), 0);
    let whole = |last: bool| if last { END_HEADERS } else { 0 };
    let mut out = frame(HEADERS, flags | whole(cuts.len() == 1), id, &payload);
    for (number, pair) in cuts.windows(2).enumerate() {
        let flags = whole(number + 2 == cuts.len());
        out.extend(frame(CONTINUATION, flags, id, &block[pair[0]..pair[1]]));
    }
    out
}
