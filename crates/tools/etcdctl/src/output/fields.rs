//! Lines of `"Name" : value`.

use proto::{etcdserverpb as pb, mvccpb};
use types::LeaseHex;

use go::quote;

/// Some lines.
#[derive(Debug)]
pub struct Fields {
    out: String,
    /// Ids in hexadecimal.
    pub hex: bool,
}

impl Fields {
    /// None yet.
    pub fn new(hex: bool) -> Fields {
        Fields { out: String::new(), hex }
    }

    /// What was written.
    pub fn take(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// A line as it is.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    /// A value that prints itself.
    pub fn bare(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format!("\"{name}\" : {value}"));
    }

    /// A quoted text.
    pub fn quoted(&mut self, name: &str, value: &[u8]) {
        self.line(format!("\"{name}\" : {}", quote(value)));
    }

    /// A member's or cluster's id.
    pub fn id(&mut self, name: &str, id: u64) {
        if self.hex { self.bare(name, format_args!("{id:x}")) } else { self.bare(name, id) }
    }

    /// A lease's id.
    pub fn lease(&mut self, name: &str, id: i64) {
        if self.hex {
            self.bare(name, format_args!("{:016x}", LeaseHex(id)))
        } else {
            self.bare(name, id)
        }
    }

    /// An answer's header. Without a revision there is none to show.
    pub fn header(&mut self, header: &Option<pb::ResponseHeader>) {
        let header = header.unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        if header.revision > 0 {
            self.bare("Revision", header.revision);
        }
        self.bare("RaftTerm", header.raft_term);
    }

    /// A row, its names after `prefix`.
    pub fn kv(&mut self, prefix: &str, kv: &mvccpb::KeyValue) {
        self.quoted(&format!("{prefix}Key"), &kv.key);
        self.bare(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.bare(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.bare(&format!("{prefix}Version"), kv.version);
        self.quoted(&format!("{prefix}Value"), &kv.value);
        self.lease(&format!("{prefix}Lease"), kv.lease);
    }
}
