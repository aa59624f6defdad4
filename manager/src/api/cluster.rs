//! `/cluster` and what else shows how things are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use kit::api::{Json, metrics_response};
use wire::cluster::{AddressView, ClusterView};

use super::Api;

/// The whole cluster, as this manager sees it.
#[utoipa::path(get, path = "/cluster", responses((status = 200, body = ClusterView)))]
pub(super) async fn cluster(State(api): State<Api>) -> Json<ClusterView> {
    Json(api.shared.look(|engine, now| engine.cluster(now)))
}

/// What each address of this host's pool is used for.
#[utoipa::path(get, path = "/addresses", responses((status = 200, body = [AddressView])))]
pub(super) async fn addresses(State(api): State<Api>) -> Json<Vec<AddressView>> {
    Json(api.shared.look(|engine, _| engine.addresses()))
}

/// All of the manager's state, for finding out why it does what it does. No stable format.
#[utoipa::path(get, path = "/state", responses((status = 200, body = Object)))]
pub(super) async fn state(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(api.shared.look(|engine, now| engine.snapshot(now)))
}

/// The manager runs.
#[utoipa::path(get, path = "/health/live", responses((status = 204)))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let (view, lost, maintenance) =
        api.shared.look(|engine, now| (engine.cluster(now), engine.uplink_lost(), engine.in_maintenance()));
    api.shared.metrics().set_uplink_lost(lost.unwrap_or(false));
    api.shared.metrics().set_own(maintenance, api.gate.audit.lost());
    api.shared.metrics().set_certificates(&api.certificates.ends(), &api.certificates.failures());
    metrics_response(api.shared.metrics().updated(&view))
}
