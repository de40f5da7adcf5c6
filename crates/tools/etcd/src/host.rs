//! Addresses: the one other machines know this one by, and those that names stand for.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};

/// Addresses set aside for documentation: nothing is sent to them, the kernel only picks a route.
const ELSEWHERE: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// The address from which this machine reaches the world; `None` if it does not.
pub fn own_address() -> Option<String> {
    let source = |(own, elsewhere): &(&str, &str)| {
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(elsewhere).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
    };
    ELSEWHERE.iter().find_map(source)
}

/// The first address a host's name stands for, with the port.
pub fn resolve(host: &str, port: &str) -> Option<String> {
    let port: u16 = port.parse().ok()?;
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    addresses.sort();
    addresses.first().map(SocketAddr::to_string)
}
