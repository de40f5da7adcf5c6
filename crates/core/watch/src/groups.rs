//! Watchers of the same range stand together: what they get is worked out once.

use types::KeyRange;

use crate::range_map::RangeMap;
use crate::watcher::Table;

/// All groups, found by key.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    ranges: RangeMap<u32>,
    table: Table<Group>,
}

/// The watchers of one range.
#[derive(Debug)]
pub(crate) struct Group {
    pub range: KeyRange,
    /// Slots of those that get live events, in no order that matters.
    pub synced: Vec<u32>,
    /// How many belong to it, synced or not.
    members: u32,
    /// How many of them want previous rows.
    previous: u32,
}

impl Groups {
    /// Adds a watcher to the group of its range and returns the group.
    pub fn join(&mut self, range: &KeyRange, previous: bool) -> u32 {
        let table = &mut self.table;
        let slot = *self.ranges.entry(range, |range| {
            table.insert(Group { range, synced: Vec::new(), members: 0, previous: 0 })
        });
        let group = &mut self.table[slot];
        group.members += 1;
        group.previous += u32::from(previous);
        slot
    }

    /// Takes a watcher out, and the group away with its last one.
    pub fn leave(&mut self, slot: u32, previous: bool) {
        let group = &mut self.table[slot];
        group.members -= 1;
        group.previous -= u32::from(previous);
        if group.members == 0 {
            assert!(group.synced.is_empty(), "who is synced is a member");
            let group = self.table.remove(slot);
            let removed = self.ranges.remove(&group.range);
            assert_eq!(removed, Some(slot), "each group is found under its range");
        }
    }

    /// Calls `visit` with each group whose range holds `key`.
    pub fn stab(&self, key: &[u8], mut visit: impl FnMut(u32, &Group)) {
        self.ranges.stab(key, |slot| visit(*slot, &self.table[*slot]));
    }

    /// Whether any watcher of `key` wants previous rows.
    pub fn want_previous(&self, key: &[u8]) -> bool {
        let mut wanted = false;
        self.stab(key, |_, group| wanted |= 0 < group.previous);
        wanted
    }
}

impl std::ops::Index<u32> for Groups {
    type Output = Group;

    fn index(&self, slot: u32) -> &Group {
        &self.table[slot]
    }
}

impl std::ops::IndexMut<u32> for Groups {
    fn index_mut(&mut self, slot: u32) -> &mut Group {
        &mut self.table[slot]
    }
}
