//! Answers: what is reserved for their making, and their frames until they were written.

use std::sync::Arc;

use bytes::Bytes;
use types::Refusal;

use super::Gate;
use super::gate::Held;

/// Answers up to this are never refused: any client's first window takes them.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Answers below this are not counted: their stream itself costs as much.
const COUNTED_BYTES_MIN: usize = 2 * 1024;

/// Where a call's answer is counted: what a handler reserves before it makes a large one, and the frame.
#[derive(Clone, Debug)]
pub struct Unread(pub(crate) Option<Arc<Gate>>);

/// Bytes reserved until this is dropped: by then the answer's frame counts by itself.
#[derive(Debug, Default)]
pub struct Reserved {
    held: Option<Held>,
}

/// A frame and its part of the bound.
struct Counted {
    frame: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Reserved {
    /// Reserves so many bytes in all from now on.
    ///
    /// # Errors
    /// As [`Unread::reserve`]; what was reserved before stays.
    pub fn extend_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.held.as_mut().map_or(Ok(()), |held| held.grow(bytes))
    }

    /// Reserves so many bytes more.
    ///
    /// # Errors
    /// As [`Reserved::extend_to`].
    pub fn extend_by(&mut self, bytes: usize) -> Result<(), Refusal> {
        let before = self.held.as_ref().map_or(0, Held::bytes);
        self.extend_to(before.saturating_add(bytes))
    }
}

impl Unread {
    /// Reserves what making an answer will take.
    ///
    /// # Errors
    /// ResourceExhausted, while clients leave so much unread that it does not fit.
    pub fn reserve(&self, bytes: usize) -> Result<Reserved, Refusal> {
        let Some(gate) = &self.0 else { return Ok(Reserved::default()) };
        let mut reserved = Reserved { held: Some(gate.hold(0)) };
        reserved.extend_to(bytes)?;
        Ok(reserved)
    }

    /// Counts a frame until its last byte was written.
    ///
    /// # Errors
    /// ResourceExhausted, when it is not small and does not fit.
    pub fn count(&self, frame: Bytes) -> Result<Bytes, Refusal> {
        let Some(gate) = self.0.as_ref().filter(|_| COUNTED_BYTES_MIN <= frame.len()) else {
            return Ok(frame);
        };
        let mut held = gate.hold(0);
        if frame.len() <= SMALL_BYTES_MAX {
            held.set(frame.len());
        } else {
            held.grow(frame.len())?;
        }
        Ok(Bytes::from_owner(Counted { frame, _held: held }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Purpose, Total};

    fn total(bytes_max: usize) -> Arc<Total> {
        Total::bounded(1 << 30, [bytes_max; 3])
    }

    fn unread(bytes_max: usize, total: &Arc<Total>) -> Unread {
        Unread(Some(Gate::new(bytes_max, total.clone(), Purpose::Answers)))
    }

    fn held(total: &Total) -> usize {
        total.held(Purpose::Answers)
    }

    /// Guarantee (unread answers are bounded): what is reserved and what waits is within the bound, but for
    /// one answer at a time.
    #[test]
    fn what_does_not_fit_is_refused_but_for_one_answer_at_a_time() {
        let total = total(40);
        let reserve = |bytes| unread(1000, &total).reserve(bytes);
        let first = reserve(10).expect("it fits");
        let extra = reserve(600).expect("one need not fit");
        let rest = [0; 3].map(|_| reserve(10).expect("which takes no room from others"));
        assert_eq!(held(&total), 40);
        assert!(reserve(1).is_err());
        drop(first);
        let third = reserve(6).expect("there is room again");
        drop(extra);
        let extra = reserve(7).expect("nobody else is beyond the bound");
        drop((rest, third, extra));
        assert_eq!(held(&total), 0);
        assert!(total.take_extra());
    }

    #[test]
    fn a_frame_counts_whole_until_its_last_byte_is_gone() {
        let total = total(1 << 20);
        let unread = unread(1 << 20, &total);
        let mut frame = unread.count(vec![7; 100_000].into()).expect("it fits");
        let sent = frame.split_to(99_999);
        drop(sent);
        assert_eq!(held(&total), 100_000, "one byte keeps the whole buffer");
        drop(frame);
        assert_eq!(held(&total), 0);
    }

    #[test]
    fn small_answers_are_counted_and_never_refused() {
        let total = total(400_000);
        let gates = [0; 4].map(|_| unread(1 << 20, &total));
        let large =
            gates.each_ref().map(|gate| gate.count(vec![7; 100_000].into()).expect("it fits"));
        let extra = gates[0].count(vec![7; 65_537].into()).expect("one need not fit");
        assert!(gates[1].count(vec![7; 65_537].into()).is_err());
        let small = gates[1].count(vec![7; 65_536].into()).expect("small");
        assert_eq!(held(&total), 465_536);
        let tiny = gates[1].count(vec![7; 100].into()).expect("tiny");
        drop((large, extra, small));
        assert_eq!((held(&total), tiny.len()), (0, 100));
    }

    #[test]
    fn no_connection_holds_more_than_its_share() {
        let total = total(100);
        let one = unread(1000, &total);
        let first = one.reserve(25).expect("a fourth");
        let second = one.reserve(1).expect("the one that need not fit");
        assert!(one.reserve(1).is_err());
        assert!(unread(1000, &total).reserve(25).is_ok(), "nobody else is short of room for it");
        drop((first, second));
    }
}
