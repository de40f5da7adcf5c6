//! What DNS says of an address: needed only to check a peer's names against where it comes from.

use std::net::{IpAddr, ToSocketAddrs};

/// The name of an address, by its PTR record or the hosts file.
pub(crate) fn name_of(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    // The system gives the address in digits when it has no name.
    name.parse::<IpAddr>().is_err().then_some(name)
}

/// The addresses of a name; none when it has none.
pub(crate) fn addresses_of(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    found.map(|found| found.map(|one| one.ip()).collect()).unwrap_or_default()
}
