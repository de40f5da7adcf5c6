//! One plain HTTP GET, for what members tell without gRPC: their metrics.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::dial::dial;
use crate::endpoint::{Encryption, Endpoint};
use crate::tls::TlsOptions;

/// Metrics of a large member are some hundred kilobytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Fetches `path` from an endpoint; an error says why there is no body. The caller bounds the time.
pub async fn http_get(endpoint: &str, tls: &TlsOptions, path: &str) -> Result<String, String> {
    let endpoint = Endpoint::parse(endpoint);
    let config = match endpoint.encryption {
        Encryption::Never => None,
        Encryption::IfConfigured => tls.config().map_err(|error| error.to_string())?,
        Encryption::Required => Some(tls.build().map_err(|error| error.to_string())?),
    };
    let name = match tls.server_name.as_str() {
        "" => endpoint.server_name.clone(),
        given => given.to_owned(),
    };
    let config = config.map(|config| {
        let mut config = (*config).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        (std::sync::Arc::new(config), name)
    });
    let (mut wire, _) = dial(&endpoint, config.as_ref()).await?;
    let host = endpoint.authority();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    wire.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    // A TLS server that closes without saying so has still sent all it had; what is cut short is
    // found below.
    if let Err(error) = wire.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await
        && answer.is_empty()
    {
        return Err(error.to_string());
    }
    body(&answer)
}

/// The body of an answer.
fn body(answer: &[u8]) -> Result<String, String> {
    let malformed = || "the answer is no HTTP".to_owned();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(malformed)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let mut body = answer[end + 4..].to_vec();
    if head.contains("\r\ntransfer-encoding: chunked") {
        body = unchunked(&body).ok_or_else(|| "the answer was cut short".to_owned())?;
    }
    let status =
        head.split(' ').nth(1).and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok());
    match status.ok_or_else(malformed)? {
        StatusCode::OK => String::from_utf8(body).map_err(|_| malformed()),
        other => Err(format!("HTTP status {other}")),
    }
}

/// Takes the chunks out of their framing; `None` if the last is missing.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        let data = rest.get(end + 2..)?;
        out.extend_from_slice(data.get(..size)?);
        rest = data.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_whole_or_in_chunks() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nxyz"), Ok("xyz".to_owned()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n1;a\r\nz\r\n0\r\n\r\n";
        assert_eq!(body(chunked), Ok("xyz".to_owned()));
        let cut = &chunked[..chunked.len() - 12];
        assert_eq!(body(cut), Err("the answer was cut short".to_owned()));
    }

    #[test]
    fn what_is_not_200_is_no_body() {
        let refused = body(b"HTTP/1.1 404 Not Found\r\n\r\nno");
        assert_eq!(refused, Err("HTTP status 404 Not Found".to_owned()));
        assert_eq!(body(b"garbage"), Err("the answer is no HTTP".to_owned()));
    }
}
