//! The differences we mean to have. Each has its reason in `docs/differences.md` under the same name.

use super::{Difference, Reference};

/// One difference, as narrow as it can be said.
#[derive(Debug)]
pub struct Known {
    /// Its name in `docs/differences.md`.
    pub name: &'static str,
    /// The request's path begins with this.
    pub method: &'static str,
    /// The field's path contains this.
    pub field: &'static str,
    /// The reference's value contains this.
    pub reference: &'static str,
    /// The subject's value contains this.
    pub subject: &'static str,
}

/// All of them.
pub const KNOWN: [Known; 0] = [];

/// What 3.4 did otherwise than the release we follow.
pub const SINCE_OLD: [Known; 3] = [
    Known {
        name: "3.4: HashKV keeps no hashes of compactions",
        method: "/etcdserverpb.Maintenance/HashKV",
        field: "",
        reference: "",
        subject: "",
    },
    // An answer that is OK has no text, so a fault on one side only is still found.
    Known {
        name: "3.4: which of a transaction's faults is reported",
        method: "/etcdserverpb.KV/Txn",
        field: "grpc.status",
        reference: "",
        subject: "",
    },
    Known {
        name: "3.4: which of a transaction's faults is reported",
        method: "/etcdserverpb.KV/Txn",
        field: "grpc.message",
        reference: "etcdserver: ",
        subject: "etcdserver: ",
    },
];

/// The name of the known difference that this one is, if it is one.
pub fn explain(difference: &Difference, reference: Reference) -> Option<&'static str> {
    let since: &[Known] = if reference == Reference::Old { &SINCE_OLD } else { &[] };
    let known = KNOWN.iter().chain(since).find(|known| {
        difference.method.starts_with(known.method)
            && difference.field.contains(known.field)
            && difference.reference.contains(known.reference)
            && difference.subject.contains(known.subject)
    });
    known.map(|known| known.name)
}
