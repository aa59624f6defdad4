//! What anyone may ask.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kit::api::{ApiError, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::Problem;
use wire::hand_over::HandOver;
use wire::pools::PoolsHealth;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::UpstreamSet;
use wire::vip::VipStatus;

use super::connections::{__path_connections, __path_list, connections, list};
use super::statistics::{__path_statistics, statistics};
use super::status::Status;
use super::traffic::{__path_traffic, traffic};
use super::{Admin, Shared};
use crate::proxy::state::origin::Origin;

pub(super) fn router() -> OpenApiRouter<std::sync::Arc<Admin>> {
    OpenApiRouter::new()
        .routes(routes!(heartbeat))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(upstreams))
        .routes(routes!(config))
        .routes(routes!(status))
        .routes(routes!(pools))
        .routes(routes!(statistics))
        .routes(routes!(connections))
        .routes(routes!(list))
        .routes(routes!(traffic))
        .routes(routes!(vip))
        .routes(routes!(hand_over))
        .routes(routes!(metrics))
}

/// An endless stream of heartbeats (server-sent events).
#[utoipa::path(get, path = "/heartbeat", responses((status = 200, content_type = "text/event-stream", body = String)))]
async fn heartbeat() -> Response {
    kit::api::heartbeat_stream(wire::heartbeat::DEFAULT_INTERVAL).into_response()
}

/// Whether the process runs.
#[utoipa::path(get, path = "/health/live", responses((status = 200)))]
async fn live() -> StatusCode {
    StatusCode::OK
}

/// Whether there is an upstream to send requests to.
#[utoipa::path(get, path = "/health/ready", responses((status = 200), (status = 503, body = Problem)))]
async fn ready(State(admin): Shared) -> Result<StatusCode, ApiError> {
    if admin.state.snapshot().can_serve() {
        Ok(StatusCode::OK)
    } else {
        Err(Problem::unavailable("no route leads to an upstream").into())
    }
}

/// The upstream set in use; the answer's `LB-Source` says where it comes from: `pushed`, `file` or `default`.
#[utoipa::path(get, path = "/upstreams", responses((status = 200, body = UpstreamSet)))]
async fn upstreams(State(admin): Shared) -> impl IntoResponse {
    let snapshot = admin.state.snapshot();
    (from(snapshot.origins.upstreams), Json(snapshot.set()))
}

/// The configuration in use, without its secrets; until one was given, the one that stands in for it. The answer's
/// `LB-Source` says where it comes from: `pushed`, `file` or `default`.
#[utoipa::path(get, path = "/config", responses((status = 200, body = ProxyConfig)))]
async fn config(State(admin): Shared) -> impl IntoResponse {
    let snapshot = admin.state.snapshot();
    (from(snapshot.origins.config), Json(snapshot.config.without_secrets()))
}

/// Says where a document comes from: `pushed`, `file` or `default`.
fn from(origin: Origin) -> [(&'static str, &'static str); 1] {
    [("lb-source", origin.name())]
}

/// All of the balancer's state.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)))]
async fn status(State(admin): Shared) -> Json<Status> {
    let vip = ask_vip(&admin).await.ok();
    Json(Status::of(&admin, vip))
}

/// How the pools are whose upstreams are checked all the time, and who is the primary of each that has one.
#[utoipa::path(get, path = "/pools", responses((status = 200, body = PoolsHealth)))]
async fn pools(State(admin): Shared) -> Json<PoolsHealth> {
    Json(super::pools::of(&admin.state))
}

/// The virtual IP addresses.
#[utoipa::path(get, path = "/vip", responses((status = 200, body = VipStatus), (status = 503, body = Problem)))]
async fn vip(State(admin): Shared) -> Result<Json<VipStatus>, ApiError> {
    Ok(Json(ask_vip(&admin).await?))
}

/// The present or the last hand-over of virtual IP addresses.
#[utoipa::path(get, path = "/hand-over", responses((status = 200, body = HandOver)))]
async fn hand_over(State(admin): Shared) -> Json<HandOver> {
    Json(admin.hand_overs.view())
}

pub(super) async fn ask_vip(admin: &Admin) -> Result<VipStatus, Problem> {
    if !admin.settings.has_speaker() {
        return Ok(VipStatus::default());
    }
    admin.vip.status().await.map_err(|error| Problem::unavailable(error.to_string()))
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain", body = String)))]
async fn metrics(State(admin): Shared) -> Response {
    if let Some(figures) = &admin.vip_figures {
        figures.update(ask_vip(&admin).await.ok());
    }
    kit::api::metrics_response(&admin.metrics)
}
