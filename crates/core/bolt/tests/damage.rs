//! Damaged files: an error that says where, or the right answer; never a panic or an endless walk.
//!
//! bbolt's pages carry no checksum, so a changed byte of a key, of a value or of a page number can be
//! right as well as wrong and only the digest behind a snapshot tells. What the pages' headers and
//! tables say, though, is told twice over (but for the length of a page's last element), and there
//! damage must show or not matter.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_bolt::{
    Backend, Bolt, BoltError, Digest, Layout, digest, hash_kv, image_bytes, names, status,
};
use support::{Content, Dice, Store, content, image};

const SEEDS: u64 = 10_000;

fn real_file() -> Bytes {
    let path = format!("{}/tests/files/etcd-3.7.3.snapshot", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("the file lies beside the test").into()
}

/// Changes some bytes: single bits, extreme numbers, zeros, whole sectors, the file's end.
fn damage(file: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..1 + dice.below(3) {
        let page = dice.below(file.len() / 4096) * 4096;
        // Half of the damage goes where it hurts most: to the head of a page.
        let at = if dice.below(2) == 0 { page + dice.below(96) } else { dice.below(file.len()) };
        match dice.below(8) {
            0 => {
                let other = dice.below(file.len() / 4096) * 4096;
                file.copy_within(other..other + 4096, page);
            }
            1 => file[page..page + 512].fill(0),
            2 => {
                let end = (at + 8).min(file.len());
                file[at..end].fill(0xff);
            }
            3 => {
                let end = (at + 4).min(file.len());
                file[at..end].fill(0);
            }
            4 => file[at] = dice.roll() as u8,
            _ => file[at] ^= 1 << dice.below(8),
        }
    }
    if dice.below(20) == 0 {
        file.truncate(4096 + dice.below(file.len() - 4096));
    }
}

#[test]
fn ten_thousand_damaged_files_are_errors_or_read_to_their_end() {
    let whole = real_file();
    let rows_max = 2 * support::content(&Bolt::open(whole.clone()).expect("whole"))
        .expect("whole")
        .values()
        .map(|rows| rows.len())
        .sum::<usize>();
    let started = Instant::now();
    let (mut refused, mut read) = (0, 0);
    for seed in 0..SEEDS {
        let mut file = whole.to_vec();
        damage(&mut file, &mut Dice(seed));
        let changed = file != whole;
        let file = Bytes::from(file);
        if changed && image_bytes(file.len() as u64) != file.len() as u64 {
            let found = digest(&file).expect("memory is readable");
            assert!(found != Digest::Matches, "seed {seed}");
        }
        let Ok(backend) = Backend::open(file) else {
            refused += 1;
            continue;
        };
        let _ = status(&backend);
        let _ = hash_kv(&backend, 0);
        for bucket in names::ALL {
            let _ = backend.get(bucket, b"k");
        }
        match content(backend.bolt()) {
            Ok(content) => {
                let rows: usize = content.values().map(|rows| rows.len()).sum();
                assert!(rows <= rows_max, "seed {seed}");
                read += 1;
            }
            Err(error) => {
                names_the_place(&error, seed);
                refused += 1;
            }
        }
    }
    eprintln!("{refused} refused, {read} read, in {:?}", started.elapsed());
    assert!(refused > SEEDS / 20);
    assert!(started.elapsed() < Duration::from_secs(300));
}

#[track_caller]
fn names_the_place(error: &BoltError, seed: u64) {
    let text = error.to_string();
    let placed = text.contains("page ") && text.contains("at byte ");
    assert!(placed || text.contains("cut short"), "seed {seed}: {text}");
}

/// The bytes of headers and tables, without the page numbers of children, in a file without holes.
fn structure(image: &[u8]) -> Vec<usize> {
    let mut places: Vec<usize> = (16..80).chain(4096 + 16..4096 + 80).collect();
    let mut page = 2;
    while page * 4096 < image.len() {
        let at = page * 4096;
        let number = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]) as usize;
        let (kind, count, overflow) = (number(at + 8), number(at + 10), number(at + 12));
        places.extend(at..at + 16);
        let kept = if kind == 1 { 8 } else { 16 };
        for element in 0..count {
            let at = at + 16 + 16 * element;
            // How long the last element is, is told only once.
            let is_last = element + 1 == count;
            places.extend(at..at + if is_last { kept / 2 } else { kept });
        }
        page += 1 + overflow;
    }
    places
}

fn busy_store() -> Content {
    let mut store = Store::new("3.7.0", 9);
    let mut dice = Dice(3);
    for row in 0..3000usize {
        let key = format!("key {:04}", dice.below(1500));
        let value_bytes = if row.is_multiple_of(500) { 20_000 } else { dice.below(100) };
        store.put(key.as_bytes(), dice.bytes(value_bytes), 0);
    }
    store.content
}

#[test]
fn damage_to_headers_and_tables_shows_or_does_not_matter() {
    let expected = busy_store();
    let whole = image(&support::Memory(expected.clone().into()), Layout::default());
    let places = structure(&whole);
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..SEEDS / 5 {
        let mut dice = Dice(seed);
        let mut file = whole.to_vec();
        let at = places[dice.below(places.len().min(if seed % 2 == 0 { 600 } else { usize::MAX }))];
        file[at] ^= 1 << dice.below(8);
        // One thing cannot be told: a bucket's only page that says it has no elements is a page of
        // an empty bucket.
        let header = at / 4096 * 4096;
        if file[header + 10..header + 12] == [0, 0] {
            continue;
        }
        match Bolt::open(Bytes::from(file)).and_then(|bolt| content(&bolt)) {
            Ok(found) => {
                assert!(found == expected, "seed {seed}: byte {at} changed the content");
                harmless += 1;
            }
            Err(error) => {
                names_the_place(&error, seed);
                refused += 1;
            }
        }
    }
    eprintln!("{refused} refused, {harmless} harmless");
    assert!(refused > harmless, "the meta pages and unused flags are all that may not matter");
}

#[test]
fn a_page_that_claims_to_run_over_the_whole_file_gets_no_memory_for_it() {
    let whole = image(&support::Memory(busy_store().into()), Layout::default());
    let bolt = Bolt::open(whole.clone()).expect("whole");
    let pages = bolt.image_bytes() / 4096;
    for page in 2..pages {
        let mut file = whole.to_vec();
        let at = page as usize * 4096 + 12;
        file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let bolt = Bolt::open(Bytes::from(file)).expect("the metas are whole");
        let check = bolt.check();
        // Pages in the middle of a run have no header, so there it was a value that changed.
        if !check.is_clean() {
            assert!(check.faults[0].to_string().contains("runs over 4294967295 further pages"));
        }
    }
}

/// The places in a file without holes where branch pages hold the numbers of two neighbours.
fn children(image: &[u8]) -> Vec<(usize, usize)> {
    let pages = (2..image.len() / 4096).map(|page| page * 4096);
    let branches = pages.filter(|at| image[*at] as usize == at / 4096 % 256 && image[at + 8] == 1);
    let pairs = branches.flat_map(|at| {
        let count = usize::from(image[at + 10]) - 1;
        (0..count).map(move |child| (at + 24 + 16 * child, at + 40 + 16 * child))
    });
    pairs.collect()
}

#[test]
fn a_child_that_belongs_elsewhere_is_refused() {
    let whole = image(&support::Memory(busy_store().into()), Layout::default());
    let pairs = children(&whole);
    assert!(pairs.len() > 50);
    for (left, right) in pairs {
        for (from, to) in [(left, right), (right, left)] {
            let mut file = whole.to_vec();
            file.copy_within(from..from + 8, to);
            let bolt = Bolt::open(Bytes::from(file)).expect("the metas are whole");
            let error = content(&bolt).expect_err("one page is there twice");
            assert!(error.to_string().contains("outside of what the page above says"), "{error}");
        }
    }
}

#[test]
fn pages_that_form_a_circle_are_refused() {
    let whole = image(&support::Memory(busy_store().into()), Layout::default());
    for (first, second) in children(&whole) {
        for child in [first, second] {
            let mut file = whole.to_vec();
            let page = child as u64 / 4096;
            file[child..child + 8].copy_from_slice(&page.to_le_bytes());
            let bolt = Bolt::open(Bytes::from(file)).expect("the metas are whole");
            let error = content(&bolt).expect_err("the circle has no end").to_string();
            let noticed = ["deeper than a tree can be", "outside of what the page above says"];
            assert!(noticed.iter().any(|flaw| error.contains(flaw)), "{error}");
            assert!(!bolt.check().is_clean());
        }
    }
}

#[test]
fn either_meta_page_is_enough_whatever_the_page_size() {
    for page_bytes in [1024, 4096, 65_536] {
        let expected = busy_store();
        let layout = Layout { page_bytes, ..Layout::default() };
        let whole = image(&support::Memory(expected.clone().into()), layout);
        for meta in [0, page_bytes as usize] {
            let mut file = whole.to_vec();
            file[meta..meta + 100].fill(0);
            let bolt = Bolt::open(Bytes::from(file)).expect("one meta is whole");
            assert!(content(&bolt).expect("whole") == expected);
        }
        let mut file = whole.to_vec();
        file[20] ^= 1;
        file[page_bytes as usize + 20] ^= 1;
        let error = Bolt::open(Bytes::from(file)).expect_err("both are gone");
        assert_eq!(error.to_string(), "not a bbolt file, or both meta pages are damaged");
        let short = whole.slice(..whole.len() - 1);
        let error = Bolt::open(short).expect_err("its last page is cut");
        assert!(error.to_string().contains("cut short"));
    }
}
