//! A database written anew, with some rows changed on the way.
//!
//! bbolt changes a file in place, page by page, and a crash in between is its own story. We read the
//! old file, write a new one beside it, and exchange them: the old one is whole until the new one is.

use std::path::Path;
use std::sync::Arc;

use bolt::{Backend, Bolt, Layout, Source, write_file};
use vfs::{Disk, OsDisk, replace_durably};

use crate::cli::Failure;
use crate::files::BULK;

/// A database, and what is to be different in its copy.
pub type Rewrite = bolt::Rewrite<Bolt<File>>;

/// A copy of a database without a difference yet.
pub fn copy(backend: &Backend<File>) -> Rewrite {
    bolt::Rewrite::new(backend.bolt().clone())
}

/// Writes a new database; there must be no file of that name.
pub fn write(source: &dyn Source, path: &Path) -> Result<(), Failure> {
    let failure = |error: &dyn std::error::Error| {
        Failure::new(format!("{}: {}", path.display(), go::chain(error)))
    };
    let file = BULK.create(path).map_err(|error| failure(&error))?;
    write_file(&*file, source, Layout::default()).map_err(|error| failure(&error))?;
    Ok(())
}

/// Writes a database anew and puts it in the place of the old one.
pub fn replace(source: &dyn Source, path: &Path) -> Result<(), Failure> {
    // Go deletes leftovers of this name when it starts.
    let beside = path.with_file_name("db.tmp.etcdutl");
    let failure = |error| Failure::new(format!("{}: {}", path.display(), go::io_text(&error)));
    if OsDisk.exists(&beside).map_err(failure)? {
        OsDisk.remove(&beside).map_err(failure)?;
    }
    let written = write(source, &beside);
    if written.is_err() {
        let _ = OsDisk.remove(&beside);
    }
    written?;
    replace_durably(&OsDisk, &beside, path).map_err(failure)
}

/// What a file of a database is to everybody here.
pub type File = Arc<dyn vfs::File>;
