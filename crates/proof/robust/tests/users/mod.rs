//! Users against a real etcd: every method by everybody, over gRPC, JSON and through transactions; logins; files
//! that hold no password; snapshots that carry users.

mod asks;
mod logins;
mod matrix;
mod ways;
mod world;
