//! A snapshot file as it is read here: mostly from front to back, page after page.
//!
//! Pages are small and asking the system for each costs as much as using it, so a block is read at once
//! and the pages are taken from it. What was read is counted as progress.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vfs::File;

use crate::progress::Progress;

const BLOCK_BYTES: u64 = 256 * 1024;

/// A file read in blocks. Each handle remembers one block.
#[derive(Debug)]
pub struct Reading {
    file: Arc<dyn File>,
    progress: Arc<Progress>,
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    offset: u64,
    bytes: Vec<u8>,
}

impl Reading {
    pub fn of(file: &Arc<dyn File>, progress: &Arc<Progress>) -> Arc<dyn File> {
        let (file, progress) = (file.clone(), progress.clone());
        Arc::new(Reading { file, progress, block: Mutex::default() })
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
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let start = offset / BLOCK_BYTES * BLOCK_BYTES;
        if block.bytes.is_empty() || block.offset != start {
            let mut bytes = std::mem::take(&mut block.bytes);
            bytes.resize(BLOCK_BYTES as usize, 0);
            let mut filled = 0;
            while filled < bytes.len() {
                match self.file.read_at(&mut bytes[filled..], start + filled as u64)? {
                    0 => break,
                    count => filled += count,
                }
            }
            bytes.truncate(filled);
            self.progress.add(filled as u64);
            *block = Block { offset: start, bytes };
        }
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
}
