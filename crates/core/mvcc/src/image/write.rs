//! Writing an image, a frame at a time, from a view that nobody can change meanwhile.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{END, ENTRIES, FRAME_HEADER_BYTES, HEADER, MAGIC, PAYLOAD_BYTES_MAX, checksum};
use crate::IndexView;
use crate::codec::put_number;
use crate::index::{Item, KeyParts};

/// Bytes of a payload after which the next frame begins.
const PAYLOAD_BYTES_USUAL: usize = 256 * 1024;

/// Writes a view as chunks. An iterator, so the store can write one chunk at a time.
#[derive(Debug)]
pub struct ImageWriter {
    view: IndexView,
    stage: Stage,
    keys: u64,
}

#[derive(Debug)]
enum Stage {
    Header,
    /// The key the next frame begins with.
    Entries(Bytes),
    End,
    Done,
}

impl IndexView {
    /// The whole index as a checkpoint image, chunk by chunk.
    pub fn image(&self) -> ImageWriter {
        ImageWriter { view: self.clone(), stage: Stage::Header, keys: 0 }
    }
}

impl ImageWriter {
    /// The revision the image covers: rows after it are to be restored on top.
    pub fn revision(&self) -> i64 {
        self.view.current
    }

    fn header(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        out.push(HEADER);
        put_number(&mut out, self.view.current as u64);
        put_number(&mut out, (self.view.compacted + 1) as u64);
        seal(&mut out, MAGIC.len());
        out
    }

    /// One frame of entries from `low` on, and the key the next one begins with.
    fn entries(&mut self, low: &[u8]) -> (Vec<u8>, Option<Bytes>) {
        let mut out = Vec::with_capacity(PAYLOAD_BYTES_USUAL + 1024);
        out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        out.push(ENTRIES);
        let (mut key, mut previous) = (Vec::new(), Vec::new());
        let stopped = self.view.tree.walk_all(low, &mut |parts: KeyParts<'_>, item| {
            if out.len() >= PAYLOAD_BYTES_USUAL {
                return ControlFlow::Break(parts.to_bytes());
            }
            key.clear();
            parts.append_to(&mut key);
            put_entry(&mut out, &previous, &key, item);
            std::mem::swap(&mut key, &mut previous);
            self.keys += 1;
            ControlFlow::Continue(())
        });
        seal(&mut out, 0);
        (out, stopped.break_value())
    }

    fn end(&self) -> Vec<u8> {
        let mut out = vec![0; FRAME_HEADER_BYTES];
        out.push(END);
        put_number(&mut out, self.keys);
        seal(&mut out, 0);
        out
    }
}

impl Iterator for ImageWriter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let (chunk, next) = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Header => (self.header(), Stage::Entries(Bytes::new())),
            Stage::Entries(low) => {
                let (chunk, next) = self.entries(&low);
                (chunk, next.map_or(Stage::End, Stage::Entries))
            }
            Stage::End => (self.end(), Stage::Done),
            Stage::Done => return None,
        };
        self.stage = next;
        Some(chunk.into())
    }
}

/// Fills in the header of the frame that begins at `start`.
fn seal(out: &mut [u8], start: usize) {
    let frame = &mut out[start..];
    let length = frame.len() - FRAME_HEADER_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX, "a key and its history are far shorter");
    let length = (length as u32).to_le_bytes();
    let sum = checksum(length, &frame[FRAME_HEADER_BYTES..]);
    frame[..4].copy_from_slice(&length);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}

fn put_entry(out: &mut Vec<u8>, previous: &[u8], key: &[u8], item: &Item) {
    let shared = previous.iter().zip(key).take_while(|(a, b)| a == b).count();
    put_number(out, shared as u64);
    put_number(out, (key.len() - shared) as u64);
    out.extend_from_slice(&key[shared..]);
    put_number(out, item.len() as u64);
    let mut before = 0;
    item.each(&mut |record| {
        put_number(out, (record.main - before) as u64);
        before = record.main;
        put_number(out, u64::from(record.sub));
        put_number(out, record.version as u64);
        if !record.is_tombstone() {
            put_number(out, (record.main - record.created) as u64);
        }
    });
    if item.is_alive() {
        put_number(out, item.lease as u64);
    }
}
