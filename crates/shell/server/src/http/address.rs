//! What a request is addressed to: the host it names, and its path, as Go's server reads them.

use std::borrow::Cow;

use http::{Request, Uri, Version, header};

/// The path with `%41` as `A`; as it stands if that is no text.
pub(super) fn decoded_path(uri: &Uri) -> Cow<'_, str> {
    let path = uri.path();
    if !path.contains('%') {
        return path.into();
    }
    let bytes = path.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let digits = path.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_or(path.into(), Cow::from)
}

/// A path as it stands in a URL.
pub(super) fn encoded_path(path: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte.into()),
            b'/' | b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b':' | b';' | b'='
            | b'@' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("into memory"),
        }
    }
    out
}

/// The host a request is for: that of its target, if it names one, else its `Host`.
///
/// # Errors
/// What is wrong with its `Host`, in Go's words.
pub(super) fn host<B>(request: &Request<B>) -> Result<&str, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err("too many Host headers");
    }
    let must_be_there = request.version() == Version::HTTP_11;
    let named = match first {
        None if must_be_there => return Err("missing required Host header"),
        None => "",
        Some(host) => host.to_str().map_err(|_| "malformed Host header")?,
    };
    if !named.bytes().all(is_of_a_host) {
        return Err("malformed Host header");
    }
    Ok(request.uri().authority().map_or(named, |authority| authority.as_str()))
}

fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

/// A host without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_its_escapes_mean() {
        let decoded = |path: &str| decoded_path(&path.parse().expect("a target")).into_owned();
        assert_eq!(decoded("/%76ersion"), "/version");
        assert_eq!(decoded("/v3/kv%2fput?a=%41"), "/v3/kv/put");
        assert_eq!(decoded("/100%"), "/100%");
        assert_eq!(decoded("/%zz%ff"), "/%zz%ff");
        assert_eq!(encoded_path("/a b\"<\u{e9}"), "/a%20b%22%3C%C3%A9");
    }

    #[track_caller]
    fn check(target: &str, hosts: &[&str], expected: Result<&str, &str>) {
        let mut request = Request::get(target);
        for named in hosts {
            request = request.header("host", *named);
        }
        let request = request.body(()).expect("well-formed");
        assert_eq!(host(&request), expected);
    }

    /// A browser that was tricked names us in the target as well as in `Host`.
    #[test]
    fn the_host_of_the_target_counts_before_the_header() {
        check("/health", &["good.example:1"], Ok("good.example:1"));
        check("http://evil.example/health", &["good.example"], Ok("evil.example"));
        check("/health", &[], Err("missing required Host header"));
        check("/health", &["a", "a"], Err("too many Host headers"));
        check("/health", &["a b"], Err("malformed Host header"));
        check("/health", &[""], Ok(""));
        assert_eq!(without_port("good.example:1"), "good.example");
        assert_eq!(without_port("[::1]:1"), "[::1]");
    }
}
