//! What the service says of itself: that it lives, that it wants requests, what it has counted.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use kit::api::{ApiError, Json};
use serde::Serialize;
use utoipa::ToSchema;
use wire::Problem;

use crate::app::Shared;

/// The answer of a health route.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `OK`; what is not OK is answered with a problem.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "OK" });

fn stopping() -> ApiError {
    ApiError(Problem::unavailable("the service is being stopped and takes no more work"))
}

/// Heartbeats as server-sent events until the service is stopped.
#[utoipa::path(get, path = "/heartbeat", responses(
    (status = 200, content_type = "text/event-stream", body = String, example = "data: {\"status\": \"OK\"}\n\n"),
    (status = 503, description = "being stopped", body = Problem),
))]
pub(crate) async fn heartbeat(State(app): State<Shared>) -> Result<Response, ApiError> {
    if app.stopping.is_cancelled() {
        return Err(stopping());
    }
    let beats = kit::api::heartbeat_stream(app.settings.heartbeat_interval).into_response();
    // A stream without end would hold an orderly stop up for as long as it may last.
    let end = app.stopping.clone().cancelled_owned();
    Ok(beats.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(end)))))
}

/// The process runs.
#[utoipa::path(get, path = "/health/live", responses((status = 200, body = Health)))]
pub(crate) async fn live() -> Json<Health> {
    OK
}

/// The service wants requests: from its start until it is asked to stop.
#[utoipa::path(get, path = "/health/ready", responses(
    (status = 200, body = Health),
    (status = 503, description = "being stopped", body = Problem),
))]
pub(crate) async fn ready(State(app): State<Shared>) -> Result<Json<Health>, ApiError> {
    if app.stopping.is_cancelled() { Err(stopping()) } else { Ok(OK) }
}

/// Metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(crate) async fn metrics(State(app): State<Shared>) -> Response {
    kit::api::metrics_response(&app.metrics.registry)
}
