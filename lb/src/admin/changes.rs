//! What a manager may change.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use kit::api::{ApiError, Body, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::Problem;
use wire::changes::UpstreamChanges;
use wire::hand_over::{HandOver, HandOverOrder};
use wire::proxy_config::ProxyConfig;
use wire::tls::Credentials;
use wire::upstreams::UpstreamSet;
use wire::vip::{VipOrder, VipStatus};

use super::peer::Peer;
use super::{Admin, Shared};
use crate::link::{self, LinkError};
use crate::proxy::state;

pub(super) fn router() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .routes(routes!(put_upstreams, patch_upstreams, delete_upstreams))
        .routes(routes!(put_config, delete_config))
        .routes(routes!(put_vip))
        .routes(routes!(put_hand_over))
        .routes(routes!(put_certificate))
}

/// Lets only the manager through, and where there is no CA the machine itself too.
pub(super) async fn only_from_managers(
    State(admin): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let host = admin.guard.live().map(|live| live.host());
    match peer.may_change(&admin.settings, host.as_ref()) {
        Ok(()) => Ok(next.run(request).await),
        Err(reason) => {
            tracing::warn!(%peer, method = %request.method(), path = request.uri().path(), "change refused");
            Err(Problem::forbidden(reason).into())
        }
    }
}

/// Takes other credentials into use, for connections from now on. Those that there are live on, unless the
/// new list of revocations has their other end.
#[utoipa::path(put, path = "/certificate", request_body = Credentials, responses(
    (status = 200, description = "in use and stored"),
    (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "of another host or cluster", body = Problem),
))]
async fn put_certificate(State(admin): Shared, Json(credentials): Json<Credentials>) -> Result<(), ApiError> {
    let done = tokio::task::spawn_blocking(move || admin.guard.replace(credentials)).await;
    done.unwrap_or_else(|error| Err(Problem::new(500, "Failed", error.to_string()))).map_err(ApiError)
}

/// Takes a new upstream set into use.
#[utoipa::path(put, path = "/upstreams", request_body = UpstreamSet, responses(
    (status = 200, description = "in use and stored; at the generation held, nothing changes"),
    (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "a newer one is held", body = Problem),
))]
async fn put_upstreams(State(admin): Shared, Body(text): Body) -> Result<(), ApiError> {
    blocking(admin, |state| state.put_upstreams(text)).await
}

/// Changes the upstream set that is held: for who knows which one that is. Where this is refused, all of the set can
/// be put.
#[utoipa::path(patch, path = "/upstreams", request_body = UpstreamChanges, responses(
    (status = 200, description = "in use and stored; at the generation held, nothing changes"),
    (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "another one is held than the one that changes", body = Problem),
))]
async fn patch_upstreams(State(admin): Shared, Json(changes): Json<UpstreamChanges>) -> Result<(), ApiError> {
    blocking(admin, |state| state.change_upstreams(changes)).await
}

/// Takes a new configuration into use.
#[utoipa::path(put, path = "/config", request_body = ProxyConfig, responses(
    (status = 200, description = "in use and stored; at the generation held, nothing changes"),
    (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "a newer one is held", body = Problem),
))]
async fn put_config(State(admin): Shared, Json(config): Json<ProxyConfig>) -> Result<(), ApiError> {
    blocking(admin, |state| state.put_config(config)).await
}

/// Forgets the upstream set that was pushed: the settings file's, if it has one, is in use again.
#[utoipa::path(delete, path = "/upstreams", responses(
    (status = 200, description = "forgotten"), (status = 403, body = Problem),
    (status = 404, description = "none was pushed", body = Problem),
))]
async fn delete_upstreams(State(admin): Shared) -> Result<(), ApiError> {
    blocking(admin, state::State::forget_upstreams).await
}

/// Forgets the configuration that was pushed: the settings file's, if it has one, is in use again.
#[utoipa::path(delete, path = "/config", responses(
    (status = 200, description = "forgotten"), (status = 403, body = Problem),
    (status = 404, description = "none was pushed", body = Problem),
))]
async fn delete_config(State(admin): Shared) -> Result<(), ApiError> {
    blocking(admin, state::State::forget_config).await
}

/// The disk may take its time; heartbeats must not wait for it.
pub(super) async fn blocking(
    admin: Arc<Admin>,
    change: impl FnOnce(&state::State) -> Result<(), Problem> + Send + 'static,
) -> Result<(), ApiError> {
    let done = tokio::task::spawn_blocking(move || {
        let done = change(&admin.state);
        link::set_serving(admin.state.snapshot().can_serve());
        done
    })
    .await;
    done.unwrap_or_else(|error| Err(Problem::new(500, "Failed", error.to_string()))).map_err(ApiError)
}

/// Sets the priority of a virtual router, or has its address taken or released at once.
#[utoipa::path(put, path = "/vip", request_body = VipOrder, responses(
    (status = 200, body = VipStatus), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "not possible now", body = Problem),
    (status = 503, description = "the VIP speaker does not answer", body = Problem),
))]
async fn put_vip(State(admin): Shared, Json(order): Json<VipOrder>) -> Result<Json<VipStatus>, ApiError> {
    if !admin.settings.has_speaker() {
        if order.is_routine() {
            return Ok(Json(VipStatus::default()));
        }
        return Err(Problem::conflict("this balancer has no [[vip]]").into());
    }
    if order.priority.is_some_and(|priority| !(1..=254).contains(&priority)) {
        return Err(Problem::bad_parameter("priority", "expected 1 to 254").into());
    }
    admin.vip.order(order).await.map(Json).map_err(|error| {
        let text = error.to_string();
        ApiError(match error {
            LinkError::NotReachable(_) => Problem::unavailable(text),
            LinkError::Refused(_) => Problem::conflict(text),
        })
    })
}

/// Hands virtual addresses over to another balancer without failing a request. It goes on by itself;
/// `GET /hand-over` shows how far it is. Where nobody takes them, all is as before.
#[utoipa::path(put, path = "/hand-over", request_body = HandOverOrder, responses(
    (status = 202, body = HandOver), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "on its way already, or not the holder", body = Problem),
    (status = 503, description = "the VIP speaker does not answer", body = Problem),
))]
async fn put_hand_over(
    State(admin): Shared,
    Json(order): Json<HandOverOrder>,
) -> Result<(StatusCode, Json<HandOver>), ApiError> {
    if admin.settings.vips.is_empty() {
        return Err(Problem::conflict("this balancer has no [[vip]]").into());
    }
    Ok((StatusCode::ACCEPTED, Json(admin.hand_overs.begin(order).await?)))
}
