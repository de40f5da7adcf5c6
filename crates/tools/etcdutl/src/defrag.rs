//! `defrag`: a database written anew, without its holes.

use vfs::{Disk, OsDisk};

use crate::cli::{Failure, Matches};
use crate::{files, log, rewrite};

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let data_dir = matches.text("data-dir");
    defrag(data_dir, matches).map_err(|failure| {
        let reason = failure.message;
        Failure::new(format!("Failed to defragment etcd data[{data_dir}] ({reason})"))
    })
}

fn defrag(data_dir: &str, matches: &Matches) -> Result<(), Failure> {
    let path = files::database(data_dir);
    if !OsDisk.exists(&path).unwrap_or(false)
        && OsDisk.exists(&files::store_dir(data_dir)).unwrap_or(false)
    {
        log::info("nothing to defragment: this store cleans itself while it runs", &[]);
        return Ok(());
    }
    let locked = files::open_locked(&path, matches.duration("timeout"))?;
    rewrite::replace(&rewrite::copy(&locked.backend), &path)
}
