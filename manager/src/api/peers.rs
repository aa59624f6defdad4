//! `/peers`: what other managers tell.

use std::net::IpAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use kit::api::{ApiError, Json, Path};
use wire::snapshot::{Gossip, HostChanges, HostSnapshot, SnapshotAck};
use wire::{HostName, Problem};

use super::Api;
use crate::access::{From, Origin};
use crate::engine::Engine;
use crate::ports::peers::{decoded, encoded};

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
    let from = speaks_for(&api, &origin, &host, &snapshot.host)?;
    let answer = api.shared.ask(|engine, now| {
        let_in(engine, &origin, from);
        engine.receive(now, from, snapshot)
    });
    Ok(Json(answer?))
}

/// What has changed on a peer's host since it was last told that this one holds its snapshot. The answer says what is held
/// then: where it is something else than what the changes lead to, the peer tells all of it. Taken from whom snapshots are.
#[utoipa::path(patch, path = "/peers/{host}", params(("host" = String, Path)), request_body = HostChanges, responses(
    (status = 200, body = SnapshotAck),
    (status = 400, description = "the snapshot would be larger than may be kept", body = Problem),
    (status = 403, description = "not a peer", body = Problem),
    (status = 409, description = "of an older epoch, or this host's own name", body = Problem),
))]
pub(super) async fn receive_changes(
    State(api): State<Api>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    Path(host): Path<String>,
    Json(changes): Json<HostChanges>,
) -> Result<Json<SnapshotAck>, ApiError> {
    let from = speaks_for(&api, &origin, &host, &changes.host)?;
    let answer = api.shared.ask(|engine, now| {
        let_in(engine, &origin, from);
        engine.receive_changes(now, from, changes)
    });
    Ok(Json(answer?))
}

/// Packets of the membership protocol, which more than 8 hosts find out with who of them lives. The answer has packets for
/// who asks. Taken from whom snapshots are.
#[utoipa::path(post, path = "/gossip", request_body = Gossip, responses(
    (status = 200, body = Gossip),
    (status = 400, description = "no packets, too many, or too large ones", body = Problem),
    (status = 403, description = "not a peer", body = Problem),
))]
pub(super) async fn gossip(
    State(api): State<Api>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    Json(gossip): Json<Gossip>,
) -> Result<Json<Gossip>, ApiError> {
    let From::Network(from) = origin.from else {
        return Err(Problem::forbidden("gossip comes from other hosts").into());
    };
    let from = from.ip().to_canonical();
    let packets = decoded(&gossip).map_err(|detail| Problem::bad_parameter("packets", detail))?;
    let answer = api.shared.ask(|engine, now| {
        let_in(engine, &origin, from);
        engine.gossip(now, from, &packets)
    });
    Ok(Json(encoded(&answer?)))
}

/// Where who tells of `host` is, if it may.
fn speaks_for(api: &Api, origin: &Origin, path: &str, host: &HostName) -> Result<IpAddr, Problem> {
    if host.as_str() != path {
        let detail = format!("the path says `{path}`, the snapshot `{host}`");
        return Err(Problem::bad_parameter("host", detail));
    }
    let From::Network(from) = origin.from else {
        return Err(Problem::forbidden("snapshots come from other hosts"));
    };
    let from = from.ip().to_canonical();
    if api.pki.is_initialised() {
        match &origin.certified {
            Some(certified) if certified == host => {}
            Some(certified) => {
                let detail = format!("host `{certified}` cannot speak for host `{host}`");
                return Err(Problem::forbidden(detail));
            }
            None => {
                return Err(Problem::forbidden(format!(
                    "{from} has shown no certificate of this cluster: run `manager join` there, with a token of \
                     `manager token`"
                )));
            }
        }
    }
    Ok(from)
}

/// Whom the CA let in is a peer, whether anybody listed it or not.
fn let_in(engine: &mut Engine, origin: &Origin, from: IpAddr) {
    if origin.certified.is_some() {
        engine.admit(from);
    }
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
