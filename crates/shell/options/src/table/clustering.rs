//! Flags about how a cluster comes together and stays together.

use crate::flag::Does::{Its, Nothing, Refused};
use crate::flag::{Count, Flag, Kind, Signed, Span, Text, Truth, Urls, Words};

flags! {
    /// Clustering.
    CLUSTERING:
    INITIAL_ADVERTISE_PEER_URLS: Urls = "initial-advertise-peer-urls", Kind::Urls, "http://localhost:2380", "all", Its, "Where other members are told to reach this one.";
    INITIAL_CLUSTER: Text = "initial-cluster", Kind::Text, "default=http://localhost:2380", "all", Its, "The members a new cluster begins with: name=url,name=url.";
    INITIAL_CLUSTER_STATE: Text = "initial-cluster-state", Kind::Choice(&["new", "existing"]), "new", "all", Its, "Whether to begin a new cluster or join an existing one: new or existing.";
    INITIAL_CLUSTER_TOKEN: Text = "initial-cluster-token", Kind::Text, "etcd-cluster", "all", Its, "Sets clusters apart that are begun with the same members.";
    ADVERTISE_CLIENT_URLS: Urls = "advertise-client-urls", Kind::Urls, "http://localhost:2379", "all", Its, "Where clients are told to reach this member; required with --listen-client-urls.";
    DISCOVERY: Text = "discovery", Kind::Text, "", "3.4 - 3.6", Refused("v2 discovery is gone since etcd 3.7; use --discovery-token and --discovery-endpoints"), "A v2 discovery service.";
    DISCOVERY_FALLBACK: Text = "discovery-fallback", Kind::Choice(&["exit", "proxy"]), "exit", "all", Nothing("Only exit is left of its values."), "What to do when discovery fails: exit.";
    DISCOVERY_PROXY: Text = "discovery-proxy", Kind::Text, "", "3.4 - 3.6", Nothing("Matters only to v2 discovery, which is gone."), "An HTTP proxy for v2 discovery.";
    DISCOVERY_SRV: Text = "discovery-srv", Kind::Text, "", "all", Its, "The domain whose SRV records name the members.";
    DISCOVERY_SRV_NAME: Text = "discovery-srv-name", Kind::Text, "", "all", Its, "Suffix of the SRV records.";
    DISCOVERY_TOKEN: Text = "discovery-token", Kind::Text, "", "3.6+", Its, "The new cluster, as the v3 discovery service knows it.";
    DISCOVERY_ENDPOINTS: Words = "discovery-endpoints", Kind::Words, "", "3.6+", Its, "Where the v3 discovery service is.";
    DISCOVERY_DIAL_TIMEOUT: Span = "discovery-dial-timeout", Kind::Duration, "2s", "3.6+", Its, "Longest time to connect to the discovery service.";
    DISCOVERY_REQUEST_TIMEOUT: Span = "discovery-request-timeout", Kind::Duration, "5s", "3.6+", Its, "Longest time for a request to the discovery service.";
    DISCOVERY_KEEPALIVE_TIME: Span = "discovery-keepalive-time", Kind::Duration, "2s", "3.6+", Its, "How often the discovery service is pinged.";
    DISCOVERY_KEEPALIVE_TIMEOUT: Span = "discovery-keepalive-timeout", Kind::Duration, "6s", "3.6+", Its, "How long to wait for the answer to such a ping.";
    DISCOVERY_INSECURE_TRANSPORT: Truth = "discovery-insecure-transport", Kind::Bool, "true", "3.6+", Its, "Reaches the discovery service without TLS.";
    DISCOVERY_INSECURE_SKIP_TLS_VERIFY: Truth = "discovery-insecure-skip-tls-verify", Kind::Bool, "false", "3.6+", Its, "Does not check the certificate of the discovery service.";
    DISCOVERY_CERT: Text = "discovery-cert", Kind::Text, "", "3.6+", Its, "Certificate to show to the discovery service.";
    DISCOVERY_KEY: Text = "discovery-key", Kind::Text, "", "3.6+", Its, "Key of that certificate.";
    DISCOVERY_CACERT: Text = "discovery-cacert", Kind::Text, "", "3.6+", Its, "Authority that signed the certificate of the discovery service.";
    DISCOVERY_USER: Text = "discovery-user", Kind::Text, "", "3.6+", Its, "User at the discovery service: name or name:password.";
    DISCOVERY_PASSWORD: Text = "discovery-password", Kind::Text, "", "3.6+", Its, "Password at the discovery service.";
    STRICT_RECONFIG_CHECK: Truth = "strict-reconfig-check", Kind::Bool, "true", "all", Its, "Refuses changes of membership that would lose the quorum.";
    PRE_VOTE: Truth = "pre-vote", Kind::Bool, "true", "all", Its, "Asks before standing for election, so that a member that was cut off disturbs nobody.";
    AUTO_COMPACTION_RETENTION: Text = "auto-compaction-retention", Kind::Text, "0", "all", Its, "How much history to keep; 0 keeps all. A bare number means hours or revisions.";
    AUTO_COMPACTION_MODE: Text = "auto-compaction-mode", Kind::Text, "periodic", "all", Its, "What the retention counts: periodic (time) or revision.";
    MAX_LEARNERS: Signed = "max-learners", Kind::Signed("int"), "1", "3.6+", Its, "Learners the cluster may have.";
    ENABLE_V2: Truth = "enable-v2", Kind::Bool, "false", "3.4 - 3.5", Its, "Serves the v2 API. All members must be of this kind.";
    V2_DEPRECATION: Text = "v2-deprecation", Kind::Phase(&["not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"]), "write-only", "3.5 - 3.7", Nothing("The value is checked; there is no v2 store to deprecate."), "How far the v2 store is on its way out.";
    PROXY: Text = "proxy", Kind::Choice(&["off", "readonly", "on"]), "off", "3.4 - 3.5", Refused("the v2 proxy is gone since etcd 3.6"), "Runs as a v2 proxy: off, readonly or on.";
    PROXY_FAILURE_WAIT: Count = "proxy-failure-wait", Kind::Unsigned("uint"), "5000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy leaves a failed member alone.";
    PROXY_REFRESH_INTERVAL: Count = "proxy-refresh-interval", Kind::Unsigned("uint"), "30000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds between two looks of the v2 proxy at the members.";
    PROXY_DIAL_TIMEOUT: Count = "proxy-dial-timeout", Kind::Unsigned("uint"), "1000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy takes to connect.";
    PROXY_WRITE_TIMEOUT: Count = "proxy-write-timeout", Kind::Unsigned("uint"), "5000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy takes to write.";
    PROXY_READ_TIMEOUT: Count = "proxy-read-timeout", Kind::Unsigned("uint"), "0", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy takes to read.";
}
