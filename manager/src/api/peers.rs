//! `/peers`: what other managers tell.

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use kit::api::{ApiError, Json, Path};
use wire::snapshot::{HostSnapshot, SnapshotAck};
use wire::{HostName, Problem};

use super::Api;
use crate::access::{From, Origin};

/// A peer's snapshot of its host. Taken only from the addresses that the configuration lists as peers; a host
/// that has shown a certificate tells of itself only.
#[utoipa::path(put, path = "/peers/{host}", params(("host" = String, Path)), request_body = HostSnapshot, responses(
    (status = 200, body = SnapshotAck),
    (status = 403, description = "not a peer", body = Problem),
    (status = 409, description = "of an older epoch, or this host's own name", body = Problem),
))]
pub(super) async fn receive(
    State(api): State<Api>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    Path(host): Path<String>,
    Json(snapshot): Json<HostSnapshot>,
) -> Result<Json<SnapshotAck>, ApiError> {
    if snapshot.host != HostName(host.clone()) {
        let detail = format!("the path says `{host}`, the snapshot `{}`", snapshot.host);
        return Err(Problem::bad_parameter("host", detail).into());
    }
    if let Some(certified) = origin.certified.filter(|certified| *certified != snapshot.host) {
        let detail =
            format!("the certificate is that of {certified}, the snapshot that of {}", snapshot.host);
        return Err(Problem::forbidden(detail).into());
    }
    let From::Network(from) = origin.from else {
        return Err(Problem::forbidden("snapshots are taken from other hosts only").into());
    };
    let from = from.ip().to_canonical();
    Ok(Json(api.shared.ask(|engine, now| engine.receive(now, from, snapshot))?))
}

/// Takes a host that is gone for good out of this manager's cluster.
#[utoipa::path(delete, path = "/peers/{host}", params(("host" = String, Path)), responses(
    (status = 204, description = "it is forgotten"),
    (status = 404, body = Problem),
    (status = 409, description = "it is alive, or named in the configuration", body = Problem),
))]
pub(super) async fn forget(State(api): State<Api>, Path(host): Path<String>) -> Result<StatusCode, ApiError> {
    api.shared.ask(|engine, now| engine.forget_peer(now, &HostName(host)))?;
    Ok(StatusCode::NO_CONTENT)
}
