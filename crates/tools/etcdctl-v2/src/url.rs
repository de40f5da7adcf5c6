//! Web addresses as Go's `net/url` reads and writes them, as far as endpoints need it.

use std::fmt::Write as _;

use go::quote;

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// `http` where none is given.
    pub scheme: String,
    /// `host:port`.
    pub host: String,
    /// Before it is escaped.
    pub path: String,
    /// What follows `?`.
    pub query: String,
    /// What follows a scheme without `//`.
    opaque: String,
}

impl Url {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// Go's words.
    pub fn parse(typed: &str) -> Result<Url, String> {
        let fault = |why: String| format!("parse {}: {why}", quote(typed));
        let (whole, _fragment) = typed.split_once('#').unwrap_or((typed, ""));
        let (scheme, rest) = split_scheme(whole).map_err(|why| fault(why.to_owned()))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Url {
            scheme: scheme.to_ascii_lowercase(),
            host: String::new(),
            path: String::new(),
            query: query.to_owned(),
            opaque: String::new(),
        };
        if !scheme.is_empty() && !rest.starts_with('/') {
            url.opaque = rest.to_owned();
            return Ok(url);
        }
        let path = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                check_host(authority).map_err(fault)?;
                url.host = authority.to_owned();
                path
            }
            None => rest,
        };
        url.path = unescaped(path).map_err(fault)?;
        Ok(url)
    }

    /// An endpoint of etcdctl: where no scheme is given it is `http`.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn endpoint(typed: &str) -> Result<Url, String> {
        let mut url = Url::parse(typed)?;
        if url.scheme.is_empty() {
            url.scheme = "http".to_owned();
        }
        // As Go does it: a bare word is a path, and becomes a host when it is written and read again.
        Url::parse(&url.to_string())
    }

    /// Another place of the same server.
    pub fn at(&self, path: String, query: String) -> Url {
        Url { path, query, ..self.clone() }
    }

    /// What a request line says.
    pub fn target(&self) -> String {
        let path = escaped_path(&self.path);
        let path = if path.is_empty() { "/".to_owned() } else { path };
        if self.query.is_empty() { path } else { format!("{path}?{}", self.query) }
    }

    /// Where to connect: the port is the scheme's where none is given.
    pub fn address(&self) -> String {
        let host = self.host.rsplit_once('@').map_or(self.host.as_str(), |(_, host)| host);
        let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let port = if self.scheme == "https" { "443" } else { "80" };
        if after.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
    }

    /// The host without port and brackets.
    pub fn host_name(&self) -> String {
        let address = self.address();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.scheme.is_empty() {
            write!(out, "{}:", self.scheme)?;
        }
        if !self.opaque.is_empty() {
            write!(out, "{}", self.opaque)?;
        } else {
            if !self.scheme.is_empty() || !self.host.is_empty() {
                write!(out, "//{}", self.host)?;
            }
            let path = escaped_path(&self.path);
            if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
                write!(out, "/")?;
            }
            write!(out, "{path}")?;
        }
        if self.query.is_empty() { Ok(()) } else { write!(out, "?{}", self.query) }
    }
}

fn split_scheme(typed: &str) -> Result<(&str, &str), &'static str> {
    if typed.chars().any(|char| char.is_ascii_control()) {
        return Err("net/url: invalid control character in URL");
    }
    let is_part = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
    let end = typed.find(|char| !is_part(char)).unwrap_or(typed.len());
    let begins_well = typed.starts_with(|char: char| char.is_ascii_alphabetic());
    match typed[end..].strip_prefix(':') {
        Some(_) if end == 0 => Err("missing protocol scheme"),
        Some(rest) if begins_well => Ok((&typed[..end], rest)),
        _ if typed.split('/').next().is_some_and(|first| first.contains(':')) => {
            Err("first path segment in URL cannot contain colon")
        }
        _ => Ok(("", typed)),
    }
}

fn check_host(authority: &str) -> Result<(), String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((_, after)) => after,
            None => return Err("missing ']' in host".to_owned()),
        },
        None => {
            if let Some(at) = host.find('%') {
                let escape: String = host[at..].chars().take(3).collect();
                return Err(format!("invalid URL escape {}", quote(escape)));
            }
            let odd = host.chars().find(|char| " \"<>^`{}|\\".contains(*char));
            if let Some(odd) = odd {
                return Err(format!("invalid character {} in host name", quote(odd.to_string())));
            }
            host.rfind(':').map_or("", |colon| &host[colon..])
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if (port.is_empty() || port.starts_with(':')) && digits.bytes().all(|d| d.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quote(port)))
}

fn unescaped(path: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3);
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            let escape: String = rest[at..].chars().take(3).collect();
            return Err(format!("invalid URL escape {}", quote(escape)));
        };
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(byte);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path as it is sent.
pub fn escaped_path(path: &str) -> String {
    escape(path, |byte| b"-_.~$&+,/:;=@".contains(&byte))
}

/// A value in a query or form.
pub fn escaped_value(value: &str) -> String {
    escape(value, |byte| b"-_.~ ".contains(&byte)).replace(' ', "+")
}

fn escape(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || is_kept(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
    }
    out
}

/// Names and values of a query or form, by name.
pub fn form(pairs: &[(&str, String)]) -> String {
    let mut pairs: Vec<_> = pairs.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", escaped_value(value))).collect();
    pairs.join("&")
}

/// A path with one slash at its beginning, without `.`, `..` and empty parts. A slash at its end stays.
pub fn canonical(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_go_reads_them() {
        let read = |typed: &str| Url::endpoint(typed).map(|url| url.to_string());
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(read("http://a:1"), ok("http://a:1"));
        assert_eq!(read("//a:1"), ok("http://a:1"));
        assert_eq!(read("127.0.0.1"), ok("http://127.0.0.1"));
        assert_eq!(read("localhost:1"), ok("localhost:1"));
        let colon = "parse \"127.0.0.1:1\": first path segment in URL cannot contain colon";
        assert_eq!(read("127.0.0.1:1"), Err(colon.to_owned()));
        let open = "parse \"http://[::1\": missing ']' in host";
        assert_eq!(read("http://[::1"), Err(open.to_owned()));
    }

    #[test]
    fn a_port_is_the_schemes_where_none_is_given() {
        let address = |typed: &str| Url::endpoint(typed).expect("it is one").address();
        assert_eq!(address("http://a"), "a:80");
        assert_eq!(address("https://[::1]"), "[::1]:443");
        assert_eq!(address("https://u@a:5"), "a:5");
    }

    #[test]
    fn keys_and_values_are_escaped_as_go_escapes_them() {
        assert_eq!(escaped_path("/v2/keys/a b/ü%?*"), "/v2/keys/a%20b/%C3%BC%25%3F%2A");
        assert_eq!(
            form(&[("value", "x\"y z$&".to_owned()), ("ttl", "5".to_owned())]),
            "ttl=5&value=x%22y+z%24%26"
        );
    }

    #[test]
    fn a_path_is_cleaned_and_keeps_its_last_slash() {
        assert_eq!(canonical("/v2/keys/a//b/../c/"), "/v2/keys/a/c/");
        assert_eq!(canonical("/v2/keys/.."), "/v2");
        assert_eq!(canonical(""), "/");
    }
}
