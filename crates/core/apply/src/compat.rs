//! What the cluster's version decides about applying an entry.
//!
//! Releases of etcd apply some entries differently, and each of them by its own code. Here it hangs on the
//! version that the log itself agreed on, so that all members of ours change over at the same entry. Nothing
//! else in this crate asks which version a cluster has.

use types::Version;

/// How entries are applied at one place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compat {
    /// Whether a checkpoint of a lease is stored. Members up to 3.5 only remember it.
    pub checkpoints_stored: bool,
    /// Whether a transaction is refused on every member for a range it cannot answer. Up to 3.6 only the
    /// member that proposed it looks at its ranges, all others carry out the writes; so do we, for our own
    /// too, and only the answer tells (`docs/etcd/apply-semantics.md` 12.1).
    pub txn_ranges_checked: bool,
}

impl Compat {
    /// In a cluster of this version; `None` before it has one, when any member may be there.
    pub fn of(version: Option<Version>) -> Compat {
        let at_least = |minor| version.is_some_and(|agreed| Version::new(3, minor) <= agreed);
        Compat { checkpoints_stored: at_least(6), txn_ranges_checked: at_least(7) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_release_does_begins_when_all_members_are_of_it() {
        let at = |minor| Compat::of(Some(Version::new(3, minor)));
        let seen: Vec<_> = [4, 5, 6, 7, 10]
            .map(|minor| (at(minor).checkpoints_stored, at(minor).txn_ranges_checked))
            .into();
        let (no, yes) = (false, true);
        assert_eq!(seen, [(no, no), (no, no), (yes, no), (yes, yes), (yes, yes)]);
        assert_eq!(Compat::of(None), at(4));
    }
}
