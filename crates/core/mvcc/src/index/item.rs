//! What the index knows of one key.
//!
//! etcd speaks of generations: a list of lives, each a list of revisions, all but the last ended by
//! a tombstone (`docs/etcd/bbolt-and-backend.md` 4). Here they lie one after the other in a single
//! sequence. Each record carries its creation and version, so nothing has to be counted back when
//! the front of the sequence is forgotten.

use std::sync::Arc;

use types::{LeaseId, Revision};

use super::history::History;
use super::record::Record;

/// One key's kept revisions and its lease. Never without a record.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub newest: Record,
    /// The lease of the newest put; 0 for none, and after a tombstone.
    pub lease: LeaseId,
    /// All records before the newest.
    past: Option<Arc<History>>,
}

/// What a revision leaves of a key: see [`Item::keep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// How many of the oldest records a compaction at that revision forgets.
    pub dead: usize,
    /// The record at or before that revision that it keeps, if any. May be a tombstone.
    pub kept: Option<Record>,
}

impl Item {
    pub(crate) fn new(newest: Record, lease: LeaseId) -> Item {
        Item { newest, lease, past: None }
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.newest.is_tombstone()
    }

    /// How many records are kept.
    pub(crate) fn len(&self) -> usize {
        1 + self.past.as_ref().map_or(0, |past| past.len())
    }

    /// The record at place `index`, counted from the oldest.
    pub(crate) fn get(&self, index: usize) -> Record {
        match &self.past {
            Some(past) if index < past.len() => past.get(index),
            _ => self.newest,
        }
    }

    /// Shows every record, oldest first.
    pub(crate) fn each(&self, show: &mut dyn FnMut(&Record)) {
        if let Some(past) = &self.past {
            past.each(show);
        }
        show(&self.newest);
    }

    /// The newest record at or before `revision`.
    pub(crate) fn record_at(&self, revision: i64) -> Option<Record> {
        if self.newest.main <= revision {
            return Some(self.newest);
        }
        self.past.as_ref().and_then(|past| past.last_at_most(revision))
    }

    /// The record that was current at `revision`, if the key lived then.
    pub(crate) fn living_at(&self, revision: i64) -> Option<Record> {
        self.record_at(revision).filter(|record| !record.is_tombstone())
    }

    pub(crate) fn push(&mut self, record: Record, lease: LeaseId) {
        match &mut self.past {
            Some(past) => History::push(past, self.newest),
            None => self.past = Some(History::one(self.newest)),
        }
        self.newest = record;
        self.lease = lease;
    }

    /// The lowest compaction that would forget something here; `i64::MAX` if none would.
    pub(crate) fn collectible(&self) -> i64 {
        let oldest = self.get(0);
        if oldest.is_tombstone() {
            // A tombstone exactly at the compacted revision stays: a watch may begin there.
            return oldest.main + 1;
        }
        if self.past.is_some() { self.get(1).main } else { i64::MAX }
    }

    /// etcd's rule of what a compaction at `revision` keeps: of the first life that ends at or after
    /// it (the last life, if none does) the newest record at or before it, and all that follows.
    pub(crate) fn keep(&self, revision: i64) -> Keep {
        let len = self.len();
        let reaching = match &self.past {
            Some(past) if self.newest.main >= revision => past.count_below(revision),
            None if self.newest.main >= revision => 0,
            _ => len,
        };
        if reaching == len {
            let alive = self.is_alive();
            return Keep {
                dead: if alive { len - 1 } else { len },
                kept: alive.then_some(self.newest),
            };
        }
        let mut at = reaching;
        let mut record = self.get(at);
        if record.main > revision {
            // The life that reaches over the revision: what it was then is the record before.
            let before = at.checked_sub(1).map(|n| self.get(n)).filter(|r| !r.is_tombstone());
            return Keep { dead: at - usize::from(before.is_some()), kept: before };
        }
        // A transaction may change one key twice; both records then carry its revision.
        while !record.is_tombstone() && at + 1 < len && self.get(at + 1).main == revision {
            at += 1;
            record = self.get(at);
        }
        Keep { dead: at, kept: Some(record) }
    }

    /// The place of the record with exactly this revision, counted from the oldest.
    pub(crate) fn place_of(&self, revision: Revision) -> Option<usize> {
        if self.newest.revision() == revision {
            return Some(self.len() - 1);
        }
        let past = self.past.as_ref()?;
        let first = past.count_below(revision.main);
        (first..past.len())
            .map(|at| (at, past.get(at)))
            .take_while(|(_, record)| record.main == revision.main)
            .find(|(_, record)| record.revision() == revision)
            .map(|(at, _)| at)
    }

    /// Forgets what a compaction at `revision` may forget, at most `budget` records of it, naming
    /// them. Returns whether anything is left of the key.
    pub(crate) fn cut(&mut self, revision: i64, budget: usize, dead: &mut Vec<Revision>) -> bool {
        let keep = self.keep(revision);
        let all = self.len();
        let count = keep.dead.min(budget);
        if count == all {
            self.each(&mut |record| dead.push(record.revision()));
            return false;
        }
        let past_len = all - 1;
        match &mut self.past {
            Some(past) if count == past_len => {
                past.each(&mut |record| dead.push(record.revision()));
                self.past = None;
            }
            Some(past) if count > 0 => History::drop_front(past, count, dead),
            _ => {}
        }
        true
    }

    /// Bytes of memory outside the item itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.past.as_ref().map_or(0, |past| past.memory_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `p5` is a put at 5, `d7.1` a delete at 7 as the second change of its transaction.
    fn item(history: &str) -> Item {
        let mut made: Option<Item> = None;
        for word in history.split(' ') {
            let (main, sub) = word[1..].split_once('.').unwrap_or((&word[1..], "0"));
            let (main, sub) = (main.parse().expect("a number"), sub.parse().expect("a number"));
            let version = i64::from(word.starts_with('p'));
            let record = Record { main, sub, version, created: main };
            match &mut made {
                Some(item) => item.push(record, 0),
                None => made = Some(Item::new(record, 0)),
            }
        }
        made.expect("at least one record")
    }

    #[track_caller]
    fn check(history: &str, revision: i64, dead: usize, kept: Option<&str>) {
        let item = item(history);
        let keep = item.keep(revision);
        let kept_text = keep.kept.map(|record| {
            let letter = if record.is_tombstone() { 'd' } else { 'p' };
            let sub = if record.sub == 0 { String::new() } else { format!(".{}", record.sub) };
            format!("{letter}{}{sub}", record.main)
        });
        assert_eq!((keep.dead, kept_text.as_deref()), (dead, kept));
        assert_eq!(item.collectible() <= revision, dead > 0, "collectible agrees with keep");
    }

    #[test]
    fn a_compaction_keeps_the_newest_record_of_the_life_that_reaches_it() {
        check("p2", 1, 0, None);
        check("p2", 2, 0, Some("p2"));
        check("p2", 9, 0, Some("p2"));
        check("p2 p5 p7", 4, 0, Some("p2"));
        check("p2 p5 p7", 5, 1, Some("p5"));
        check("p2 p5 p7", 6, 1, Some("p5"));
        check("p2 p5 p7", 7, 2, Some("p7"));
    }

    #[test]
    fn a_tombstone_is_kept_at_its_own_revision_and_no_longer() {
        check("p2 d5", 4, 0, Some("p2"));
        check("p2 d5", 5, 1, Some("d5"));
        check("p2 d5", 6, 2, None);
        check("d5", 5, 0, Some("d5"));
        check("d5", 6, 1, None);
        check("p2 d5 p8 p9", 6, 2, None);
        check("p2 d5 p8 p9", 8, 2, Some("p8"));
        check("d5 p8", 5, 0, Some("d5"));
        check("d5 p8", 6, 1, None);
    }

    #[test]
    fn a_key_that_changed_twice_in_one_transaction_is_cut_by_lives() {
        check("p2 p5 d5.1", 5, 2, Some("d5.1"));
        check("p2 d5 p5.1", 5, 1, Some("d5"));
        check("p2 d5 p5.1", 6, 2, Some("p5.1"));
        check("p2 d5 p5.1 d5.2", 5, 1, Some("d5"));
        check("p2 d5 p5.1 d5.2", 6, 4, None);
    }

    #[test]
    fn a_record_is_found_by_its_exact_revision() {
        let item = item("p2 d5 p5.1 p9");
        let place = |main, sub| item.place_of(Revision { main, sub });
        assert_eq!([place(2, 0), place(5, 0), place(5, 1), place(9, 0)], [0, 1, 2, 3].map(Some));
        assert_eq!([place(5, 2), place(3, 0), place(9, 1)], [None; 3]);
    }

    #[test]
    fn a_cut_within_its_budget_goes_on_where_it_stopped() {
        let mut item = item("p2 p3 p4 p5 d6");
        let mut dead = Vec::new();
        assert!(item.cut(9, 2, &mut dead));
        assert_eq!(item.len(), 3);
        assert!(item.cut(9, 2, &mut dead));
        assert!(!item.cut(9, 2, &mut dead));
        assert_eq!(dead.iter().map(|r| r.main).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn an_item_with_one_revision_takes_48_bytes() {
        assert_eq!(size_of::<Item>(), 48);
    }
}
