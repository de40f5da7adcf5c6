//! HTTP/2 as its standards have it: the cases of h2spec, with its strict ones.

use std::collections::BTreeSet;
use std::process::Command;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::process::Home;

use crate::corners::holdfast;

/// Cases that a gRPC server with HTTP/1.1 on the same port does not pass, and why that is right. h2spec
/// asks with a GET, and expects a body.
const NOT_FOR_US: [(&str, &str); 4] = [
    (
        "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
        "wants DATA; a GET is refused with headers alone",
    ),
    (
        "Sends a PRIORITY frame on half-closed (remote) stream",
        "wants DATA; a GET is refused with headers alone",
    ),
    (
        "Sends invalid connection preface",
        "what is no HTTP/2 is HTTP/1.1 here, and answered 400 before the end",
    ),
    (
        "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
        "the GET is answered by then, and its stream has ended",
    ),
];

#[test]
fn http2_is_spoken_as_its_standards_have_it() {
    let Some(h2spec) = foreign::need("conformance", Part::H2spec) else { return };
    let Some(subject) = holdfast("conformance") else { return };
    let server = Home::new(&subject, &[]).start();
    let address = server.address();
    let (host, port) = address.rsplit_once(':').expect("an address");
    let asked = ["-h", host, "-p", port, "-P", "/etcdserverpb.KV/Range", "--strict", "-o", "4"];
    let output = Command::new(h2spec).args(asked).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("\u{d7} "))
        .filter_map(|case| case.split_once(": ").map(|(_, name)| name))
        .collect();
    let known: BTreeSet<&str> = NOT_FOR_US.iter().map(|(name, _)| *name).collect();
    assert_eq!(failed, known, "{text}");
    let passed = text.lines().last().unwrap_or_default();
    assert!(passed.starts_with("146 tests, 137 passed"), "{passed}");
}
