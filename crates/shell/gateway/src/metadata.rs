//! HTTP headers as gRPC metadata.
//!
//! `Authorization` passes as it is, `Grpc-Metadata-X` as `x`. Go's gateway hands on a few more
//! under the prefix `grpcgateway-`; of these only `accept` is ever looked at, as the mark of a
//! request that came this way. It is always set here, also for clients that send no `Accept`.

use std::time::Instant;

use http::HeaderMap;
use rpc::Metadata;
use types::Refusal;

/// The metadata of a call, from the headers of its request.
pub(crate) fn metadata(headers: &HeaderMap) -> Metadata {
    let mut metadata = Metadata::default();
    let accept = headers.get("accept").map_or(&b"*/*"[..], |accept| accept.as_bytes());
    metadata.push("grpcgateway-accept", accept.to_vec());
    for (name, value) in headers {
        let handed_on = match name.as_str().strip_prefix("grpc-metadata-") {
            None if name == "authorization" => Some("authorization"),
            rest => rest.filter(|rest| !rest.is_empty()),
        };
        if let Some(name) = handed_on {
            metadata.push(name.to_owned(), value.as_bytes().to_vec());
        }
    }
    metadata
}

/// When the client stops waiting: `Grpc-Timeout`, if it is there.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Refusal> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = rpc::parse_timeout(value.as_bytes()).map_err(|_| {
        let text = String::from_utf8_lossy(value.as_bytes());
        Refusal::invalid(format!("invalid grpc-timeout: {text}"))
    })?;
    Ok(Instant::now().checked_add(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use std::time::Duration;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_token_comes_by_authorization_or_by_grpc_metadata_but_not_by_its_own_name() {
        let given = [("token", "a"), ("authorization", "b"), ("grpc-metadata-token", "c")];
        let metadata = metadata(&headers(&given));
        let said = |name| metadata.get(name).expect("it is handed on");
        assert_eq!(said("authorization"), "b");
        assert_eq!(said("token"), "c");
        assert_eq!(said("grpcgateway-accept"), "*/*");
    }

    #[test]
    fn a_timeout_is_honoured_or_refused() {
        let text = "invalid grpc-timeout: soon!";
        let refused = deadline(&headers(&[("grpc-timeout", "soon!")]));
        assert_eq!(refused.expect_err("malformed").message(), text);
        let deadline = deadline(&headers(&[("grpc-timeout", "5S")])).expect("well-formed");
        assert!(deadline.expect("given") > Instant::now() + Duration::from_secs(4));
    }
}
