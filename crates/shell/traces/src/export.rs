//! The thread that sends spans to the collector.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Config, Method, Retry};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use types::Code;

use crate::otlp;
use crate::otlp::{
    EXPORT_PATH, ExportRequest, ExportResponse, Resource, ResourceSpans, ScopeSpans, Span, text,
};
use crate::queue::{Queue, Scope};
use crate::settings::{Event, Settings, Told};

/// How long spans wait for others to go with.
const BATCH_DURATION_MAX: Duration = Duration::from_secs(5);
/// How long a collector may take for one batch.
const EXPORT_DURATION_MAX: Duration = Duration::from_secs(10);
/// A batch that a collector cannot take now is offered again, after so long and for so long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const RETRY_DURATION_MAX: Duration = Duration::from_secs(60);
/// How long the end of a member may wait for its last spans.
pub(crate) const FLUSH_DURATION_MAX: Duration = Duration::from_secs(3);

const EXPORT: Method<ExportRequest, ExportResponse> = Method::new(EXPORT_PATH, Retry::Once);

/// The parts of etcd that make spans, by the names that etcd's go under: queries for them work for ours.
const CALL_SCOPE: &str =
    "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc";
const INNER_SCOPE: &str = "go.etcd.io/etcd";

/// Sends what is queued.
pub(crate) struct Exporter {
    address: String,
    resource: Resource,
    queue: Arc<Queue>,
    told: Told,
    /// It was said that nothing goes through.
    is_failing: bool,
}

impl Exporter {
    pub fn new(settings: &Settings, queue: Arc<Queue>, told: Told) -> Exporter {
        let mut attributes = Vec::new();
        if !settings.instance_id.is_empty() {
            attributes.push(text("service.instance.id", &settings.instance_id));
        }
        attributes.push(text("service.name", &settings.service_name));
        let resource = Resource { attributes };
        Exporter { address: settings.address.clone(), resource, queue, told, is_failing: false }
    }

    /// Sends until it is told to stop, and then what is left.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let config = Config { endpoints: vec![self.address.clone()], ..Config::default() };
        let client = match Client::connect(config).await {
            Ok(client) => client,
            Err(error) => return (self.told)(&Event::Failing(error.to_string())),
        };
        let stop = async {
            // An error means that whoever would say so is gone.
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let mut unsent = Vec::new();
        tokio::select! {
            () = stop => {}
            () = self.send_all(&client, &mut unsent) => {}
        }
        // The batch that was under way is sent once more: a collector knows spans by their ids.
        let flushed = timeout(FLUSH_DURATION_MAX, self.flush(&client, &mut unsent)).await;
        if flushed.is_err() {
            self.failing("the member ended before the collector took them".to_owned());
            self.queue.dropped(unsent.len() as u64);
            while let left @ 1.. = self.queue.take().len() {
                self.queue.dropped(left as u64);
            }
        }
    }

    async fn send_all(&mut self, client: &Client, unsent: &mut Vec<(Scope, Span)>) {
        loop {
            tokio::select! {
                () = self.queue.full() => {}
                () = sleep(BATCH_DURATION_MAX) => {}
            }
            loop {
                *unsent = self.queue.take();
                if unsent.is_empty() {
                    break;
                }
                self.send(client, unsent, RETRY_DURATION_MAX).await;
                unsent.clear();
            }
        }
    }

    async fn flush(&mut self, client: &Client, unsent: &mut Vec<(Scope, Span)>) {
        loop {
            if unsent.is_empty() {
                *unsent = self.queue.take();
            }
            if unsent.is_empty() {
                return;
            }
            self.send(client, unsent, Duration::ZERO).await;
            unsent.clear();
        }
    }

    /// Sends one batch, again for so long while the collector cannot take it now.
    async fn send(&mut self, client: &Client, batch: &[(Scope, Span)], patience: Duration) {
        let request = self.request(batch);
        let count = batch.len() as u64;
        let gives_up = Instant::now() + patience;
        loop {
            let deadline = Some(Instant::now() + EXPORT_DURATION_MAX);
            let error = match client.until(deadline).call(EXPORT, &request).await {
                Ok(answer) => return self.taken(count, &answer),
                Err(error) => error,
            };
            let why = client.channel().last_failure().unwrap_or_else(|| error.to_string());
            self.failing(why);
            if !is_for_now(&error) || gives_up <= Instant::now() + RETRY_AFTER {
                self.queue.dropped(count);
                return;
            }
            sleep(RETRY_AFTER).await;
        }
    }

    fn taken(&mut self, count: u64, answer: &ExportResponse) {
        let rejected = answer.partial_success.as_ref().map_or(0, |part| part.rejected_spans);
        let rejected = u64::try_from(rejected).unwrap_or(0).min(count);
        self.queue.dropped(rejected);
        self.queue.exported(count - rejected);
        if std::mem::take(&mut self.is_failing) {
            (self.told)(&Event::Exporting);
        }
    }

    fn failing(&mut self, why: String) {
        if !std::mem::replace(&mut self.is_failing, true) {
            (self.told)(&Event::Failing(why));
        }
    }

    fn request(&self, batch: &[(Scope, Span)]) -> ExportRequest {
        let of = |scope: Scope, name: &str| {
            let spans = batch.iter().filter(|(made_by, _)| *made_by == scope);
            let version = env!("CARGO_PKG_VERSION").to_owned();
            ScopeSpans {
                scope: Some(otlp::Scope { name: name.to_owned(), version }),
                spans: spans.map(|(_, span)| span.clone()).collect(),
            }
        };
        let both = [of(Scope::Call, CALL_SCOPE), of(Scope::Inner, INNER_SCOPE)];
        let scope_spans = both.into_iter().filter(|of| !of.spans.is_empty()).collect();
        let resource = Some(self.resource.clone());
        ExportRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }
    }
}

/// Whether the collector may take the same spans later, as OTLP's specification says.
fn is_for_now(error: &client::Error) -> bool {
    match error {
        client::Error::DeadlineExceeded => true,
        client::Error::Status(status) => matches!(
            status.code,
            Code::Canceled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        ),
        _ => false,
    }
}
