//! `/pki`: how hosts come into the cluster, and who is not believed any more.

use axum::extract::{ConnectInfo, State};
use kit::api::{ApiError, Json};
use wire::Problem;
use wire::tls::{JoinRequest, Joined, Revocations};

use super::Api;
use crate::access::Origin;
use crate::pki::PkiError;

/// Lets a host into the cluster. What proves that it may is the token in the body; taken by TLS only.
#[utoipa::path(post, path = "/pki/join", request_body = JoinRequest, responses(
    (status = 200, body = Joined),
    (status = 403, description = "the token is unknown, used or expired", body = Problem),
    (status = 409, description = "this manager does not keep the CA, or the host is like another one", body = Problem),
))]
pub(super) async fn join(
    State(api): State<Api>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    Json(request): Json<JoinRequest>,
) -> Result<Json<Joined>, ApiError> {
    if !origin.encrypted {
        return Err(Problem::forbidden("a token is taken by TLS only: `manager join` knows how").into());
    }
    let (pki, host, address) = (api.pki.clone(), request.host.clone(), request.address);
    let joined = blocking(move || pki.admit(&request)).await;
    match &joined {
        Ok(_) => {
            tracing::info!(host = ?host.0, %address, "let into the cluster");
            api.shared.ask(|engine, _| engine.admit(address));
        }
        Err(problem) => {
            tracing::warn!(host = ?host.0, %address, from = ?origin.from, "not let into the cluster: {}", problem.0.detail)
        }
    }
    joined.map(Json)
}

/// The list of revoked hosts that this manager goes by.
#[utoipa::path(get, path = "/pki/revocations", responses(
    (status = 200, body = Revocations),
    (status = 409, description = "this host belongs to no cluster", body = Problem),
))]
pub(super) async fn revocations(State(api): State<Api>) -> Result<Json<Revocations>, ApiError> {
    Ok(Json(Revocations { revocations: api.pki.revocations().map_err(Problem::from)? }))
}

/// Takes a newer list of revoked hosts, which the cluster's CA has signed; answers with the one that is held.
#[utoipa::path(put, path = "/pki/revocations", request_body = Revocations, responses(
    (status = 200, body = Revocations),
    (status = 403, description = "not a host of this cluster", body = Problem),
    (status = 409, description = "not signed by this cluster's CA", body = Problem),
))]
pub(super) async fn take_revocations(
    State(api): State<Api>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    Json(list): Json<Revocations>,
) -> Result<Json<Revocations>, ApiError> {
    let Some(host) = origin.certified else {
        return Err(Problem::forbidden("only hosts of this cluster tell each other who was revoked").into());
    };
    let pki = api.pki.clone();
    let (newer, revocations) =
        blocking(move || Ok((pki.take_revocations(&list.revocations)?, pki.revocations()?))).await?;
    if newer {
        tracing::warn!(%host, "it knows a newer list of revoked hosts");
    }
    Ok(Json(Revocations { revocations }))
}

/// Keys are used and files written: not on a thread that others wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PkiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| ApiError(error.into())),
        Err(error) => Err(ApiError(Problem::new(500, "Failed", error.to_string()))),
    }
}
