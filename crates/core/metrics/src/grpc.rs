//! Calls by method: started, handled by code, messages in and out, and how long they took.
//!
//! All methods are known beforehand, so each has its own counters and a call pays one addition for each
//! event. The services every client uses stand on the page from the start, with a line for every method
//! and code; the lock and election services show up with their first call, as in etcd.

use proto::Rpc;
use types::Code;

use crate::family::About;
use crate::text::{Text, labels};
use crate::value::{Buckets, Counter, Histogram, Metric};

/// Services that show up on the page with their first call.
const FROM_THE_FIRST_CALL: [&str; 2] = ["v3electionpb.Election", "v3lockpb.Lock"];

/// The counters of one method.
#[derive(Debug)]
pub struct MethodMetrics {
    /// The method.
    pub rpc: Rpc,
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
    /// By method, as [`Rpc`] counts them.
    methods: Vec<MethodMetrics>,
    /// The order on the page: by method, then service.
    order: Vec<Rpc>,
    extensive: bool,
}

impl GrpcMetrics {
    /// All methods at 0; `extensive` adds the histogram of durations.
    pub fn new(extensive: bool) -> GrpcMetrics {
        let methods = Rpc::ALL.iter().map(|rpc| method(*rpc, extensive)).collect();
        let mut order = Rpc::ALL.to_vec();
        order.sort_by_key(|rpc| (rpc.name(), rpc.service()));
        GrpcMetrics { methods, order, extensive }
    }

    /// The counters of a method.
    pub fn of(&self, rpc: Rpc) -> &MethodMetrics {
        &self.methods[rpc as usize]
    }

    fn in_order(&self) -> impl Iterator<Item = &MethodMetrics> {
        self.order.iter().map(|rpc| self.of(*rpc))
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
        for one in self.in_order().filter(|one| one.is_shown()) {
            of(one).write(name, &method_labels(one), out);
        }
    }

    fn handled(&self, name: &str, out: &mut Text) {
        let mut codes = Code::ALL;
        codes.sort_by_key(|code| code.name());
        for code in codes {
            for one in self.in_order() {
                let counter = &one.handled[code as usize];
                if one.from_the_start || counter.get() > 0 {
                    let labels = format!("grpc_code=\"{}\",{}", code.name(), method_labels(one));
                    counter.write(name, &labels, out);
                }
            }
        }
    }

    fn handling(&self, name: &str, out: &mut Text) {
        for one in self.in_order().filter(|one| one.is_shown()) {
            if let Some(handling) = &one.handling {
                handling.write(name, &method_labels(one), out);
            }
        }
    }
}

/// Writes the samples of the family of the given name.
pub(crate) type Sampler<'a> = Box<dyn Fn(&str, &mut Text) + 'a>;

fn method(rpc: Rpc, extensive: bool) -> MethodMetrics {
    MethodMetrics {
        rpc,
        started: Counter::default(),
        received: Counter::default(),
        sent: Counter::default(),
        handled: Default::default(),
        handling: extensive.then(|| Histogram::new(&Buckets::usual())),
        from_the_start: !FROM_THE_FIRST_CALL.contains(&rpc.service()),
    }
}

const METHOD_LABELS: &[&str] = &["grpc_method", "grpc_service", "grpc_type"];

fn method_labels(one: &MethodMetrics) -> String {
    labels(METHOD_LABELS, &[one.rpc.name(), one.rpc.service(), one.rpc.kind().name()])
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
        let lock = grpc.of(Rpc::Lock);
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
