//! Snapshots that broke off on their way here. What has come of one is kept for a while, so that its sender goes on
//! where it broke off and does not begin anew.
//!
//! A sending has a number of its sender's choice. Whoever goes on with one asks first how much is kept, and compares the
//! checksum of that with its own: a body is never joined to another's beginning.
//!
//! Bounds: two parts, one of each sender, for two minutes.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::shared::Core;
use super::spool::Spooling;

/// Parts kept at once.
const PARTS_MAX: usize = 2;
/// How long one is kept. Its sender may need half a minute to notice that the connection is dead.
pub(super) const KEPT_DURATION: Duration = Duration::from_secs(120);

/// One sending of a snapshot: by whom, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    pub from: u64,
    pub number: u64,
}

/// How much of a database there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub bytes: u64,
    /// CRC-32C of them.
    pub crc: u32,
}

impl Extent {
    pub fn grow(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    /// As an answer spells it.
    pub fn text(self) -> String {
        format!("{} {:08x}\n", self.bytes, self.crc)
    }

    /// Reads an answer.
    pub fn read(text: &[u8]) -> Option<Extent> {
        let (bytes, crc) = std::str::from_utf8(text).ok()?.trim_end().split_once(' ')?;
        Some(Extent { bytes: bytes.parse().ok()?, crc: u32::from_str_radix(crc, 16).ok()? })
    }
}

/// A file that grows while a database comes in.
pub(super) struct Arriving {
    file: Box<dyn Spooling>,
    extent: Extent,
}

impl Arriving {
    pub fn new(file: Box<dyn Spooling>) -> Arriving {
        Arriving { file, extent: Extent::default() }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(bytes)?;
        self.extent.grow(bytes);
        Ok(())
    }

    pub fn finish(self) -> io::Result<PathBuf> {
        self.file.finish()
    }
}

struct Kept {
    sending: Sending,
    arriving: Arriving,
    since: Instant,
}

/// What is known of a sending.
pub(super) enum Found {
    /// So much is kept.
    Kept(Extent),
    /// It comes in at this moment, or its connection is not known to be dead yet.
    Comes,
    Nothing,
}

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    coming: Vec<Sending>,
}

/// All parts.
#[derive(Default)]
pub(super) struct Parts(Mutex<State>);

impl Parts {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find(&self, sending: Sending) -> Found {
        let mut state = self.state();
        state.expire();
        if state.coming.contains(&sending) {
            return Found::Comes;
        }
        let kept = state.kept.iter().find(|kept| kept.sending == sending);
        kept.map_or(Found::Nothing, |kept| Found::Kept(kept.arriving.extent))
    }

    /// Takes out what is kept of a sending, if it is exactly so much. Whatever else its sender sent before is over.
    pub fn take(&self, sending: Sending, bytes: u64) -> Option<Arriving> {
        let mut state = self.state();
        state.expire();
        let ours = |kept: &Kept| kept.sending == sending && kept.arriving.extent.bytes == bytes;
        let place = state.kept.iter().position(ours);
        let taken = place.map(|place| state.kept.swap_remove(place).arriving);
        state.kept.retain(|kept| kept.sending.from != sending.from);
        taken
    }

    /// Keeps what has come. The oldest gives way.
    pub fn keep(&self, sending: Sending, arriving: Arriving) {
        let mut state = self.state();
        state.expire();
        state.kept.retain(|kept| kept.sending.from != sending.from);
        if PARTS_MAX <= state.kept.len() {
            state.kept.remove(0);
        }
        state.kept.push(Kept { sending, arriving, since: Instant::now() });
    }

    /// Lets go of what was kept for too long.
    pub fn expire(&self) {
        self.state().expire();
    }
}

impl State {
    fn expire(&mut self) {
        self.kept.retain(|kept| kept.since.elapsed() < KEPT_DURATION);
    }
}

/// Notes that a sending comes in, until it is dropped: once it is whole, or kept.
pub(super) struct Coming(Arc<Core>, Sending);

impl Coming {
    pub fn new(core: &Arc<Core>, sending: Sending) -> Coming {
        core.parts.state().coming.push(sending);
        Coming(core.clone(), sending)
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let coming = &mut self.0.parts.state().coming;
        if let Some(place) = coming.iter().position(|sending| *sending == self.1) {
            coming.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spool::{DiskSpool, Spool as _};
    use super::*;

    fn part(spool: &DiskSpool, bytes: &[u8]) -> Arriving {
        let mut arriving = Arriving::new(spool.begin(1).unwrap());
        arriving.write(bytes).unwrap();
        arriving
    }

    #[test]
    fn a_part_is_found_by_its_sending_and_goes_on_only_from_its_end() {
        let disk = Arc::new(vfs::MemoryDisk::new());
        let spool = DiskSpool::new(disk.clone(), "/snap".into());
        let parts = Parts::default();
        let sending = |from, number| Sending { from, number };
        parts.keep(sending(1, 10), part(&spool, b"half"));
        assert!(matches!(parts.find(sending(1, 11)), Found::Nothing));
        assert!(matches!(parts.find(sending(2, 10)), Found::Nothing));
        let Found::Kept(extent) = parts.find(sending(1, 10)) else { panic!("it is kept") };
        assert_eq!(extent, Extent { bytes: 4, crc: crc32c::crc32c(b"half") });
        assert_eq!(Extent::read(extent.text().as_bytes()), Some(extent));
        let mut again = parts.take(sending(1, 10), 4).expect("it is as long");
        again.write(b"and half").unwrap();
        let path = again.finish().unwrap();
        assert_eq!(vfs::read_all(&*disk, &path).unwrap(), b"halfand half");
        spool.forget(&path);
        parts.keep(sending(1, 12), part(&spool, b"x"));
        assert!(parts.take(sending(1, 12), 2).is_none(), "it is not as long");
        assert!(vfs::Disk::list(&*disk, "/snap".as_ref()).unwrap().is_empty(), "and gone");
    }

    #[test]
    fn parts_are_few_and_one_of_each_sender() {
        let disk = Arc::new(vfs::MemoryDisk::new());
        let spool = DiskSpool::new(disk.clone(), "/snap".into());
        let parts = Parts::default();
        for (from, number) in [(1, 1), (1, 2), (2, 3), (3, 4)] {
            parts.keep(Sending { from, number }, part(&spool, b"x"));
        }
        let kept = |from, number| matches!(parts.find(Sending { from, number }), Found::Kept(_));
        assert_eq!([kept(1, 1), kept(1, 2), kept(2, 3), kept(3, 4)], [false, false, true, true]);
        assert_eq!(vfs::Disk::list(&*disk, "/snap".as_ref()).unwrap().len(), 2);
    }

    #[test]
    fn an_answer_that_is_none_is_not_taken_for_one() {
        for text in ["", "5", "5 ", "five 00000000", "5 xyz", "-1 00000000"] {
            assert_eq!(Extent::read(text.as_bytes()), None, "{text}");
        }
    }
}
