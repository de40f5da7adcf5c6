//! What becomes of spans when the collector is there, slow to come back, or never there.

mod collector;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use holdfast_traces as traces;
use metrics::Metrics;
use net::{Remote, RemoteAddress};
use proto::Rpc;
use rpc::{Follow, Metadata, Method};
use traces::{Event, Settings, Traces};

use collector::Collector;

const PATIENCE: Duration = Duration::from_secs(60);

static METHOD: LazyLock<Method> = LazyLock::new(|| {
    let rpc = Rpc::KvRange;
    let (path, service, name, kind) = (rpc.path(), rpc.service(), rpc.name(), rpc.kind());
    Method { path, service, name, kind, rpc: Some(rpc), index: 0 }
});

fn start(address: &str) -> (Traces, Arc<Metrics>, Receiver<Event>) {
    let settings = Settings {
        address: address.to_owned(),
        service_name: "etcd".to_owned(),
        instance_id: String::new(),
        sampled_per_million: 1_000_000,
    };
    let metrics = Arc::new(Metrics::new(false));
    let (sender, told) = channel();
    // Whoever is told may have gone.
    let tell = Box::new(move |event: &Event| drop(sender.send(event.clone())));
    let traces = Traces::start(&settings, metrics.clone(), tell).expect("a thread");
    (traces, metrics, told)
}

fn call(traces: &Traces, times: usize) {
    let remote = Remote::plain(RemoteAddress::Unix);
    for _ in 0..times {
        let call = traces.follower().follow(&METHOD, &Metadata::default(), &remote);
        call.expect("all are sampled").ended(Ok(()));
    }
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn what_waits_is_sent_when_the_member_stops() {
    let collector = Collector::start();
    let (traces, metrics, _told) = start(&collector.address.to_string());
    call(&traces, 700);
    traces.stop();
    assert_eq!(collector.spans().len(), 700);
    assert_eq!(metrics.server.spans_exported.get(), 700);
    assert_eq!(metrics.server.spans_dropped.get(), 0);
}

#[test]
fn a_whole_batch_does_not_wait_for_others() {
    let collector = Collector::start();
    let (traces, _metrics, _told) = start(&collector.address.to_string());
    call(&traces, 512);
    assert_eq!(collector.wait_for(512, PATIENCE).len(), 512);
    traces.stop();
}

#[test]
fn a_collector_that_comes_back_is_given_what_waited() {
    let collector = Collector::start();
    collector.set_away(true);
    let (traces, metrics, told) = start(&collector.address.to_string());
    call(&traces, 512);
    let failing = told.recv_timeout(PATIENCE).expect("it is said");
    assert!(matches!(&failing, Event::Failing(why) if why.contains("away")), "{failing:?}");
    collector.set_away(false);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Event::Exporting));
    assert_eq!(collector.spans().len(), 512);
    assert_eq!(metrics.server.spans_dropped.get(), 0);
    traces.stop();
}

#[test]
fn without_a_collector_spans_are_dropped_and_counted_and_the_end_is_not_held_up() {
    let (traces, metrics, _told) = start(&nowhere());
    let began = Instant::now();
    call(&traces, 5_000);
    let stopped = Instant::now();
    traces.stop();
    // Three seconds, on a machine that may be busy.
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
    assert_eq!(metrics.server.spans_dropped.get(), 5_000, "after {:?}", began.elapsed());
    assert_eq!(metrics.server.spans_exported.get(), 0);
}
