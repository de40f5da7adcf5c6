//! One stored change, encoded once.
//!
//! The bytes are `mvccpb.KeyValue` as it goes on the wire, so the log, the cache, a range's answer
//! and every watcher share one buffer. The fields that decisions need stand beside it, decoded.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{LeaseId, Revision};

/// One change of one key, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it happened; `main` is the key's mod revision.
    pub revision: Revision,
    /// Whether this change deleted the key. Then `encoded` holds the key only.
    pub tombstone: bool,
    /// The revision that created the key in this life; 0 for a tombstone.
    pub create_revision: i64,
    /// Changes since creation, from 1; 0 for a tombstone.
    pub version: i64,
    /// The lease the key hangs on; 0 for none.
    pub lease: LeaseId,
    /// `mvccpb.KeyValue` in wire form.
    pub encoded: Bytes,
    /// Where the key lies within `encoded`.
    key: (u32, u32),
    /// Where the value lies within `encoded`.
    value: (u32, u32),
}

/// A key and its attributes, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueRef<'a> {
    /// The key; never empty.
    pub key: &'a [u8],
    /// The revision that created the key in this life.
    pub create_revision: i64,
    /// The revision of this change.
    pub mod_revision: i64,
    /// Changes since creation, from 1.
    pub version: i64,
    /// Any bytes.
    pub value: &'a [u8],
    /// The lease the key hangs on; 0 for none.
    pub lease: LeaseId,
}

/// Bytes that should be a `mvccpb.KeyValue` and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRow;

impl Row {
    /// Takes stored bytes apart. They come from a disk or a peer, so any shape is possible.
    ///
    /// # Errors
    /// [`MalformedRow`] when the bytes are not a `mvccpb.KeyValue` with a key.
    pub fn decode(
        revision: Revision,
        tombstone: bool,
        encoded: Bytes,
    ) -> Result<Row, MalformedRow> {
        let mut row = Row {
            revision,
            tombstone,
            create_revision: 0,
            version: 0,
            lease: 0,
            key: (0, 0),
            value: (0, 0),
            encoded: Bytes::new(),
        };
        let mut at = 0;
        while at < encoded.len() {
            let tag = varint(&encoded, &mut at)?;
            match tag {
                0x0a => row.key = span(&encoded, &mut at)?,
                0x10 => row.create_revision = varint(&encoded, &mut at)? as i64,
                0x18 => {
                    varint(&encoded, &mut at)?;
                }
                0x20 => row.version = varint(&encoded, &mut at)? as i64,
                0x2a => row.value = span(&encoded, &mut at)?,
                0x30 => row.lease = varint(&encoded, &mut at)? as i64,
                _ => return Err(MalformedRow),
            }
        }
        row.encoded = encoded;
        Ok(row)
    }

    /// The key that changed.
    pub fn key(&self) -> &[u8] {
        &self.encoded[self.key.0 as usize..self.key.1 as usize]
    }

    /// The value it was given; empty for a tombstone.
    pub fn value(&self) -> &[u8] {
        &self.encoded[self.value.0 as usize..self.value.1 as usize]
    }

    /// The key as a buffer that shares `encoded`.
    pub fn key_bytes(&self) -> Bytes {
        self.encoded.slice(self.key.0 as usize..self.key.1 as usize)
    }

    /// The value as a buffer that shares `encoded`.
    pub fn value_bytes(&self) -> Bytes {
        self.encoded.slice(self.value.0 as usize..self.value.1 as usize)
    }

    /// Key and attributes together.
    pub fn as_ref(&self) -> KeyValueRef<'_> {
        KeyValueRef {
            key: self.key(),
            create_revision: self.create_revision,
            mod_revision: self.revision.main,
            version: self.version,
            value: self.value(),
            lease: self.lease,
        }
    }
}

/// Encodes a put. Byte for byte what Go etcd stores (`docs/etcd/bbolt-and-backend.md` 2): fields in
/// order, zeros and an empty value left out.
pub fn encode_row(kv: KeyValueRef<'_>, sub: i64) -> Row {
    let mut out = BytesMut::with_capacity(kv.key.len() + kv.value.len() + 64);
    let key = put_bytes(&mut out, 0x0a, kv.key);
    put_number(&mut out, 0x10, kv.create_revision);
    put_number(&mut out, 0x18, kv.mod_revision);
    put_number(&mut out, 0x20, kv.version);
    let value = if kv.value.is_empty() { (0, 0) } else { put_bytes(&mut out, 0x2a, kv.value) };
    put_number(&mut out, 0x30, kv.lease);
    Row {
        revision: Revision { main: kv.mod_revision, sub },
        tombstone: false,
        create_revision: kv.create_revision,
        version: kv.version,
        lease: kv.lease,
        encoded: out.freeze(),
        key,
        value,
    }
}

/// Encodes a delete: the key alone.
pub fn encode_tombstone(key: &[u8], revision: Revision) -> Row {
    let mut out = BytesMut::with_capacity(key.len() + 6);
    let key = put_bytes(&mut out, 0x0a, key);
    Row {
        revision,
        tombstone: true,
        create_revision: 0,
        version: 0,
        lease: 0,
        encoded: out.freeze(),
        key,
        value: (0, 0),
    }
}

fn put_number(out: &mut BytesMut, tag: u8, number: i64) {
    if number != 0 {
        out.put_u8(tag);
        put_varint(out, number as u64);
    }
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &[u8]) -> (u32, u32) {
    out.put_u8(tag);
    put_varint(out, bytes.len() as u64);
    let start = out.len();
    out.put_slice(bytes);
    let end = u32::try_from(out.len()).expect("requests are bounded far below 4 GiB");
    (start as u32, end)
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, MalformedRow> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(MalformedRow)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(MalformedRow)
}

fn span(bytes: &[u8], at: &mut usize) -> Result<(u32, u32), MalformedRow> {
    let length = usize::try_from(varint(bytes, at)?).map_err(|_| MalformedRow)?;
    let start = *at;
    let end = start.checked_add(length).filter(|end| *end <= bytes.len()).ok_or(MalformedRow)?;
    *at = end;
    let narrow = |n: usize| u32::try_from(n).map_err(|_| MalformedRow);
    Ok((narrow(start)?, narrow(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_encoded_byte_for_byte_as_go_etcd_stores_it() {
        // The sample of docs/etcd/bbolt-and-backend.md 2: key k4, create 6, mod 27, version 4, v25.
        let kv = KeyValueRef {
            key: b"k4",
            create_revision: 6,
            mod_revision: 27,
            version: 4,
            value: b"v25",
            lease: 0,
        };
        let row = encode_row(kv, 0);
        let expected = b"\x0a\x02k4\x10\x06\x18\x1b\x20\x04\x2a\x03v25";
        assert_eq!(&row.encoded[..], expected);
        assert_eq!(Row::decode(row.revision, false, row.encoded.clone()), Ok(row.clone()));
        assert_eq!(row.as_ref(), kv);
    }

    #[test]
    fn a_tombstone_holds_the_key_alone() {
        let row = encode_tombstone(b"k4", Revision::first_of(42));
        assert_eq!(&row.encoded[..], b"\x0a\x02k4");
        assert_eq!(row.value(), b"");
    }

    #[test]
    fn bytes_that_are_no_row_are_refused() {
        for bytes in [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"\x0a\x05ab", b"\x99\x99", b"\x10"] {
            let decoded = Row::decode(Revision::first_of(2), false, Bytes::from_static(bytes));
            assert_eq!(decoded, Err(MalformedRow));
        }
    }
}
