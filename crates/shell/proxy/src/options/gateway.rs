//! The flags of `etcd gateway start`.

use std::path::PathBuf;
use std::time::Duration;

use go::GoDuration;

use super::common::{
    DISCOVERY_SRV, DISCOVERY_SRV_NAME, ENDPOINTS, INSECURE_DISCOVERY, LISTEN_ADDR, RETRY_DELAY,
    TRUSTED_CA_FILE, discovery, flag,
};
use crate::discovery::Discovery;
use crate::flags::{Kind, Program, Values};

/// What `etcd gateway start` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Where it listens: `host:port`.
    pub listen: String,
    /// Where it leads, unless they are discovered.
    pub endpoints: Vec<String>,
    /// How endpoints are discovered.
    pub discovery: Discovery,
    /// Who may have signed the endpoints' certificates, which then are looked at.
    pub trusted_ca: PathBuf,
    /// How long an endpoint that failed is left alone.
    pub retry_delay: Duration,
}

/// What a delay of zero stands for.
pub const RETRY_DELAY_USUAL: Duration = Duration::from_secs(5 * 60);

/// `etcd gateway`.
pub const PROGRAM: Program = Program {
    name: "gateway",
    about: "gateway related command",
    start: "start the gateway",
    flags: &[
        flag(DISCOVERY_SRV, Kind::Text, "", "DNS domain used to bootstrap initial cluster"),
        flag(DISCOVERY_SRV_NAME, Kind::Text, "", "service name to query when using DNS discovery"),
        flag(ENDPOINTS, Kind::Texts, "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
        flag(INSECURE_DISCOVERY, Kind::Bool, "false", "accept insecure SRV records"),
        flag(LISTEN_ADDR, Kind::Text, "127.0.0.1:23790", "listen address"),
        flag(
            RETRY_DELAY,
            Kind::Duration,
            "1m0s",
            "duration of delay before retrying failed endpoints",
        ),
        flag(
            TRUSTED_CA_FILE,
            Kind::Text,
            "",
            "path to the client server TLS CA file for verifying the discovered endpoints when \
             discovery-srv is provided.",
        ),
    ],
};

/// What the flags come to.
///
/// # Errors
/// A delay that is none.
pub fn options(values: &Values) -> Result<GatewayOptions, String> {
    let delay = values.duration(RETRY_DELAY);
    if delay < GoDuration(0) {
        return Err(format!("--{RETRY_DELAY} must not be below zero (is {delay})"));
    }
    Ok(GatewayOptions {
        listen: values.text(LISTEN_ADDR),
        endpoints: values.texts(ENDPOINTS),
        discovery: discovery(values),
        trusted_ca: values.text(TRUSTED_CA_FILE).into(),
        retry_delay: delay.positive().unwrap_or(RETRY_DELAY_USUAL),
    })
}
