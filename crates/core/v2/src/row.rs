//! A tree as rows: one for each node, and one for the index. They are kept with the change that made them.
//!
//! | key | value |
//! |---|---|
//! | `i` | the tree's index, 8 bytes, big endian |
//! | `n` and the node's path | created, modified (8 bytes each), end in nanoseconds since 1970 or 0 (8 bytes), `d` or `f`, a file's value |

use std::sync::Arc;

use crate::tree::{Kind, Node};

/// The key of the index.
const INDEX: &[u8] = b"i";
/// What the keys of nodes begin with.
const NODE: u8 = b'n';
/// Bytes in front of a value.
const HEAD_BYTES: usize = 25;

/// A row to keep or to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This key has this value.
    Set {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// This key is gone.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

/// A row that no tree wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row {} of the v2 store cannot be read", key.escape_ascii())]
pub struct BadRow {
    /// Its key.
    pub key: Vec<u8>,
}

pub(crate) fn index_row(index: u64) -> Change {
    Change::Set { key: INDEX.to_vec(), value: index.to_be_bytes().to_vec() }
}

pub(crate) fn node_row(path: &str, node: &Node) -> Change {
    let text: &str = match &node.kind {
        Kind::Dir => "",
        Kind::File(value) => value,
    };
    let mut value = Vec::with_capacity(HEAD_BYTES + text.len());
    value.extend_from_slice(&node.created.to_be_bytes());
    value.extend_from_slice(&node.modified.to_be_bytes());
    value.extend_from_slice(&node.ends.unwrap_or(0).to_be_bytes());
    value.push(if matches!(node.kind, Kind::Dir) { b'd' } else { b'f' });
    value.extend_from_slice(text.as_bytes());
    Change::Set { key: node_key(path), value }
}

pub(crate) fn no_node_row(path: &str) -> Change {
    Change::Delete { key: node_key(path) }
}

fn node_key(path: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + path.len());
    key.push(NODE);
    key.extend_from_slice(path.as_bytes());
    key
}

/// What a row says.
pub(crate) enum Read {
    Index(u64),
    Node(String, Node),
}

pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Read, BadRow> {
    let bad = || BadRow { key: key.to_vec() };
    if key == INDEX {
        return Ok(Read::Index(u64::from_be_bytes(value.try_into().map_err(|_| bad())?)));
    }
    let Some((&NODE, path)) = key.split_first() else { return Err(bad()) };
    let path = std::str::from_utf8(path).map_err(|_| bad())?;
    let (head, text) = value.split_at_checked(HEAD_BYTES).ok_or_else(bad)?;
    let number = |at: usize| -> [u8; 8] { head[at..at + 8].try_into().expect("eight bytes") };
    let ends = i64::from_be_bytes(number(16));
    let kind = match (head[24], text) {
        (b'd', []) => Kind::Dir,
        (b'f', text) => Kind::File(Arc::from(std::str::from_utf8(text).map_err(|_| bad())?)),
        _ => return Err(bad()),
    };
    let node = Node {
        kind,
        created: u64::from_be_bytes(number(0)),
        modified: u64::from_be_bytes(number(8)),
        ends: (ends != 0).then_some(ends),
    };
    Ok(Read::Node(path.to_owned(), node))
}
