//! Flags about how a cluster comes together and stays together.

use super::flag;
use crate::flag::Does::{Its, Nothing, Refused};
use crate::flag::Flag;
use crate::flag::Kind::{Bool, Choice, Duration, Phase, Signed, Text, Unsigned, Urls, Words};

/// Clustering.
#[rustfmt::skip] // One flag a line.
pub(super) const CLUSTERING: &[Flag] = &[
    flag("initial-advertise-peer-urls", Urls, "http://localhost:2380", "all", Its, "Where other members are told to reach this one."),
    flag("initial-cluster", Text, "default=http://localhost:2380", "all", Its, "The members a new cluster begins with: name=url,name=url."),
    flag("initial-cluster-state", Choice(&["new", "existing"]), "new", "all", Its, "Whether to begin a new cluster or join an existing one: new or existing."),
    flag("initial-cluster-token", Text, "etcd-cluster", "all", Its, "Sets clusters apart that are begun with the same members."),
    flag("advertise-client-urls", Urls, "http://localhost:2379", "all", Its, "Where clients are told to reach this member; required with --listen-client-urls."),
    flag("discovery", Text, "", "3.4 - 3.6", Refused("discovery is not built yet; name the members in --initial-cluster"), "A v2 discovery service."),
    flag("discovery-fallback", Choice(&["exit", "proxy"]), "exit", "all", Nothing("Matters only with discovery, which is not built yet and refused."), "What to do when discovery fails: exit."),
    flag("discovery-proxy", Text, "", "3.4 - 3.6", Nothing("Matters only with discovery, which is not built yet and refused."), "An HTTP proxy for v2 discovery."),
    flag("discovery-srv", Text, "", "all", Refused("discovery is not built yet; name the members in --initial-cluster"), "The domain whose SRV records name the members."),
    flag("discovery-srv-name", Text, "", "all", Nothing("Matters only with discovery, which is not built yet and refused."), "Suffix of the SRV records."),
    flag("discovery-token", Text, "", "3.6+", Refused("discovery is not built yet; name the members in --initial-cluster"), "The new cluster, as the v3 discovery service knows it."),
    flag("discovery-endpoints", Words, "", "3.6+", Refused("discovery is not built yet; name the members in --initial-cluster"), "Where the v3 discovery service is."),
    flag("discovery-dial-timeout", Duration, "2s", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Longest time to connect to the discovery service."),
    flag("discovery-request-timeout", Duration, "5s", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Longest time for a request to the discovery service."),
    flag("discovery-keepalive-time", Duration, "2s", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "How often the discovery service is pinged."),
    flag("discovery-keepalive-timeout", Duration, "6s", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "How long to wait for the answer to such a ping."),
    flag("discovery-insecure-transport", Bool, "true", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Reaches the discovery service without TLS."),
    flag("discovery-insecure-skip-tls-verify", Bool, "false", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Does not check the certificate of the discovery service."),
    flag("discovery-cert", Text, "", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Certificate to show to the discovery service."),
    flag("discovery-key", Text, "", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Key of that certificate."),
    flag("discovery-cacert", Text, "", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Authority that signed the certificate of the discovery service."),
    flag("discovery-user", Text, "", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "User at the discovery service: name or name:password."),
    flag("discovery-password", Text, "", "3.6+", Nothing("Matters only with discovery, which is not built yet and refused."), "Password at the discovery service."),
    flag("strict-reconfig-check", Bool, "true", "all", Nothing("Matters only with other members, which are not built yet."), "Refuses changes of membership that would lose the quorum."),
    flag("pre-vote", Bool, "true", "all", Its, "Asks before standing for election, so that a member that was cut off disturbs nobody."),
    flag("auto-compaction-retention", Text, "0", "all", Its, "How much history to keep; 0 keeps all. A bare number means hours or revisions."),
    flag("auto-compaction-mode", Text, "periodic", "all", Its, "What the retention counts: periodic (time) or revision."),
    flag("max-learners", Signed("int"), "1", "3.6+", Its, "Learners the cluster may have."),
    flag("enable-v2", Bool, "false", "3.4 - 3.5", Refused("the v2 API is gone since etcd 3.6"), "Serves the v2 API."),
    flag("v2-deprecation", Phase(&["not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"]), "write-only", "3.5 - 3.7", Nothing("The value is checked; there is no v2 store to deprecate."), "How far the v2 store is on its way out."),
    flag("proxy", Choice(&["off", "readonly", "on"]), "off", "3.4 - 3.5", Refused("the v2 proxy is gone since etcd 3.6"), "Runs as a v2 proxy: off, readonly or on."),
    flag("proxy-failure-wait", Unsigned("uint"), "5000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy leaves a failed member alone."),
    flag("proxy-refresh-interval", Unsigned("uint"), "30000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds between two looks of the v2 proxy at the members."),
    flag("proxy-dial-timeout", Unsigned("uint"), "1000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy takes to connect."),
    flag("proxy-write-timeout", Unsigned("uint"), "5000", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy takes to write."),
    flag("proxy-read-timeout", Unsigned("uint"), "0", "3.4 - 3.5", Nothing("Matters only to the v2 proxy, which is gone."), "Milliseconds the v2 proxy takes to read."),
];
