//! The older revisions of one key, oldest first.
//!
//! A small tree that only grows at its end and is only cut at its front. A key that changed a
//! million times still takes a write in O(log) while somebody holds a view, and being four levels
//! deep it is dropped without deep recursion.

use std::sync::Arc;

use types::Revision;

use super::record::Record;

/// Records per leaf: 2 KiB, what a write to a hot key copies when a view is held.
const LEAF_MAX: usize = 64;
/// Children per branch.
const BRANCH_MAX: usize = 32;

/// A sequence of records in revision order, never empty while it hangs on a key.
#[derive(Clone, Debug)]
pub(crate) enum History {
    Leaf(Vec<Record>),
    Branch(Vec<Child>),
}

#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// The main revision of its first record.
    first: i64,
    /// How many records it holds.
    records: usize,
    node: Arc<History>,
}

impl History {
    pub(crate) fn one(record: Record) -> Arc<History> {
        Arc::new(History::Leaf(vec![record]))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            History::Leaf(records) => records.len(),
            History::Branch(children) => children.iter().map(|child| child.records).sum(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Record {
        match self {
            History::Leaf(records) => records[index],
            History::Branch(children) => {
                let mut left = index;
                for child in children {
                    if left < child.records {
                        return child.node.get(left);
                    }
                    left -= child.records;
                }
                panic!("record {index} lies behind the end of the history")
            }
        }
    }

    /// How many records lie before main revision `main`.
    pub(crate) fn count_below(&self, main: i64) -> usize {
        match self {
            History::Leaf(records) => records.partition_point(|record| record.main < main),
            History::Branch(children) => {
                // All children that begin below `main` lie below it entirely, but for the last.
                let begun = children.partition_point(|child| child.first < main);
                let Some(last) = begun.checked_sub(1) else { return 0 };
                let before: usize = children[..last].iter().map(|child| child.records).sum();
                before + children[last].node.count_below(main)
            }
        }
    }

    /// The newest record at or before main revision `main`.
    pub(crate) fn last_at_most(&self, main: i64) -> Option<Record> {
        match self {
            History::Leaf(records) => {
                let after = records.partition_point(|record| record.main <= main);
                after.checked_sub(1).map(|at| records[at])
            }
            History::Branch(children) => {
                let begun = children.partition_point(|child| child.first <= main);
                begun.checked_sub(1).and_then(|at| children[at].node.last_at_most(main))
            }
        }
    }

    /// Appends a record, growing a level when the root is full.
    pub(crate) fn push(root: &mut Arc<History>, record: Record) {
        let Some(sibling) = Arc::make_mut(root).append(record) else { return };
        let old = Child { first: root.get(0).main, records: root.len(), node: Arc::clone(root) };
        *root = Arc::new(History::Branch(vec![old, sibling]));
    }

    /// Appends within this node, or returns the record in a sibling of the same height.
    fn append(&mut self, record: Record) -> Option<Child> {
        match self {
            History::Leaf(records) if records.len() < LEAF_MAX => {
                records.push(record);
                None
            }
            History::Leaf(_) => Some(Child::around(History::Leaf(vec![record]), record)),
            History::Branch(children) => {
                let last = children.last_mut().expect("a branch has children");
                let sibling = Arc::make_mut(&mut last.node).append(record);
                let Some(sibling) = sibling else {
                    last.records += 1;
                    return None;
                };
                if children.len() < BRANCH_MAX {
                    children.push(sibling);
                    return None;
                }
                Some(Child::around(History::Branch(vec![sibling]), record))
            }
        }
    }

    /// Removes the first `count` records, fewer than there are, naming their revisions.
    pub(crate) fn drop_front(root: &mut Arc<History>, count: usize, dead: &mut Vec<Revision>) {
        Arc::make_mut(root).cut(count, dead);
        while let History::Branch(children) = &**root
            && let [only] = &children[..]
        {
            *root = Arc::clone(&only.node);
        }
    }

    fn cut(&mut self, count: usize, dead: &mut Vec<Revision>) {
        match self {
            History::Leaf(records) => {
                dead.extend(records[..count].iter().map(Record::revision));
                records.drain(..count);
                records.shrink_to(records.len() + 8);
            }
            History::Branch(children) => {
                let mut left = count;
                let mut whole = 0;
                while children[whole].records <= left {
                    left -= children[whole].records;
                    children[whole].node.each(&mut |record| dead.push(record.revision()));
                    whole += 1;
                }
                children.drain(..whole);
                let first = &mut children[0];
                if left > 0 {
                    Arc::make_mut(&mut first.node).cut(left, dead);
                    first.records -= left;
                    first.first = first.node.get(0).main;
                }
            }
        }
    }

    /// Shows every record, oldest first.
    pub(crate) fn each(&self, show: &mut dyn FnMut(&Record)) {
        match self {
            History::Leaf(records) => records.iter().for_each(show),
            History::Branch(children) => {
                for child in children {
                    child.node.each(show);
                }
            }
        }
    }

    /// Bytes of memory, this node and all below it.
    pub(crate) fn memory_bytes(&self) -> usize {
        let own = size_of::<History>() + 2 * size_of::<usize>();
        own + match self {
            History::Leaf(records) => records.capacity() * size_of::<Record>(),
            History::Branch(children) => {
                let below: usize = children.iter().map(|child| child.node.memory_bytes()).sum();
                below + children.capacity() * size_of::<Child>()
            }
        }
    }
}

impl Child {
    /// A new node that holds a single record.
    fn around(node: History, record: Record) -> Child {
        Child { first: record.main, records: 1, node: Arc::new(node) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(main: i64) -> Record {
        Record { main, created: 2, version: main - 1, sub: 0 }
    }

    fn grown(count: i64) -> Arc<History> {
        let mut history = History::one(record(10));
        (1..count).for_each(|n| History::push(&mut history, record(10 + 2 * n)));
        history
    }

    #[test]
    fn records_are_found_by_place_and_by_revision_at_every_size() {
        for count in [1, 2, 64, 65, 64 * 32, 64 * 32 + 1, 70_000] {
            let history = grown(count);
            assert_eq!(history.len() as i64, count);
            for n in [0, count / 3, count - 1] {
                let main = 10 + 2 * n;
                assert_eq!(history.get(n as usize).main, main);
                assert_eq!(history.count_below(main) as i64, n);
                assert_eq!(history.count_below(main + 1) as i64, n + 1);
                assert_eq!(history.last_at_most(main + 1).map(|r| r.main), Some(main));
            }
            assert_eq!(history.last_at_most(9), None);
        }
    }

    #[test]
    fn cutting_the_front_leaves_the_rest_and_names_what_went() {
        for (count, cut) in [(2, 1), (65, 64), (5000, 1), (5000, 2048), (5000, 4999)] {
            let mut history = grown(count);
            let before = Arc::clone(&history);
            let mut dead = Vec::new();
            History::drop_front(&mut history, cut, &mut dead);
            let expected: Vec<i64> = (0..cut as i64).map(|n| 10 + 2 * n).collect();
            assert_eq!(dead.iter().map(|r| r.main).collect::<Vec<_>>(), expected);
            assert_eq!(history.len(), count as usize - cut);
            assert_eq!(history.get(0).main, 10 + 2 * cut as i64);
            assert_eq!(history.last_at_most(i64::MAX), before.last_at_most(i64::MAX));
            assert_eq!(before.len(), count as usize);
            History::push(&mut history, record(1_000_000));
            assert_eq!(history.last_at_most(i64::MAX).map(|r| r.main), Some(1_000_000));
        }
    }
}
