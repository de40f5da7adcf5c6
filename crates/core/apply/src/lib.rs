//! Committed entries become changes, here and nowhere else.
//!
//! [`Applier`] owns the replicated state: the keyspace, leases, alarms, members, and the store that
//! keeps them. [`Applier::apply`] takes the next entry and returns what its proposer is told and what
//! watchers must see. The wire's words end here: [`check`] looks at a request before it is proposed,
//! [`Asked`] is what an entry holds, [`wire`] translates it, and everything behind them speaks `types`.
//!
//! On its way an entry is decoded once (`request`), meets its gates (`gates`: alarms, permission, quota) and is
//! carried out (`dispatch`, then `keys`, `txn`, `cluster`).
//!
//! Not here: which entry comes next (see `consensus`), where answers go (see `member`).

mod alarms;
mod answer;
mod applier;
mod auth;
pub mod check;
mod cluster;
mod compat;
mod dispatch;
mod fact;
mod gates;
mod keys;
mod lost;
mod members;
mod membership;
mod open;
mod path;
mod request;
mod source;
mod txn;
mod upkeep;
mod v2tree;
pub mod wire;

pub use alarms::{Alarms, CORRUPT, NOSPACE};
pub use answer::{
    Answer, AuthAnswer, DeleteAnswer, OpAnswer, PutAnswer, RangeAnswer, TxnAnswer, V2Answer,
};
pub use applier::{Applied, Applier, Config, Fault, HashJob, ReadView};
pub use compat::Compat;
pub use fact::{Change, Fact};
pub use lost::Decidable;
pub use members::{ChangeContext, Downgrade, Member, Members};
pub use membership::{BadMemberRow, Membership};
pub use open::RecoverError;
pub use request::{Asked, Asker, AuthRequest, Request, Unknown};
pub use source::{Flushed, Written};
pub use txn::{
    read as read_txn, read_range, read_range_with_room, read_short_range,
    read_with_room as read_txn_with_room,
};
pub use upkeep::Upkeep;
