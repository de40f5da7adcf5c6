//! Which call is sampled, and as a part of what: W3C's trace context, read as `otel` for Go reads it.

use std::cell::Cell;

use rpc::Metadata;

/// The bit of a trace's flags that says it is sampled.
const SAMPLED: u8 = 1;
/// The flags that are handed on: sampled, and that the id is random.
const KNOWN_FLAGS: u8 = 3;
/// The highest version of `traceparent`; 255 is none.
const VERSION_MAX: u8 = 254;
/// What W3C asks everybody to hand on of `tracestate`, in bytes; more is left out.
const STATE_BYTES_MAX: usize = 512;
/// Calls by which rates are counted.
const MILLION: u32 = 1_000_000;

/// A sampled call's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub trace_id: [u8; 16],
    /// The span of the call itself.
    pub span_id: [u8; 8],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    pub flags: u8,
    pub state: String,
}

/// Decides which calls are sampled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampler {
    /// Of the 2^63 numbers that a trace's id may end in, the lowest so many are sampled.
    below: u64,
}

impl Sampler {
    /// Samples so many of a million traces that begin here; those that began elsewhere are as their callers say.
    pub fn new(per_million: u32) -> Sampler {
        let share = f64::from(per_million.min(MILLION)) / f64::from(MILLION);
        Sampler { below: (share * (1u64 << 63) as f64) as u64 }
    }

    /// The call's place in its trace, if it is sampled.
    pub fn sampled(self, metadata: &Metadata) -> Option<Context> {
        if self.below == 0 && metadata.get("traceparent").is_none() {
            return None;
        }
        match parent(metadata) {
            Some(parent) if parent.flags & SAMPLED == 0 => None,
            Some(parent) => Some(Context { span_id: new_id(), ..parent }),
            None => self.begun(new_trace_id()),
        }
    }

    fn begun(self, trace_id: [u8; 16]) -> Option<Context> {
        let end = u64::from_be_bytes(trace_id[8..].try_into().expect("eight bytes")) >> 1;
        (end < self.below).then(|| Context {
            trace_id,
            span_id: new_id(),
            parent: None,
            flags: SAMPLED,
            state: String::new(),
        })
    }
}

/// What the caller says of the trace; its span id is still to be drawn.
fn parent(metadata: &Metadata) -> Option<Context> {
    let text = std::str::from_utf8(metadata.get("traceparent")?).ok()?;
    let mut parts = text.split('-');
    let [version] = bytes::<1>(parts.next()?)?;
    let trace_id = bytes::<16>(parts.next()?)?;
    let span_id = bytes::<8>(parts.next()?)?;
    let [flags] = bytes::<1>(parts.next()?)?;
    if version == 0 && (parts.next().is_some() || KNOWN_FLAGS < flags) {
        return None;
    }
    let is_valid = version <= VERSION_MAX && trace_id != [0; 16] && span_id != [0; 8];
    let state = metadata.get("tracestate").map(|state| &state[..]).unwrap_or_default();
    let state = std::str::from_utf8(state).ok().filter(|state| is_state(state)).unwrap_or("");
    is_valid.then(|| Context {
        trace_id,
        span_id: [0; 8],
        parent: Some(span_id),
        flags: flags & KNOWN_FLAGS,
        state: state.to_owned(),
    })
}

/// Exactly so many bytes in lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Whether it may be what other systems say of a trace: `name=value,name=value`.
fn is_state(text: &str) -> bool {
    text.len() <= STATE_BYTES_MAX
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.split(',').all(|member| member.contains('='))
}

/// An id that no other span has.
pub(crate) fn new_id() -> [u8; 8] {
    // The specification forbids an id of zeroes.
    random().max(1).to_be_bytes()
}

fn new_trace_id() -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&new_id());
    id[8..].copy_from_slice(&random().to_be_bytes());
    id
}

thread_local! {
    /// The state of this thread's generator; `None` before its first number.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Splitmix64 from a seed of the system's: ids must differ, they need not be secret.
fn random() -> u64 {
    let seeded = || {
        let mut seed = [0; 8];
        // A system without chance has worse to say than that ids begin alike on all threads.
        let _ = getrandom::fill(&mut seed);
        u64::from_ne_bytes(seed)
    };
    let state = STATE.get().unwrap_or_else(seeded).wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn said(traceparent: &str) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.push("traceparent", traceparent.to_owned());
        metadata
    }

    fn with(traceparent: &str) -> Option<Context> {
        parent(&said(traceparent))
    }

    #[test]
    fn a_trace_that_a_caller_is_part_of_is_read() {
        let read = with(&format!("00-{TRACE}-b7ad6b7169203331-01")).expect("it is valid");
        assert_eq!(read.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(read.parent, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        assert_eq!(read.flags, SAMPLED);
        assert!(with(&format!("01-{TRACE}-b7ad6b7169203331-09-more")).is_some(), "a later version");
    }

    #[test]
    fn what_is_no_trace_is_as_none() {
        let zero = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-01-x"),
            format!("00-{TRACE}-b7ad6b7169203331-04"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{zero}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-é7ad6b716920333-01"),
        ] {
            assert_eq!(with(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_caller_decides_and_without_one_the_rate_does() {
        let none = Metadata::default();
        let said = |flags: &str| said(&format!("00-{TRACE}-b7ad6b7169203331-{flags}"));
        for rate in [0, 500_000, MILLION] {
            let sampler = Sampler::new(rate);
            assert!(sampler.sampled(&said("01")).is_some(), "{rate}");
            assert!(sampler.sampled(&said("00")).is_none(), "{rate}");
            let sampled = (0..10_000).filter(|_| sampler.sampled(&none).is_some()).count();
            let expected = rate as usize / 100;
            // Five deviations of a coin that is thrown ten thousand times.
            assert!(sampled.abs_diff(expected) <= 250, "{rate}: {sampled}");
            assert!(rate == 500_000 || sampled == expected, "{rate}: {sampled}");
        }
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::BTreeSet<_> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
