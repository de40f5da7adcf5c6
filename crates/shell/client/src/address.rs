//! Where `host:port` leads, by the rules of Go's dialler.
//!
//! An empty host is this machine; a host of two families is tried in both, the second a moment later. What
//! leads nowhere is said in Go's words.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use go::address::{port, split};
use go::io_text;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;

/// How long the first family is tried alone.
const OTHER_FAMILY_AFTER: Duration = Duration::from_millis(300);

/// Connects to `host:port`. The error is what follows `dial ` in Go's text.
pub async fn connect(address: &str) -> Result<TcpStream, String> {
    let (host, service) = split(address).map_err(|why| format!("tcp: address {why}"))?;
    let port = port(service).map_err(|why| format!("tcp: {why}"))?;
    let found = resolve(host, port).await.map_err(|why| format!("tcp: lookup {host}: {why}"))?;
    let (first, other): (Vec<_>, Vec<_>) =
        found.iter().partition(|address| address.is_ipv4() == found[0].is_ipv4());
    let tried = in_both_families(first, other).await;
    tried.map_err(|(tried, error)| {
        let place = if host.is_empty() { format!(":{port}") } else { tried.to_string() };
        format!("tcp {place}: connect: {}", io_text(&error))
    })
}

/// At least one address.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if host.is_empty() {
        // Go knows only the first of these, so a server that listens on `[::1]` alone is not found.
        let here: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Ok(here.map(|host| SocketAddr::new(host, port)).to_vec());
    }
    let found: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        // The resolver of the C library has no code in common with Go's; almost always it is this.
        Err(error) if error.raw_os_error().is_none() => return Err("no such host".to_owned()),
        Err(error) => return Err(io_text(&error)),
    };
    if found.is_empty() { Err("no such host".to_owned()) } else { Ok(found) }
}

type Failed = (SocketAddr, io::Error);

async fn in_turn(addresses: &[SocketAddr]) -> Result<TcpStream, Failed> {
    let mut first = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => first = first.or(Some((*address, error))),
        }
    }
    Err(first.expect("there is an address"))
}

/// The first family begins; when it has failed or is slow the other one is tried beside it.
async fn in_both_families(
    first: Vec<SocketAddr>,
    other: Vec<SocketAddr>,
) -> Result<TcpStream, Failed> {
    if other.is_empty() {
        return in_turn(&first).await;
    }
    let mut trying = std::pin::pin!(in_turn(&first));
    let failed = tokio::select! {
        tried = &mut trying => match tried {
            Ok(stream) => return Ok(stream),
            Err(failed) => Some(failed),
        },
        () = sleep(OTHER_FAMILY_AFTER) => None,
    };
    if let Some(failed) = failed {
        return in_turn(&other).await.map_err(|_| failed);
    }
    let mut beside = std::pin::pin!(in_turn(&other));
    tokio::select! {
        tried = &mut trying => match tried {
            Ok(stream) => Ok(stream),
            Err(failed) => beside.await.map_err(|_| failed),
        },
        tried = &mut beside => match tried {
            Ok(stream) => Ok(stream),
            Err(_) => trying.await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_on_either_loopback_is_found_without_a_host() {
        for host in ["127.0.0.1", "::1"] {
            let listener = std::net::TcpListener::bind((host, 0)).expect("a free port");
            let port = listener.local_addr().expect("it is bound").port();
            connect(&format!(":{port}")).await.expect("this machine");
        }
    }

    #[tokio::test]
    async fn who_refuses_is_named_by_address() {
        let why = connect("127.0.0.1:1").await.expect_err("nobody listens on port 1");
        assert_eq!(why, "tcp 127.0.0.1:1: connect: connection refused");
        let why = connect(":1").await.expect_err("nobody listens on port 1");
        assert_eq!(why, "tcp :1: connect: connection refused");
        let why = connect("nosuch.invalid:1").await.expect_err("no such host");
        assert_eq!(why, "tcp: lookup nosuch.invalid: no such host");
    }
}
