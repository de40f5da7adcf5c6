//! What both command lines have.

use crate::discovery::Discovery;
use crate::flags::{Flag, Kind, Values};

/// The flag of that name.
pub const DISCOVERY_SRV: &str = "discovery-srv";
/// The flag of that name.
pub const DISCOVERY_SRV_NAME: &str = "discovery-srv-name";
/// The flag of that name.
pub const INSECURE_DISCOVERY: &str = "insecure-discovery";
/// The flag of that name.
pub const ENDPOINTS: &str = "endpoints";
/// The flag of that name.
pub const LISTEN_ADDR: &str = "listen-addr";
/// The flag of that name.
pub const RETRY_DELAY: &str = "retry-delay";
/// The flag of that name.
pub const TRUSTED_CA_FILE: &str = "trusted-ca-file";

/// A flag.
pub const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, help }
}

/// How endpoints are discovered.
pub fn discovery(values: &Values) -> Discovery {
    Discovery {
        domain: values.text(DISCOVERY_SRV),
        service: values.text(DISCOVERY_SRV_NAME),
        insecure: values.truth(INSECURE_DISCOVERY),
    }
}
