//! bbolt files. Whatever a file says, reading it ends, and what is read twice is the same.

use ::bolt::{Backend, digest, hash_kv, names, status};
use bytes::Bytes;

pub(crate) fn bolt(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let mut file = data.to_vec();
    if mode & 1 == 1 {
        for page in [0, 4096] {
            mend(&mut file, page);
        }
    }
    let file = Bytes::from(file);
    digest(&file).expect("memory is readable");
    let Ok(backend) = Backend::open(file) else { return };
    let _ = (status(&backend), hash_kv(&backend, 0), backend.consistent_index());
    let check = backend.bolt().check();
    let mut whole = true;
    for bucket in names::ALL {
        let Ok(Some(bucket)) = backend.bolt().bucket(bucket) else { continue };
        let Ok(rows) = bucket.rows() else { continue };
        for row in rows {
            let Ok((key, value)) = row else {
                whole = false;
                break;
            };
            if check.is_clean() {
                let found = bucket.get(&key);
                assert_eq!(found.ok().flatten(), Some(value), "a row is found by its key");
            }
        }
    }
    assert!(whole || !check.is_clean(), "a clean file can be read to its end");
    if let Ok(rows) = backend.rows() {
        let _ = rows.take_while(Result::is_ok).count();
    }
}

/// FNV-1a over the first 56 bytes of a meta page's body, as bbolt has it.
fn mend(file: &mut [u8], page: usize) {
    let Some(meta) = file.get_mut(page + 16..page + 80) else { return };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in &meta[..56] {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    meta[56..].copy_from_slice(&hash.to_le_bytes());
}
