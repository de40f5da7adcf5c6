//! What ends a stream or a connection.

use std::fmt;

/// An error code of RFC 9113, section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing is wrong.
    pub const NO_ERROR: Reason = Reason(0);
    /// Something no well-behaved client does.
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    /// More was sent than the window allows, or a window grew beyond 2^31-1.
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    /// A frame for a stream that has ended.
    pub const STREAM_CLOSED: Reason = Reason(5);
    /// A frame of a length it cannot have.
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    /// Not begun; the client may try again.
    pub const REFUSED_STREAM: Reason = Reason(7);
    /// Nobody wants it any more.
    pub const CANCEL: Reason = Reason(8);
    /// A header block that cannot be read; the compression is out of step.
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    /// The client does too much of something.
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
}

/// Why a connection has to end: said to the client in GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code.
    pub reason: Reason,
    /// What happened, in words.
    pub text: &'static str,
}

impl Fault {
    /// A fault of this kind.
    pub const fn new(reason: Reason, text: &'static str) -> Fault {
        Fault { reason, text }
    }

    pub(crate) const fn protocol(text: &'static str) -> Fault {
        Fault::new(Reason::PROTOCOL_ERROR, text)
    }

    pub(crate) const fn size(text: &'static str) -> Fault {
        Fault::new(Reason::FRAME_SIZE_ERROR, text)
    }

    pub(crate) const fn compression(text: &'static str) -> Fault {
        Fault::new(Reason::COMPRESSION_ERROR, text)
    }

    pub(crate) const fn calm(text: &'static str) -> Fault {
        Fault::new(Reason::ENHANCE_YOUR_CALM, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP/2 error {}: {}", self.reason.0, self.text)
    }
}

impl std::error::Error for Fault {}
