//! An image comes back as it went, and no byte of it can change unnoticed.

use types::{KeyRange, LeaseId, Revision};

use super::*;
use crate::{IndexView, Mvcc, Restore, RowMeta};

fn store() -> Mvcc {
    let mut restore = Restore::new();
    let mut main = 1;
    let mut write = |key: &str, tombstone: bool, created: i64, version: i64, lease: LeaseId| {
        main += 1;
        let revision = Revision::first_of(main);
        let create_revision = if created == 0 && !tombstone { main } else { created };
        let key = key.as_bytes();
        restore
            .row(RowMeta { key, revision, tombstone, create_revision, version, lease })
            .expect("rows of a valid store");
    };
    for n in 0..300 {
        write(&format!("/registry/pods/{n:04}"), false, 0, 1, if n == 7 { -9 } else { 0 });
    }
    write("/registry/pods/0003", true, 0, 0, 0);
    write("/registry/pods/0003", false, 0, 1, 44);
    write("/registry/pods/0005", true, 0, 0, 0);
    for version in 2..200 {
        write("/registry/pods/0009", false, 11, version, 0);
    }
    restore.finish(-1)
}

fn bytes_of(view: &IndexView) -> Vec<u8> {
    view.image().flat_map(|chunk| chunk.to_vec()).collect()
}

#[test]
fn an_image_fed_in_pieces_of_any_size_gives_the_same_index() {
    let mut mvcc = store();
    mvcc.compact(250).expect("below the current revision");
    let image = bytes_of(mvcc.now());
    for piece in [1, 7, 4096, image.len()] {
        let mut reader = ImageReader::new();
        image.chunks(piece).for_each(|bytes| reader.feed(bytes).expect("an undamaged image"));
        let restored = reader.finish().expect("a complete image");
        assert_eq!(restored.revision(), mvcc.current_revision());
        assert_eq!(restored.compact_revision(), 250);
        let again = restored.finish(-1);
        assert_eq!(bytes_of(again.now()), image);
        again.now().tree.check();
        assert_eq!(again.now().count(&KeyRange::all(), 0), Ok(299));
        assert_eq!(
            again.now().attachments().collect::<Vec<_>>(),
            mvcc.now().attachments().collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_empty_store_has_an_image_too() {
    let mut reader = ImageReader::new();
    reader.feed(&bytes_of(Mvcc::new().now())).expect("an undamaged image");
    let restored = reader.finish().expect("a complete image").finish(-1);
    assert_eq!((restored.current_revision(), restored.compact_revision()), (1, -1));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let image = bytes_of(store().now());
    let reads = |bytes: &[u8]| {
        let mut reader = ImageReader::new();
        reader.feed(bytes).and_then(|()| reader.finish()).is_ok()
    };
    assert!(reads(&image));
    for at in 0..image.len() {
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(!reads(&damaged), "bit {} of byte {at} is not guarded", at % 8);
        assert!(!reads(&image[..at]), "cut at byte {at}");
    }
    assert!(!reads(&[&image[..], b"x"].concat()));
}

#[test]
fn a_frame_with_a_right_sum_and_wrong_contents_is_refused() {
    let header = |current: u8, compacted: u8| vec![HEADER, current, compacted + 1];
    let frame = |payload: &[u8]| {
        let length = (payload.len() as u32).to_le_bytes();
        [&length[..], &checksum(length, payload).to_le_bytes(), payload].concat()
    };
    let check = |payloads: &[&[u8]], expected: &str| {
        let mut reader = ImageReader::new();
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
        let result = reader.feed(&[&MAGIC[..], &bytes].concat()).and_then(|()| reader.finish());
        let what = result.err().map_or("nothing", |error| error.what);
        assert_eq!(what, expected);
    };
    // One key "a": nothing shared, one byte, one record at 2.0 of version 1 and age 0, no lease.
    let a: &[u8] = &[ENTRIES, 0, 1, b'a', 1, 2, 0, 1, 0, 0];
    check(&[&header(2, 0), a, &[END, 1]], "nothing");
    check(&[&header(2, 0), a, &[END, 2]], "another number of keys than it says");
    check(&[&header(2, 0), a, a, &[END, 2]], "keys out of order");
    check(&[&header(1, 0), a, &[END, 1]], "a malformed history");
    check(&[&header(2, 3), a, &[END, 1]], "a malformed header");
    check(&[a], "a frame out of place");
    check(&[&header(2, 0), &header(2, 0)], "a frame out of place");
    check(&[&header(2, 0), &[]], "an empty frame");
    check(&[&header(2, 0), &[ENTRIES, 0, 0]], "keys out of order");
    check(&[&header(2, 0), &[ENTRIES, 1, 1, b'a', 1, 2, 0, 1, 0, 0]], "a malformed key");
    check(&[&header(2, 0), &[ENTRIES, 0, 9, b'a']], "a malformed key");
    check(&[&header(2, 0), &[ENTRIES, 0, 1, b'a', 0]], "a malformed history");
    check(&[&header(2, 0), &[ENTRIES, 0, 1, b'a', 1, 2, 0, 1, 2, 0]], "a malformed history");
    check(&[&header(2, 0), &[ENTRIES, 0, 1, b'a', 2, 2, 1, 0, 0, 1, 0]], "a malformed history");
    check(&[&header(2, 0), &[END, 0, 0]], "a frame longer than its contents");
}
