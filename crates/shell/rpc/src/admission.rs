//! What is asked of a request before its method is looked up: gRPC's own rules for headers.
//!
//! The order of the checks and their texts are grpc-go's (`docs/etcd/observed.md` F).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http2::{Fields, Head};
use types::{Code, Refusal};

use crate::message::Encoding;
use crate::status::{self, cut, quoted};

/// A request that may be answered as gRPC.
pub(crate) struct Admitted {
    pub encoding: Encoding,
    pub timeout: Option<Duration>,
    pub content_type: Bytes,
}

/// A request that is no gRPC; the HTTP status says so too.
#[derive(Debug)]
pub(crate) struct Turned {
    pub status: u16,
    pub content_type: Bytes,
    pub refusal: Refusal,
}

const GRPC: &[u8] = b"application/grpc";

/// Whether a request says that it is gRPC, well or badly: what Go's server looks at to tell it from others.
pub(crate) fn is_grpc(head: &Head) -> bool {
    head.fields.get("content-type").is_some_and(|found| found.starts_with(GRPC))
}

/// Judges a request's headers. A call whose `grpc-encoding` is unknown is refused in the normal
/// way, with HTTP status 200.
pub(crate) fn admit(head: &Head) -> Result<Admitted, Turned> {
    let fields = &head.fields;
    let Some(content_type) = answer_type(fields) else {
        let found = fields.get("content-type").map_or(&b""[..], |value| value);
        let text = format!("invalid gRPC request content-type {}", quoted(found));
        let refusal = Refusal::Other(Code::InvalidArgument, text.into());
        return Err(Turned { status: 415, content_type: Bytes::from_static(GRPC), refusal });
    };
    let turned = |status, content_type: &Bytes, text: String| Turned {
        status,
        content_type: content_type.clone(),
        refusal: Refusal::Other(Code::Internal, text.into()),
    };
    let timeout = match fields.get("grpc-timeout") {
        None => None,
        Some(value) => Some(status::parse_timeout(value).map_err(|error| {
            turned(400, &content_type, format!("malformed grpc-timeout: {error}"))
        })?),
    };
    if head.authority.is_none() && fields.get("host").is_none() {
        let text = "no host or :authority header present".to_owned();
        return Err(turned(400, &content_type, text));
    }
    if head.method != "POST" {
        let verb = String::from_utf8_lossy(&head.method);
        let verb = cut(&verb);
        let text = format!("Received a HEADERS frame with :method \"{verb}\" which should be POST");
        return Err(turned(405, &content_type, text));
    }
    let encoding = encoding(fields).map_err(|refusal| Turned {
        status: 200,
        content_type: content_type.clone(),
        refusal,
    })?;
    Ok(Admitted { encoding, timeout, content_type })
}

impl Admitted {
    /// When the client stops waiting. A timeout beyond the clock's end is none.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }
}

/// The longest subtype that is echoed, in bytes.
const SUBTYPE_BYTES_MAX: usize = 64;

/// The content type to answer with: the one asked for, its subtype in lower case. `None` if it is not gRPC's.
fn answer_type(fields: &Fields) -> Option<Bytes> {
    let found = fields.get("content-type")?;
    if found == GRPC {
        return Some(Bytes::from_static(GRPC));
    }
    let subtype = match found.strip_prefix(GRPC)? {
        [] => &[][..],
        [b'+' | b';', subtype @ ..] => subtype,
        _ => return None,
    };
    if subtype.is_empty() || SUBTYPE_BYTES_MAX < subtype.len() {
        return Some(Bytes::from_static(GRPC));
    }
    Some([GRPC, b"+", &subtype.to_ascii_lowercase()].concat().into())
}

fn encoding(fields: &Fields) -> Result<Encoding, Refusal> {
    let Some(value) = fields.get("grpc-encoding") else { return Ok(Encoding::Identity) };
    match &value[..] {
        b"" | b"identity" => Ok(Encoding::Identity),
        b"gzip" => Ok(Encoding::Gzip),
        other => {
            let name = quoted(other);
            let text = format!("grpc: Decompressor is not installed for grpc-encoding {name}");
            Err(Refusal::Other(Code::Unimplemented, text.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http2::Field;

    #[track_caller]
    fn admitted(headers: &[(&'static str, &'static str)]) -> Admitted {
        match judge("POST", headers) {
            Ok(admitted) => admitted,
            Err(turned) => panic!("{turned:?}"),
        }
    }

    fn judge(
        verb: &'static str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Admitted, Turned> {
        let pseudo = [
            (":method", verb),
            (":scheme", "http"),
            (":authority", "host"),
            (":path", "/pkg.Echo/Once"),
        ];
        let fields = pseudo.iter().chain(headers);
        let fields = fields.map(|(name, value)| Field::from_static(name, value)).collect();
        admit(&Head::new(fields).expect("well-formed"))
    }

    #[track_caller]
    fn turned(
        verb: &'static str,
        headers: &[(&'static str, &'static str)],
        status: u16,
        code: Code,
        text: &str,
    ) {
        let Err(turned) = judge(verb, headers) else { panic!("it was admitted") };
        assert_eq!(turned.status, status);
        assert_eq!((turned.refusal.code(), turned.refusal.message()), (code, text));
    }

    const TYPE: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn whatever_subtype_is_asked_for_is_echoed() {
        let echoed = |asked: &'static str| {
            let admitted = admitted(&[("content-type", asked)]);
            String::from_utf8(admitted.content_type.to_vec()).expect("text")
        };
        assert_eq!(echoed("application/grpc"), "application/grpc");
        assert_eq!(echoed("application/grpc+Proto"), "application/grpc+proto");
        assert_eq!(echoed("application/grpc;"), "application/grpc");
    }

    #[test]
    fn what_is_not_grpc_is_turned_away_with_an_http_status() {
        let invalid = Code::InvalidArgument;
        let text = "invalid gRPC request content-type \"application/json\"";
        turned("POST", &[("content-type", "application/json")], 415, invalid, text);
        turned("GET", &[], 415, invalid, "invalid gRPC request content-type \"\"");
        let text = "invalid gRPC request content-type \"application/grpcx\"";
        turned("POST", &[("content-type", "application/grpcx")], 415, invalid, text);
        let text = "Received a HEADERS frame with :method \"GET\" which should be POST";
        turned("GET", &[TYPE], 405, Code::Internal, text);
    }

    #[test]
    fn a_malformed_timeout_is_noticed_before_the_wrong_method() {
        let text = "malformed grpc-timeout: transport: timeout unit is not recognized: \"10\"";
        turned("GET", &[TYPE, ("grpc-timeout", "10")], 400, Code::Internal, text);
    }

    #[test]
    fn an_unknown_compression_is_refused_with_status_200() {
        let text = "grpc: Decompressor is not installed for grpc-encoding \"snappy\"";
        turned("POST", &[TYPE, ("grpc-encoding", "snappy")], 200, Code::Unimplemented, text);
        let gzip = admitted(&[TYPE, ("grpc-encoding", "gzip")]);
        assert_eq!(gzip.encoding, Encoding::Gzip);
    }
}
