//! `/switchover`: public addresses move to another host's balancer.

use axum::extract::State;
use axum::http::StatusCode;
use kit::api::{ApiError, Json};
use wire::Problem;
use wire::switchover::{Switchover, SwitchoverOrder};

use super::Api;

/// Moves public addresses to another host's balancer without failing a request. Any manager can be asked. It
/// is done when `GET /switchover` says so.
#[utoipa::path(post, path = "/switchover", request_body = SwitchoverOrder, responses(
    (status = 202, body = Switchover),
    (status = 400, description = "a time that makes no sense", body = Problem),
    (status = 404, description = "unknown host or address", body = Problem),
    (status = 409, description = "on its way already, or nobody can take the address", body = Problem),
))]
pub(super) async fn begin(
    State(api): State<Api>,
    Json(order): Json<SwitchoverOrder>,
) -> Result<(StatusCode, Json<Switchover>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(api.shared.ask(|engine, now| engine.switch_over(now, order))?)))
}

/// The present or the last switchover that this manager was asked for, or made before it stopped its balancer.
#[utoipa::path(get, path = "/switchover", responses(
    (status = 200, body = Switchover),
    (status = 404, description = "there was none since this manager started", body = Problem),
))]
pub(super) async fn show(State(api): State<Api>) -> Result<Json<Switchover>, ApiError> {
    let last = api.shared.look(|engine, now| engine.switchover(now));
    Ok(Json(last.ok_or_else(|| Problem::not_found("there was no switchover since this manager started"))?))
}
