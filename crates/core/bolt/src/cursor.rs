//! A walk over one tree, in key order, with one page per level in memory.

use bytes::Bytes;

use crate::access::ReadAt;
use crate::error::{BoltError, Place};
use crate::node::Holds;
use crate::reader::{Bolt, Root, Step};

/// Yields the rows of a bucket in key order. After an error it yields nothing more.
pub struct Cursor<R> {
    bolt: Bolt<R>,
    holds: Holds,
    /// From the root down to the page that is being read.
    path: Vec<Level>,
    /// Where the row came from that was yielded last.
    place: Place,
}

struct Level {
    step: Step,
    /// The element to visit next.
    next: usize,
}

impl<R: ReadAt> Cursor<R> {
    pub(crate) fn new(bolt: Bolt<R>, root: &Root, holds: Holds) -> Result<Cursor<R>, BoltError> {
        let step = bolt.step_to_root(root, holds)?;
        let place = step.node.place();
        Ok(Cursor { bolt, holds, path: vec![Level { step, next: 0 }], place })
    }

    /// Where the row lies that was yielded last, for whoever finds its content wrong.
    pub fn place(&self) -> Place {
        self.place
    }

    fn advance(&mut self) -> Result<Option<(Bytes, Bytes)>, BoltError> {
        while let Some(level) = self.path.last_mut() {
            let element = level.next;
            let node = &level.step.node;
            if element == node.count() {
                self.path.pop();
                continue;
            }
            level.next += 1;
            if node.is_leaf() {
                self.place = node.place();
                return Ok(Some((node.key_bytes(element), node.value(element))));
            }
            let depth = self.path.len();
            let from = &self.path[depth - 1].step;
            let step = self.bolt.step_down(from, element, depth, self.holds)?;
            self.path.push(Level { step, next: 0 });
        }
        Ok(None)
    }
}

impl<R: ReadAt> Iterator for Cursor<R> {
    type Item = Result<(Bytes, Bytes), BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.advance();
        if row.is_err() {
            self.path.clear();
        }
        row.transpose()
    }
}
