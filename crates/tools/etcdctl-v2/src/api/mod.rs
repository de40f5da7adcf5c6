//! What is asked of members: keys, members, users and roles, over HTTP.

pub mod auth;
mod client;
mod fault;
mod keys;
mod members;
mod round;

pub use auth::Permissions;
pub use client::{Client, Config};
pub use fault::Fault;
pub use keys::{Action, Get, Node, Refusal, Remove, Reply, Set, Watch, keys};
pub use members::{Member, MembersFault};
pub use round::{Answer, Ask, Credentials};
