//! What a server says, read as a client reads it: what it means, and whether it keeps to what was allowed.

use std::collections::{BTreeMap, VecDeque};

use httlib_hpack::Decoder;

use super::WINDOW_BYTES;
use super::words::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADER_TABLE_SIZE, HEADERS,
    INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

pub(crate) type Fields = Vec<(String, String)>;

/// What was answered on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub head: Option<Fields>,
    pub body: Vec<u8>,
    pub trailers: Option<Fields>,
    pub ended: bool,
    /// The code of a reset before the end. One behind it only says that the client need not go on.
    pub reset: Option<u32>,
}

impl Answer {
    pub(crate) fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// One server, as its client sees it.
pub(crate) struct Seen {
    pub whose: &'static str,
    pub streams: BTreeMap<u32, Answer>,
    pub pongs: Vec<[u8; 8]>,
    /// How many of our settings it knows.
    pub acknowledged: usize,
    /// The code of its GOAWAY.
    pub farewell: Option<u32>,
    /// Bytes that we may send.
    connection_window: i64,
    stream_windows: BTreeMap<u32, i64>,
    /// Bytes that it may send.
    its_connection_window: i64,
    its_windows: BTreeMap<u32, i64>,
    /// Settings it has acknowledged, and those it may not have read.
    settings: Settings,
    announced: VecDeque<Settings>,
    decoder: Decoder<'static>,
    table_bytes: usize,
    /// Its next block has to say that its table has shrunk.
    must_shrink: bool,
    block: Option<(u32, u8, Vec<u8>)>,
    partial: Vec<u8>,
}

/// Of a client's settings, those that bind the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub window_bytes: i64,
    pub payload_bytes_max: usize,
    pub table_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        let window_bytes = i64::from(WINDOW_BYTES);
        Settings { window_bytes, payload_bytes_max: 16_384, table_bytes: 4096 }
    }
}

impl Settings {
    pub(crate) fn with(mut self, pairs: &[(u16, u32)]) -> Settings {
        for (name, value) in pairs {
            match *name {
                INITIAL_WINDOW_SIZE => self.window_bytes = i64::from(*value),
                MAX_FRAME_SIZE => self.payload_bytes_max = *value as usize,
                HEADER_TABLE_SIZE => self.table_bytes = *value as usize,
                _ => {}
            }
        }
        self
    }
}

impl Seen {
    pub(crate) fn new(whose: &'static str) -> Seen {
        let window = i64::from(WINDOW_BYTES);
        Seen {
            whose,
            streams: BTreeMap::new(),
            pongs: Vec::new(),
            acknowledged: 0,
            farewell: None,
            connection_window: window,
            stream_windows: BTreeMap::new(),
            its_connection_window: window,
            its_windows: BTreeMap::new(),
            settings: Settings::default(),
            announced: VecDeque::new(),
            decoder: Decoder::with_dynamic_size(4096),
            table_bytes: 4096,
            must_shrink: false,
            block: None,
            partial: Vec::new(),
        }
    }

    /// Bytes that may be sent on a stream now.
    pub(crate) fn may_send(&mut self, id: u32) -> i64 {
        let window = self.stream_windows.entry(id).or_insert(i64::from(WINDOW_BYTES));
        (*window).min(self.connection_window)
    }

    pub(crate) fn sent(&mut self, id: u32, bytes: usize) {
        self.connection_window -= bytes as i64;
        *self.stream_windows.entry(id).or_insert(i64::from(WINDOW_BYTES)) -= bytes as i64;
    }

    /// The client lets it send so many more.
    pub(crate) fn granted(&mut self, id: u32, bytes: u32) {
        match id {
            0 => self.its_connection_window += i64::from(bytes),
            _ => *self.its_windows.entry(id).or_default() += i64::from(bytes),
        }
    }

    /// The client's settings from here on.
    pub(crate) fn announce(&mut self, settings: Settings) {
        self.announced.push_back(settings);
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.partial);
        let mut rest = &all[..];
        while let Some((header, after)) = rest.split_first_chunk::<9>() {
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            let longest = self.most(|settings| settings.payload_bytes_max as i64);
            assert!(len as i64 <= longest, "{}: a frame of {len} bytes", self.whose);
            let Some(payload) = after.get(..len) else { break };
            self.frame(kind, flags, u32::from_be_bytes(stream), payload);
            rest = &after[len..];
        }
        self.partial = rest.to_vec();
    }

    /// The most that a setting allows, as far as it may or may not know of the latest.
    fn most(&self, of: impl Fn(&Settings) -> i64) -> i64 {
        let announced = self.announced.iter().map(&of).max();
        of(&self.settings).max(announced.unwrap_or(0))
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        assert!(self.block.is_none() || kind == CONTINUATION, "{}: a block is whole", self.whose);
        let number = || u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
        match kind {
            DATA => self.data(flags, id, payload),
            HEADERS => self.piece(id, flags, payload),
            CONTINUATION => self.piece(id, flags, payload),
            RST_STREAM => {
                let answer = self.streams.entry(id).or_default();
                if !answer.is_over() {
                    answer.reset = Some(number());
                }
            }
            SETTINGS if flags & ACK != 0 => self.settings_known(),
            SETTINGS => {}
            PING => {
                assert_eq!(flags, ACK, "{}: nobody asked for its pings", self.whose);
                self.pongs.push(payload.try_into().expect("eight bytes"));
            }
            WINDOW_UPDATE if id == 0 => self.connection_window += i64::from(number()),
            WINDOW_UPDATE => {
                let window = self.stream_windows.entry(id).or_insert(i64::from(WINDOW_BYTES));
                *window += i64::from(number());
            }
            GOAWAY => {
                let code = u32::from_be_bytes(payload[4..8].try_into().expect("four bytes"));
                self.farewell.get_or_insert(code);
            }
            other => panic!("{}: a frame of kind {other}", self.whose),
        }
    }

    fn settings_known(&mut self) {
        self.acknowledged += 1;
        let next = self.announced.pop_front().expect("it answers what was said");
        if next.table_bytes < self.table_bytes {
            self.must_shrink = true;
        }
        self.decoder.set_max_dynamic_size(next.table_bytes as u32);
        self.settings = next;
    }

    fn data(&mut self, flags: u8, id: u32, payload: &[u8]) {
        let sent = self.its_windows.entry(id).or_default();
        *sent -= payload.len() as i64;
        let sent = *sent;
        self.its_connection_window -= payload.len() as i64;
        let window = self.most(|settings| settings.window_bytes) + sent;
        let (whose, all) = (self.whose, self.its_connection_window);
        assert!(payload.is_empty() || window >= 0, "{whose}: stream {id} overruns its window");
        assert!(all >= 0, "{whose}: the connection's window is overrun");
        let answer = self.streams.entry(id).or_default();
        assert!(answer.head.is_some() && !answer.is_over(), "{whose}: stray data on {id}");
        answer.body.extend_from_slice(payload);
        answer.ended = flags & END_STREAM != 0;
    }

    fn piece(&mut self, id: u32, flags: u8, payload: &[u8]) {
        match &mut self.block {
            Some((of, _, bytes)) => {
                assert_eq!(*of, id, "{}: a block has one stream", self.whose);
                bytes.extend_from_slice(payload);
            }
            none => *none = Some((id, flags, payload.to_vec())),
        }
        if flags & END_HEADERS != 0 {
            let (id, flags, bytes) = self.block.take().expect("it is there");
            self.whole(id, flags & END_STREAM != 0, &bytes);
        }
    }

    fn whole(&mut self, id: u32, ends: bool, bytes: &[u8]) {
        let resizes = bytes.first().is_some_and(|first| first & 0xe0 == 0x20);
        assert!(!self.must_shrink || resizes, "{}: its table did not shrink", self.whose);
        self.must_shrink = false;
        if resizes {
            self.table_bytes = words::integer_of(bytes, 5);
        }
        let mut unpacked = Vec::new();
        let outcome = self.decoder.decode(&mut bytes.to_vec(), &mut unpacked);
        assert!(outcome.is_ok(), "{}: {outcome:?} in {bytes:?}", self.whose);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let fields = unpacked.into_iter().map(|(name, value, _)| (text(name), text(value)));
        let mut fields: Fields = fields.filter(|(name, _)| name != "date").collect();
        fields.sort();
        let answer = self.streams.entry(id).or_default();
        assert!(!answer.is_over(), "{}: headers behind the end of {id}", self.whose);
        match answer.head {
            None => answer.head = Some(fields),
            Some(_) => answer.trailers = Some(fields),
        }
        answer.ended = ends;
    }
}
