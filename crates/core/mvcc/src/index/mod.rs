//! The key index: an ordered tree of keys with what is kept of each, cheap to snapshot and to count.

mod build;
mod history;
mod item;
mod keys;
mod node;
mod prune;
mod record;
mod tree;
mod walk;

pub(crate) use build::Builder;
pub(crate) use item::Item;
pub(crate) use keys::KeyParts;
pub(crate) use prune::Pruning;
pub(crate) use record::Record;
pub(crate) use tree::Tree;
pub(crate) use walk::{Bounds, after};

#[cfg(test)]
mod tests;
