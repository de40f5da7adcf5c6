//! How full a page gets before the next one is begun.
//!
//! A page larger than one page of the file runs over the following ones. bbolt does this for values
//! that do not fit; we also let a page run on while too much of its last part would stay empty.
//! Rows of 3,000 bytes would else waste a quarter of each page.

use crate::page::{ELEMENT_BYTES, HEADER_BYTES};

/// Pages that one page may run over only to be better filled.
const RUN_PAGES_MAX: usize = 8;
/// Children a branch must have before it may be full: with one each, a tree would never narrow.
const BRANCH_CELLS_MIN: usize = 2;

/// The size of a page that is being filled.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    page_bytes: usize,
    cells_min: usize,
    used_bytes: usize,
    cells: usize,
}

impl Filling {
    pub fn leaf(page_bytes: usize) -> Filling {
        Filling { page_bytes, cells_min: 1, used_bytes: HEADER_BYTES, cells: 0 }
    }

    pub fn branch(page_bytes: usize) -> Filling {
        Filling { cells_min: BRANCH_CELLS_MIN, ..Filling::leaf(page_bytes) }
    }

    /// Whether another element belongs on this page rather than on the next.
    pub fn takes(&self, payload_bytes: usize) -> bool {
        if self.cells < self.cells_min {
            return true;
        }
        if self.cells >= usize::from(u16::MAX) - 1 {
            return false;
        }
        let grown_bytes = self.used_bytes + ELEMENT_BYTES + payload_bytes;
        let room_bytes = self.pages() * self.page_bytes;
        let poorly_filled = self.used_bytes < room_bytes / 8 * 7;
        let may_run_on = grown_bytes.div_ceil(self.page_bytes) <= RUN_PAGES_MAX;
        grown_bytes <= room_bytes || (poorly_filled && may_run_on)
    }

    pub fn add(&mut self, payload_bytes: usize) {
        self.used_bytes += ELEMENT_BYTES + payload_bytes;
        self.cells += 1;
    }

    /// Pages of the file it takes up.
    pub fn pages(&self) -> usize {
        self.used_bytes.div_ceil(self.page_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of the file that rows of one size use, in percent.
    fn share_used(payload_bytes: usize) -> usize {
        let mut filling = Filling::leaf(4096);
        let (mut used, mut taken) = (0, 0);
        for _ in 0..1000 {
            if !filling.takes(payload_bytes) {
                taken += filling.pages() * 4096;
                filling = Filling::leaf(4096);
            }
            filling.add(payload_bytes);
            used += payload_bytes + ELEMENT_BYTES;
        }
        taken += filling.pages() * 4096;
        used * 100 / taken
    }

    #[test]
    fn rows_of_any_size_leave_little_room_unused() {
        for payload_bytes in (20..20_000).step_by(7) {
            let share = share_used(payload_bytes);
            assert!(share >= 75, "{payload_bytes}-byte rows fill {share} %");
        }
        assert!(share_used(300) >= 90);
        assert!(share_used(3000) >= 95);
    }

    #[test]
    fn a_branch_has_two_children_however_long_their_keys_are() {
        let mut filling = Filling::branch(1024);
        filling.add(32_768);
        assert!(filling.takes(32_768));
        filling.add(32_768);
        assert!(!filling.takes(32_768));
    }
}
