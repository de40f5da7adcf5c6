//! However large the store, writing and reading a file take a few pages of memory.
//!
//! `HOLDFAST_BOLT_ROWS=50000000 cargo test --release -p holdfast-bolt --test memory -- --nocapture`
//! streams 17 GB and prints how fast.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

use std::time::Instant;

use bytes::Bytes;
use holdfast_bolt::{
    Backend, Layout, ReadAt, RowSize, Rows, Sizes, SnapshotStream, Source, SourceError, plan,
    status, write_file,
};
use types::{KeyValueRef, Row, encode_row};
use vfs::{Disk, OsDisk};

/// Rows made up as they are asked for.
#[derive(Clone, Copy)]
struct Endless {
    rows: i64,
}

fn row(number: i64) -> Row {
    let key = format!("/registry/pods/{number:012}");
    let value = [number as u8; 280];
    let revision = number + 2;
    let kv = KeyValueRef {
        key: key.as_bytes(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        value: &value,
        lease: 0,
    };
    encode_row(kv, 0)
}

impl Source for Endless {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(vec![Bytes::from_static(b"key")])
    }

    fn rows(&self, _bucket: &Bytes) -> Rows {
        Box::new((0..self.rows).map(row).map(|row| {
            let key = Bytes::copy_from_slice(&row.revision.to_bytes());
            Ok((key, row.encoded))
        }))
    }

    fn sizes(&self, _bucket: &Bytes) -> Sizes {
        let fixed = row(0).encoded.len() - 2;
        // Create and mod revision are the only parts that grow.
        let digits = |number: i64| (64 - (number + 2).leading_zeros() as usize).div_ceil(7);
        Box::new((0..self.rows).map(move |number| {
            Ok(RowSize { key_bytes: 17, value_bytes: fixed + 2 * digits(number) })
        }))
    }
}

/// The most memory this process ever had, in KiB.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_store_of_any_size_is_written_and_read_in_a_few_megabytes() {
    let rows = std::env::var("HOLDFAST_BOLT_ROWS").ok().and_then(|rows| rows.parse().ok());
    let source = Endless { rows: rows.unwrap_or(500_000) };
    let before = peak_kib();
    let started = Instant::now();
    let plan = plan(&source, Layout::default()).expect("nothing can fail");
    let (planned, started) = (started.elapsed(), Instant::now());
    let mut stream = SnapshotStream::new(Box::new(source), plan).expect("nothing can fail");
    let mut sent_bytes = 0;
    while let Some(chunk) = stream.next_chunk(32 * 1024).expect("nothing can fail") {
        sent_bytes += chunk.len() as u64;
    }
    assert_eq!(sent_bytes, SnapshotStream::total_bytes(&plan));
    let (sent, started) = (started.elapsed(), Instant::now());

    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = OsDisk.create(&dir.path().join("db")).expect("a new file");
    write_file(&*file, &source, Layout::default()).expect("room on the disk");
    let (written, started) = (started.elapsed(), Instant::now());
    assert_eq!(file.file_bytes().expect("it is open"), plan.image_bytes());
    let status = status(&Backend::open(file).expect("our own file")).expect("whole");
    assert_eq!(status.total_key, source.rows as u64);
    eprintln!(
        "{} rows, {sent_bytes} bytes: plan {planned:?}, stream with digest {sent:?}, \
         write to a file {written:?}, check and status {:?}",
        source.rows,
        started.elapsed()
    );
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        eprintln!("memory: {before} KiB before, {after} KiB at most");
        assert!(after - before < 24 * 1024, "{} KiB more", after - before);
    }
}
