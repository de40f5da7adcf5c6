//! Endpoints as places to dial, and the gateway's own address, which is none of them.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use go::{address, io_text, quote};
use logging::{List, Logger, info, warn};
use net::{Socket, SocketOptions};

use crate::discovery::Found;
use crate::options::GatewayOptions;

/// Where a connection can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The best is the lowest.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// Whom its certificate must name, where it is looked at.
    pub server_name: String,
}

impl Place {
    /// The places of `--endpoints`; `encrypted` is whether they must show a certificate.
    ///
    /// # Errors
    /// What is no endpoint, in etcd's words.
    pub fn of_endpoints(endpoints: &[String], encrypted: bool) -> Result<Vec<Place>, String> {
        let place = |endpoint: &String| {
            let fault = || format!("error parsing endpoint {}", quote(bare(endpoint)));
            if encrypted && endpoint.starts_with("http://") {
                return Err(format!("{} is insecure\n", quote(endpoint)));
            }
            let (host, service) = address::split(bare(endpoint)).map_err(|_| fault())?;
            let port = address::port(service).map_err(|_| fault())?;
            let (host, server_name) = (host.to_owned(), host.to_owned());
            Ok(Place { host, port, priority: 0, weight: 0, server_name })
        };
        endpoints.iter().map(place).collect()
    }

    /// The places of SRV records. Those without TLS are left out, unless nothing is looked at.
    pub fn of_records(found: &[Found], options: &GatewayOptions, log: &Logger) -> Vec<Place> {
        let discovery = &options.discovery;
        let domain = discovery.domain.as_str();
        let (taken, refused): (Vec<&Found>, Vec<&Found>) =
            found.iter().partition(|one| one.encrypted || discovery.insecure);
        let refused: Vec<String> =
            refused.iter().map(|one| format!("{} is insecure", quote(one.url()))).collect();
        let urls: Vec<String> = taken.iter().map(|one| one.url()).collect();
        if !refused.is_empty() {
            warn!(
                log,
                "failed to validate discovered endpoints",
                "srv-server" => domain,
                "endpoints" => List(urls.iter()),
                "error" => refused.join(",")
            );
        } else if !discovery.insecure {
            let text = "using validated discovered SRV endpoints";
            info!(log, text, "srv-server" => domain, "endpoints" => List(urls.iter()));
        }
        let place = |one: &&Found| Place {
            host: one.record.target.trim_end_matches('.').to_owned(),
            port: one.record.port,
            priority: one.record.priority,
            weight: one.record.weight,
            server_name: domain.to_owned(),
        };
        taken.iter().map(place).collect()
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Refuses a place that is the gateway itself: each connection would open another one without end.
    ///
    /// # Errors
    /// The host's name leads nowhere, or back; in etcd's words.
    pub fn check_elsewhere(&self, own: &[SocketAddr], listen: &str) -> Result<(), String> {
        let unknown = |_| format!("failed to resolve endpoint host: {}\n", self.host);
        let found = (self.host.as_str(), self.port).to_socket_addrs().map_err(unknown)?;
        for address in found {
            if leads_to(address, own) {
                let Place { host, port, .. } = self;
                let ip = address.ip();
                return Err(format!(
                    "SRV or endpoint ({host}:{port}->{ip}:{port}) should not resolve to the gateway \
                     listen addr ({listen})\n"
                ));
            }
        }
        Ok(())
    }
}

/// An endpoint without its scheme and path.
fn bare(endpoint: &str) -> &str {
    let Some((_, rest)) = endpoint.split_once("://") else { return endpoint };
    match rest.split(['/', '?', '#']).next() {
        Some(host) if !host.is_empty() => host,
        _ => endpoint,
    }
}

/// Whether whoever connects to `address` reaches a listener on one of `own`.
pub fn leads_to(address: SocketAddr, own: &[SocketAddr]) -> bool {
    let reaches = |own: &SocketAddr| {
        let same = own.ip() == address.ip();
        own.port() == address.port()
            && (same || (own.ip().is_unspecified() && is_here(address.ip())))
    };
    own.iter().any(reaches)
}

/// Whether an address is this machine's: only such a one can be bound.
fn is_here(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The addresses that `--listen-addr` stands for.
///
/// # Errors
/// It is no address, in etcd's words.
pub fn listen_addresses(listen: &str) -> Result<Vec<SocketAddr>, String> {
    let invalid = |_| format!("failed to validate listen address: {listen}\n");
    let (host, service) = address::split(listen).map_err(invalid)?;
    // A port that is none is said when it is bound.
    let port = address::port(service).unwrap_or_default();
    if host.is_empty() {
        return Ok(vec![SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port)]);
    }
    let found = (host, port).to_socket_addrs();
    let unknown = |_| format!("failed to resolve listen host: {host}\n");
    found.map(Iterator::collect).map_err(unknown)
}

/// Listens.
///
/// # Errors
/// What the system says, in Go's words.
pub fn bind(listen: &str, addresses: &[SocketAddr]) -> Result<TcpListener, String> {
    let service = listen.rsplit_once(':').map_or("", |(_, service)| service);
    address::port(service).map_err(|why| format!("listen tcp: {why}"))?;
    let Some(address) = addresses.iter().find(|one| one.is_ipv4()).or(addresses.first()) else {
        return Err(format!("listen tcp {listen}: no such host"));
    };
    let failed = |error| format!("listen tcp {address}: bind: {}", io_text(&error));
    match Socket::tcp(*address, SocketOptions::default()).map_err(failed)? {
        Socket::Tcp(listener) => Ok(listener),
        Socket::Unix(_) => unreachable!("a TCP address was bound"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port_whatever_stands_around_them() {
        let places = |endpoints: &[&str], encrypted| {
            let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            let places = Place::of_endpoints(&endpoints, encrypted)?;
            Ok(places.iter().map(Place::address).collect::<Vec<_>>())
        };
        let good = places(&["a:1", "https://b:2/x", "http://[::1]:3"], false);
        assert_eq!(good, Ok(["a:1", "b:2", "[::1]:3"].map(str::to_owned).to_vec()));
        let bad = |text: &str| Err(text.to_owned());
        assert_eq!(places(&["foo"], false), bad("error parsing endpoint \"foo\""));
        assert_eq!(places(&["::1:3"], false), bad("error parsing endpoint \"::1:3\""));
        assert_eq!(places(&["http://a:1"], true), bad("\"http://a:1\" is insecure\n"));
    }

    /// Findings of the audits: a gateway that leads to itself takes every descriptor.
    #[test]
    fn the_gateways_own_address_is_recognised_by_every_name() {
        let own = [address("127.0.0.1:5")];
        assert!(leads_to(address("127.0.0.1:5"), &own));
        assert!(!leads_to(address("127.0.0.1:6"), &own) && !leads_to(address("[::1]:5"), &own));
        let everywhere = [address("0.0.0.0:5")];
        assert!(leads_to(address("127.0.0.1:5"), &everywhere));
        assert!(leads_to(address("[::1]:5"), &everywhere));
        assert!(!leads_to(address("192.0.2.1:5"), &everywhere));
    }
}
