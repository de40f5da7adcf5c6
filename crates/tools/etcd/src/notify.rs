//! Telling systemd that the member is ready, over the socket it names in `NOTIFY_SOCKET`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use logging::{Logger, error, info};

/// Says that the member is ready, if anybody asked to be told.
pub fn ready(log: &Logger) {
    info!(log, "notifying init daemon");
    let socket = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    let sent = if socket.is_empty() { Ok(()) } else { send(&socket, b"READY=1") };
    match sent {
        Ok(()) => info!(log, "successfully notified init daemon"),
        Err(fault) => error!(
            log,
            "failed to notify systemd for readiness",
            "error" => format!("dial unixgram {socket}: connect: {}", go::io_text(&fault))
        ),
    }
}

/// A name that begins with `@` stands for an address outside the file system.
fn send(socket: &str, message: &[u8]) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("something was sent");
        buffer[..length].to_vec()
    }

    #[test]
    fn a_socket_in_the_file_system_and_one_outside_are_both_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("binds");
        send(&path.to_string_lossy(), b"READY=1").expect("sends");
        assert_eq!(heard(&socket), b"READY=1");

        let name = format!("holdfast-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("binds");
        send(&format!("@{name}"), b"READY=1").expect("sends");
        assert_eq!(heard(&socket), b"READY=1");
    }
}
