//! `/cluster` and what else shows how things are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use kit::api::Json;
use wire::cluster::{AddressView, ClusterView};

use super::Api;
use crate::metrics::Look;

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
    let (view, figures, scalings) =
        api.shared.look(|engine, now| (engine.cluster(now), engine.figures(), engine.scalings(now)));
    api.shared.metrics().response(&Look {
        view: &view,
        figures,
        scalings: &scalings,
        audit_lost: api.gate.audit.lost(),
        certificates: &api.certificates.ends(),
        acme_failures: &api.certificates.failures(),
        own_certificate: api.pki.ends(),
    })
}
