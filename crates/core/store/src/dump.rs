//! All small state in one file, as of a position in the log: what a restart begins with before it takes the
//! changes after that position. Written before a cleaning drops segments that hold older changes.

use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind, u32_at, u64_at};
use crate::sync::Position;
use crate::{Damage, OpenError, State, StoreError, record};

/// Bytes of the file's end: checksum, digest of the records' checksums, count.
const END_BYTES: usize = 16;
const WRITE_BYTES: usize = 1 << 20;

/// Writes `state` as file `number` and syncs it; returns its length. Its name is not durable yet.
pub(crate) fn write(
    dir: &Dir,
    number: u64,
    state: &State,
    index: u64,
    position: Position,
) -> Result<u64, StoreError> {
    let id = FileId::new(Kind::State, number);
    let file = dir.create(&id.to_string())?;
    let header = Header { id, numbers: [index, position.log, position.offset], chain: 0 };
    let mut out = header.encode().to_vec();
    let (mut offset, mut digest) = (0, 0);
    for (bucket, key, value) in state.all() {
        let checksum = record::put_set(&mut out, bucket, key, value);
        digest = crc32c::crc32c_append(digest, &checksum.to_le_bytes());
        if out.len() >= WRITE_BYTES {
            file.write(&out, offset)?;
            // In small pieces: the raft log's syncs wait behind this one.
            file.sync()?;
            offset += out.len() as u64;
            out.clear();
        }
    }
    let mut end = [0; END_BYTES];
    end[4..8].copy_from_slice(&digest.to_le_bytes());
    end[8..].copy_from_slice(&(state.len() as u64).to_le_bytes());
    let checksum = crc32c::crc32c(&end[4..]);
    end[..4].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&end);
    file.write(&out, offset)?;
    file.sync()?;
    Ok(offset + out.len() as u64)
}

/// State as it was found.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    pub(crate) state: State,
    /// Changes in frames from here on come after it.
    pub(crate) position: Position,
    pub(crate) file_bytes: u64,
}

/// Reads a file of state.
pub(crate) fn read(dir: &Dir, number: u64) -> Result<Dump, OpenError> {
    let id = FileId::new(Kind::State, number);
    let file = dir.open(&id.to_string())?;
    let header = file.header(id)?;
    let file_bytes = file.len()?;
    let damage = |offset, what| OpenError::from(file.damage(offset, what));
    let body_bytes = file_bytes.checked_sub((HEADER_BYTES + END_BYTES) as u64);
    let body_bytes = body_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let Some(body_bytes) = body_bytes else {
        return Err(damage(file_bytes, "the file ends too early"));
    };
    let mut content = vec![0; body_bytes + END_BYTES];
    file.read(&mut content, HEADER_BYTES as u64)?;
    let (body, end) = content.split_at(body_bytes);
    if u32_at(end, 0) != crc32c::crc32c(&end[4..]) {
        let offset = file_bytes - END_BYTES as u64;
        return Err(damage(offset, "the file's end is not what was written there"));
    }
    let (mut state, mut at, mut digest, mut count) = (State::default(), 0, 0, 0u64);
    while at < body.len() {
        let Some((change, checksum, bytes)) = record::take_change(&body[at..]) else {
            return Err(damage((HEADER_BYTES + at) as u64, "a record's checksum is wrong"));
        };
        state.apply(&change);
        digest = crc32c::crc32c_append(digest, &checksum.to_le_bytes());
        at += bytes;
        count += 1;
    }
    if digest != u32_at(end, 4) || count != u64_at(end, 8) {
        return Err(damage(HEADER_BYTES as u64, "the records are not those that were written"));
    }
    let [_, log, offset] = header.numbers;
    Ok(Dump { state, position: Position { log, offset }, file_bytes })
}

/// What is whole of a file of state, and what is not: for whoever has nothing better.
pub(crate) fn salvage(dir: &Dir, number: u64) -> (Dump, Vec<Damage>) {
    let id = FileId::new(Kind::State, number);
    let name = id.to_string();
    let mut dump = Dump::default();
    let lost = |offset, what| vec![Damage { file: name.clone(), offset, what }];
    let Ok(file) = dir.open(&name) else { return (dump, lost(0, "it is missing")) };
    let mut losses = Vec::new();
    match file.header(id) {
        Ok(Header { numbers: [_, log, offset], .. }) => dump.position = Position { log, offset },
        Err(_) => losses.extend(lost(0, "its header cannot be read")),
    }
    let bytes = file.len().unwrap_or(0).saturating_sub((HEADER_BYTES + END_BYTES) as u64);
    let mut body = vec![0; usize::try_from(bytes).unwrap_or(0)];
    if file.read(&mut body, HEADER_BYTES as u64).is_err() {
        losses.extend(lost(HEADER_BYTES as u64, "it cannot be read"));
        return (dump, losses);
    }
    let mut at = 0;
    while at < body.len() {
        match record::take_change(&body[at..]) {
            Some((change, _, bytes)) => {
                dump.state.apply(&change);
                at += bytes;
            }
            None => {
                let what = "a row of the small state cannot be read";
                losses.extend(lost((HEADER_BYTES + at) as u64, what));
                let Some(bytes) = record::stated_change_bytes(&body[at..]) else { break };
                at += bytes;
            }
        }
    }
    (dump, losses)
}
