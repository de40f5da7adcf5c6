//! What this server cannot do yet, one constant for each part: whoever builds the part writes `Its` here,
//! and its flags are taken. Their values are read, checked and typed already.

use crate::flag::Does::{self, Nothing, Refused};

/// Finding the other members by a service.
pub(super) const DISCOVERY: Does =
    Refused("discovery is not built yet; name the members in --initial-cluster");
/// What only matters with discovery.
pub(super) const DISCOVERY_ASIDE: Does =
    Nothing("Matters only with discovery, which is not built yet and refused.");
/// Comparing what members store.
pub(super) const COMPARING: Does = Nothing(
    "Members do not compare their data by themselves yet; `etcdctl endpoint hashkv --cluster` does.",
);
/// Looking after a downgrade.
pub(super) const DOWNGRADING: Does = Nothing("Downgrades are not built yet.");
/// What is as it is between members.
pub(super) const BETWEEN_MEMBERS: Does =
    Nothing("Between members the times of docs/peers.md hold.");
