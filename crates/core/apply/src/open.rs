//! From what the store holds to a state that goes on where it stopped.

use std::sync::Arc;

use auth::{BadRow, Users};
use lease::{Lease, Leases};
use mvcc::{CompactionHashes, ImageReader, Mvcc, Restore, RestoreError};
use prost::Message as _;
use proto::leasepb;
use store::{Bucket, Checkpoint, Restored, Store, StoreError};
use types::{Revision, Version};

use crate::alarms::Alarms;
use crate::applier::{Applier, Config};
use crate::membership::{BadMemberRow, Membership};

/// The store opened, but what it holds cannot be a member's state.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A file could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rows contradict each other.
    #[error(transparent)]
    Rows(#[from] RestoreError),
    /// The members agreed on a version that this release is too old for.
    #[error(
        "invalid downgrade: this server is of version {}, and the cluster's version is {}",
        Version::OURS.short(),
        agreed.short()
    )]
    InvalidDowngrade {
        /// What they agreed on.
        agreed: Version,
    },
    /// A member's row is none.
    #[error(transparent)]
    Member(#[from] BadMemberRow),
    /// A lease's row is none.
    #[error("the row of lease {key} cannot be read")]
    Lease {
        /// The row's key, in hexadecimal.
        key: String,
    },
    /// A compacted revision is none.
    #[error("{key} in the store's meta data is not a revision")]
    Revision {
        /// Under which name it is stored.
        key: &'static str,
    },
    /// A row of a user or role is none.
    #[error(transparent)]
    Users(#[from] BadRow),
    /// A row of the API v2's tree is none.
    #[error(transparent)]
    V2(#[from] v2::BadRow),
}

impl Applier {
    /// Takes over an opened store.
    ///
    /// # Errors
    /// [`RecoverError`] names what cannot be.
    pub fn open(
        config: Config,
        store: Store,
        restored: &Restored,
    ) -> Result<Applier, RecoverError> {
        let mvcc = keyspace(&store, restored.checkpoint.as_ref())?;
        let leases = leases(&config, &store, &mvcc)?;
        let membership = Membership::restore(config.member, config.learners_max, store.state())?;
        if let Some(agreed) = membership.version().filter(|agreed| Version::OURS < *agreed) {
            return Err(RecoverError::InvalidDowngrade { agreed });
        }
        let alarms = Alarms::restore(store.state());
        let users = Arc::new(Users::restore(store.state())?);
        let v2 = Applier::restore_v2(store.state())?;
        Ok(Applier {
            // Pruning starts over: what the last run marked dead was only in its memory.
            pruning: 0 <= mvcc.compact_revision(),
            config,
            mvcc,
            leases,
            alarms,
            membership,
            users,
            v2,
            hashes: CompactionHashes::new(),
            hash_jobs: Default::default(),
            hashing: 0,
            applied: (restored.applied_index, restored.applied_term),
            store,
        })
    }
}

fn keyspace(store: &Store, checkpoint: Option<&Checkpoint>) -> Result<Mvcc, RecoverError> {
    let image = match checkpoint {
        Some(checkpoint) => image(checkpoint)?,
        None => None,
    };
    // An image is a shortcut: without a usable one every key is read.
    let mut restore = image.unwrap_or_default();
    // A store that was never written to is at revision 1; its first row is at 2.
    for row in store.rows_after(restore.revision()) {
        let row = row?;
        restore.row(mvcc::RowMeta {
            key: &row.key,
            revision: row.revision,
            tombstone: row.tombstone,
            create_revision: row.create_revision,
            version: row.version,
            lease: row.lease,
        })?;
    }
    let scheduled = meta_revision(store, "scheduledCompactRev")?;
    let finished = meta_revision(store, "finishedCompactRev")?;
    Ok(restore.finish(scheduled.max(finished)))
}

/// The index as the checkpoint has it; `None` when it is not an image this version can read.
fn image(checkpoint: &Checkpoint) -> Result<Option<Restore>, StoreError> {
    let mut reader = ImageReader::new();
    for chunk in checkpoint.chunks() {
        if reader.feed(&chunk?).is_err() {
            return Ok(None);
        }
    }
    Ok(reader.finish().ok())
}

fn meta_revision(store: &Store, key: &'static str) -> Result<i64, RecoverError> {
    let Some(bytes) = store.state().get(Bucket::Meta, key.as_bytes()) else { return Ok(-1) };
    match Revision::from_bytes(bytes) {
        Some((revision, false)) => Ok(revision.main),
        Some((_, true)) | None => Err(RecoverError::Revision { key }),
    }
}

fn leases(config: &Config, store: &Store, mvcc: &Mvcc) -> Result<Leases, RecoverError> {
    let mut found = Vec::new();
    for (key, value) in store.state().iter(Bucket::Lease) {
        let stored = leasepb::Lease::decode(&value[..])
            .map_err(|_| RecoverError::Lease { key: format!("{key:02x?}") })?;
        found.push(Lease {
            id: stored.id,
            ttl_seconds: stored.ttl,
            remaining_seconds: stored.remaining_ttl,
        });
    }
    let mut leases = Leases::new(config.leases.ttl_seconds_min, found);
    for (key, lease) in mvcc.view().attachments() {
        // A key may still name a lease that is gone: `ignore_lease` kept it. It hangs on nothing.
        let _ = leases.attach(lease, &key);
    }
    Ok(leases)
}
