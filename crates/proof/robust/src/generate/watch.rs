//! Watches of every kind on two streams, while keys change and are compacted.

use prost::Message;
use proto::etcdserverpb::{
    CompactionRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    watch_request::RequestUnion,
};

use super::{Answered, Step, World, call, kv};

pub(super) fn steps(world: &mut World) -> Vec<Step> {
    match world.random.below(24) {
        0..6 => vec![create(world)],
        6 => cancel(world),
        // 3.4 answered this also when a watch was not yet where it should be.
        7 if !world.old => progress(world),
        8 => vec![Step::Drain],
        9 => compact(world),
        10 if world.random.one_in(3) => vec![nothing(world)],
        11..13 => vec![call("/etcdserverpb.KV/Txn", &kv::txn(world, 2))],
        13..15 => vec![call("/etcdserverpb.KV/DeleteRange", &kv::delete(world))],
        _ => vec![call("/etcdserverpb.KV/Put", &kv::put(world, true))],
    }
}

fn on_stream(world: &mut World, request: Option<RequestUnion>, answered: Answered) -> Step {
    let message = WatchRequest { request_union: request }.encode_to_vec();
    Step::Watch { stream: world.random.below(2) as usize, message, answered }
}

fn create(world: &mut World) -> Step {
    let key = world.key();
    // Not -1: real etcd uses it for refusals and progress too, and their order among a watch's own
    // answers is a matter of time.
    let ids: [i64; 8] = [0, 0, 0, 0, 1, 2, 7, -3];
    let request = WatchCreateRequest {
        range_end: world.range_end(&key).into(),
        key: key.into(),
        // 3.4 looked at the range before the revision.
        start_revision: world.at_revision().max(if world.old { 0 } else { i64::MIN }),
        progress_notify: world.random.one_in(4),
        filters: (0..world.random.below(3)).map(|_| world.random.between(0, 1) as i32).collect(),
        prev_kv: world.random.one_in(2),
        watch_id: world.random.pick(&ids),
        fragment: world.random.one_in(4),
    };
    on_stream(world, Some(RequestUnion::CreateRequest(request)), Answered::Created)
}

/// Calm first: whether events come before a cancel that follows them closely is a matter of time.
fn cancel(world: &mut World) -> Vec<Step> {
    let watch_id = world.random.between(-3, 7);
    let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
    vec![Step::Drain, on_stream(world, Some(cancel), Answered::Perhaps), Step::Drain]
}

/// Only on calm streams: whether a watch that is still behind swallows the request is a matter of time.
fn progress(world: &mut World) -> Vec<Step> {
    let ask = RequestUnion::ProgressRequest(WatchProgressRequest {});
    vec![Step::Drain, on_stream(world, Some(ask), Answered::Perhaps), Step::Drain]
}

/// Calm first: whether a watch that is behind is overtaken by a compaction is a matter of time.
fn compact(world: &mut World) -> Vec<Step> {
    let revision = world.random.between(world.compacted.min(world.revision), world.revision);
    let request = CompactionRequest { revision, physical: true };
    vec![Step::Drain, call("/etcdserverpb.KV/Compact", &request)]
}

fn nothing(world: &mut World) -> Step {
    on_stream(world, None, Answered::Perhaps)
}
