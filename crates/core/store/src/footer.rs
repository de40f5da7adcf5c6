//! A sealed segment's footer: its table and its rows' keys, so that a restart reads keys and not values.
//!
//! It is gathered while rows are appended and written once the segment is full: three columns and a
//! trailer that ends the file. Nothing depends on it: whatever is wrong with a footer, the frames before it
//! say the same, so it is built again.

use bytes::Bytes;
use types::{Revision, Row};

use crate::ends::FramesEnd;
use crate::files::{HEADER_BYTES, Named, u32_at, u64_at};
use crate::frame::Frame;
use crate::table::{NewSlot, Span, Table};
use crate::{RowMeta, StoreError, record, varint};

/// Bytes of the trailer at the end of the file.
pub(crate) const TRAILER_BYTES: usize = 64;
/// Of this form of key column. A footer of another form is none: it is built again.
const MAGIC: [u8; 4] = *b"fot3";

/// Gathers a footer row by row.
#[derive(Clone, Debug, Default)]
pub(crate) struct FooterBuilder {
    table: Vec<u8>,
    keys: Vec<u8>,
    /// The row before's key, of which the next shares the beginning.
    last_key: Vec<u8>,
    states: Vec<u8>,
    rows: u32,
    last: Before,
    last_state: u32,
    /// Bytes of frames that change state.
    pub(crate) state_bytes: u64,
}

/// The row before, from which the next is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    main: u64,
    /// Where its record ends.
    end: u64,
}

impl FooterBuilder {
    /// Notes a row whose record begins at `offset`.
    pub(crate) fn row(&mut self, row: &Row, offset: u32) {
        let (main, sub) = record::split(row.revision, false);
        varint::put(&mut self.table, main - self.last.main);
        varint::put(&mut self.table, u64::from(sub) << 1 | u64::from(row.tombstone));
        varint::put(&mut self.table, u64::from(offset) - self.last.end);
        varint::put(&mut self.table, row.encoded.len() as u64);
        self.last = Before { main, end: u64::from(offset) + record::bytes_of(row) as u64 };
        self.rows += 1;
        self.put_key(row);
    }

    /// A key as what it shares with the one before, and the rest: the keys of a store are alike.
    fn put_key(&mut self, row: &Row) {
        let key = row.key();
        let shared = key.iter().zip(&self.last_key).take_while(|(one, other)| one == other).count();
        let out = &mut self.keys;
        varint::put(out, shared as u64);
        varint::put(out, (key.len() - shared) as u64);
        out.extend_from_slice(&key[shared..]);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        if !row.tombstone {
            varint::put(out, row.revision.main.wrapping_sub(row.create_revision) as u64);
            varint::put(out, row.version as u64);
            varint::put(out, row.lease as u64);
        }
    }

    /// Notes a frame that changes state.
    pub(crate) fn state(&mut self, offset: u32, changes_bytes: u64) {
        varint::put(&mut self.states, u64::from(offset - self.last_state));
        self.last_state = offset;
        self.state_bytes += changes_bytes;
    }

    /// The whole footer, to be written where the frames end, and where its keys will be.
    pub(crate) fn finish(self, end: FramesEnd) -> (Vec<u8>, Column) {
        let mut states = Vec::new();
        varint::put(&mut states, self.state_bytes);
        states.extend_from_slice(&self.states);

        let mut trailer = [0; TRAILER_BYTES];
        trailer[4..8].copy_from_slice(&self.rows.to_le_bytes());
        trailer[8..16].copy_from_slice(&end.offset.to_le_bytes());
        trailer[16..24].copy_from_slice(&end.index.to_le_bytes());
        trailer[24..32].copy_from_slice(&end.term.to_le_bytes());
        trailer[32..36].copy_from_slice(&end.chain.to_le_bytes());
        for (place, column) in [&self.table, &self.keys, &states].into_iter().enumerate() {
            let bytes = u32::try_from(column.len()).expect("a column is smaller than its segment");
            trailer[36 + 4 * place..][..4].copy_from_slice(&bytes.to_le_bytes());
            trailer[48 + 4 * place..][..4].copy_from_slice(&crc32c::crc32c(column).to_le_bytes());
        }
        trailer[60..].copy_from_slice(&MAGIC);
        let checksum = crc32c::crc32c(&trailer[4..]);
        trailer[..4].copy_from_slice(&checksum.to_le_bytes());

        let mut out = self.table;
        let keys = Column {
            offset: end.offset + out.len() as u64,
            bytes: self.keys.len() as u32,
            checksum: u32_at(&trailer, 52),
        };
        out.extend_from_slice(&self.keys);
        out.extend_from_slice(&states);
        out.extend_from_slice(&trailer);
        (out, keys)
    }
}

/// A key column being read, row by row.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    rest: Bytes,
    last_key: Vec<u8>,
}

impl KeyColumn {
    pub(crate) fn new(column: Bytes) -> KeyColumn {
        KeyColumn { rest: column, last_key: Vec::new() }
    }

    /// The rows at these places, which come next; `None` if the column does not hold them.
    pub(crate) fn take(&mut self, spans: &[Span]) -> Option<Vec<RowMeta>> {
        // All keys lie in one buffer, because an allocation for each would cost more than reading it.
        let mut keys = Vec::new();
        let mut metas = Vec::with_capacity(spans.len());
        let mut rest = &self.rest[..];
        for span in spans {
            let slot = &span.slot;
            let shared = usize::try_from(varint::take(&mut rest)?).ok()?;
            let own = usize::try_from(varint::take(&mut rest)?).ok()?;
            if self.last_key.len() < shared {
                return None;
            }
            self.last_key.truncate(shared);
            self.last_key.extend_from_slice(rest.split_off(..own)?);
            keys.extend_from_slice(&self.last_key);
            let mut meta = RowMeta {
                revision: slot.revision,
                tombstone: slot.tombstone,
                key: Bytes::new(),
                create_revision: 0,
                version: 0,
                lease: 0,
                encoded_bytes: span.encoded_bytes(),
            };
            if !slot.tombstone {
                let age = varint::take(&mut rest)? as i64;
                meta.create_revision = slot.revision.main.wrapping_sub(age);
                meta.version = varint::take(&mut rest)? as i64;
                meta.lease = varint::take(&mut rest)? as i64;
            }
            metas.push((meta, self.last_key.len()));
        }
        let left = rest.len();
        let _ = self.rest.split_to(self.rest.len() - left);
        let mut keys = Bytes::from(keys);
        let with_key = |(meta, bytes)| RowMeta { key: keys.split_to(bytes), ..meta };
        Some(metas.into_iter().map(with_key).collect())
    }
}

/// A column of a footer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    offset: u64,
    bytes: u32,
    checksum: u32,
}

impl Column {
    /// Reads and verifies the column; `None` if it is not what was written.
    pub(crate) fn read(&self, file: &Named) -> Result<Option<Bytes>, StoreError> {
        if self.offset + u64::from(self.bytes) > file.len()? {
            return Ok(None);
        }
        let mut bytes = vec![0; self.bytes as usize];
        file.read(&mut bytes, self.offset)?;
        Ok((crc32c::crc32c(&bytes) == self.checksum).then(|| bytes.into()))
    }
}

/// A footer as it was found.
#[derive(Debug)]
pub(crate) struct Footer {
    pub(crate) end: FramesEnd,
    pub(crate) table: Table,
    /// Where the keys are, to be read when they are needed.
    pub(crate) keys: Column,
    /// Where the frames that change state begin.
    pub(crate) states: Vec<u64>,
    /// Bytes of their changes.
    pub(crate) state_bytes: u64,
}

/// The trailer at the end of a file and where it begins; `None` if there is no intact one.
fn read_trailer(file: &Named) -> Result<Option<([u8; TRAILER_BYTES], u64)>, StoreError> {
    let Some(start) = file.len()?.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read(&mut trailer, start)?;
    let intact = u32_at(&trailer, 0) == crc32c::crc32c(&trailer[4..]);
    Ok(intact.then_some((trailer, start)))
}

impl Footer {
    /// Whether the file ends with an intact footer of another form, as another release writes it.
    pub(crate) fn is_foreign(file: &Named) -> Result<bool, StoreError> {
        let trailer = read_trailer(file)?;
        Ok(trailer
            .is_some_and(|(trailer, _)| trailer[60..63] == MAGIC[..3] && trailer[60..] != MAGIC))
    }

    /// Reads the footer at the end of a file; `None` if there is no intact one of this form.
    pub(crate) fn read(file: &Named) -> Result<Option<Footer>, StoreError> {
        let Some((trailer, start)) = read_trailer(file)?.filter(|it| it.0[60..] == MAGIC) else {
            return Ok(None);
        };
        let end = FramesEnd {
            offset: u64_at(&trailer, 8),
            chain: u32_at(&trailer, 32),
            index: u64_at(&trailer, 16),
            term: u64_at(&trailer, 24),
        };
        let column = |place: usize, offset| Column {
            offset,
            bytes: u32_at(&trailer, 36 + 4 * place),
            checksum: u32_at(&trailer, 48 + 4 * place),
        };
        let after = |column: &Column| column.offset.saturating_add(column.bytes.into());
        let table = column(0, end.offset);
        let keys = column(1, after(&table));
        let states = column(2, after(&keys));
        if after(&states) != start {
            return Ok(None);
        }
        let (Some(table), Some(states)) = (table.read(file)?, states.read(file)?) else {
            return Ok(None);
        };
        if end.offset < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let rows = u32_at(&trailer, 4);
        Ok(parse_table(&table, rows, end.offset)
            .zip(parse_states(&states, end.offset))
            .map(|(table, (states, state_bytes))| Footer { end, table, keys, states, state_bytes }))
    }
}

fn parse_table(mut bytes: &[u8], rows: u32, end: u64) -> Option<Table> {
    let table = Table::default();
    let mut last = Before::default();
    let mut last_revision = None;
    for _ in 0..rows {
        last.main = last.main.checked_add(varint::take(&mut bytes)?)?;
        let sub = varint::take(&mut bytes)?;
        let offset = last.end.checked_add(varint::take(&mut bytes)?)?;
        let length = varint::take(&mut bytes)?.checked_add(record::ROW_HEADER_BYTES as u64)?;
        last.end = offset.checked_add(length).filter(|row_end| *row_end <= end)?;
        let (revision, _) = record::join(last.main, 0)?;
        let revision = Revision { sub: i64::try_from(sub >> 1).ok()?, ..revision };
        let ascends = last_revision.is_none_or(|before| before < revision);
        let sub_counts = u32::try_from(sub >> 1).ok().and_then(|sub| record::join(0, sub));
        if !ascends || sub_counts.is_none() {
            return None;
        }
        last_revision = Some(revision);
        table.push(NewSlot {
            revision,
            tombstone: sub & 1 == 1,
            offset: u32::try_from(offset).ok()?,
            bytes: u32::try_from(length).ok()?,
        });
    }
    bytes.is_empty().then_some(table)
}

fn parse_states(mut bytes: &[u8], end: u64) -> Option<(Vec<u64>, u64)> {
    let state_bytes = varint::take(&mut bytes)?;
    let mut frames = Vec::new();
    let mut offset = 0u64;
    while !bytes.is_empty() {
        offset = offset.checked_add(varint::take(&mut bytes)?)?;
        if offset < HEADER_BYTES as u64 || end <= offset {
            return None;
        }
        frames.push(offset);
    }
    Some((frames, state_bytes))
}

/// Builds table and footer again from frames, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    pub(crate) table: Table,
    pub(crate) footer: FooterBuilder,
    last: Option<Revision>,
}

impl Rebuilt {
    /// Takes the next frame.
    pub(crate) fn frame(&mut self, frame: &Frame<'_>) -> Result<(), &'static str> {
        let narrow = |at: u64| u32::try_from(at).map_err(|_| "the segment is longer than 4 GiB");
        let body = Bytes::copy_from_slice(frame.body);
        let mut rows = Vec::with_capacity(frame.rows.len());
        let mut last = self.last;
        for (at, record) in &frame.rows {
            let encoded = body.slice(at + record::ROW_HEADER_BYTES..at + record.bytes);
            let row = Row::decode(record.revision, record.tombstone, encoded);
            let row = row.map_err(|_| "a row is not a KeyValue")?;
            if last.is_some_and(|last| row.revision <= last) {
                return Err("a row does not come after the one before");
            }
            last = Some(row.revision);
            rows.push((row, narrow(frame.offset_of(*at))?));
        }
        for (row, offset) in &rows {
            self.table.push(NewSlot::of(row, *offset));
            self.footer.row(row, *offset);
        }
        if frame.header.changes > 0 {
            let rows_bytes: usize = frame.rows.iter().map(|(_, record)| record.bytes).sum();
            let changes_bytes = frame.body.len() - rows_bytes;
            self.footer.state(narrow(frame.offset)?, changes_bytes as u64);
        }
        self.last = last;
        Ok(())
    }
}
