//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is at the other end of a connection that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where the connection comes from.
    pub address: RemoteAddress,
    /// How its bytes travel.
    pub transport: Transport,
    /// Which of our own addresses it came to; `None` for a unix socket.
    pub reached: Option<SocketAddr>,
}

/// How the bytes of a connection travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// Encrypted; with who the other end proved to be, if it showed a certificate.
    Tls(Option<Identity>),
}

impl Remote {
    /// Somebody who is not encrypted.
    pub fn plain(address: RemoteAddress) -> Remote {
        Remote { address, transport: Transport::Plain, reached: None }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Who the other end proved to be, by a verified certificate.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(identity) => identity.as_ref(),
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAddress {
    /// A TCP endpoint.
    Tcp(SocketAddr),
    /// A unix socket; the path is the listener's own.
    Unix,
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAddress::Tcp(address) => address.fmt(f),
            RemoteAddress::Unix => f.write_str("@"),
        }
    }
}

/// What a verified certificate says of whoever showed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name, when it has one.
    pub common_name: Option<String>,
    /// The DNS names it is for, as they stand there.
    pub dns: Vec<String>,
    /// The addresses it is for.
    pub ips: Vec<IpAddr>,
    /// The serial numbers of the certificate and of those above it that were shown, big-endian.
    pub serials: Vec<Vec<u8>>,
}
