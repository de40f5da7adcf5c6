//! URLs to listen on and to advertise: `http://10.0.0.1:2379`, `unix://path`.
//!
//! Not a general URL parser: it takes what etcd takes and refuses in the words etcd gets from Go.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use go::quote;

/// How to speak behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TCP with TLS.
    Https,
    /// A socket in the file system.
    Unix,
    /// A socket in the file system, with TLS.
    Unixs,
}

impl Scheme {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    /// Whether TLS is asked for.
    pub fn is_secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }

    /// Whether it is a socket in the file system.
    pub fn is_unix(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }
}

/// A URL that names an address: no path but that of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    scheme: Scheme,
    /// What stands between `://` and the path: `host:port`, or the first part of a socket's path.
    authority: String,
    /// The path of a unix socket.
    path: String,
}

impl Url {
    /// Reads one URL; blanks around it are ignored.
    pub fn parse(typed: &str) -> Result<Url, String> {
        let typed = typed.trim();
        let (scheme, rest) = split_scheme(typed)?;
        let bad_scheme = || format!("URL scheme must be http, https, unix, or unixs: {typed}");
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        check_authority(typed, authority)?;
        let path = &*unescaped(path).map_err(|why| format!("parse {}: {why}", quote(typed)))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(bad_scheme()),
        };
        let url = Url { scheme, authority: authority.to_owned(), path: path.to_owned() };
        if !scheme.is_unix() {
            if url.host_and_port().is_none() {
                return Err(format!("URL address does not have the form \"host:port\": {typed}"));
            }
            if !url.path.is_empty() {
                return Err(format!("URL must not contain a path: {typed}"));
            }
        }
        Ok(url)
    }

    /// Reads a list separated by commas and sorts it, as etcd does. An empty text is an empty list.
    pub fn parse_list(typed: &str) -> Result<Vec<Url>, String> {
        if typed.is_empty() {
            return Ok(Vec::new());
        }
        let mut urls = typed.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort_by_cached_key(Url::to_string);
        Ok(urls)
    }

    /// How to speak.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host:port`, as in `address` fields of log lines; for a socket, its path.
    pub fn address(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }

    /// Host (without brackets) and port; `None` for a socket.
    pub fn host_and_port(&self) -> Option<(&str, &str)> {
        let (host, port) = self.authority.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        Some((host, port))
    }

    /// The path of a socket in the file system: all that follows `unix://`.
    pub fn socket_path(&self) -> Option<PathBuf> {
        self.scheme.is_unix().then(|| PathBuf::from(self.address()))
    }

    /// Refuses what nobody can listen on: a host that is neither an IP nor `localhost`.
    pub fn check_bindable(&self) -> Result<(), String> {
        if self.scheme.is_unix() {
            return Ok(());
        }
        match self.host_and_port() {
            Some(("localhost", _)) => Ok(()),
            Some((host, _)) if host.parse::<IpAddr>().is_ok() => Ok(()),
            _ => Err(format!("expected IP in URL for binding ({self})")),
        }
    }

    /// Refuses what nobody can be told to dial: an empty host.
    pub fn check_advertisable(&self) -> Result<(), String> {
        match self.host_and_port() {
            Some(("", _)) => Err(format!("unexpected empty host ({self})")),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}{}", self.scheme.name(), self.authority, self.path)
    }
}

/// `URLs` as etcd writes a list: separated by commas.
pub fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

/// A path with `%20` and the like read.
pub(crate) fn unescaped(path: &str) -> Result<String, String> {
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

/// What stands before the first colon, if it can be a scheme.
fn split_scheme(typed: &str) -> Result<(&str, &str), String> {
    let fault = |text: &str| Err(format!("parse {}: {text}", quote(typed)));
    if typed.chars().any(|c| c.is_ascii_control()) {
        return fault("net/url: invalid control character in URL");
    }
    let end = typed
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
        .unwrap_or(typed.len());
    let letter_first = typed.starts_with(|c: char| c.is_ascii_alphabetic());
    match typed[end..].strip_prefix(':') {
        Some(_) if end == 0 => fault("missing protocol scheme"),
        Some(rest) if letter_first => Ok((&typed[..end], rest)),
        _ => {
            let first_segment = typed.split('/').next().unwrap_or(typed);
            if first_segment.contains(':') {
                return fault("first path segment in URL cannot contain colon");
            }
            Ok(("", typed))
        }
    }
}

fn check_authority(typed: &str, authority: &str) -> Result<(), String> {
    let fault = |text: String| Err(format!("parse {}: {text}", quote(typed)));
    let port = if let Some(inner) = authority.strip_prefix('[') {
        match inner.split_once(']') {
            Some((_, after)) => after,
            None => return fault("missing ']' in host".to_owned()),
        }
    } else {
        if let Some(bad) =
            authority.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '^' | '`'))
        {
            return fault(format!("invalid character {} in host name", quote(bad.to_string())));
        }
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // Go takes no second colon in the host of a web address, and asks nobody else.
        let web = ["http:", "https:"]
            .iter()
            .any(|web| typed.get(..web.len()).is_some_and(|start| start.eq_ignore_ascii_case(web)));
        let colon = if web { host.find(':') } else { host.rfind(':') };
        colon.map_or("", |colon| &host[colon..])
    };
    let digits_only = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    match port.strip_prefix(':') {
        Some(digits) if digits_only(digits) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => fault(format!("invalid port {} after host", quote(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(typed: &str, error: &str) {
        assert_eq!(Url::parse_list(typed), Err(error.to_owned()));
    }

    #[test]
    fn addresses_and_sockets_are_told_apart() {
        let url = Url::parse(" http://[::1]:2379 ").expect("well formed");
        assert_eq!(url.host_and_port(), Some(("::1", "2379")));
        assert_eq!(url.to_string(), "http://[::1]:2379");
        let socket = Url::parse("unix:///run/etcd.sock").expect("well formed");
        assert_eq!(socket.socket_path(), Some(PathBuf::from("/run/etcd.sock")));
        let escaped = Url::parse("unix:///run/a%20b.sock").expect("well formed");
        assert_eq!(escaped.socket_path(), Some(PathBuf::from("/run/a b.sock")));
        refused("unix:///a%2", "parse \"unix:///a%2\": invalid URL escape \"%2\"");
        refused("unix:///a%zz", "parse \"unix:///a%zz\": invalid URL escape \"%zz\"");
        let relative = Url::parse("unix://a:1").expect("well formed");
        assert_eq!(relative.socket_path(), Some(PathBuf::from("a:1")));
    }

    #[test]
    fn a_list_is_sorted_and_may_be_empty() {
        let urls = Url::parse_list("http://b:2,http://a:1").expect("well formed");
        assert_eq!(join(&urls), "http://a:1,http://b:2");
        assert_eq!(Url::parse_list(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_address_is_refused_in_etcds_words() {
        refused("foo", "URL scheme must be http, https, unix, or unixs: foo");
        refused("localhost:1", "URL scheme must be http, https, unix, or unixs: localhost:1");
        refused(
            "127.0.0.1:1",
            "parse \"127.0.0.1:1\": first path segment in URL cannot contain colon",
        );
        refused("http://", "URL address does not have the form \"host:port\": http://");
        refused(
            "http://1.2.3.4",
            "URL address does not have the form \"host:port\": http://1.2.3.4",
        );
        refused("http://a:1/x", "URL must not contain a path: http://a:1/x");
        refused("http://a:b", "parse \"http://a:b\": invalid port \":b\" after host");
        refused("http://a:b:c", "parse \"http://a:b:c\": invalid port \":b:c\" after host");
        refused("http://a:1:2", "parse \"http://a:1:2\": invalid port \":1:2\" after host");
        refused("http://a::1", "parse \"http://a::1\": invalid port \"::1\" after host");
        refused("unix://a:b:c", "parse \"unix://a:b:c\": invalid port \":c\" after host");
        refused("http://a:1,", "URL scheme must be http, https, unix, or unixs: ");
    }

    #[test]
    fn only_an_ip_or_localhost_can_be_listened_on_and_only_a_host_advertised() {
        let check = |typed: &str| Url::parse(typed).expect("well formed");
        assert_eq!(check("http://localhost:1").check_bindable(), Ok(()));
        assert_eq!(check("http://0.0.0.0:1").check_bindable(), Ok(()));
        assert_eq!(
            check("http://foo:1").check_bindable(),
            Err("expected IP in URL for binding (http://foo:1)".into())
        );
        assert_eq!(
            check("http://:1").check_advertisable(),
            Err("unexpected empty host (http://:1)".into())
        );
    }
}
