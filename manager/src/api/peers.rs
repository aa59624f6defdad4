//! `/peers`: what other managers tell.

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use kit::api::{ApiError, Json, Path};
use wire::snapshot::{HostSnapshot, SnapshotAck};
use wire::{HostName, Problem};

use super::Api;
use crate::access::{From, Origin};

/// A peer's snapshot of its host. In a cluster it is taken only from that host itself, as its certificate
/// proves; else only from the addresses that are known as peers.
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
    let From::Network(from) = origin.from else {
        return Err(Problem::forbidden("snapshots come from other hosts").into());
    };
    let from = from.ip().to_canonical();
    if api.pki.is_initialised() {
        match &origin.certified {
            Some(certified) if *certified == snapshot.host => {}
            Some(certified) => {
                let detail = format!("host `{certified}` cannot speak for host `{}`", snapshot.host);
                return Err(Problem::forbidden(detail).into());
            }
            None => {
                let detail = format!(
                    "{from} has shown no certificate of this cluster: run `manager join` there, with a token of \
                     `manager token`"
                );
                return Err(Problem::forbidden(detail).into());
            }
        }
    }
    let known = origin.certified.is_some();
    let answer = api.shared.ask(|engine, now| {
        // Whom the CA let in is a peer, whether anybody listed it or not.
        if known {
            engine.admit(from);
        }
        engine.receive(now, from, snapshot)
    });
    Ok(Json(answer?))
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
