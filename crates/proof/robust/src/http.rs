//! HTTP/1.1 by hand: what is sent is exactly what the test says, sane or not.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer, as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code; 0 when the connection ended without one.
    pub status: u16,
    /// Header names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `GET path`.
pub fn get(address: &str, path: &str) -> io::Result<Answer> {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends `method path` with a body.
pub fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> io::Result<Answer> {
    let length = body.len();
    request(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Sends bytes as they are and reads one answer until the server closes.
pub fn request(address: &str, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut raw = Vec::new();
    let head_only = request.starts_with("HEAD ");
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => raw.extend_from_slice(&buffer[..count]),
            // A stream that never ends has said what it had to say.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if raw.is_empty() => return Err(error),
            Err(_) => break,
        }
        if is_complete(&raw, head_only) {
            break;
        }
    }
    parse(&raw)
}

/// True when a whole answer was read, so that a server which keeps the connection open costs no time.
fn is_complete(raw: &[u8], head_only: bool) -> bool {
    let Ok(answer) = parse(raw) else { return false };
    if head_only || answer.status == 204 {
        return true;
    }
    match answer.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => answer.body.len() >= length,
        None => raw.ends_with(b"0\r\n\r\n"),
    }
}

fn parse(raw: &[u8]) -> io::Result<Answer> {
    let no_answer = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(no_answer)?;
    let head = String::from_utf8_lossy(&raw[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(no_answer)?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = &raw[end + 4..];
    let body = if chunked { join_chunks(body) } else { body.to_vec() };
    Ok(Answer { status: status.parse().map_err(|_| no_answer())?, headers, body })
}

fn join_chunks(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&raw[..end]).ok();
        let size = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
        let rest = &raw[end + 2..];
        if size == 0 || rest.len() < size {
            break;
        }
        body.extend_from_slice(&rest[..size]);
        raw = rest.get(size + 2..).unwrap_or_default();
    }
    body
}
