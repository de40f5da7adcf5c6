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

use ::auth::Permitted;
pub(crate) use cluster::{member_added, member_removed, member_updated, promote_for};
use futures_util::FutureExt as _;
pub(crate) use maintenance::hash_at;
pub(crate) use range::room;
use rpc::{Call, Inbound, Reply, Router, Rpc, Sink};
use types::Refusal;

use crate::desk::Desk;
use crate::door::{self, AtLearners};
use crate::gatekeeper::AboutLeases;
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

/// How a message of a method becomes permitted.
pub(crate) trait Admission<M> {
    /// Lets it in.
    ///
    /// # Errors
    /// Why not.
    async fn admit(desk: &Desk, rpc: Rpc, call: &Call, message: M)
    -> Result<Permitted<M>, Refusal>;
}

/// Its sender is asked for.
pub(crate) struct Known;

impl<M: Asked> Admission<M> for Known {
    async fn admit(
        desk: &Desk,
        rpc: Rpc,
        call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        desk.admit(rpc, call, message).await
    }
}

/// Anybody may send it, and it must not fail for a token: a login, a probe.
pub(crate) struct Anybody;

impl<M: Asked> Admission<M> for Anybody {
    async fn admit(
        desk: &Desk,
        rpc: Rpc,
        _call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        desk.admit_anybody(rpc, message)
    }
}

/// It is made of other requests, each of which is asked about.
pub(crate) struct Outer;

impl<M: Asked> Admission<M> for Outer {
    async fn admit(
        desk: &Desk,
        rpc: Rpc,
        _call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        desk.admit_outer(rpc, message)
    }
}

/// It asks about leases, whose keys are looked at.
pub(crate) struct WithKeys;

impl<M: AboutLeases> Admission<M> for WithKeys {
    async fn admit(
        desk: &Desk,
        rpc: Rpc,
        call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        desk.admit_with_keys(rpc, call, message).await
    }
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
        self.one::<Known, M, R, Fut>(rpc, |refusal| refusal, handler);
    }

    /// One message in, one out, let in by `A`; refusals are shown as `shown` says.
    pub(crate) fn one<A, M, R, Fut>(
        &mut self,
        rpc: Rpc,
        shown: fn(Refusal) -> Refusal,
        handler: fn(Desk, Call, Permitted<M>) -> Fut,
    ) where
        A: Admission<M>,
        M: Asked + prost::Message + prost::Name + Default + 'static,
        R: Reply + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.unary_of(rpc.path(), move |call: Call, message: M| {
            let desk = desk.clone();
            let answered = async move {
                door::enter(desk.node(), &call, message.at_learners())?;
                let permitted = A::admit(&desk, rpc, &call, message).await?;
                handler(desk, call, permitted).await
            };
            // A block around it would hold it twice: before it is polled and while it is.
            answered.map(move |answer| answer.map_err(shown))
        });
    }

    /// One message in, many out, let in by `A`; how it ends badly is shown as `shown` says.
    pub(crate) fn many<A, M, Fut>(
        &mut self,
        rpc: Rpc,
        at_learners: AtLearners,
        shown: fn(Refusal) -> Result<(), Refusal>,
        handler: fn(Desk, Call, Permitted<M>, Sink) -> Fut,
    ) where
        A: Admission<M>,
        M: Asked + prost::Message + prost::Name + Default + 'static,
        Fut: Future<Output = Result<(), Refusal>> + 'static,
    {
        let desk = self.desk.clone();
        self.router.server_stream(rpc.path(), move |call, message, sink| {
            let desk = desk.clone();
            async move {
                let (node, wants_leader) = (desk.node().clone(), call.requires_leader());
                let answered = async move {
                    door::enter(desk.node(), &call, at_learners)?;
                    let message: M = rpc::decode_streamed(message)?;
                    let permitted = A::admit(&desk, rpc, &call, message).await?;
                    handler(desk, call, permitted, sink).await
                };
                let answered = answered.map(move |answer| answer.or_else(shown));
                while_led(node, wants_leader, answered).await
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
