//! snapshot save: a member's database as a file, whole and checked, or no file at all.
//!
//! The bytes go to `<file>.part`. Only when all have come, the checksum at their end is right and they
//! are on the disk, the file gets its name. Into a pipe (`-`, or a FIFO that is there already) they go as
//! they come, and the exit code tells whether they were whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use client::Client;
use proto::etcdserverpb as pb;
use sha2::{Digest, Sha256};

use crate::args::{Call, os};
use crate::exit::{Failure, INTERRUPTED};
use crate::journal::{Text, line};
use crate::output;
use crate::progress::Progress;
use crate::settings::Settings;
use go::elapsed;
use go::{io_text, size};

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
const SUM_BYTES: usize = 32;
/// A database is a multiple of this long.
const SECTOR_BYTES: u64 = 512;

fn failed(text: String) -> Failure {
    Failure::new(INTERRUPTED, text)
}

/// `snapshot save`.
pub async fn save(mut call: Call) -> Result<(), Failure> {
    super::exactly(&call, 1, "snapshot save expects one argument <filename>")?;
    let name = call.text(0);
    let path = PathBuf::from(os(&call.args[0]));
    let settings = Settings::of(&mut call)?;
    let endpoints = &settings.config.endpoints;
    let [endpoint] = &endpoints[..] else {
        let all = endpoints.join(" ");
        let text = format!("snapshot must be requested to one selected node, not multiple [{all}]");
        return Err(failed(text));
    };
    let session =
        settings.connect().await.map_err(|failure| Failure { code: INTERRUPTED, ..failure })?;
    let saving = Saving::begin(path, &name)?;
    let client = session.unhurried();
    // Whatever ends it, time or a fault, the unfinished file goes with it.
    let fetching = client.in_time(async { Ok(saving.fetch(&client, endpoint).await) });
    let fetched = tokio::select! {
        fetched = fetching => fetched,
        ended = super::lock::interrupted() => {
            ended?;
            return Err(failed("interrupted".to_owned()));
        }
    };
    let lost = |error: client::Error| session.unanswered(INTERRUPTED, &error);
    let version = fetched.map_err(lost)??;
    if name == STANDARD_OUTPUT {
        return Ok(());
    }
    output::print(format!("Snapshot saved at {name}\n").as_bytes());
    if !version.is_empty() {
        output::print(format!("Server version {version}\n").as_bytes());
    }
    Ok(())
}

/// The name of a file that means none.
const STANDARD_OUTPUT: &str = "-";

/// A file that is not whole yet; it goes away with this, unless it got its name.
struct Saving {
    name: String,
    path: PathBuf,
    /// Where the bytes go meanwhile; nowhere where they go to a pipe.
    part: Option<PathBuf>,
    file: File,
}

impl Drop for Saving {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // After the rename there is nothing left under this name.
            let _ = fs::remove_file(part);
        }
    }
}

impl Saving {
    fn begin(path: PathBuf, name: &str) -> Result<Saving, Failure> {
        if name == STANDARD_OUTPUT {
            return Saving::into_pipe(path, name, Path::new("/dev/stdout"));
        }
        // etcdctl replaces whatever stands there: `/dev/null` becomes a file.
        let refused = |what: &str| Err(failed(format!("{name} is {what}; name a file")));
        match fs::metadata(&path).map(|about| about.file_type()) {
            Ok(kind) if kind.is_fifo() => {
                let place = path.clone();
                return Saving::into_pipe(path, name, &place);
            }
            // In etcdctl's words, but before anything is fetched.
            Ok(kind) if kind.is_dir() => {
                let why = format!("rename {name}.part {name}: file exists");
                return Err(failed(format!("could not rename {name}.part to {name} ({why})")));
            }
            Ok(kind) if !kind.is_file() => return refused("a device or a socket"),
            _ => {}
        }
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let shown = part.display();
        let file = private_file(&part).map_err(|error| {
            let why = io_text(&error);
            failed(format!("could not open {shown} (open {shown}: {why})"))
        })?;
        log("created temporary db file", &[("path", Text::Quoted(&shown.to_string()))]);
        Ok(Saving { name: name.to_owned(), path, part: Some(part), file })
    }

    fn into_pipe(path: PathBuf, name: &str, place: &Path) -> Result<Saving, Failure> {
        let file = File::options().write(true).open(place).map_err(|error| {
            failed(format!("could not open {name} (open {name}: {})", io_text(&error)))
        })?;
        Ok(Saving { name: name.to_owned(), path, part: None, file })
    }

    /// Fetches all bytes; gives the version of the storage they hold.
    async fn fetch(mut self, client: &Client, endpoint: &str) -> Result<String, Failure> {
        let began = Instant::now();
        let lost = |error: client::Error| failed(error.to_string());
        let request = pb::SnapshotRequest {};
        let mut pieces = client.server_stream(SNAPSHOT, &request).await.map_err(lost)?;
        of_client("opened snapshot stream; downloading");
        log("fetching snapshot", &[("endpoint", Text::Quoted(endpoint))]);
        let mut progress = Progress::new("saving", None, size);
        let mut checked = Checked::default();
        let mut version = String::new();
        while let Some(piece) = pieces
            .message::<pb::SnapshotResponse>()
            .await
            .map_err(|status| failed(status.text()))?
        {
            checked.take(&piece.blob);
            self.file.write_all(&piece.blob).map_err(|error| self.broken("write", &error))?;
            if !piece.version.is_empty() {
                version = piece.version;
            }
            progress.set_total(checked.bytes + piece.remaining_bytes);
            progress.set(checked.bytes);
        }
        drop(progress);
        of_client("completed snapshot read; closing");
        let bytes = checked.bytes;
        checked.verify().map_err(failed)?;
        if self.part.is_some() {
            self.file.sync_all().map_err(|error| self.broken("sync", &error))?;
        }
        let fields = [
            ("endpoint", Text::Quoted(endpoint)),
            ("size", Text::Quoted(&size(bytes))),
            ("took", Text::Quoted(&elapsed(began.elapsed()))),
            ("etcd-version", Text::Quoted(&version)),
        ];
        log("fetched snapshot", &fields);
        self.name_it()?;
        log("saved", &[("path", Text::Quoted(&self.name))]);
        Ok(version)
    }

    fn name_it(&self) -> Result<(), Failure> {
        let Some(part) = &self.part else { return Ok(()) };
        fs::rename(part, &self.path).map_err(|error| {
            let (part, path) = (part.display(), self.path.display());
            let why = io_text(&error);
            failed(format!("could not rename {part} to {path} (rename {part} {path}: {why})"))
        })?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.broken("sync the folder of", &error))
    }

    fn broken(&self, what: &str, error: &io::Error) -> Failure {
        let place = self.part.as_ref().unwrap_or(&self.path);
        failed(format!("{what} {}: {}", place.display(), io_text(error)))
    }
}

/// A snapshot holds every secret of the cluster.
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn log(message: &str, fields: &[(&str, Text<'_>)]) {
    line("info", "", "etcdctl/snapshot.rs", message, fields);
}

/// What etcd's client says of the stream.
fn of_client(message: &str) {
    line("info", "client", "etcdctl/snapshot.rs", message, &[]);
}

/// Bytes that end with the SHA-256 of those before.
#[derive(Default)]
struct Checked {
    hash: Sha256,
    /// The last bytes, which may be the sum.
    tail: Vec<u8>,
    bytes: u64,
}

impl Checked {
    fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        let hashed = self.tail.len().saturating_sub(SUM_BYTES);
        self.hash.update(&self.tail[..hashed]);
        self.tail.drain(..hashed);
    }

    fn verify(self) -> Result<(), String> {
        if self.bytes % SECTOR_BYTES != SUM_BYTES as u64 {
            return Err(format!("sha256 checksum not found [bytes: {}]", self.bytes));
        }
        let found = self.hash.finalize();
        if found[..] == self.tail[..] {
            return Ok(());
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (expected, found) = (hex(&self.tail), hex(&found));
        Err(format!(
            "the snapshot was damaged on its way: its sha256 is {found}, it says {expected}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Vec<u8> {
        let mut bytes = vec![7; 1024];
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn check(bytes: &[u8], piece_bytes: usize) -> Result<(), String> {
        let mut checked = Checked::default();
        bytes.chunks(piece_bytes).for_each(|piece| checked.take(piece));
        checked.verify()
    }

    #[test]
    fn a_snapshot_is_checked_however_it_is_cut_into_pieces() {
        for piece_bytes in [1, 7, 31, 32, 33, 1024, 2000] {
            assert_eq!(check(&snapshot(), piece_bytes), Ok(()));
        }
    }

    #[test]
    fn a_flipped_bit_and_a_missing_end_are_found() {
        let mut flipped = snapshot();
        flipped[3] ^= 1;
        let refused = check(&flipped, 100).expect_err("damaged");
        assert!(refused.starts_with("the snapshot was damaged on its way"), "{refused}");
        let cut = check(&snapshot()[..1024], 100).expect_err("cut");
        assert_eq!(cut, "sha256 checksum not found [bytes: 1024]");
    }
}
