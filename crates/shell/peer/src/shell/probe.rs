//! How far away a peer is, and how its clock differs: asked every four seconds, for logs and metrics only.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::link::{NoAnswer, Pool, nothing, plain};
use super::peers::Peer;
use super::shared::Core;

/// How often.
const INTERVAL: Duration = Duration::from_secs(4);
/// A clock that differs by more is worth a line.
const DRIFT_MAX: Duration = Duration::from_secs(1);

/// What a probe is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Health {
    #[serde(rename = "OK")]
    pub ok: bool,
    #[serde(rename = "Now")]
    pub now: String,
}

impl Health {
    /// This member's, with the newline that etcd writes.
    pub fn page() -> String {
        let health = Health { ok: true, now: Timestamp::now().to_string() };
        serde_json::to_string(&health).expect("a flag and a text always serialize") + "\n"
    }
}

/// A state of which beginning and end are said, once each.
#[derive(Default)]
struct Said(bool);

impl Said {
    fn changes(&mut self, now: bool) -> bool {
        std::mem::replace(&mut self.0, now) != now
    }
}

/// Probes the peer until it is stopped.
pub(super) async fn probe(core: Arc<Core>, peer: Arc<Peer>, pool: Rc<Pool>) {
    let round_trips = core.metrics.network.peer_round_trip.with(&[&peer.label]);
    let (mut unhealthy, mut drifting) = (Said::default(), Said::default());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let began = Instant::now();
        let answer = once(&pool).await;
        let rtt = began.elapsed();
        let said = |event: Event| event.with("rtt", format!("{rtt:?}"));
        match answer {
            Ok(theirs) => {
                round_trips.observe_duration(rtt);
                if unhealthy.changes(false) {
                    let event = Event::info("prober detected healthy status again", &peer.label);
                    core.report.event(said(event));
                }
                let ours = Timestamp::now().as_nanosecond() - (rtt / 2).as_nanos() as i128;
                let drift = ours - theirs.as_nanosecond();
                let far = drift.unsigned_abs() > DRIFT_MAX.as_nanos();
                if drifting.changes(far) {
                    let event = match far {
                        true => Event::warn("prober found high clock drift", &peer.label),
                        false => Event::info("prober found no clock drift any more", &peer.label),
                    };
                    let seconds = format!("{:.3}s", drift as f64 / 1e9);
                    core.report.event(said(event.with("clock-drift", seconds)));
                }
            }
            Err(error) if unhealthy.changes(true) => {
                let event = Event::warn("prober detected unhealthy status", &peer.label);
                core.report.event(said(event).with("error", error.reason));
            }
            Err(_) => {}
        }
    }
}

async fn once(pool: &Pool) -> Result<Timestamp, NoAnswer> {
    let make = |url: &_| {
        let request = plain(Method::GET, url, "/raft/probing").body(nothing());
        request.expect("a URL that was checked makes a request")
    };
    let (status, text) = pool.ask(make).await?;
    let health: Option<Health> = serde_json::from_slice(&text).ok();
    match health.and_then(|health| health.now.parse().ok()) {
        Some(now) if status.is_success() => Ok(now),
        _ => Err(NoAnswer::because(format!("unhandled http status {}", status.as_u16()))),
    }
}
