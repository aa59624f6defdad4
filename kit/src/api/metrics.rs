//! Metrics for Prometheus.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

/// A registry that already has the process's own figures (CPU, memory, descriptors, start time).
pub fn process_registry() -> Registry {
    let registry = Registry::new();
    // A new registry has nothing this could collide with.
    let _ = registry.register(Box::new(ProcessCollector::for_self()));
    registry
}

/// Has `registry` say which version of `program` runs, as `PROGRAM_build_info{version}`.
///
/// # Errors
///
/// When `program` cannot begin the name of a metric, or it was said before.
pub fn register_build_info(registry: &Registry, program: &str, version: &str) -> prometheus::Result<()> {
    let options = Opts::new(format!("{program}_build_info"), "1, labelled with the version that runs.");
    let info = IntGaugeVec::new(options, &["version"])?;
    info.with_label_values(&[version]).set(1);
    registry.register(Box::new(info))
}

/// All of `registry` in Prometheus's text format.
pub fn metrics_response(registry: &Registry) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
