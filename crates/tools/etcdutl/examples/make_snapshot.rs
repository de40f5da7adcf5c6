//! Makes a large snapshot file for measuring: `make_snapshot FILE MIB`. A key is about 30 bytes, a value
//! 1,000 bytes that do not compress; every tenth key is written twice.

use std::error::Error;
use std::io::{BufWriter, Write};

use bolt::{Layout, Rows, SnapshotStream, Source, SourceError, names, plan};
use bytes::Bytes;
use types::{KeyValueRef, Revision, encode_row};

const VALUE_BYTES: usize = 1000;
/// Bytes that a row takes in the file, about.
const ROW_BYTES: u64 = 1120;

struct Made {
    rows: i64,
}

impl Source for Made {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(names::ALL.map(Bytes::from_static).to_vec())
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        match &bucket[..] {
            names::KEY => Box::new((0..self.rows).map(|number| Ok(row(number)))),
            names::META => {
                let set = |key: &'static [u8], value: Vec<u8>| Ok((key.into(), value.into()));
                let rows = [
                    set(names::CONSISTENT_INDEX, self.rows.to_be_bytes().to_vec()),
                    set(names::STORAGE_VERSION, b"3.7.0".to_vec()),
                    set(names::TERM, 2u64.to_be_bytes().to_vec()),
                ];
                Box::new(rows.into_iter())
            }
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// One of every ten rows changes the key before it.
fn row(number: i64) -> (Bytes, Bytes) {
    let again = number % 10 == 9;
    let mod_revision = number + 2;
    let key = format!("/registry/measured/{:012}", number - i64::from(again));
    let mut value = [0; VALUE_BYTES];
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for word in value.chunks_mut(8) {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&(state ^ state >> 29).to_le_bytes()[..word.len()]);
    }
    let row = encode_row(
        KeyValueRef {
            key: key.as_bytes(),
            create_revision: mod_revision - i64::from(again),
            mod_revision,
            version: 1 + i64::from(again),
            value: &value,
            lease: 0,
        },
        0,
    );
    (Bytes::copy_from_slice(&Revision::first_of(mod_revision).to_bytes()), row.encoded)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, path, mib] = &words[..] else { return Err("usage: make_snapshot FILE MIB".into()) };
    let rows = (mib.parse::<u64>()? << 20) / ROW_BYTES;
    let made = || Made { rows: rows as i64 };
    let plan = plan(&made(), Layout::default())?;
    let mut stream = SnapshotStream::new(Box::new(made()), plan)?;
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    while let Some(chunk) = stream.next_chunk(1 << 20)? {
        file.write_all(&chunk)?;
    }
    file.flush()?;
    println!("{rows} rows, {} bytes", SnapshotStream::total_bytes(&plan));
    Ok(())
}
