//! Ports for servers of tests.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::sync::Mutex;

/// Two ports that nobody listens on at this moment, and that no other home of this process ever had: a client
/// of a server that has ended may still dial its port, and would reach another test's server there.
///
/// # Errors
/// When the system has none.
pub fn free_ports() -> io::Result<(u16, u16)> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("no holder of the lock panics");
    // Held until two are found, so that the system gives another one each time.
    let (mut listeners, mut fresh) = (Vec::new(), Vec::new());
    while fresh.len() < 2 {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        listeners.push(listener);
        if given.insert(port) {
            fresh.push(port);
        }
    }
    Ok((fresh[0], fresh[1]))
}
