//! The tests with real processes, in one binary because linking is dear.

mod attack;
mod clients;
mod cluster;
mod cluster_metrics;
mod conformance;
mod corners;
mod corruption;
mod disaster;
mod discovery;
mod edge;
mod flags;
mod full_disk;
mod kill;
mod kubernetes;
mod lists;
mod lockstep;
mod membership;
mod oracle;
mod patroni;
mod rounds;
mod runbooks;
mod secure_cluster;
mod snapshots;
mod takeover;
mod tls;
mod users;
