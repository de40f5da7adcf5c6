//! Where a peer is reached.

use std::fmt;

/// The most URLs one peer may have.
pub const URLS_MAX: usize = 32;
/// The most senders remembered that no log told us about.
pub const REMOTES_MAX: usize = 64;
/// The longest URL.
const URL_BYTES_MAX: usize = 1024;

/// How a URL is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TCP in the clear.
    Http,
    /// TCP with TLS.
    Https,
    /// A unix socket.
    Unix,
    /// A unix socket with TLS.
    Unixs,
}

/// A peer's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerUrl {
    /// How it is dialled.
    pub scheme: Scheme,
    /// Host and port, or what names the unix socket.
    pub address: String,
}

/// A URL no peer can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the URL of a peer")]
pub struct BadUrl(String);

impl PeerUrl {
    /// Takes a URL apart. A path behind the port means nothing to peers and is dropped.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn parse(url: &str) -> Result<PeerUrl, BadUrl> {
        let bad = || BadUrl(url.chars().take(URL_BYTES_MAX).collect());
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(bad)?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(bad()),
        };
        let address = match scheme {
            Scheme::Http | Scheme::Https => {
                let authority = rest.split('/').next().unwrap_or_default();
                let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
                if host.is_empty() || port.parse::<u16>().is_err() {
                    return Err(bad());
                }
                authority
            }
            Scheme::Unix | Scheme::Unixs => rest,
        };
        let printable = address.bytes().all(|byte| byte.is_ascii_graphic());
        if address.is_empty() || url.len() > URL_BYTES_MAX || !printable {
            return Err(bad());
        }
        Ok(PeerUrl { scheme, address: address.to_string() })
    }

    /// Whether it is dialled with TLS.
    pub fn tls(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// Whether it names a unix socket.
    pub fn unix(&self) -> bool {
        matches!(self.scheme, Scheme::Unix | Scheme::Unixs)
    }

    /// The host without its port, as a certificate names it.
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// The URLs of a peer and the one in use, shared by all ways to it: who meets a failure moves on for all.
#[derive(Debug)]
pub struct Urls {
    urls: Vec<PeerUrl>,
    at: usize,
}

impl Urls {
    /// These URLs; those nobody can dial are left out, and so are those past the bound.
    pub fn new(urls: &[String]) -> Urls {
        let mut urls: Vec<String> = urls.to_vec();
        urls.sort_unstable();
        urls.dedup();
        let urls = urls.iter().filter_map(|url| PeerUrl::parse(url).ok()).take(URLS_MAX).collect();
        Urls { urls, at: 0 }
    }

    /// The one in use; `None` if none can be dialled.
    pub fn pick(&self) -> Option<PeerUrl> {
        self.urls.get(self.at).cloned()
    }

    /// `tried` did not answer. Only the first who says so of the URL in use moves on.
    pub fn failed(&mut self, tried: &PeerUrl) {
        if self.urls.get(self.at) == Some(tried) {
            self.at = (self.at + 1) % self.urls.len();
        }
    }

    /// Whether none can be dialled.
    pub fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, shown, host) in [
            ("http://127.0.0.1:2380", "http://127.0.0.1:2380", "127.0.0.1"),
            ("https://[::1]:2380/", "https://[::1]:2380", "::1"),
            ("https://peer.example:1/a/path", "https://peer.example:1", "peer.example"),
            ("unix://localhost:m1", "unix://localhost:m1", "localhost"),
        ] {
            let url = PeerUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.host()), (shown, host));
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in ["", "http://", "http://host", "http://host:99999", "ftp://host:1", "host:1"] {
            assert!(PeerUrl::parse(text).is_err(), "{text}");
        }
        assert!(PeerUrl::parse(&format!("http://{}:1", "a".repeat(2000))).is_err());
        assert!(PeerUrl::parse("http://a\r\nX-Server-From: 1:1").is_err());
    }

    #[test]
    fn a_failure_moves_on_once_for_all_who_met_it() {
        let mut urls = Urls::new(&["http://b:1".into(), "http://a:1".into(), "http://b:1".into()]);
        let first = urls.pick().unwrap();
        assert_eq!(first.address, "a:1");
        urls.failed(&first);
        urls.failed(&first);
        assert_eq!(urls.pick().unwrap().address, "b:1");
        urls.failed(&urls.pick().unwrap());
        assert_eq!(urls.pick(), Some(first));
        assert!(Urls::new(&["nothing".into()]).is_empty());
    }
}
