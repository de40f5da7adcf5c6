//! Real processes under real faults, and real etcd beside us as oracle.
//!
//! Everything here treats the server under test as a black box: a binary that is started on loopback
//! with ports the operating system gave, spoken to over its sockets, and killed. Which binary that is
//! says `HOLDFAST_ETCD` (default: the `etcd` this workspace built), so that the same tests run
//! against real etcd too, which is how the tests themselves are checked.
//!
//! - [`foreign`]: finds the foreign parts (real etcd in three versions, its tools, the real clients).
//! - [`beside`]: programs that run beside a server.
//! - [`cluster`]: several processes that are one cluster, ours and Go's.
//! - [`secure`]: the same with certificates on every port.
//! - [`process`]: a server process: start, wait until ready, kill -9, restart, stop, logs on failure.
//! - [`name_server`]: SRV records for programs that look for them.
//! - [`grpc`], [`http`]: clients that can send nonsense too, because they know no messages.
//! - [`raw`]: HTTP/2 frames written by hand.
//! - [`schema`]: any answer as a flat list of fields, with what may differ masked.
//! - [`generate`]: requests by seed, sane and insane.
//! - [`oracle`]: the same requests to two servers, answers compared field by field.
//! - [`runbook`]: an operator's commands as text, input and output together.
//! - [`tamper`]: another value in what a member stores.
//! - [`rounds`]: clusters in network namespaces, harmed by seed and judged by `history`.
//! - [`load`]: clients that write while the server is killed, and the judge of what is left.

pub mod beside;
pub mod cluster;
pub mod collector;
pub mod foreign;
pub mod generate;
pub mod grpc;
pub mod http;
pub mod load;
pub mod name_server;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod random;
pub mod raw;
pub mod rounds;
pub mod runbook;
pub mod schema;
pub mod secure;
pub mod tamper;
