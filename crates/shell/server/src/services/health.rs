//! The gRPC health service: whoever asks is told, and nothing else.

use proto::health as hp;
use rpc::{Call, Rpc, Sink};
use types::{Code, Refusal};

use hp::health_check_response::ServingStatus;

use crate::desk::Desk;
use crate::services::Methods;

pub(crate) fn register(methods: &mut Methods<'_>) {
    let (router, desk) = (&mut *methods.router, methods.desk);
    let at = desk.clone();
    router.unary_of(
        Rpc::HealthCheck.path(),
        move |_call: Call, request: hp::HealthCheckRequest| {
            let status = status(&at);
            async move {
                if request.service.is_empty() {
                    Ok(hp::HealthCheckResponse { status: status as i32 })
                } else {
                    Err(Refusal::Other(Code::NotFound, "unknown service".into()))
                }
            }
        },
    );
    let at = desk.clone();
    router.unary_of(Rpc::HealthList.path(), move |_call: Call, _request: hp::HealthListRequest| {
        let serving = hp::HealthCheckResponse { status: status(&at) as i32 };
        async move {
            let statuses = [(String::new(), serving)].into_iter().collect();
            Ok(hp::HealthListResponse { statuses })
        }
    });
    let at = desk.clone();
    router.server_stream(Rpc::HealthWatch.path(), move |_call, message, sink| {
        watch(at.clone(), message, sink)
    });
}

fn status(desk: &Desk) -> ServingStatus {
    let serves = *desk.serves().borrow() && !desk.is_stopping();
    if serves { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Tells the status now and whenever it changes; of a service nobody knows it stays the same.
async fn watch(desk: Desk, message: bytes::Bytes, mut sink: Sink) -> Result<(), Refusal> {
    let request: hp::HealthCheckRequest = rpc::decode_streamed(message)?;
    let mut serves = desk.serves();
    loop {
        serves.borrow_and_update();
        let is_known = request.service.is_empty();
        let status = if is_known { status(&desk) } else { ServingStatus::ServiceUnknown };
        sink.send(&hp::HealthCheckResponse { status: status as i32 }).await?;
        if !is_known || serves.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
