//! Who pings too often is sent away, as grpc-go does it.
//!
//! The HTTP/2 engine answers pings without telling anybody, so they are counted on the socket: a
//! [`FrameWalker`] follows the frame headers in what is read.

use std::time::{Duration, Instant};

/// Early pings that are forgiven.
const STRIKES_MAX: u32 = 2;

/// The pause we ask for between pings while no call is open.
const IDLE_MIN_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Judges the pings of one connection.
#[derive(Debug)]
pub(crate) struct PingPolicy {
    min_time: Duration,
    last: Option<Instant>,
    strikes: u32,
    forgiven: bool,
}

impl PingPolicy {
    pub fn new(min_time: Duration) -> PingPolicy {
        PingPolicy { min_time, last: None, strikes: 0, forgiven: false }
    }

    /// We sent headers or data: a client may ping to learn how fast they arrive.
    pub fn forgive(&mut self) {
        self.forgiven = true;
    }

    /// Judges a ping. `false` when there were too many.
    #[must_use]
    pub fn allows(&mut self, now: Instant, calls_open: bool) -> bool {
        let pause = if calls_open { self.min_time } else { IDLE_MIN_TIME };
        let early = self.last.is_some_and(|last| now < last + pause);
        self.last = Some(now);
        if std::mem::take(&mut self.forgiven) {
            self.strikes = 0;
        } else if early {
            self.strikes += 1;
        }
        self.strikes <= STRIKES_MAX
    }
}

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 9;
/// Bytes of a client's preface, before its first frame.
const PREFACE_BYTES: usize = 24;

/// Follows the frames in what a client sends, without looking into them.
#[derive(Debug)]
pub(crate) struct FrameWalker {
    skip: usize,
    header: [u8; HEADER_BYTES],
    have: usize,
}

impl FrameWalker {
    pub fn new() -> FrameWalker {
        FrameWalker { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], have: 0 }
    }

    /// Walks over the next bytes and returns how many pings (not answers to pings) began in them.
    pub fn pings_in(&mut self, mut bytes: &[u8]) -> usize {
        let mut pings = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return pings;
            }
            let taken = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                let [high, middle, low, kind, flags, ..] = self.header;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                const PING: u8 = 6;
                const ACK: u8 = 1;
                pings += usize::from(kind == PING && flags & ACK == 0);
            }
        }
    }
}

/// GOAWAY with ENHANCE_YOUR_CALM and the words Go clients look for to slow down.
pub(crate) const TOO_MANY_PINGS: &[u8] =
    b"\0\0\x16\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0btoo_many_pings";

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_fourth_early_ping_is_one_too_many() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let start = Instant::now();
        for second in 0..3 {
            assert!(policy.allows(start + second * SECOND, true));
        }
        assert!(!policy.allows(start + 3 * SECOND, true));
    }

    #[test]
    fn patient_pings_are_welcome_while_a_call_is_open() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let start = Instant::now();
        for ping in 0..100 {
            assert!(policy.allows(start + ping * 5 * SECOND, true));
        }
        let later = start + 500 * SECOND;
        let allowed = (0..10).filter(|n| policy.allows(later + n * 5 * SECOND, false)).count();
        assert_eq!(allowed, 2, "without a call they are early");
    }

    #[test]
    fn what_we_send_forgives_the_pings_before() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let now = Instant::now();
        for _ in 0..100 {
            assert!(policy.allows(now, true));
            policy.forgive();
        }
    }

    #[test]
    fn pings_are_found_however_the_wire_cuts_them() {
        let mut wire = vec![b'P'; PREFACE_BYTES];
        wire.extend_from_slice(b"\0\0\x08\x06\0\0\0\0\0\0\0\x08\x06\0\0\0\0"); // A ping.
        wire.extend_from_slice(b"\0\0\x08\x06\x01\0\0\0\0\0\0\x08\x06\0\0\0\0"); // An answer.
        wire.extend_from_slice(b"\0\0\x03\0\0\0\0\0\x01\x06\x06\x06"); // Data.
        wire.extend_from_slice(b"\0\0\x08\x06\0\0\0\0\0\0\0\x08\x06\0\0\0\0"); // A ping.
        for piece in 1..=wire.len() {
            let mut walker = FrameWalker::new();
            let pings: usize = wire.chunks(piece).map(|chunk| walker.pings_in(chunk)).sum();
            assert_eq!(pings, 2, "in pieces of {piece}");
        }
    }

    #[test]
    fn the_farewell_frame_has_the_length_it_claims() {
        assert_eq!(TOO_MANY_PINGS.len(), HEADER_BYTES + usize::from(TOO_MANY_PINGS[2]));
    }
}
