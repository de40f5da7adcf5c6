//! What each side told the other about itself.

use crate::fault::{Fault, Reason};
use crate::frame::{self, kind};

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// A window before anybody said anything (RFC 9113, 6.9.2).
pub(crate) const WINDOW_BYTES_DEFAULT: u32 = 65_535;
/// No window may be larger.
pub(crate) const WINDOW_BYTES_MAX: i64 = (1 << 31) - 1;
/// The size of both header tables before anybody said anything (RFC 7541).
pub(crate) const TABLE_BYTES_DEFAULT: usize = 4096;

/// What a client may take of us.
#[derive(Clone, Debug)]
pub struct Config {
    /// Streams it is told it may have open; `None` tells it nothing.
    pub streams_announced: Option<u32>,
    /// Streams it may really have open: above it, new ones are refused for another try.
    pub streams_max: usize,
    /// Bytes it may send on one stream before they are released.
    pub stream_window_bytes: u32,
    /// Bytes it may send on all streams before they are released; at least 65,535.
    pub connection_window_bytes: u32,
    /// All headers of one request, each counted with 32 bytes more: above it, the answer is 431.
    pub header_list_bytes_max: u32,
    /// Streams it may open and reset in the same breath.
    pub early_resets_max: usize,
}

impl Config {
    /// Appends our SETTINGS, and what the connection's window has more than by default.
    pub(crate) fn announce(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(24);
        let mut say = |name: u16, value: u32| {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        };
        if let Some(streams) = self.streams_announced {
            say(MAX_CONCURRENT_STREAMS, streams);
        }
        say(INITIAL_WINDOW_SIZE, self.stream_window_bytes);
        say(MAX_HEADER_LIST_SIZE, self.header_list_bytes_max);
        frame::begin(out, payload.len(), kind::SETTINGS, 0, 0);
        out.extend_from_slice(&payload);
        let more = self.connection_window_bytes.saturating_sub(WINDOW_BYTES_DEFAULT);
        if more > 0 {
            frame::window_update(out, 0, more);
        }
    }
}

/// What the client told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    pub stream_window_bytes: u32,
    pub payload_bytes_max: usize,
    pub table_bytes: usize,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings {
            stream_window_bytes: WINDOW_BYTES_DEFAULT,
            payload_bytes_max: frame::PAYLOAD_BYTES_MAX,
            table_bytes: TABLE_BYTES_DEFAULT,
        }
    }
}

impl ClientSettings {
    /// Takes over what a SETTINGS frame says; of a setting said twice the last one counts.
    pub fn update(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::size("SETTINGS of a length that is no multiple of six"));
        }
        for &[a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.table_bytes = value as usize,
                ENABLE_PUSH if value > 1 => return Err(Fault::protocol("ENABLE_PUSH above 1")),
                INITIAL_WINDOW_SIZE if i64::from(value) > WINDOW_BYTES_MAX => {
                    let text = "INITIAL_WINDOW_SIZE above 2^31-1";
                    return Err(Fault::new(Reason::FLOW_CONTROL_ERROR, text));
                }
                INITIAL_WINDOW_SIZE => self.stream_window_bytes = value,
                MAX_FRAME_SIZE => {
                    if !(16_384..1 << 24).contains(&value) {
                        return Err(Fault::protocol("MAX_FRAME_SIZE out of bounds"));
                    }
                    self.payload_bytes_max = value as usize;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(settings: &[(u16, u32)]) -> Result<ClientSettings, Fault> {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        let mut peer = ClientSettings::default();
        peer.update(&payload).map(|()| peer)
    }

    #[test]
    fn the_last_word_counts_and_unknown_settings_are_ignored() {
        let peer = said(&[(4, 7), (4, 9), (99, 1), (2, 1), (5, 20_000), (1, 0)]);
        let expected =
            ClientSettings { stream_window_bytes: 9, payload_bytes_max: 20_000, table_bytes: 0 };
        assert_eq!(peer, Ok(expected));
    }

    #[test]
    fn values_out_of_bounds_are_faults() {
        let reason = |settings: &[(u16, u32)]| said(settings).expect_err("a fault").reason;
        assert_eq!(reason(&[(2, 2)]), Reason::PROTOCOL_ERROR);
        assert_eq!(reason(&[(4, 1 << 31)]), Reason::FLOW_CONTROL_ERROR);
        assert_eq!(reason(&[(5, 16_383)]), Reason::PROTOCOL_ERROR);
        assert_eq!(reason(&[(5, 1 << 24)]), Reason::PROTOCOL_ERROR);
        let cut = ClientSettings::default().update(&[0; 7]).expect_err("a fault");
        assert_eq!(cut.reason, Reason::FRAME_SIZE_ERROR);
    }
}
