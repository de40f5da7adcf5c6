//! Who may do what.
//!
//! [`Users`] is the replicated half: users, roles, and whether anybody asks for them. Committed entries
//! change it, and its rows are etcd's own, byte for byte. [`Needs`] says what a message asks for,
//! [`Users::admit`] compares the two and hands out the proof, a [`Permitted`] message, which nobody else can
//! make. [`Tokens`] is the half every member keeps for itself: which token stands for whom, until when.
//!
//! Always true: a permission is decided by an exhaustive match, and whatever nobody thought of needs root.
//!
//! Not here: how a password becomes a hash and where a token comes from (see `server`), when an entry is
//! applied (see `apply`).

mod change;
mod judge;
mod needs;
mod passwords;
mod permitted;
mod ranges;
mod rows;
mod rule;
mod tokens;
mod users;

pub use change::{Changed, NAME_BYTES_MAX, NewUser, check_permission};
pub use judge::{Caller, Judge, Leases};
pub use needs::Needs;
pub use passwords::{NOT_ENCODED, hash_from_log, of_proposal};
pub use permitted::{Permitted, Principal, Why};
pub use ranges::RangeSet;
pub use rows::BadRow;
pub use rule::{Rule, rule};
pub use tokens::{TOKENS_MAX, TokenChange, Tokens, fingerprint};
pub use users::{ROOT, Rights, Role, User, Users};
