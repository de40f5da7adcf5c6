//! The lessor: which leases exist, which keys hang on them, and when each one ends.
//!
//! Two halves live here. The **replicated** half (grant, revoke, attach, detach, checkpoint) is
//! driven by applied entries and is the same on every member. The **timing** half (keep-alive,
//! expiry, proposing checkpoints) runs on the leader alone, the *primary*: it is lost with the
//! leadership and made anew by the next leader from the replicated half.
//!
//! Time is handed in: `now_ms` counts milliseconds on any clock that never goes back, so a test can
//! let a year pass in a microsecond. Expiry only *proposes* a revoke: a lease ends when the revoke
//! is applied, at the same index on every member, never because one member's clock says so.
//!
//! Always true: a key hangs on one lease at most; no revoke is proposed before a lease's whole time
//! to live has passed since its grant or last keep-alive, under whichever leader; a follower knows no
//! deadlines.
//!
//! Not here: who may do what to a lease (see `auth`), deleting the keys of a revoked one (see
//! `apply`).

mod deadlines;
mod lessor;
mod primary;

pub use lessor::{
    Checkpoint, Effect, KeepAlive, Lease, Lessor, Options, Sizes, TTL_SECONDS_MAX, TimeToLive,
};
