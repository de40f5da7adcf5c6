//! Every bound on connections, whatever they speak.

use std::time::Duration;

/// What connections may take before, and while, somebody serves them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a new connection may take until it is known what it speaks, encryption included.
    pub handshake_timeout: Duration,
    /// How long an HTTP/1.1 client may take to send its request's headers.
    pub http_header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake_timeout: Duration::from_secs(120),
            http_header_timeout: Duration::from_secs(5 * 60),
        }
    }
}
