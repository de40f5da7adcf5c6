//! A disk for files of gigabytes that are written once, from front to back, and not read soon: a restore.
//!
//! What is appended is gathered in blocks that go to the disk past the page cache (`O_DIRECT`): copying
//! everything into memory that nobody will look at takes most of the time otherwise, and pushes out what
//! others had there. Everything else (a header written last, a cut, a read) goes the ordinary way, after
//! what was gathered. A file system that knows no such writes gets ordinary ones.
//!
//! Such a write waits for the disk. With [`BulkDisk::beside`] it does so on a thread of its own, while the
//! next block is filled.
//!
//! Durable is what it always is: what was synced.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;

use crate::{Disk, File, Lock, OsDisk, Space};

/// What goes to the disk at once.
const BLOCK_BYTES: usize = 1 << 20;
/// What the place in the file and in memory must be a multiple of, for any disk there is.
const ALIGNED_BYTES: u64 = 4096;

/// Blocks of a file that may be under way while another is filled.
const UNDER_WAY_MAX: usize = 2;

/// Starts a thread that does this; `false` if there is none to be had.
pub type Spawn = fn(Box<dyn FnOnce() + Send>) -> bool;

/// [`OsDisk`], whose new files expect to be written from front to back.
#[derive(Clone, Copy, Debug, Default)]
pub struct BulkDisk {
    spawn: Option<Spawn>,
}

impl BulkDisk {
    /// A disk whose files each have a thread for what waits. A write that fails there is said by the next
    /// call on the file, at the latest by its sync.
    pub const fn beside(spawn: Spawn) -> BulkDisk {
        BulkDisk { spawn: Some(spawn) }
    }
}

impl Disk for BulkDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let plain = OsDisk.create(path)?;
        let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path);
        Ok(match direct {
            Ok(direct) => {
                let gathered = Mutex::new(Gathered::new(direct, self.spawn));
                Arc::new(BulkFile { plain, gathered })
            }
            Err(_) => plain,
        })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        OsDisk.open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        OsDisk.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsDisk.exists(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        OsDisk.lock(path)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        OsDisk.space(dir)
    }
}

#[derive(Debug)]
struct BulkFile {
    plain: Arc<dyn File>,
    gathered: Mutex<Gathered>,
}

/// The bytes of the block that is being filled.
#[derive(Debug)]
struct Gathered {
    /// `None` once the file is written the ordinary way only.
    direct: Option<Arc<fs::File>>,
    spawn: Option<Spawn>,
    writer: Option<Writer>,
    /// A block, and room to let it begin at an aligned place. Empty before the first byte.
    memory: Vec<u8>,
    start: usize,
    /// Where in the file the block begins; aligned.
    offset: u64,
    used_bytes: usize,
    /// How many of them the ordinary file has already.
    flushed_bytes: usize,
}

impl Gathered {
    fn new(direct: fs::File, spawn: Option<Spawn>) -> Gathered {
        Gathered {
            direct: Some(Arc::new(direct)),
            spawn,
            writer: None,
            memory: Vec::new(),
            start: 0,
            offset: 0,
            used_bytes: 0,
            flushed_bytes: 0,
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.used_bytes as u64
    }

    fn block(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.used_bytes]
    }

    /// Whether bytes at `offset` continue what was gathered.
    fn takes(&mut self, offset: u64) -> bool {
        if self.direct.is_none() {
            return false;
        }
        if self.memory.is_empty() && offset.is_multiple_of(ALIGNED_BYTES) {
            self.fill(new_memory());
            self.offset = offset;
        }
        !self.memory.is_empty() && offset == self.end()
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.memory.is_empty() {
            return Err(gone());
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.used_bytes));
            let at = self.start + self.used_bytes;
            self.memory[at..at + now.len()].copy_from_slice(now);
            self.used_bytes += now.len();
            bytes = later;
            if self.used_bytes == BLOCK_BYTES {
                self.write_block()?;
                self.offset += BLOCK_BYTES as u64;
                self.used_bytes = 0;
                self.flushed_bytes = 0;
            }
        }
        Ok(())
    }

    /// Goes on with this memory.
    fn fill(&mut self, memory: Vec<u8>) {
        self.start = memory.as_ptr().align_offset(ALIGNED_BYTES as usize);
        self.memory = memory;
    }

    /// Writes a full block, here or on the file's thread.
    fn write_block(&mut self) -> io::Result<()> {
        let direct = self.direct.as_ref().expect("only such a file gathers");
        if self.writer.is_none()
            && let Some(spawn) = self.spawn
        {
            self.writer = Writer::start(direct.clone(), spawn);
        }
        let Some(writer) = &mut self.writer else {
            return direct.write_all_at(self.block(), self.offset);
        };
        let (memory, start) = (std::mem::take(&mut self.memory), self.start);
        let next = writer.write(Block { memory, start, offset: self.offset })?;
        self.fill(next);
        Ok(())
    }

    /// Waits until nothing is under way.
    fn settle(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Writer::settle)
    }

    /// Gives the ordinary file what it does not have yet. The block stays: once full it is written again.
    fn flush(&mut self, plain: &dyn File) -> io::Result<()> {
        self.settle()?;
        let fresh = &self.block()[self.flushed_bytes..];
        if !fresh.is_empty() {
            plain.write_all_at(fresh, self.offset + self.flushed_bytes as u64)?;
            self.flushed_bytes = self.used_bytes;
        }
        Ok(())
    }
}

fn new_memory() -> Vec<u8> {
    vec![0; BLOCK_BYTES + ALIGNED_BYTES as usize]
}

/// A full block and its place.
struct Block {
    memory: Vec<u8>,
    start: usize,
    offset: u64,
}

/// A thread that writes blocks.
#[derive(Debug)]
struct Writer {
    blocks: Sender<Block>,
    /// Each block's memory comes back, with how its write ended.
    written: Receiver<(Vec<u8>, io::Result<()>)>,
    under_way: usize,
    /// After a failed write nothing is written any more.
    failed: bool,
}

impl Writer {
    fn start(direct: Arc<fs::File>, spawn: Spawn) -> Option<Writer> {
        let (blocks, inbox) = channel::<Block>();
        let (outbox, written) = channel();
        let work = move || {
            for Block { memory, start, offset } in inbox {
                let outcome = direct.write_all_at(&memory[start..start + BLOCK_BYTES], offset);
                if outbox.send((memory, outcome)).is_err() {
                    return;
                }
            }
        };
        let started = spawn(Box::new(work));
        started.then_some(Writer { blocks, written, under_way: 0, failed: false })
    }

    /// Sends a block on its way and returns memory for the next one.
    fn write(&mut self, block: Block) -> io::Result<Vec<u8>> {
        if self.failed || self.blocks.send(block).is_err() {
            return Err(gone());
        }
        self.under_way += 1;
        if self.under_way < UNDER_WAY_MAX {
            return Ok(new_memory());
        }
        self.next_written()
    }

    fn next_written(&mut self) -> io::Result<Vec<u8>> {
        let (memory, outcome) = self.written.recv().map_err(|_| gone())?;
        self.under_way -= 1;
        self.failed |= outcome.is_err();
        outcome.map(|()| memory)
    }

    fn settle(&mut self) -> io::Result<()> {
        while self.under_way > 0 {
            self.next_written()?;
        }
        if self.failed { Err(gone()) } else { Ok(()) }
    }
}

fn gone() -> io::Error {
    io::Error::other("a write to this file has failed before")
}

impl BulkFile {
    fn gathered(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ordinary file, with everything in it.
    fn flushed(&self) -> io::Result<&dyn File> {
        self.gathered().flush(&*self.plain)?;
        Ok(&*self.plain)
    }

    /// The ordinary file, for whatever does not fit front to back; from now on it is all there is.
    fn ordinary(&self) -> io::Result<&dyn File> {
        let mut gathered = self.gathered();
        gathered.flush(&*self.plain)?;
        (gathered.direct, gathered.writer) = (None, None);
        (gathered.memory, gathered.start) = (Vec::new(), 0);
        (gathered.used_bytes, gathered.flushed_bytes) = (0, 0);
        Ok(&*self.plain)
    }
}

impl File for BulkFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.flushed()?.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut gathered = self.gathered();
        if gathered.takes(offset) {
            return gathered.append(bytes);
        }
        let before_block = offset + bytes.len() as u64 <= gathered.offset;
        drop(gathered);
        // A header that is written last leaves the block alone.
        let plain = if before_block { &*self.plain } else { self.ordinary()? };
        plain.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.flushed()?.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.flushed()?.len()
    }

    fn finished(&self) -> io::Result<()> {
        self.ordinary().map(|_| ())
    }

    fn links(&self) -> io::Result<u64> {
        self.plain.links()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.ordinary()?.set_len(bytes)
    }

    fn zero_fill(&self, from: u64, to: u64) -> io::Result<()> {
        self.ordinary()?.zero_fill(from, to)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const BESIDE: BulkDisk = BulkDisk::beside(|work| {
        std::thread::spawn(work);
        true
    });

    #[test]
    fn a_write_that_fails_beside_is_said_and_nothing_is_written_after_it() {
        // A file that cannot be written to.
        let direct = fs::File::open("/dev/null").expect("it is there");
        let mut gathered = Gathered::new(direct, BESIDE.spawn);
        assert!(gathered.takes(0));
        let outcomes: Vec<bool> =
            (0..8).map(|_| gathered.append(&[7; BLOCK_BYTES]).is_err()).collect();
        let first = outcomes.iter().position(|failed| *failed).expect("it is said");
        assert!(first <= UNDER_WAY_MAX);
        // More often than writes were under way, so that nothing is left that could still fail.
        assert!((0..=UNDER_WAY_MAX).all(|_| gathered.settle().is_err()), "and said again");
        let mut other = Gathered::new(fs::File::open("/dev/null").expect("there"), BESIDE.spawn);
        assert!(other.takes(0));
        other.append(&[7; BLOCK_BYTES]).expect("it is under way");
        assert!(other.settle().is_err(), "a sync says it at the latest");
    }

    #[test]
    fn a_file_that_is_finished_has_no_thread_and_no_second_descriptor() {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        let disk = BulkDisk::beside(|work| {
            THREADS.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                work();
                THREADS.fetch_sub(1, Ordering::SeqCst);
            });
            true
        });
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let descriptors = || fs::read_dir("/proc/self/fd").expect("this is Linux").count();
        let before = descriptors();
        let files: Vec<_> = (0..40)
            .map(|number| {
                let path = folder.path().join(format!("f{number}"));
                let file = disk.create(&path).expect("a new file");
                file.write_all_at(&bytes(0, 2 * BLOCK_BYTES + 9), 0).expect("room");
                file.sync_data().expect("a disk");
                file.finished().expect("a disk");
                file
            })
            .collect();
        // Other tests of this process have files too.
        assert!(descriptors() < before + files.len() + 20, "{before} before, {}", descriptors());
        for _ in 0..2000 {
            if THREADS.load(Ordering::SeqCst) == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(THREADS.load(Ordering::SeqCst), 0);
        for file in files {
            file.write_all_at(b"more", 2 * BLOCK_BYTES as u64 + 9).expect("it is still taken");
            assert_eq!(file.len().expect("it has one"), 2 * BLOCK_BYTES as u64 + 13);
        }
    }

    /// Bytes that tell where they belong.
    fn bytes(from: usize, count: usize) -> Vec<u8> {
        (from..from + count).map(|at| ((at / 3) ^ (at >> 11)) as u8).collect()
    }

    #[test]
    fn a_file_written_from_front_to_back_is_the_same_whichever_way_its_bytes_went() {
        // In the build's own folder: a temporary one may lie in memory, where no such writes exist.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        for (number, first) in [0usize, 0, 8192, 8192, 100, 100].into_iter().enumerate() {
            let path = folder.path().join(format!("f{number}"));
            let disk = if number % 2 == 0 { BulkDisk::default() } else { BESIDE };
            let file = disk.create(&path).expect("a new file");
            let mut at = first;
            for step in [1usize, 4095, 70_000, 3 << 20, 17, 900_000, 2 << 20] {
                file.write_all_at(&bytes(at, step), at as u64).expect("room");
                at += step;
                let mut found = vec![0; step];
                file.read_exact_at(&mut found, (at - step) as u64).expect("it was written");
                assert!(found == bytes(at - step, step), "{first} {at}");
                assert_eq!(file.len().expect("it has one"), at as u64);
            }
            file.write_all_at(&bytes(0, first), 0).expect("room");
            // In the middle of what is there, and then on at the end.
            file.write_all_at(&bytes(at - 9, 9), at as u64 - 9).expect("room");
            file.write_all_at(&bytes(at, 5000), at as u64).expect("room");
            file.sync_data().expect("a disk");
            assert!(fs::read(&path).expect("it is there") == bytes(0, at + 5000));
            file.set_len(4).expect("it can be cut");
            file.write_all_at(&bytes(4, 9000), 4).expect("room");
            assert!(fs::read(&path).expect("it is there") == bytes(0, 9004));
        }
    }
}
