//! The services, one file each. Every method is registered here and nowhere else, and none without asking who
//! calls: a handler takes a [`Permitted`] message, or asks the desk for each message it reads.

mod auth;
mod cluster;
mod concurrency;
mod election;
mod health;
mod inner;
pub(crate) mod kv;
mod lease;
mod lock;
mod maintenance;
mod range;
mod range_stream;
mod reconfigure;
mod size;
mod watch;

use ::auth::{Permitted, Rule, rule};
pub(crate) use cluster::promote_for;
pub(crate) use maintenance::hash_at;
pub(crate) use range::room;
use rpc::{Call, Inbound, Reply, Router, Rpc, Sink};
use types::Refusal;

use crate::desk::Desk;
use crate::door::{self, AtLearners};
use crate::leader::while_led;
use crate::proposals::Asked;

/// All methods of a member.
pub(crate) fn router(desk: &Desk) -> Router {
    let mut router = Router::new();
    let mut methods = Methods { router: &mut router, desk };
    kv::register(&mut methods);
    watch::register(&mut methods);
    lease::register(&mut methods);
    cluster::register(&mut methods);
    maintenance::register(&mut methods);
    auth::register(&mut methods);
    lock::register(&mut methods);
    election::register(&mut methods);
    health::register(&mut methods);
    for rpc in Rpc::ALL {
        assert!(router.method(rpc.path()).is_some(), "{rpc} has no handler");
    }
    router
}

/// Where services register their methods.
pub(crate) struct Methods<'a> {
    router: &'a mut Router,
    desk: &'a Desk,
}

impl Methods<'_> {
    /// One message in, one out; the sender is asked for.
    pub(crate) fn unary<M, R, Fut>(
        &mut self,
        rpc: Rpc,
        handler: fn(Desk, Call, Permitted<M>) -> Fut,
    ) where
        M: Asked + prost::Message + prost::Name + Default + 'static,
        R: Reply + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.unary_of(rpc.path(), move |call: Call, message: M| {
            let desk = desk.clone();
            async move {
                door::enter(desk.node(), &call, message.at_learners())?;
                let permitted = desk.admit(rpc, &call, message).await?;
                handler(desk, call, permitted).await
            }
        });
    }

    /// The same for a method that must not fail for a token: a login, a probe.
    pub(crate) fn open<M, R, Fut>(&mut self, rpc: Rpc, handler: fn(Desk, Call, Permitted<M>) -> Fut)
    where
        M: Asked + prost::Message + prost::Name + Default + 'static,
        R: Reply + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.unary_of(rpc.path(), move |call: Call, message: M| {
            let desk = desk.clone();
            async move {
                door::enter(desk.node(), &call, message.at_learners())?;
                let permitted = desk.admit_anybody(rpc, message)?;
                handler(desk, call, permitted).await
            }
        });
    }

    /// The same for a method made of other requests, whose refusals are shown in another way.
    pub(crate) fn outer<M, R, Fut>(
        &mut self,
        rpc: Rpc,
        shown: fn(Refusal) -> Refusal,
        handler: fn(Desk, Call, Permitted<M>) -> Fut,
    ) where
        M: Asked + prost::Message + prost::Name + Default + 'static,
        R: Reply + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.unary_of(rpc.path(), move |call: Call, message: M| {
            let desk = desk.clone();
            async move {
                let at_learners = message.at_learners();
                door::enter(desk.node(), &call, at_learners).map_err(shown)?;
                let permitted = desk.admit_outer(rpc, message).map_err(shown)?;
                handler(desk, call, permitted).await.map_err(shown)
            }
        });
    }

    /// The same for a question about leases, for which their keys are looked at.
    pub(crate) fn unary_about_leases<M, R, Fut>(
        &mut self,
        rpc: Rpc,
        handler: fn(Desk, Call, Permitted<M>) -> Fut,
    ) where
        M: crate::gatekeeper::AboutLeases + prost::Message + prost::Name + Default + 'static,
        R: Reply + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.unary_of(rpc.path(), move |call: Call, message: M| {
            let desk = desk.clone();
            async move {
                door::enter(desk.node(), &call, AtLearners::Refused)?;
                let permitted = desk.admit_with_keys(rpc, &call, message).await?;
                handler(desk, call, permitted).await
            }
        });
    }

    /// One message in, many out.
    pub(crate) fn server_stream<M, Fut>(
        &mut self,
        rpc: Rpc,
        shown: fn(Refusal) -> Result<(), Refusal>,
        handler: fn(Desk, Call, Permitted<M>, Sink) -> Fut,
    ) where
        M: Asked + prost::Message + prost::Name + Default + 'static,
        Fut: Future<Output = Result<(), Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        let at_learners = match rpc {
            Rpc::MaintenanceSnapshot => AtLearners::Served,
            _ => AtLearners::Refused,
        };
        self.router.server_stream(rpc.path(), move |call, message, sink| {
            let desk = desk.clone();
            async move {
                let (node, wants_leader) = (desk.node().clone(), call.requires_leader());
                let stream = async move {
                    door::enter(desk.node(), &call, at_learners)?;
                    let message: M = rpc::decode_streamed(message)?;
                    let permitted = match rule(rpc) {
                        Rule::Inner => desk.admit_outer(rpc, message)?,
                        _ => desk.admit(rpc, &call, message).await?,
                    };
                    handler(desk, call, permitted, sink).await
                };
                let stream = async move { stream.await.or_else(shown) };
                while_led(node, wants_leader, stream).await
            }
        });
    }

    /// Many messages in, many out. The handler asks for each.
    pub(crate) fn bidi<Fut>(&mut self, rpc: Rpc, handler: fn(Desk, Call, Inbound, Sink) -> Fut)
    where
        Fut: Future<Output = Result<(), Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.bidi(rpc.path(), move |call, inbound, sink| {
            let desk = desk.clone();
            async move {
                door::enter(desk.node(), &call, AtLearners::Refused)?;
                let (node, wants_leader) = (desk.node().clone(), call.requires_leader());
                while_led(node, wants_leader, handler(desk, call, inbound, sink)).await
            }
        });
    }
}
