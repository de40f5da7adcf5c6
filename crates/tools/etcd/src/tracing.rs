//! Traces, where `--enable-distributed-tracing` asks for them: from the configuration to a thread that exports.

use std::sync::Arc;

use logging::{Logger, debug, info, warn};
use metrics::Metrics;
use options::Config;
use rpc::Follow;
use traces::{Event, Settings, Told, Traces};

/// Starts to export, if that is asked for. Nothing is started otherwise.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    config: &Config,
    metrics: Arc<Metrics>,
    log: &Logger,
) -> Result<Option<Traces>, String> {
    let Some(tracing) = config.tracing.clone() else { return Ok(None) };
    debug!(
        log,
        "distributed tracing enabled",
        "address" => &tracing.address,
        "service-name" => &tracing.service_name,
        "service-instance-id" => &tracing.instance_id,
        "sampling-rate" => tracing.sampled_per_million
    );
    let told = told(log, &tracing.address);
    let settings = Settings {
        address: tracing.address,
        service_name: tracing.service_name,
        instance_id: tracing.instance_id,
        sampled_per_million: tracing.sampled_per_million,
    };
    let traces = Traces::start(&settings, metrics, told)
        .map_err(|fault| format!("traces cannot be exported: {fault}"))?;
    info!(log, "distributed tracing setup enabled");
    Ok(Some(traces))
}

/// What calls are shown to.
pub fn follower(traces: Option<&Traces>) -> Option<Arc<dyn Follow>> {
    traces.map(|traces| Arc::new(traces.follower()) as Arc<dyn Follow>)
}

fn told(log: &Logger, address: &str) -> Told {
    let (log, address) = (log.clone(), address.to_owned());
    Box::new(move |event| match event {
        Event::Failing(error) => warn!(
            log,
            "traces cannot be exported; they are dropped until the collector takes them",
            "address" => &address,
            "error" => error
        ),
        Event::Exporting => info!(log, "traces are exported again", "address" => &address),
    })
}
