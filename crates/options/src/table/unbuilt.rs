//! What this server cannot do yet, one constant for each part: whoever builds the part writes `Its` here,
//! and its flags are taken. Their values are read, checked and typed already.

use crate::flag::Does::{self, Nothing, Refused};

/// Finding the other members by a service.
pub(super) const DISCOVERY: Does =
    Refused("discovery is not built yet; name the members in --initial-cluster");
/// What only matters with discovery.
pub(super) const DISCOVERY_ASIDE: Does =
    Nothing("Matters only with discovery, which is not built yet and refused.");
/// What only matters with other members.
pub(super) const MEMBERS_ASIDE: Does =
    Nothing("Matters only with other members, which are not built yet.");
/// Going on alone.
pub(super) const LEAVING_MEMBERS: Does =
    Refused("a cluster of several members is not built yet, so there is none to leave");
