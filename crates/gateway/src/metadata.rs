//! HTTP headers as gRPC metadata.
//!
//! `Authorization` passes as it is, `Grpc-Metadata-X` as `x`. Go's gateway hands on a few more
//! under the prefix `grpcgateway-`; of these only `accept` is ever looked at, as the mark of a
//! request that came this way. It is always set here, also for clients that send no `Accept`.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use types::Refusal;

/// The metadata of a call, from the headers of its request.
pub(crate) fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    let accept = headers.get("accept").cloned();
    metadata.insert("grpcgateway-accept", accept.unwrap_or(HeaderValue::from_static("*/*")));
    for (name, value) in headers {
        let handed_on = match name.as_str().strip_prefix("grpc-metadata-") {
            Some(rest) => HeaderName::try_from(rest).ok(),
            None if name == "authorization" => Some(name.clone()),
            None => None,
        };
        if let Some(name) = handed_on {
            metadata.append(name, value.clone());
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
        assert_eq!(metadata["authorization"], "b");
        assert_eq!(metadata["token"], "c");
        assert_eq!(metadata["grpcgateway-accept"], "*/*");
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
