//! The tests with real processes, in one binary because linking is dear.

mod clients;
mod corners;
mod flags;
mod kill;
mod oracle;
mod runbooks;
mod snapshots;
