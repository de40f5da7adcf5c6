//! The small state in memory: leases, users, roles, members, alarms, meta.
//!
//! A sorted list of sorted pieces. A clone shares all pieces; whoever changes a shared piece copies that
//! one piece first, so neither a snapshot of 100,000 leases nor the first change after it takes long.

use std::sync::Arc;

use bytes::Bytes;

use crate::record::CHANGE_HEADER_BYTES;
use crate::{Bucket, StateChange};

/// A piece with more entries is split.
const PIECE_MAX: usize = 256;
/// A piece with fewer is joined with its neighbour, if the two fit.
const PIECE_MIN: usize = 32;

/// An ordered map from bucket and key to value. A clone is cheap: it shares everything until one of
/// the two changes.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// No piece is empty.
    pieces: Arc<Vec<Arc<Vec<Entry>>>>,
    len: usize,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    bucket: Bucket,
    key: Bytes,
    value: Bytes,
}

impl Entry {
    fn place(&self) -> (Bucket, &[u8]) {
        (self.bucket, &self.key)
    }

    fn bytes(&self) -> u64 {
        (CHANGE_HEADER_BYTES + self.key.len() + self.value.len()) as u64
    }
}

impl State {
    /// The value of `key`.
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&Bytes> {
        let (piece, found) = self.find((bucket, key));
        let at = found.ok()?;
        Some(&self.pieces[piece][at].value)
    }

    /// All keys of a bucket with their values, in key order.
    pub fn iter(&self, bucket: Bucket) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let (piece, Ok(at) | Err(at)) = self.find((bucket, &[]));
        let pieces = self.pieces.iter().skip(piece);
        pieces
            .flat_map(|piece| piece.iter())
            .skip(at)
            .take_while(move |entry| entry.bucket == bucket)
            .map(|entry| (&entry.key, &entry.value))
    }

    /// Everything, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Bucket, &Bytes, &Bytes)> {
        let entries = self.pieces.iter().flat_map(|piece| piece.iter());
        entries.map(|entry| (entry.bucket, &entry.key, &entry.value))
    }

    /// How many keys there are, in all buckets.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it would take as a file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The piece a key belongs to, and its place there or where it would go.
    fn find(&self, place: (Bucket, &[u8])) -> (usize, Result<usize, usize>) {
        let after = self.pieces.partition_point(|piece| piece[0].place() <= place);
        let piece = after.saturating_sub(1);
        let entries = self.pieces.get(piece);
        let found = entries
            .map_or(Err(0), |entries| entries.binary_search_by(|entry| entry.place().cmp(&place)));
        (piece, found)
    }

    pub(crate) fn apply(&mut self, change: &StateChange) {
        match change {
            StateChange::Set { bucket, key, value } => {
                // Copies: what is kept for long must not hold a request's buffer, and a reference count of
                // its own would take more than such a key.
                let key = Bytes::copy_from_slice(key);
                let (bucket, value) = (*bucket, Bytes::copy_from_slice(value));
                self.set(Entry { bucket, key, value });
            }
            StateChange::Delete { bucket, key } => self.delete((*bucket, key)),
        }
    }

    fn set(&mut self, entry: Entry) {
        let (piece, found) = self.find(entry.place());
        self.bytes += entry.bytes();
        let pieces = Arc::make_mut(&mut self.pieces);
        if pieces.is_empty() {
            pieces.push(Arc::default());
        }
        let entries = Arc::make_mut(&mut pieces[piece]);
        match found {
            Ok(at) => {
                self.bytes -= entries[at].bytes();
                entries[at] = entry;
            }
            Err(at) => {
                entries.insert(at, entry);
                self.len += 1;
            }
        }
        if entries.len() > PIECE_MAX {
            // Where keys arrive in order the lower half stays full. It may never grow again, so it is given no
            // room to.
            let at_end = found == Err(PIECE_MAX);
            let upper = entries.split_off(if at_end { PIECE_MAX } else { PIECE_MAX / 2 });
            entries.shrink_to_fit();
            pieces.insert(piece + 1, Arc::new(upper));
        }
    }

    fn delete(&mut self, place: (Bucket, &[u8])) {
        let (piece, Ok(at)) = self.find(place) else { return };
        let pieces = Arc::make_mut(&mut self.pieces);
        let entries = Arc::make_mut(&mut pieces[piece]);
        self.bytes -= entries.remove(at).bytes();
        self.len -= 1;
        let left = entries.len();
        if left == 0 {
            pieces.remove(piece);
        } else if left < PIECE_MIN
            && let Some(next) = pieces.get(piece + 1)
            && left + next.len() <= PIECE_MAX / 2
        {
            let next = pieces.remove(piece + 1);
            Arc::make_mut(&mut pieces[piece]).extend(next.iter().cloned());
        }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.len == other.len && self.all().eq(other.all())
    }
}

impl Eq for State {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn set(key: u64, value: u64) -> StateChange {
        let (key, value) = (key.to_be_bytes().to_vec().into(), value.to_be_bytes().to_vec().into());
        StateChange::Set { bucket: Bucket::Lease, key, value }
    }

    fn delete(key: u64) -> StateChange {
        StateChange::Delete { bucket: Bucket::Lease, key: key.to_be_bytes().to_vec().into() }
    }

    fn content(state: &State) -> Vec<(u64, u64)> {
        let number = |bytes: &Bytes| u64::from_be_bytes(bytes[..].try_into().expect("eight bytes"));
        state.iter(Bucket::Lease).map(|(key, value)| (number(key), number(value))).collect()
    }

    #[test]
    fn it_holds_what_a_btreemap_holds_and_a_clone_stays_as_it_was() {
        let (mut state, mut model) = (State::default(), BTreeMap::new());
        let mut kept = Vec::new();
        let mut chance = 7u64;
        for step in 0..20_000u64 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (chance >> 33) % 1500;
            // Growing at first, then shrinking to nothing.
            if (chance >> 17) % 20_000 < step {
                state.apply(&delete(key));
                model.remove(&key);
            } else {
                state.apply(&set(key, step));
                model.insert(key, step);
            }
            if step % 1000 == 0 {
                kept.push((state.clone(), model.clone()));
            }
            assert_eq!(state.len(), model.len());
            assert_eq!(state.bytes(), model.len() as u64 * 32);
        }
        kept.push((state, model));
        for (state, model) in kept {
            assert_eq!(content(&state), model.into_iter().collect::<Vec<_>>());
            assert!(state.pieces.iter().all(|piece| (1..=PIECE_MAX).contains(&piece.len())));
        }
    }

    #[test]
    fn buckets_do_not_see_each_other() {
        let mut state = State::default();
        for bucket in Bucket::ALL {
            let name = Bytes::from_static(bucket.name().as_bytes());
            state.apply(&StateChange::Set { bucket, key: Bytes::new(), value: name });
        }
        for bucket in Bucket::ALL {
            assert_eq!(state.iter(bucket).count(), 1);
            let name = state.get(bucket, b"").map(|value| &value[..]);
            assert_eq!(name, Some(bucket.name().as_bytes()));
            assert_eq!(state.get(bucket, b"x"), None);
        }
    }
}
