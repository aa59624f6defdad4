//! Metrics for Prometheus.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Registry, TextEncoder};

/// A registry that already has the process's own figures (CPU, memory, descriptors, start time).
pub fn process_registry() -> Registry {
    let registry = Registry::new();
    // A new registry has nothing this could collide with.
    let _ = registry.register(Box::new(ProcessCollector::for_self()));
    registry
}

/// All of `registry` in Prometheus's text format.
pub fn metrics_response(registry: &Registry) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
