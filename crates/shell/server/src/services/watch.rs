//! The Watch service: one stream, many watches.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::BytesMut;
use pb::watch_request::RequestUnion;
use proto::etcdserverpb as pb;
use rpc::{Call, Inbound, Rpc, Sink};
use types::Refusal;
use watch::{Create, Filters};

use crate::desk::{Desk, Watching};
use crate::reply::{WatchReply, encoded_header};
use crate::services::Methods;

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.bidi(Rpc::Watch, serve);
}

/// Responses that are sent before the hub is told: it has so much less to hear, and a slow client still
/// makes room bit by bit.
const RESPONSES_TOGETHER: usize = 128;

/// Runs until the client goes or the member stops. A client that closes its end still hears of its watches.
async fn serve(
    desk: Desk,
    call: Call,
    mut inbound: Inbound,
    mut sink: Sink,
) -> Result<(), Refusal> {
    let mut stream = desk.watch(RandomState::new().build_hasher().finish());
    let mut asking = true;
    loop {
        tokio::select! {
            request = inbound.next_of::<pb::WatchRequest>(), if asking => match request? {
                Some(request) => take(&desk, &call, &stream, request).await,
                None => asking = false,
            },
            responses = stream.next() => {
                let Some(responses) = responses else { return Err(Refusal::Stopped) };
                send(&desk, &stream, &mut sink, &responses).await?;
            }
        }
    }
}

/// While a response waits for the client, no request is read: a client that does not listen is not
/// listened to, and nothing gathers for it.
async fn send(
    desk: &Desk,
    stream: &Watching,
    sink: &mut Sink,
    responses: &[watch::Response],
) -> Result<(), Refusal> {
    let of_one_revision = responses.chunk_by(|a, b| a.revision == b.revision);
    let headers: Vec<BytesMut> = of_one_revision
        .clone()
        .map(|responses| encoded_header(&desk.header(responses[0].revision)))
        .collect();
    let replies: Vec<WatchReply<'_>> = of_one_revision
        .zip(&headers)
        .flat_map(|(responses, header)| {
            responses.iter().map(move |response| WatchReply { header, response })
        })
        .collect();
    for some in replies.chunks(RESPONSES_TOGETHER) {
        sink.send_all(some).await?;
        stream.sent(some.len(), some.iter().map(|reply| reply.response.bytes()).sum());
        let events = some.iter().map(|reply| match &reply.response.body {
            watch::Body::Events { events, .. } => events.events().len() as u64,
            _ => 0,
        });
        desk.metrics().mvcc.events.add(events.sum());
    }
    Ok(())
}

/// Who may see a watch's keys is asked when it is made, as in etcd; what happens to its user afterwards does not
/// end it.
async fn take(desk: &Desk, call: &Call, stream: &Watching, request: pb::WatchRequest) {
    match request.request_union {
        Some(RequestUnion::CreateRequest(request)) => {
            let create = create_of(&request);
            stream.create(desk.admit(Rpc::Watch, call, request).await, create);
        }
        Some(RequestUnion::CancelRequest(cancel)) => stream.cancel(cancel.watch_id),
        Some(RequestUnion::ProgressRequest(_)) => stream.request_progress(),
        None => {}
    }
}

pub(crate) fn create_of(request: &pb::WatchCreateRequest) -> Create {
    use pb::watch_create_request::FilterType;
    let wants_not = |kind: FilterType| request.filters.contains(&(kind as i32));
    Create {
        watch: request.watch_id,
        range: watch::range_from_wire(&request.key, &request.range_end),
        start: request.start_revision,
        progress_notify: request.progress_notify,
        previous: request.prev_kv,
        filters: Filters {
            no_put: wants_not(FilterType::Noput),
            no_delete: wants_not(FilterType::Nodelete),
        },
        fragment: request.fragment,
        permission: Ok(()),
    }
}
