//! The messages of etcd's protocols, generated at build time from `proto/*.proto`.
//!
//! Field numbers come from `docs/etcd/api.md` section 2. A `bytes` field is a [`bytes::Bytes`] that
//! shares the buffer it was decoded from. These types are the wire's: they stop at `apply` and
//! `server`, everything inside speaks `types`.

#![allow(missing_docs, reason = "generated; the fields are explained in the reference")]
#![allow(clippy::all, reason = "generated")]

pub mod lenient;
mod rpc;
pub mod weight;

pub use rpc::{Kind, Rpc};

macro_rules! packages {
    ($($name:ident),*) => {
        $(pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
        })*
    };
}

packages!(
    authpb,
    etcdserverpb,
    leasepb,
    membershippb,
    mvccpb,
    raftpb,
    snappb,
    v2pb,
    v3electionpb,
    v3lockpb,
    walpb
);

/// The health service, whose package has dots in its name.
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

/// All of the above as an encoded `google.protobuf.FileDescriptorSet`, for whoever needs the names
/// of fields (see `gateway`).
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
