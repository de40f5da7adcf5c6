//! Everything that can be asked of a member's state, at one applied index.
//!
//! Left out is only what may differ between two members that agree: how far a compaction has pruned, what
//! was cleaned, where things lie on disk.

use std::collections::BTreeMap;

use apply::Applier;
use bytes::Bytes;
use member::HashRead;
use mvcc::{CompactionHashes, HashAnswer, RangeQuery};
use store::Bucket;
use types::KeyRange;

/// A member's state. Two that are equal cannot be told apart by any client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The store's revision.
    pub revision: i64,
    /// Below this nothing can be read.
    pub compacted: i64,
    /// The whole keyspace at every revision that can be read, as it goes on the wire.
    pub history: BTreeMap<i64, Vec<Bytes>>,
    /// Which key hangs on which lease.
    pub attachments: Vec<(i64, Bytes)>,
    /// Leases, members, alarms, versions.
    pub state: BTreeMap<(Bucket, Bytes), Bytes>,
    /// HashKV of the newest revision.
    pub hash: u32,
}

impl Picture {
    /// Reads all of it.
    ///
    /// # Errors
    /// The text of whatever cannot be read.
    pub fn take(applier: &Applier) -> Result<Picture, String> {
        let view = applier.view();
        let (revision, compacted) = (view.index.current_revision(), view.index.compact_revision());
        let mut history = BTreeMap::new();
        for at in compacted.max(1)..=revision {
            let all = KeyRange::From { start: Bytes::from_static(b"\0") };
            let query = RangeQuery { revision: at, ..RangeQuery::new(all) };
            let found = view.index.range(&view.rows(), &query).map_err(|error| told(&error))?;
            history.insert(at, found.rows.into_iter().map(|row| row.encoded).collect());
        }
        Ok(Picture {
            revision,
            compacted,
            history,
            attachments: attachments(applier),
            state: state(applier),
            hash: hash(applier)?,
        })
    }

    /// What differs, in a few lines.
    pub fn difference(&self, other: &Picture) -> String {
        let mut out = format!(
            "revision {} and {}, compacted {} and {}, hash {:08x} and {:08x}\n",
            self.revision, other.revision, self.compacted, other.compacted, self.hash, other.hash,
        );
        for (at, rows) in &self.history {
            if other.history.get(at).is_some_and(|others| others != rows) {
                out += &format!("at revision {at}: {rows:?}\nand: {:?}\n", other.history[at]);
                break;
            }
        }
        if self.attachments != other.attachments {
            out +=
                &format!("leases of keys {:?}\nand: {:?}\n", self.attachments, other.attachments);
        }
        if self.state != other.state {
            out += &format!("state {:?}\nand: {:?}\n", self.state, other.state);
        }
        out
    }
}

fn attachments(applier: &Applier) -> Vec<(i64, Bytes)> {
    let mut found: Vec<(i64, Bytes)> = Vec::new();
    for (key, lease) in applier.view().index.attachments() {
        found.push((lease, Bytes::from(key.to_vec())));
    }
    found.sort_unstable();
    found
}

fn state(applier: &Applier) -> BTreeMap<(Bucket, Bytes), Bytes> {
    let state = applier.stored().state();
    let all = Bucket::ALL.into_iter().flat_map(|bucket| {
        state.iter(bucket).map(move |(key, value)| ((bucket, key.clone()), value.clone()))
    });
    // How far pruning got is nobody's business, and whose store it is its member's own.
    let own = |key: &[u8]| key == b"finishedCompactRev" || key == exchange::STORE_IDENTITY;
    all.filter(|((_, key), _)| !own(key)).collect()
}

fn hash(applier: &Applier) -> Result<u32, String> {
    let view = applier.view();
    let answer = view.index.hash_kv(0, &CompactionHashes::new()).map_err(|error| told(&error))?;
    let hasher = match answer {
        HashAnswer::Stored(triple) => return Ok(triple.hash),
        HashAnswer::Compute(hasher) => hasher,
    };
    let mut read = HashRead::new(hasher, &view.log);
    loop {
        if let Some(triple) = read.step(1 << 20).map_err(|error| told(&error))? {
            return Ok(triple.hash);
        }
    }
}

/// An error with all its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
