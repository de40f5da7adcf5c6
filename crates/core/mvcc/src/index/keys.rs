//! The sorted keys of one node in one buffer: their common prefix once, then what differs.
//!
//! A node is copied when somebody holds a view. Its copy shares the buffer until a key is added: most
//! writes change what is known of a key, and no key. Kubernetes' keys share most of their bytes with their
//! neighbours, so the prefix also saves half of what they would take.
//!
//! A search reads the heads first: four bytes of each key's rest, side by side, so that most keys
//! are told apart in a few cache lines and without a look at their bytes.

use std::cmp::Ordering;

use bytes::{BufMut, Bytes, BytesMut};

/// At most `MAX` ascending distinct keys.
///
/// Heads and ends lie in the node itself, not behind a pointer: a search in a tree that is larger
/// than the caches waits for memory, and each pointer it follows is one more wait.
#[derive(Clone, Debug)]
pub(crate) struct Keys<const MAX: usize> {
    /// The first bytes of each key's rest as a number, shorter ones filled up with zeros.
    heads: [u32; MAX],
    /// Where each key ends in `bytes`; the next one begins there.
    ends: [u32; MAX],
    /// How many keys there are.
    count: u32,
    /// How many bytes of `bytes` are the common prefix.
    prefix: u32,
    /// The common prefix, then the rest of each key. Never changed, only replaced.
    bytes: Bytes,
}

impl<const MAX: usize> Default for Keys<MAX> {
    fn default() -> Keys<MAX> {
        Keys { heads: [0; MAX], ends: [0; MAX], count: 0, prefix: 0, bytes: Bytes::new() }
    }
}

/// A key in two pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyParts<'a> {
    prefix: &'a [u8],
    rest: &'a [u8],
}

impl KeyParts<'_> {
    pub(crate) fn len(self) -> usize {
        self.prefix.len() + self.rest.len()
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.prefix.len() + self.rest.len());
        out.put_slice(self.prefix);
        out.put_slice(self.rest);
        out.freeze()
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        [self.prefix, self.rest].concat()
    }

    pub(crate) fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.rest);
    }
}

impl<const MAX: usize> Keys<MAX> {
    /// Packs keys that are ascending and distinct, with no room to spare.
    pub(crate) fn pack<'a>(keys: impl Iterator<Item = &'a [u8]> + Clone) -> Keys<MAX> {
        let prefix = common_prefix(&mut keys.clone());
        let rests = keys.clone().map(|key| key.len() - prefix.len()).sum::<usize>();
        let mut packed = Keys { prefix: narrow(prefix.len()), ..Keys::default() };
        let mut bytes = Vec::with_capacity(prefix.len() + rests);
        bytes.extend_from_slice(prefix);
        for (at, key) in keys.enumerate() {
            let rest = &key[prefix.len()..];
            bytes.extend_from_slice(rest);
            packed.heads[at] = head(rest);
            packed.ends[at] = narrow(bytes.len());
            packed.count += 1;
        }
        packed.bytes = bytes.into();
        packed
    }

    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// How many bytes the keys take here.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn get(&self, at: usize) -> KeyParts<'_> {
        KeyParts { prefix: self.prefix(), rest: self.rest(at) }
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix as usize]
    }

    fn start(&self, at: usize) -> usize {
        (if at == 0 { self.prefix } else { self.ends[at - 1] }) as usize
    }

    fn rest(&self, at: usize) -> &[u8] {
        assert!(at < self.len());
        &self.bytes[self.start(at)..self.ends[at] as usize]
    }

    /// Where `key` is, or where it would belong.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some(rest) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { self.len() });
        };
        let head = head(rest);
        let heads = &self.heads[..self.len()];
        // Counting beats bisecting: there are few, and counting has no branch to mispredict.
        let mut low = heads.iter().map(|other| u32::from(*other < head)).sum::<u32>() as usize;
        let mut high = low + heads[low..].iter().take_while(|other| **other == head).count();
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.rest(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Inserts a key at the place [`Keys::search`] named.
    pub(crate) fn insert(&mut self, at: usize, key: &[u8]) {
        let Some(rest) = key.strip_prefix(self.prefix()) else {
            return self.insert_and_repack(at, key);
        };
        let count = self.len();
        let start = self.start(at);
        let (before, behind) = self.bytes.split_at(start);
        let bytes = [before, rest, behind].concat();
        narrow(bytes.len());
        self.bytes = bytes.into();
        let grown = narrow(rest.len());
        self.heads.copy_within(at..count, at + 1);
        self.heads[at] = head(rest);
        self.ends.copy_within(at..count, at + 1);
        self.ends[at] = narrow(start);
        self.ends[at..=count].iter_mut().for_each(|end| *end += grown);
        self.count += 1;
    }

    /// The key does not share the prefix: all keys have to be written anew.
    fn insert_and_repack(&mut self, at: usize, key: &[u8]) {
        let mut keys = self.unpacked(0..self.len());
        keys.insert(at, key.to_vec());
        *self = Keys::pack(keys.iter().map(|key| &key[..]));
    }

    /// Splits off the keys from `at` on; both sides find their own prefix.
    pub(crate) fn split_off(&mut self, at: usize) -> Keys<MAX> {
        let right = self.unpacked(at..self.len());
        let left = self.unpacked(0..at);
        *self = Keys::pack(left.iter().map(|key| &key[..]));
        Keys::pack(right.iter().map(|key| &key[..]))
    }

    /// Keeps only the keys whose place passes.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool + Copy) {
        let keys = self.unpacked(0..self.len());
        let kept = keys.iter().enumerate().filter(|(at, _)| keep(*at));
        *self = Keys::pack(kept.map(|(_, key)| &key[..]));
    }

    /// Appends all keys of `right`, which lie behind these, with `between` in the middle.
    pub(crate) fn append(&mut self, between: Option<&[u8]>, right: &Keys<MAX>) {
        let mut keys = self.unpacked(0..self.len());
        keys.extend(between.map(<[u8]>::to_vec));
        keys.extend(right.unpacked(0..right.len()));
        *self = Keys::pack(keys.iter().map(|key| &key[..]));
    }

    fn unpacked(&self, places: std::ops::Range<usize>) -> Vec<Vec<u8>> {
        places.map(|at| self.get(at).to_vec()).collect()
    }

    /// Bytes of memory outside the node.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The shortest key that is above `left` and not above `right`: what a branch needs to tell them
/// apart.
pub(crate) fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    &right[..common + 1]
}

/// What ascending keys have in common is what the first and the last have in common. A lone key has
/// no prefix: whatever came next would break it.
fn common_prefix<'a>(keys: &mut impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    let Some(first) = keys.next() else { return &[] };
    let Some(last) = keys.last() else { return &[] };
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    &first[..common]
}

fn head(rest: &[u8]) -> u32 {
    match rest.first_chunk() {
        Some(first) => u32::from_be_bytes(*first),
        None => rest.iter().rev().fold(0, |head, byte| (head >> 8) | (u32::from(*byte) << 24)),
    }
}

/// Makes room in small steps: a tree of many nodes that each double would waste a quarter.
pub(super) fn reserve<T>(vec: &mut Vec<T>, extra: usize) {
    if vec.capacity() - vec.len() < extra {
        vec.reserve_exact(extra.max(vec.len() / 8 + 4));
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes)
        .expect("the keys of a node, each within the request limit, stay below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(keys: &[&str]) -> Keys<8> {
        let mut packed = Keys::default();
        for key in keys {
            let at = packed.search(key.as_bytes()).expect_err("keys are distinct");
            packed.insert(at, key.as_bytes());
        }
        packed
    }

    #[track_caller]
    fn check(keys: &Keys<8>, expected: &[&str], prefix: &str) {
        let found: Vec<Vec<u8>> = keys.unpacked(0..keys.len());
        assert_eq!(found, expected.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(keys.prefix(), prefix.as_bytes());
        for (at, key) in expected.iter().enumerate() {
            assert_eq!(keys.search(key.as_bytes()), Ok(at));
            assert_eq!(keys.search(format!("{key}\0").as_bytes()), Err(at + 1));
        }
    }

    #[test]
    fn keys_come_out_in_order_whatever_order_they_went_in() {
        check(&packed(&["b", "a", "", "ab", "aa"]), &["", "a", "aa", "ab", "b"], "");
    }

    #[test]
    fn the_common_prefix_is_stored_once_and_shrinks_when_a_key_breaks_it() {
        let mut keys = packed(&["/reg/a", "/reg/b", "/reg/c", "/x"]);
        let right = keys.split_off(3);
        check(&keys, &["/reg/a", "/reg/b", "/reg/c"], "/reg/");
        check(&right, &["/x"], "");
        keys.insert(1, b"/reg/aa");
        check(&keys, &["/reg/a", "/reg/aa", "/reg/b", "/reg/c"], "/reg/");
        assert_eq!(keys.search(b"/re"), Err(0));
        assert_eq!(keys.search(b"/rf"), Err(4));
        keys.insert(0, b"/r");
        check(&keys, &["/r", "/reg/a", "/reg/aa", "/reg/b", "/reg/c"], "/r");
        keys.retain(|at| at % 2 == 1);
        check(&keys, &["/reg/a", "/reg/b"], "/reg/");
        keys.append(Some(b"/reg/d"), &right);
        check(&keys, &["/reg/a", "/reg/b", "/reg/d", "/x"], "/");
    }

    #[test]
    fn a_separator_is_as_short_as_can_be() {
        assert_eq!(separator(b"apple", b"banana"), b"b");
        assert_eq!(separator(b"app", b"apple"), b"appl");
        assert_eq!(separator(b"", b"a"), b"a");
    }
}
