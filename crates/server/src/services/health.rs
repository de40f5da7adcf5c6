//! The gRPC health service.

use node::Node;
use proto::health as hp;
use rpc::{Call, Router, Rpc, Sink};
use types::{Code, Refusal};

use hp::health_check_response::ServingStatus;

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
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
    let at = node.clone();
    router.unary_of(Rpc::HealthList.path(), move |_call: Call, _request: hp::HealthListRequest| {
        let serving = hp::HealthCheckResponse { status: status(&at) as i32 };
        async move {
            let statuses = [(String::new(), serving)].into_iter().collect();
            Ok(hp::HealthListResponse { statuses })
        }
    });
    let at = node.clone();
    router.server_stream(Rpc::HealthWatch.path(), move |_call, message, sink| {
        watch(at.clone(), message, sink)
    });
}

fn status(node: &Node) -> ServingStatus {
    if node.is_stopping() { ServingStatus::NotServing } else { ServingStatus::Serving }
}

/// Tells the status now, and stays silent as long as it does not change.
async fn watch(node: Node, message: bytes::Bytes, mut sink: Sink) -> Result<(), Refusal> {
    let request: hp::HealthCheckRequest = rpc::decode_streamed(message)?;
    let status =
        if request.service.is_empty() { status(&node) } else { ServingStatus::ServiceUnknown };
    sink.send(&hp::HealthCheckResponse { status: status as i32 }).await?;
    std::future::pending().await
}
