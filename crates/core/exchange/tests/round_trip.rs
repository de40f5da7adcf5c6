//! A state leaves as a file and comes back as a store, and bad files are refused by what is wrong with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use apply::{Applier, Config};
use bolt::{Rows, Source, SourceError};
use bytes::Bytes;
use holdfast_exchange::{Image, ImportError, STORE_IDENTITY, import, write_store};
use store::{Bucket, Store};
use types::{ConfState, Revision};
use vfs::{Disk, File, MemoryDisk};

/// Buckets in memory.
#[derive(Clone, Default)]
struct Buckets(BTreeMap<Bytes, BTreeMap<Bytes, Bytes>>);

impl Buckets {
    fn put(&mut self, bucket: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let rows = self.0.entry(Bytes::from_static(bucket.as_bytes())).or_default();
        rows.insert(key.into(), value.into());
    }

    fn put_row(&mut self, main: i64, key: &str, value: &str) {
        let kv = types::KeyValueRef {
            key: key.as_bytes(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: value.as_bytes(),
            lease: 0,
        };
        let row = types::encode_row(kv, 0);
        self.put("key", row.revision.to_bytes().to_vec(), row.encoded);
    }
}

impl Source for Buckets {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        Box::new(self.0[bucket].clone().into_iter().map(Ok))
    }
}

fn state() -> Buckets {
    let mut state = Buckets::default();
    for main in 2..2000 {
        state.put_row(main, &format!("key-{main}"), &"value".repeat(main as usize % 50));
    }
    state.put("members", "a", r#"{"id":10,"peerURLs":["http://a:1"],"name":"a"}"#);
    state.put("members", "b", r#"{"id":11,"peerURLs":["http://b:1"],"isLearner":true}"#);
    state.put("members_removed", "c", "removed");
    state.put("cluster", "clusterVersion", "3.6.0");
    state
}

fn disk() -> (MemoryDisk, Arc<dyn Disk>) {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/d")).expect("an empty disk");
    (disk.clone(), Arc::new(disk))
}

fn image(disk: &Arc<dyn Disk>, dir: &Path) -> Image {
    let (store, restored) =
        Store::open(disk.clone(), dir, store::Options::default()).expect("a store");
    let config = Config {
        member: 10,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options::new(2),
        persist_checkpoints: false,
        hashed_bytes_max: u64::MAX,
    };
    let applier = Applier::open(config, store, &restored).expect("a member's state");
    Image::new(applier.view(), applier.stored().state().clone())
}

fn written(disk: &Arc<dyn Disk>, image: Image, file: &Path) {
    let to: Arc<dyn File> = disk.create(file).expect("an empty disk");
    let mut at = 0;
    let stream = image.stream(10_000).expect("memory gives it");
    let bytes = stream.bytes();
    for chunk in stream {
        let chunk = chunk.expect("memory gives it");
        to.write_all_at(&chunk, at).expect("room");
        at += chunk.len() as u64;
    }
    assert_eq!(at, bytes);
}

#[test]
fn a_state_that_travels_as_a_file_arrives_as_it_was() {
    let (_, disk) = disk();
    let (one, two, file) = (Path::new("/d/one"), Path::new("/d/two"), Path::new("/d/db"));
    let own = Some(Bytes::from_static(&[1; 24]));
    let arrived = write_store(&disk, one, &state(), (77, 5), own.clone()).expect("it fits");
    assert_eq!(arrived.conf_state, ConfState { voters: vec![10], learners: vec![11] });
    assert_eq!(arrived.revision, 1999);
    let left = image(&disk, one);
    assert_eq!(left.applied(), (77, 5));
    let hash = left.hash().expect("memory gives it");
    written(&disk, left.clone(), file);

    let other = Some(Bytes::from_static(&[2; 24]));
    let again = import(&disk, file, two, (77, 5), other.clone()).expect("ours");
    assert_eq!(again, arrived);
    let came = image(&disk, two);
    assert_eq!(came.applied(), (77, 5));
    assert_eq!(came.hash().expect("memory gives it"), hash);
    assert_eq!(came.members(), left.members());
    let (store, _) = Store::open(disk, two, store::Options::default()).expect("a store");
    let identity = store.state().get(Bucket::Meta, STORE_IDENTITY);
    assert_eq!(identity, other.as_ref(), "whose store it is does not travel");
}

#[test]
fn a_file_of_another_entry_is_refused() {
    let (_, disk) = disk();
    let (one, file) = (Path::new("/d/one"), Path::new("/d/db"));
    write_store(&disk, one, &state(), (77, 5), None).expect("it fits");
    written(&disk, image(&disk, one), file);
    for at in [(76, 5), (78, 5), (77, 4)] {
        let refused = import(&disk, file, Path::new("/d/two"), at, None).expect_err("not that");
        assert!(matches!(refused, ImportError::Elsewhere { .. }), "{refused}");
    }
}

/// A member of 3.4 keeps the term that a newer one sent it with a snapshot, and sends it on with later ones.
#[test]
fn a_file_whose_term_was_left_behind_is_taken() {
    let (_, disk) = disk();
    let (one, two, file) = (Path::new("/d/one"), Path::new("/d/two"), Path::new("/d/db"));
    write_store(&disk, one, &state(), (77, 5), None).expect("it fits");
    written(&disk, image(&disk, one), file);
    import(&disk, file, two, (77, 9), None).expect("entry 77 is of term 9, whatever the file says");
    assert_eq!(image(&disk, two).applied(), (77, 9));
}

#[test]
fn what_is_no_file_of_etcds_is_refused() {
    let (_, disk) = disk();
    let file = Path::new("/d/db");
    let refuse = |what: &str| {
        let refused = import(&disk, file, Path::new("/d/two"), (1, 1), None);
        refused.expect_err(what)
    };
    assert!(matches!(refuse("there is none"), ImportError::File { .. }));
    let bytes = disk.create(file).expect("room");
    bytes.write_all_at(&[7; 40_000], 0).expect("room");
    assert!(matches!(refuse("garbage"), ImportError::Bolt { .. }));
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let refuse = |change: &dyn Fn(&mut Buckets)| {
        let (_, disk) = disk();
        let mut state = state();
        change(&mut state);
        write_store(&disk, Path::new("/d/one"), &state, (1, 1), None).expect_err("it does not fit")
    };
    let key = refuse(&|state| state.put("key", "short", "row"));
    assert!(matches!(key, ImportError::Key { .. }), "{key}");
    let mut twice = Revision::first_of(7).to_bytes().to_vec();
    twice.push(b't');
    let key = refuse(&|state| state.put("key", twice.clone(), "\x0a\x01k"));
    assert!(matches!(key, ImportError::Key { .. }), "{key}");
    let member = refuse(&|state| state.put("members", "a", "{"));
    assert!(matches!(member, ImportError::Member { .. }), "{member}");
}
