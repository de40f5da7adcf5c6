//! The disk in memory as its users see it: every operation, and what its faults make of it.

use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use super::{Content, EIO, MemoryDisk, MemoryFile, MemoryLock, State, UNBOUNDED_BYTES, Verdict};
use crate::{Disk, File, Lock, SECTOR_BYTES, Space};

impl Disk for MemoryDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.names.find(dir).is_some() {
            return state.dir_at(dir).map(|_| ());
        }
        state.whole_operation()?;
        let mut ancestors: Vec<&Path> = dir.ancestors().collect();
        ancestors.reverse();
        for path in ancestors {
            if state.names.find(path).is_none() {
                let name = state.names.place(path)?;
                let node = state.new_node();
                state.names.set_durably(name, node);
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.alive()?;
        let name = state.names.place(path)?;
        if state.names.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.whole_operation()?;
        let node = state.new_node();
        state.names.set(name, node);
        state.files.insert(node, Content::default());
        Ok(self.handle(&mut state, node, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_as(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let node = state.names.find(from).ok_or(io::ErrorKind::NotFound)?;
        let (from, to_name) = (state.names.place(from)?, state.names.place(to)?);
        let replaced = state.names.find(to);
        if let Some(replaced) = replaced.filter(|id| !state.files.contains_key(id)) {
            // Only a directory takes the place of one, and only of one that is empty.
            if state.files.contains_key(&node) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if replaced != node && state.names.list(replaced).next().is_some() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
        }
        state.whole_operation()?;
        if replaced != Some(node) {
            state.names.rename(from, to_name, node);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        state.file_at(path)?;
        let name = state.names.place(path)?;
        state.whole_operation()?;
        state.names.unset(name);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let dir = state.dir_at(dir)?;
        state.whole_operation()?;
        state.names.sync(dir);
        state.forget_unreachable();
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        let dir = state.dir_at(dir)?;
        Ok(state.names.list(dir).map(|(name, _)| name.to_owned()).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.alive()?;
        Ok(state.names.find(path).is_some())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        if !self.exists(path)? {
            self.create(path)?;
        }
        let mut state = self.state();
        let node = state.file_at(path)?;
        let fresh = state.locked.insert(node);
        Ok(fresh.then(|| Box::new(MemoryLock { disk: self.clone(), node }) as Box<dyn Lock>))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let state = self.state();
        state.alive()?;
        state.dir_at(dir)?;
        let total_bytes = state.faults.capacity_bytes.unwrap_or(UNBOUNDED_BYTES);
        Ok(Space { available_bytes: total_bytes.saturating_sub(state.used_bytes()), total_bytes })
    }
}

impl MemoryFile {
    fn state_for_change(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.writable {
            Ok(self.disk.state())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.alive()?;
        Ok(state.file(self.node).read(buffer, offset))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state_for_change()?;
        let verdict = state.operation()?;
        state.room(self.node, offset + bytes.len() as u64)?;
        let file = state.file(self.node);
        if verdict == Verdict::DoHalf {
            let border = (offset + bytes.len() as u64 / 2) / SECTOR_BYTES * SECTOR_BYTES;
            file.write(&bytes[..border.saturating_sub(offset) as usize], offset);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.write(bytes, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let allowed = state.whole_operation();
        if !state.stopped && state.sync_failed.contains(&self.node) {
            state.syncs_after_failure += 1;
        }
        if allowed.is_err() && !state.stopped {
            state.sync_failed.insert(self.node);
            state.file(self.node).fail_sync();
        }
        allowed?;
        state.file(self.node).sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.alive()?;
        Ok(state.file(self.node).len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state_for_change()?;
        state.whole_operation()?;
        state.room(self.node, bytes)?;
        state.file(self.node).set_len(bytes);
        Ok(())
    }

    fn zero_fill(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state_for_change()?;
        state.whole_operation()?;
        state.room(self.node, to)?;
        state.file(self.node).zero(from, to);
        Ok(())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let count = state.opened.get_mut(&self.node).expect("counted when it was opened");
        *count -= 1;
        if *count == 0 {
            state.opened.remove(&self.node);
        }
    }
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.node);
    }
}
