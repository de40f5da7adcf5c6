//! A snapshot file as it is read here: mostly from front to back, page after page.
//!
//! Pages are small and asking the system for each costs as much as using it, so a block is read at once
//! and the pages are taken from it. A walk goes back and forth between a branch and its leaves, wherever
//! those lie, so the blocks used last are remembered. What was read is counted as progress.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vfs::File;

use crate::progress::Progress;

const BLOCK_BYTES: u64 = 64 * 1024;
const BLOCKS: usize = 16;

/// A file read in blocks. Each handle remembers the last ones it used.
#[derive(Debug)]
pub struct Reading {
    file: Arc<dyn File>,
    progress: Arc<Progress>,
    /// The one used last comes last.
    blocks: Mutex<Vec<Block>>,
}

#[derive(Debug, Default)]
struct Block {
    offset: u64,
    bytes: Vec<u8>,
}

impl Reading {
    pub fn of(file: &Arc<dyn File>, progress: &Arc<Progress>) -> Arc<dyn File> {
        let (file, progress) = (file.clone(), progress.clone());
        Arc::new(Reading { file, progress, blocks: Mutex::default() })
    }

    /// Reads a block into a buffer that was used before.
    fn read_block(&self, offset: u64, mut bytes: Vec<u8>) -> io::Result<Block> {
        bytes.resize(BLOCK_BYTES as usize, 0);
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        self.progress.add(filled as u64);
        Ok(Block { offset, bytes })
    }

    fn refused<T>() -> io::Result<T> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl File for Reading {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if buffer.len() as u64 >= BLOCK_BYTES {
            let count = self.file.read_at(buffer, offset)?;
            self.progress.add(count as u64);
            return Ok(count);
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let start = offset / BLOCK_BYTES * BLOCK_BYTES;
        match blocks.iter().rposition(|block| block.offset == start) {
            Some(known) => blocks[known..].rotate_left(1),
            None => {
                let oldest =
                    if blocks.len() == BLOCKS { blocks.remove(0) } else { Block::default() };
                blocks.push(self.read_block(start, oldest.bytes)?);
            }
        }
        let block = blocks.last().expect("it was put there");
        let from = ((offset - start) as usize).min(block.bytes.len());
        let count = buffer.len().min(block.bytes.len() - from);
        buffer[..count].copy_from_slice(&block.bytes[from..from + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Reading::refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        Reading::refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Reading::refused()
    }

    fn zero_fill(&self, _: u64, _: u64) -> io::Result<()> {
        Reading::refused()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use vfs::{Disk, MemoryDisk};

    use super::*;

    #[test]
    fn whatever_is_asked_for_in_whatever_order_is_what_the_file_holds() {
        let disk = MemoryDisk::new();
        let path = std::path::Path::new("/f");
        let file = disk.create(path).expect("a new file");
        let bytes: Vec<u8> = (0..700_001u32).map(|at| (at ^ at >> 9) as u8).collect();
        file.write_all_at(&bytes, 0).expect("room");
        let reading = Reading::of(&file, &Arc::new(Progress::new("reading", 1)));
        for (offset, count) in [(0, 10), (262_100, 100), (699_999, 2), (5, 600_000), (262_144, 9)] {
            let mut found = vec![0; count];
            reading.read_exact_at(&mut found, offset as u64).expect("it is there");
            assert!(found == bytes[offset..offset + count], "{offset}");
        }
        assert_eq!(reading.read_at(&mut [0; 5], 700_001).expect("the end"), 0);
        assert!(reading.read_exact_at(&mut [0; 5], 699_999).is_err());
    }

    /// A file that counts what is read of it.
    #[derive(Debug)]
    struct Counting(AtomicU64);

    impl File for Counting {
        fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<usize> {
            self.0.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            Ok(buffer.len())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(100 * BLOCK_BYTES)
        }

        fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Reading::refused()
        }

        fn sync_data(&self) -> io::Result<()> {
            Reading::refused()
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Reading::refused()
        }

        fn zero_fill(&self, _: u64, _: u64) -> io::Result<()> {
            Reading::refused()
        }
    }

    #[test]
    fn going_back_and_forth_between_a_few_places_reads_each_once() {
        let counting = Arc::new(Counting(AtomicU64::new(0)));
        let file: Arc<dyn File> = counting.clone();
        let reading = Reading::of(&file, &Arc::new(Progress::new("reading", 1)));
        for round in 0..50 {
            for place in 0..BLOCKS as u64 {
                let offset = place * 6 * BLOCK_BYTES + round;
                reading.read_exact_at(&mut [0; 100], offset).expect("it is there");
            }
        }
        assert_eq!(counting.0.load(Ordering::Relaxed), BLOCKS as u64 * BLOCK_BYTES);
    }
}
