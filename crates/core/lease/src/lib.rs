//! Leases: which exist, which keys hang on them, and when each one ends.
//!
//! Two halves, two owners. [`Leases`] is the **replicated** one (grant, revoke, attach, detach, checkpoint): applied
//! entries drive it, so it is the same on every member. [`Primary`] is the **timing** one (keep-alive, expiry,
//! proposing checkpoints): it exists on the leader alone, for one term, and is made anew by the next leader from the
//! replicated half.
//!
//! Time is handed in: `now_ms` counts milliseconds on any clock that never goes back, so a test can
//! let a year pass in a microsecond. Expiry only *proposes* a revoke: a lease ends when the revoke
//! is applied, at the same index on every member, never because one member's clock says so.
//!
//! Always true: a key hangs on one lease at most; no revoke is proposed before a lease's whole time
//! to live has passed since its grant or last keep-alive, under whichever leader; a member that does not lead knows
//! no deadlines.
//!
//! Not here: who may do what to a lease (see `auth`), deleting the keys of a revoked one (see
//! `apply`), which term this member leads in (see `member`).

mod deadlines;
mod leases;
mod primary;
mod promotion;
mod words;

pub use leases::{Leases, Sizes};
pub use primary::Primary;
pub use words::{Checkpoint, Effect, KeepAlive, Lease, Options, TTL_SECONDS_MAX, TimeToLive};
