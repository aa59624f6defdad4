//! Counts requests, by route and never by path, so that no client can grow the list of series.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::app::Shared;

/// The series of this service.
#[derive(Debug)]
pub struct Metrics {
    /// Everything that `/metrics` shows.
    pub registry: Registry,
    executions: IntCounterVec,
    requests: IntCounterVec,
    duration: HistogramVec,
}

/// The route of a request that matched none.
const UNMATCHED: &str = "unmatched";

impl Metrics {
    /// The series, all empty.
    ///
    /// # Errors
    ///
    /// Only if two series had the same name.
    pub fn new() -> prometheus::Result<Self> {
        let executions = IntCounterVec::new(
            Opts::new("stateless_executions_total", "Requests begun, whether or not the client stayed."),
            &["route", "method"],
        )?;
        let requests = IntCounterVec::new(
            Opts::new("stateless_requests_total", "Requests answered."),
            &["route", "method", "status"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "stateless_request_duration_seconds",
                "From a request's arrival to its answer's head.",
            ),
            &["route"],
        )?;
        let registry = kit::api::process_registry();
        kit::api::register_build_info(&registry, "stateless", env!("CARGO_PKG_VERSION"))?;
        registry.register(Box::new(executions.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Metrics { registry, executions, requests, duration })
    }
}

/// Counts each request twice: when it begins, so that one which is given up half way is seen too, and
/// when it is answered.
pub(crate) async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let metrics = &shared.metrics;
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let method = known(request.method());
    metrics.executions.with_label_values(&[route, method]).inc();
    let begun = Instant::now();
    let response = next.run(request).await;
    metrics.duration.with_label_values(&[route]).observe(begun.elapsed().as_secs_f64());
    metrics.requests.with_label_values(&[route, method, response.status().as_str()]).inc();
    response
}

/// The method as a label: a client may invent methods, but no series.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
