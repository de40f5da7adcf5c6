//! What is written is read back, whatever the rows, by both ways of writing.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_bolt::{
    Bolt, ImageStream, Layout, RowSize, Rows, Sizes, SnapshotStream, Source, SourceError,
    WriteError, digest, plan, write_file,
};
use support::{Content, Dice, Memory, content, image};
use vfs::{Disk, MemoryDisk};

/// Content of every shape: no rows, one, many, empty values, values of many pages, long keys.
fn random_content(dice: &mut Dice) -> Content {
    let mut content = Content::new();
    for bucket in 0..dice.below(12) {
        let mut rows = BTreeMap::new();
        let value_bytes_max = [1, 40, 300, 3000, 70_000][dice.below(5)];
        let key_bytes_max = [8, 17, 200, 32_768][dice.below(4)];
        let room: usize = 3_000_000;
        for _ in 0..dice.below(room / (value_bytes_max + key_bytes_max)).min(4000) {
            let (key_bytes, value_bytes) =
                (1 + dice.below(key_bytes_max), dice.below(value_bytes_max));
            rows.insert(dice.bytes(key_bytes), dice.bytes(value_bytes));
        }
        content.insert(Bytes::from(format!("bucket {bucket:02}")), rows);
    }
    content
}

#[test]
fn whatever_is_written_is_read_back_and_passes_the_check() {
    for seed in 0..60 {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed);
        let expected = random_content(&mut dice);
        let page_bytes = 1024 << dice.below(7);
        let layout = Layout { page_bytes, transaction: 2 + dice.roll() % 1000 };
        let source = Memory(Arc::new(expected.clone()));
        let image = image(&source, layout);
        let bolt = Bolt::open(image.clone()).expect("our own file");
        assert_eq!(bolt.page_bytes(), page_bytes);
        assert_eq!(bolt.transaction(), layout.transaction);
        let check = bolt.check();
        assert!(check.is_clean(), "{:?}", check.faults);
        assert_eq!(check.pages_used + 2, bolt.image_bytes() / u64::from(page_bytes), "no holes");
        assert_eq!(content(&bolt).expect("our own file"), expected);
        for (name, rows) in &expected {
            let bucket = bolt.bucket(name).expect("whole").expect("it was written");
            assert_eq!(
                bucket.last().expect("whole"),
                rows.last_key_value().map(|(key, value)| (key.clone(), value.clone()))
            );
            for (key, value) in rows.iter().step_by(37) {
                assert_eq!(bucket.get(key).expect("whole").as_ref(), Some(value));
            }
        }

        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("/db")).expect("an empty disk");
        let written = write_file(&*file, &source, layout).expect("memory does not fail");
        let mut bytes = vec![0; image.len()];
        assert_eq!(file.len().expect("memory"), written.image_bytes());
        file.read_exact_at(&mut bytes, 0).expect("memory");
        assert!(image == bytes, "both ways of writing give the same bytes");
        assert_eq!(content(&Bolt::open(file).expect("our own file")).expect("whole"), expected);
    }
}

#[test]
fn a_snapshot_stream_ends_with_the_digest_of_what_it_sent() {
    let source = Memory(Arc::new(random_content(&mut Dice(7))));
    let plan = plan(&source, Layout::default()).expect("memory does not fail");
    let mut stream = SnapshotStream::new(Box::new(source), plan).expect("nor here");
    let (mut file, mut last) = (Vec::new(), 0);
    while let Some(chunk) = stream.next_chunk(32 * 1024).expect("nor here") {
        assert!(chunk.len() <= 32 * 1024);
        last = chunk.len();
        file.extend_from_slice(&chunk);
    }
    assert_eq!(last, 32);
    assert_eq!(file.len() as u64, SnapshotStream::total_bytes(&plan));
    let found = digest(&Bytes::from(file)).expect("memory is readable");
    assert_eq!(found, holdfast_bolt::Digest::Matches);
}

#[test]
fn rows_of_usual_size_leave_less_than_a_tenth_of_the_file_unused() {
    let value = Bytes::from(vec![b'v'; 300]);
    let rows = (0..20_000u64).map(|row| (Bytes::from(row.to_be_bytes().to_vec()), value.clone()));
    let source = Memory(Arc::new([(Bytes::from_static(b"key"), rows.collect())].into()));
    let bytes = plan(&source, Layout::default()).expect("memory does not fail").image_bytes();
    let payload = 20_000 * (300 + 8 + 16);
    assert!(bytes < payload * 11 / 10, "{bytes} for {payload}");
}

type Row = Result<(Bytes, Bytes), SourceError>;

/// A source with something wrong about it.
struct Wrong(fn() -> Vec<Row>);

impl Source for Wrong {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(vec![Bytes::from_static(b"key")])
    }

    fn rows(&self, _bucket: &Bytes) -> Rows {
        Box::new((self.0)().into_iter())
    }

    fn sizes(&self, _bucket: &Bytes) -> Sizes {
        Box::new(std::iter::repeat_n(RowSize { key_bytes: 1, value_bytes: 1 }, 2).map(Ok))
    }
}

#[track_caller]
fn check_refused(rows: fn() -> Vec<Row>, expected: &str) {
    let planned = plan(&Wrong(rows), Layout::default()).expect("the sizes are fine");
    let mut stream = ImageStream::new(Box::new(Wrong(rows)), planned).expect("no rows yet");
    let refused = loop {
        match stream.next_chunk(1 << 20) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if all was well"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.to_string(), expected);
    assert!(stream.next_chunk(1 << 20).expect("it has ended").is_none());
}

fn row(key: &'static str, value: &'static str) -> Row {
    Ok((key.into(), value.into()))
}

#[test]
fn a_source_that_breaks_its_word_ends_the_stream_with_an_error() {
    check_refused(
        || vec![row("b", "1"), row("a", "2")],
        "row 1 of bucket key does not come after the one before",
    );
    check_refused(
        || vec![row("a", "1"), row("a", "2")],
        "row 1 of bucket key does not come after the one before",
    );
    check_refused(
        || vec![row("a", "1"), Err("the disk is gone".into())],
        "the rows of bucket key cannot be read",
    );
    check_refused(|| vec![row("", "1")], "row 0 of bucket key has 0 bytes of key and 1 of value");
    let longer: fn() -> _ =
        || (0..5000).map(|i| Ok((format!("{i:04}").into(), "x".into()))).collect();
    check_refused(longer, &WriteError::Changed.to_string());
}
