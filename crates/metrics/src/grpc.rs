//! Calls by method: started, handled by code, messages in and out, and how long they took.
//!
//! All methods are known beforehand, so each has its own counters and a call pays one addition for each
//! event. The services every client uses stand on the page from the start, with a line for every method
//! and code; the lock and election services show up with their first call, as in etcd.

use types::Code;

use crate::family::About;
use crate::text::{Text, labels};
use crate::value::{Buckets, Counter, Histogram, Metric};

/// How a method's messages flow, in the metrics' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// One message each way.
    Unary,
    /// One message in, many out.
    ServerStream,
    /// Many each way.
    BidiStream,
}

impl CallKind {
    fn name(self) -> &'static str {
        match self {
            CallKind::Unary => "unary",
            CallKind::ServerStream => "server_stream",
            CallKind::BidiStream => "bidi_stream",
        }
    }
}

/// One service and the names of its methods; those not named as streams are unary.
struct Service {
    name: &'static str,
    methods: &'static [&'static str],
    server_streams: &'static [&'static str],
    bidi_streams: &'static [&'static str],
    /// Whether its lines stand on the page before the first call.
    from_the_start: bool,
}

const SERVICES: &[Service] = &[
    Service {
        name: "etcdserverpb.Auth",
        methods: &[
            "AuthDisable",
            "AuthEnable",
            "AuthStatus",
            "Authenticate",
            "RoleAdd",
            "RoleDelete",
            "RoleGet",
            "RoleGrantPermission",
            "RoleList",
            "RoleRevokePermission",
            "UserAdd",
            "UserChangePassword",
            "UserDelete",
            "UserGet",
            "UserGrantRole",
            "UserList",
            "UserRevokeRole",
        ],
        server_streams: &[],
        bidi_streams: &[],
        from_the_start: true,
    },
    Service {
        name: "etcdserverpb.Cluster",
        methods: &["MemberAdd", "MemberList", "MemberPromote", "MemberRemove", "MemberUpdate"],
        server_streams: &[],
        bidi_streams: &[],
        from_the_start: true,
    },
    Service {
        name: "etcdserverpb.KV",
        methods: &["Compact", "DeleteRange", "Put", "Range", "Txn"],
        server_streams: &["RangeStream"],
        bidi_streams: &[],
        from_the_start: true,
    },
    Service {
        name: "etcdserverpb.Lease",
        methods: &["LeaseGrant", "LeaseLeases", "LeaseRevoke", "LeaseTimeToLive"],
        server_streams: &[],
        bidi_streams: &["LeaseKeepAlive"],
        from_the_start: true,
    },
    Service {
        name: "etcdserverpb.Maintenance",
        methods: &["Alarm", "Defragment", "Downgrade", "Hash", "HashKV", "MoveLeader", "Status"],
        server_streams: &["Snapshot"],
        bidi_streams: &[],
        from_the_start: true,
    },
    Service {
        name: "etcdserverpb.Watch",
        methods: &[],
        server_streams: &[],
        bidi_streams: &["Watch"],
        from_the_start: true,
    },
    Service {
        name: "grpc.health.v1.Health",
        methods: &["Check", "List"],
        server_streams: &["Watch"],
        bidi_streams: &[],
        from_the_start: true,
    },
    Service {
        name: "v3electionpb.Election",
        methods: &["Campaign", "Leader", "Proclaim", "Resign"],
        server_streams: &["Observe"],
        bidi_streams: &[],
        from_the_start: false,
    },
    Service {
        name: "v3lockpb.Lock",
        methods: &["Lock", "Unlock"],
        server_streams: &[],
        bidi_streams: &[],
        from_the_start: false,
    },
];

/// The counters of one method.
#[derive(Debug)]
pub struct MethodMetrics {
    /// The service's full name.
    pub service: &'static str,
    /// The method's name.
    pub method: &'static str,
    /// How its messages flow.
    pub kind: CallKind,
    /// Calls begun.
    pub started: Counter,
    /// Messages received.
    pub received: Counter,
    /// Messages sent.
    pub sent: Counter,
    /// Calls ended, by code.
    handled: [Counter; Code::ALL.len()],
    /// How long calls took; only with `--metrics=extensive`.
    handling: Option<Histogram>,
    from_the_start: bool,
}

impl MethodMetrics {
    /// Counts a call's end. `seconds` is used only where `--metrics=extensive` asks for it.
    pub fn ended(&self, code: Code, seconds: f64) {
        self.handled[code as usize].inc();
        if let Some(handling) = &self.handling {
            handling.observe(seconds);
        }
    }

    /// Calls ended with this code.
    pub fn handled(&self, code: Code) -> u64 {
        self.handled[code as usize].get()
    }

    fn is_shown(&self) -> bool {
        self.from_the_start || self.started.get() > 0
    }
}

/// The counters of all methods.
#[derive(Debug)]
pub struct GrpcMetrics {
    /// Ordered as on the page: by method, then service.
    methods: Vec<MethodMetrics>,
    extensive: bool,
}

impl GrpcMetrics {
    /// All methods at 0; `extensive` adds the histogram of durations.
    pub fn new(extensive: bool) -> GrpcMetrics {
        let mut methods = Vec::new();
        for service in SERVICES {
            let mut make = |names: &[&'static str], kind| {
                methods.extend(names.iter().map(|name| method(service, name, kind, extensive)));
            };
            make(service.methods, CallKind::Unary);
            make(service.server_streams, CallKind::ServerStream);
            make(service.bidi_streams, CallKind::BidiStream);
        }
        methods.sort_by_key(|method| (method.method, method.service));
        GrpcMetrics { methods, extensive }
    }

    /// The counters of `/service/method`; `None` for a method nobody serves.
    ///
    /// Look it up once, when the method table is built.
    pub fn method(&self, service: &str, method: &str) -> Option<&MethodMetrics> {
        let key = (method, service);
        let found =
            self.methods.binary_search_by_key(&key, |one| (one.method, one.service)).ok()?;
        Some(&self.methods[found])
    }

    /// The place of `/service/method` in the table, for callers that cannot keep a reference.
    pub fn position(&self, service: &str, method: &str) -> Option<usize> {
        self.methods.binary_search_by_key(&(method, service), |one| (one.method, one.service)).ok()
    }

    /// The counters at a place that [`GrpcMetrics::position`] gave.
    pub fn at(&self, position: usize) -> &MethodMetrics {
        &self.methods[position]
    }

    /// The families, each with what writes its samples.
    pub(crate) fn visit<'a>(&'a self, each: &mut dyn FnMut(About, Sampler<'a>)) {
        each(STARTED, Box::new(|name, out| self.counters(name, |one| &one.started, out)));
        each(HANDLED, Box::new(|name, out| self.handled(name, out)));
        each(RECEIVED, Box::new(|name, out| self.counters(name, |one| &one.received, out)));
        each(SENT, Box::new(|name, out| self.counters(name, |one| &one.sent, out)));
        if self.extensive {
            each(HANDLING, Box::new(|name, out| self.handling(name, out)));
        }
    }

    fn counters(&self, name: &str, of: impl Fn(&MethodMetrics) -> &Counter, out: &mut Text) {
        for one in self.methods.iter().filter(|one| one.is_shown()) {
            of(one).write(name, &method_labels(one), out);
        }
    }

    fn handled(&self, name: &str, out: &mut Text) {
        let mut codes = Code::ALL;
        codes.sort_by_key(|code| code.name());
        for code in codes {
            for one in &self.methods {
                let counter = &one.handled[code as usize];
                if one.from_the_start || counter.get() > 0 {
                    let labels = format!("grpc_code=\"{}\",{}", code.name(), method_labels(one));
                    counter.write(name, &labels, out);
                }
            }
        }
    }

    fn handling(&self, name: &str, out: &mut Text) {
        for one in self.methods.iter().filter(|one| one.is_shown()) {
            if let Some(handling) = &one.handling {
                handling.write(name, &method_labels(one), out);
            }
        }
    }
}

/// Writes the samples of the family of the given name.
pub(crate) type Sampler<'a> = Box<dyn Fn(&str, &mut Text) + 'a>;

fn method(service: &Service, name: &'static str, kind: CallKind, extensive: bool) -> MethodMetrics {
    MethodMetrics {
        service: service.name,
        method: name,
        kind,
        started: Counter::default(),
        received: Counter::default(),
        sent: Counter::default(),
        handled: Default::default(),
        handling: extensive.then(|| Histogram::new(&Buckets::usual())),
        from_the_start: service.from_the_start,
    }
}

const METHOD_LABELS: &[&str] = &["grpc_method", "grpc_service", "grpc_type"];

fn method_labels(one: &MethodMetrics) -> String {
    labels(METHOD_LABELS, &[one.method, one.service, one.kind.name()])
}

const STARTED: About = About {
    name: "grpc_server_started_total",
    kind: "counter",
    labels: METHOD_LABELS,
    help: "Calls begun.",
};
const HANDLED: About = About {
    name: "grpc_server_handled_total",
    kind: "counter",
    labels: &["grpc_code", "grpc_method", "grpc_service", "grpc_type"],
    help: "Calls ended, by code.",
};
const RECEIVED: About = About {
    name: "grpc_server_msg_received_total",
    kind: "counter",
    labels: METHOD_LABELS,
    help: "Messages received on calls.",
};
const SENT: About = About {
    name: "grpc_server_msg_sent_total",
    kind: "counter",
    labels: METHOD_LABELS,
    help: "Messages sent on calls.",
};
const HANDLING: About = About {
    name: "grpc_server_handling_seconds",
    kind: "histogram",
    labels: METHOD_LABELS,
    help: "How long calls took; only with --metrics=extensive.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_call_shows_up_only_once_it_was_made() {
        let grpc = GrpcMetrics::new(false);
        let page = |grpc: &GrpcMetrics| {
            let mut out = Text::default();
            grpc.handled("h", &mut out);
            grpc.counters("s", |one| &one.started, &mut out);
            out.finish()
        };
        assert!(!page(&grpc).contains("v3lockpb"));
        let lock = grpc.method("v3lockpb.Lock", "Lock").expect("it is in the table");
        lock.started.inc();
        lock.ended(Code::Ok, 0.1);
        let expected = "{grpc_code=\"OK\",grpc_method=\"Lock\",grpc_service=\"v3lockpb.Lock\",\
                        grpc_type=\"unary\"} 1\n";
        assert!(page(&grpc).contains(expected));
        assert_eq!(page(&grpc).matches("v3lockpb").count(), 2);
    }

    #[test]
    fn every_method_that_stands_from_the_start_has_a_line_for_each_code() {
        let mut out = Text::default();
        GrpcMetrics::new(false).handled("h", &mut out);
        assert_eq!(out.finish().lines().count(), 45 * 17);
    }
}
