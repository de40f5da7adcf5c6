//! What happens to leases.

use crate::family::families;
use crate::value::{Buckets, Counter, Histogram, Metric};

families! {
    /// Leases.
    pub struct LeaseMetrics {
        /// Leases granted.
        granted: Counter = Counter::default(), "etcd_debugging_lease_granted_total";
        /// Leases revoked.
        revoked: Counter = Counter::default(), "etcd_debugging_lease_revoked_total";
        /// Leases renewed while this member led.
        renewed: Counter = Counter::default(), "etcd_debugging_lease_renewed_total";
        /// The times to live of granted leases, in seconds.
        ttl: Histogram = Histogram::new(&Buckets::doubling(1.0, 24)), "etcd_debugging_lease_ttl_total";
        /// Leases this member found expired while it led.
        expired: Counter = Counter::default(), "etcd_debugging_server_lease_expired_total";
    }
}
