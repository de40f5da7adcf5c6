//! What a call can end with, in the words clientv3 uses, since people and scripts look for them.

use std::fmt;

use types::{Code, Refusal};

/// A gRPC status that is not OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text.
    pub message: String,
}

/// Texts of etcd that its own client does not know by name (`docs/etcd/errors.md` 3).
const NAMELESS: [Refusal; 6] = [
    Refusal::PermissionNotGiven,
    Refusal::TimeoutWaitAppliedIndex,
    Refusal::WatchCanceled,
    Refusal::Canceled,
    Refusal::DeadlineExceeded,
    Refusal::InvalidClientAPIVersion,
];

impl Status {
    /// A status.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    /// The connection was lost, or never came to be.
    pub(crate) fn unavailable(message: impl Into<String>) -> Status {
        Status::new(Code::Unavailable, message)
    }

    /// How Go's gRPC prints it.
    pub fn text(&self) -> String {
        format!("rpc error: code = {} desc = {}", self.code.name(), self.message)
    }

    /// The refusal of etcd's table whose text this is, if its client knows it.
    pub fn refusal(&self) -> Option<&'static Refusal> {
        let named = Refusal::NAMED.iter().find(|refusal| refusal.message() == self.message);
        named.filter(|refusal| !NAMELESS.contains(refusal))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal() {
            Some(refusal) => f.write_str(refusal.message()),
            None => f.write_str(&self.text()),
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server, or the connection to it, said so.
    #[error("{0}")]
    Status(Status),
    /// The caller's time was over.
    #[error("context deadline exceeded")]
    DeadlineExceeded,
    /// The client was asked for something it cannot do.
    #[error("{0}")]
    Misuse(String),
    /// What the server gave as its reason to cancel, word for word.
    #[error("{0}")]
    Canceled(String),
    /// A lock or an election was lost with its session.
    #[error("{0}")]
    Session(&'static str),
}

impl Error {
    /// Whether the server refused with just this.
    pub fn is(&self, refusal: &Refusal) -> bool {
        matches!(self, Error::Status(status) if status.message == refusal.message())
    }

    /// The status, if it is one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Error::Status(status) => Some(status),
            _ => None,
        }
    }

    /// Whether a stream that ended like this is not worth opening again.
    pub(crate) fn ends_streams(&self) -> bool {
        match self {
            Error::Status(status) => !matches!(status.code, Code::Unavailable | Code::Internal),
            _ => true,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::Status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_table_is_printed_bare_and_any_other_as_a_status() {
        let named = Status::new(Code::NotFound, "etcdserver: requested lease not found");
        assert_eq!(named.to_string(), "etcdserver: requested lease not found");
        let nameless = Status::new(Code::InvalidArgument, "etcdserver: permission not given");
        assert_eq!(
            nameless.to_string(),
            "rpc error: code = InvalidArgument desc = etcdserver: permission not given"
        );
    }
}
