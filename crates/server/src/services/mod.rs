//! The services, one file each. Every method is registered here and nowhere else.

mod auth;
mod cluster;
mod concurrency;
mod election;
mod health;
pub(crate) mod kv;
mod lease;
mod lock;
mod maintenance;
mod range;
mod range_stream;
mod size;
mod watch;

use node::Node;
use rpc::{Router, Rpc};

/// All methods of a member.
pub(crate) fn router(node: &Node) -> Router {
    let mut router = Router::new();
    kv::register(&mut router, node);
    watch::register(&mut router, node);
    lease::register(&mut router, node);
    cluster::register(&mut router, node);
    maintenance::register(&mut router, node);
    auth::register(&mut router, node);
    lock::register(&mut router, node);
    election::register(&mut router, node);
    health::register(&mut router, node);
    for rpc in Rpc::ALL {
        assert!(router.method(rpc.path()).is_some(), "{rpc} has no handler");
    }
    router
}
