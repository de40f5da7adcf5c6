//! What the client has to say beside its answers: attempts that failed. Whoever owns the process
//! decides where it goes.

use std::fmt;
use std::sync::Arc;

/// Something worth a line in a log.
#[derive(Debug)]
pub enum Remark<'a> {
    /// An attempt of a call failed; there may be another.
    AttemptFailed {
        /// The address of the first endpoint.
        target: &'a str,
        /// The peer's and our address and whether the connection is encrypted, if there was one.
        peer: Option<&'a Peer>,
        /// The path of the method.
        method: &'a str,
        /// Counted from zero.
        attempt: u32,
        /// The status in Go's words.
        error: String,
    },
}

/// Both ends of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Theirs.
    pub remote: String,
    /// Ours.
    pub local: String,
    /// Whether TLS is spoken.
    pub encrypted: bool,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = if self.encrypted { "tls" } else { "insecure" };
        let Peer { remote, local, .. } = self;
        write!(f, "Peer{{Addr: '{remote}', LocalAddr: '{local}', AuthInfo: '{info}'}}")
    }
}

/// Takes remarks.
#[derive(Clone)]
pub struct Remarks(Arc<dyn Fn(&Remark<'_>) + Send + Sync>);

impl Remarks {
    /// Hands every remark to `take`.
    pub fn to(take: impl Fn(&Remark<'_>) + Send + Sync + 'static) -> Remarks {
        Remarks(Arc::new(take))
    }

    /// Drops them.
    pub fn nowhere() -> Remarks {
        Remarks::to(|_| {})
    }

    pub(crate) fn say(&self, remark: &Remark<'_>) {
        (self.0)(remark);
    }
}

impl fmt::Debug for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remarks")
    }
}
