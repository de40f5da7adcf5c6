//! The API v2's tree, where requests of the log change it and rows keep it.

use bytes::Bytes;
use store::{Bucket, State, StateChange};

use crate::answer::Answer;
use crate::applier::{Applier, Outcome};
use crate::fact::Fact;

impl Applier {
    /// The tree as the rows have it.
    pub(crate) fn restore_v2(state: &State) -> Result<v2::Tree, v2::BadRow> {
        let rows = state.iter(Bucket::V2);
        v2::Tree::restore(rows.map(|(key, value)| (&key[..], &value[..])))
    }

    pub(crate) fn v2_step(&mut self, request: &v2::Request) -> Outcome {
        let v2::Outcome { answer, passed, changes } = self.v2.step(request);
        Outcome {
            answer: Some(Answer::V2(Box::new(answer))),
            state: changes.into_iter().map(kept).collect(),
            facts: passed.into_iter().map(Fact::V2).collect(),
            ..Outcome::default()
        }
    }

    /// The tree of the API v2.
    pub fn v2(&self) -> &v2::Tree {
        &self.v2
    }

    /// Reads a node of it.
    ///
    /// # Errors
    /// No node is at this path.
    pub fn v2_get(
        &mut self,
        path: &str,
        recursive: bool,
        now: v2::UnixNanos,
    ) -> Result<v2::Event, v2::Error> {
        self.v2.get(path, recursive, now)
    }
}

fn kept(change: v2::Change) -> StateChange {
    let bucket = Bucket::V2;
    match change {
        v2::Change::Set { key, value } => {
            StateChange::Set { bucket, key: Bytes::from(key), value: Bytes::from(value) }
        }
        v2::Change::Delete { key } => StateChange::Delete { bucket, key: Bytes::from(key) },
    }
}
