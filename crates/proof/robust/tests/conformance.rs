//! HTTP/2 as its standards have it: the cases of h2spec, with its strict ones.
//!
//! h2spec asks with a GET and expects a page, and that a stream is open while it tries things on it. Our
//! server refuses a GET at once, so here the same protocol engine serves a page, when the client has been
//! silent for a moment.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use holdfast_robust::foreign::{self, Part};
use http2::{Body, Config, Connection, Event, Field};

/// Silence after which a page is served.
const MOMENT: Duration = Duration::from_millis(40);

#[test]
fn http2_is_spoken_as_its_standards_have_it() {
    let Some(h2spec) = foreign::need("conformance", Part::H2spec) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let asked = ["-h", "127.0.0.1", "-p", &port, "--strict", "-o", "4"];
    let output = Command::new(h2spec).args(asked).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim_start().strip_prefix("\u{d7} ")).collect();
    assert_eq!(failed, BTreeSet::new(), "{text}");
    let outcome = text.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_default();
    assert!(outcome.starts_with("146 tests, ") && outcome.ends_with(", 0 failed"), "{outcome}");
}

/// Serves a page on each stream whose request is over.
fn serve(mut socket: TcpStream) {
    let mut connection = Connection::<()>::new(Config {
        streams_announced: Some(100),
        streams_max: 100,
        stream_window_bytes: 65_535,
        connection_window_bytes: 65_535,
        header_list_bytes_max: 64 * 1024,
        early_resets_max: 100,
    });
    socket.set_read_timeout(Some(MOMENT)).expect("a timeout");
    let mut asked = BTreeSet::new();
    let mut buffer = [0; 16_384];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => connection.receive(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                asked.retain(|stream| !answer(&mut connection, *stream));
            }
            Err(_) => return,
        }
        while let Some(event) = connection.poll_event() {
            if let Event::Request(stream, _) = event {
                asked.insert(stream);
            }
        }
        connection.pump();
        let sent = connection.out().len();
        if socket.write_all(connection.out()).is_err() {
            return;
        }
        connection.advance(sent);
        if connection.is_failed() {
            // The client is to read why; what it still sends is of no interest.
            let _ = socket.shutdown(Shutdown::Write);
            while socket.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
            return;
        }
    }
}

/// Whether nothing more is to be done for a stream.
fn answer(connection: &mut Connection<()>, stream: u32) -> bool {
    loop {
        match connection.take_body(stream) {
            Body::Piece(piece) => connection.release(stream, piece.len() as u32),
            Body::Later => return false,
            Body::Gone => return true,
            Body::End => break,
        }
    }
    connection.start(stream, 200, &[Field::from_static("content-type", "text/plain")]);
    connection.send(stream, Bytes::from_static(b"a page"));
    connection.finish(stream, &[]);
    true
}
