//! `/certificates`: what managers share of what clients are shown.

use axum::extract::{ConnectInfo, State};
use kit::api::{ApiError, Json};
use wire::Problem;
use wire::shared_secrets::SecretsExchange;

use super::Api;
use crate::access::{Origin, unix_ms};

/// Takes what another manager holds, and answers with what this one does. Only hosts of the cluster get an answer, by
/// their certificates: there are private keys in it.
#[utoipa::path(post, path = "/certificates/exchange", request_body = SecretsExchange, responses(
    (status = 200, body = SecretsExchange),
    (status = 403, description = "not a host of this cluster", body = Problem),
))]
pub(super) async fn exchange(
    State(api): State<Api>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    Json(told): Json<SecretsExchange>,
) -> Result<Json<SecretsExchange>, ApiError> {
    if origin.certified.is_none() {
        return Err(Problem::forbidden("keys are shared with hosts of this cluster only").into());
    }
    let answered = super::blocking(move || {
        api.certificates.answer(&told, || {
            let shares = api.pki.live().is_some();
            let front = api.certificates.front(unix_ms(), shares);
            api.shared.ask(|engine, _| {
                engine.show(front);
                engine.front_is_behind()
            })
        })
    });
    Ok(Json(answered.await?))
}
