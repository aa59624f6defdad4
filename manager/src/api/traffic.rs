//! `/traffic`: what the balancers do right now.

use axum::extract::State;
use kit::api::Json;
use wire::traffic::BalancerTraffic;

use super::Api;

/// What each balancer of the cluster does right now, as it says itself.
#[utoipa::path(get, path = "/traffic", responses((status = 200, body = [BalancerTraffic])))]
pub(super) async fn traffic(State(api): State<Api>) -> Json<Vec<BalancerTraffic>> {
    Json(api.board.traffic().await)
}
