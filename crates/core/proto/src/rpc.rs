//! Every method of every service, once. The list is generated from the descriptors; whoever decides
//! something for each method (its handler, its right, whether it may be repeated) matches over [`Rpc`]
//! without `_`, so a new method does not compile until all of that is decided.

use std::fmt;

/// Which ends of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One message in, one out.
    Unary,
    /// One message in, many out.
    ServerStream,
    /// Many in, many out.
    Bidi,
}

impl Kind {
    /// The metrics' word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Unary => "unary",
            Kind::ServerStream => "server_stream",
            Kind::Bidi => "bidi_stream",
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

impl Rpc {
    /// `/package.Service/Method`.
    pub const fn path(self) -> &'static str {
        DESCRIBED[self as usize].path
    }

    /// `package.Service`.
    pub const fn service(self) -> &'static str {
        DESCRIBED[self as usize].service
    }

    /// `Method`.
    pub const fn name(self) -> &'static str {
        DESCRIBED[self as usize].name
    }

    /// Which ends are streams.
    pub const fn kind(self) -> Kind {
        DESCRIBED[self as usize].kind
    }

    /// The method at a path.
    pub fn at(path: &str) -> Option<Rpc> {
        Rpc::ALL.binary_search_by_key(&path, |rpc| rpc.path()).ok().map(|place| Rpc::ALL[place])
    }
}

impl fmt::Display for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

struct Described {
    path: &'static str,
    service: &'static str,
    name: &'static str,
    kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_path() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::at(rpc.path()), Some(rpc));
            assert_eq!(rpc.path(), format!("/{}/{}", rpc.service(), rpc.name()));
        }
        assert_eq!(Rpc::at("/etcdserverpb.KV/Ranges"), None);
    }

    #[test]
    fn a_method_knows_which_of_its_ends_are_streams() {
        assert_eq!(Rpc::KvRange.kind(), Kind::Unary);
        assert_eq!(Rpc::MaintenanceSnapshot.kind(), Kind::ServerStream);
        assert_eq!(Rpc::Watch.kind(), Kind::Bidi);
        assert_eq!(Rpc::HealthWatch.kind(), Kind::ServerStream);
        assert_eq!(Rpc::LeaseKeepAlive.path(), "/etcdserverpb.Lease/LeaseKeepAlive");
    }
}
