//! Reading an image back. Its bytes come from a disk: each one is checked before it is believed.

use super::{END, ENTRIES, FRAME_HEADER_BYTES, HEADER, MAGIC, PAYLOAD_BYTES_MAX, checksum};
use crate::codec::Cursor;
use crate::index::{Builder, Item, Record};
use crate::{IndexView, Restore};

/// Reads an image back, fed with bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct ImageReader {
    /// Bytes not understood yet.
    pending: Vec<u8>,
    /// Where in the image `pending` begins.
    offset: u64,
    stage: Stage,
    builder: Builder,
    current: i64,
    compacted: i64,
    keys: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Magic,
    Header,
    Entries,
    Done,
}

/// Bytes that are not an image, or not an undamaged one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("index image is damaged at byte {offset}: {what}")]
pub struct ImageError {
    /// Where in the image: the beginning of the frame that holds the damage.
    pub offset: u64,
    /// What was found there.
    pub what: &'static str,
}

impl ImageReader {
    /// Nothing read yet.
    pub fn new() -> ImageReader {
        ImageReader::default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ImageError`] as soon as the image cannot be right.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(count) = self.understand(&pending[used..])? {
            used += count;
            self.offset += count as u64;
        }
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// The image is complete; rows after [`Restore::revision`] may follow.
    ///
    /// # Errors
    /// [`ImageError`] when something is missing.
    pub fn finish(self) -> Result<Restore, ImageError> {
        if self.stage != Stage::Done {
            return Err(self.damage("it ends too early"));
        }
        let tree = self.builder.finish();
        let (current, compacted) = (self.current, self.compacted);
        Ok(Restore::from_image(IndexView { tree, current, compacted }))
    }

    fn damage(&self, what: &'static str) -> ImageError {
        ImageError { offset: self.offset, what }
    }

    /// Takes one piece from the front, if it is there whole, and says how long it was.
    fn understand(&mut self, bytes: &[u8]) -> Result<Option<usize>, ImageError> {
        if self.stage == Stage::Magic {
            return self.magic(bytes);
        }
        if self.stage == Stage::Done {
            let nothing = bytes.is_empty();
            return if nothing { Ok(None) } else { Err(self.damage("bytes after the end")) };
        }
        let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER_BYTES) else {
            return Ok(None);
        };
        let length_bytes = [header[0], header[1], header[2], header[3]];
        let sum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let length = u32::from_le_bytes(length_bytes) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(self.damage("a frame of impossible length"));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        if checksum(length_bytes, payload) != sum {
            return Err(self.damage("a frame whose checksum is wrong"));
        }
        self.frame(payload).map_err(|what| self.damage(what))?;
        Ok(Some(FRAME_HEADER_BYTES + length))
    }

    fn magic(&mut self, bytes: &[u8]) -> Result<Option<usize>, ImageError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(self.damage("not an index image of this version"));
        }
        if known < MAGIC.len() {
            return Ok(None);
        }
        self.stage = Stage::Header;
        Ok(Some(known))
    }

    fn frame(&mut self, payload: &[u8]) -> Result<(), &'static str> {
        let (kind, rest) = payload.split_first().ok_or("an empty frame")?;
        let mut cursor = Cursor { bytes: rest };
        match (*kind, self.stage) {
            (HEADER, Stage::Header) => self.header(&mut cursor).ok_or("a malformed header")?,
            (ENTRIES, Stage::Entries) => self.entries(&mut cursor)?,
            (END, Stage::Entries) => {
                if cursor.number() != Some(self.keys) {
                    return Err("another number of keys than it says");
                }
                self.stage = Stage::Done;
            }
            _ => return Err("a frame out of place"),
        }
        if cursor.bytes.is_empty() { Ok(()) } else { Err("a frame longer than its contents") }
    }

    fn header(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        self.current = cursor.signed().filter(|current| *current >= 1)?;
        self.compacted = cursor.signed()? - 1;
        self.stage = Stage::Entries;
        (self.compacted <= self.current).then_some(())
    }

    fn entries(&mut self, cursor: &mut Cursor<'_>) -> Result<(), &'static str> {
        let mut key = Vec::new();
        while !cursor.bytes.is_empty() {
            next_key(cursor, &mut key).ok_or("a malformed key")?;
            if &key[..] <= self.builder.last_key() {
                return Err("keys out of order");
            }
            let item = next_item(cursor, self.current).ok_or("a malformed history")?;
            self.builder.push(&key, item);
            self.keys += 1;
        }
        Ok(())
    }
}

/// Turns the key before into the next one.
fn next_key(cursor: &mut Cursor<'_>, key: &mut Vec<u8>) -> Option<()> {
    let shared = usize::try_from(cursor.number()?).ok()?;
    let length = cursor.number()?;
    let rest = cursor.take(length)?;
    if shared > key.len() {
        return None;
    }
    key.truncate(shared);
    key.extend_from_slice(rest);
    Some(())
}

fn next_item(cursor: &mut Cursor<'_>, current: i64) -> Option<Item> {
    let count = cursor.number().filter(|count| *count > 0)?;
    let mut item = Item::new(next_record(cursor, None, current)?, 0);
    for _ in 1..count {
        let record = next_record(cursor, Some(item.newest), current)?;
        item.push(record, 0);
    }
    if item.is_alive() {
        item.lease = cursor.number()? as i64;
    }
    Some(item)
}

fn next_record(cursor: &mut Cursor<'_>, before: Option<Record>, current: i64) -> Option<Record> {
    let step = cursor.signed()?;
    let main = before.map_or(0, |before| before.main).checked_add(step)?;
    let sub = u32::try_from(cursor.number()?).ok()?;
    let version = cursor.signed()?;
    let created = if version == 0 { 0 } else { main.checked_sub(cursor.signed()?)? };
    let in_order = before.is_none_or(|before| (before.main, before.sub) < (main, sub));
    let possible = 1 <= main && main <= current && (version == 0 || 1 <= created);
    (in_order && possible).then_some(Record { main, created, version, sub })
}
