//! `/access` and `/audit`: who may do things from elsewhere, and who did.

use axum::extract::State;
use axum::http::StatusCode;
use kit::api::{ApiError, Json, Path, Query};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::Problem;
use wire::access::{AuditEntry, CreateToken, NewToken, TokenView};

use super::{Api, blocking};
use crate::access::audit::MOST_ENTRIES;
use crate::access::unix_s;

/// How many entries are given unless told otherwise.
const ENTRIES: usize = 100;

/// The tokens there are, without their secrets. On the manager's socket only.
#[utoipa::path(get, path = "/access/tokens", responses((status = 200, body = [TokenView])))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<TokenView>>, ApiError> {
    let tokens = api.gate.tokens.clone();
    Ok(Json(blocking(move || tokens.list(unix_s())).await??))
}

/// Makes a token. This answer is the only one with its secret. On the manager's socket only.
#[utoipa::path(post, path = "/access/tokens", request_body = CreateToken, responses(
    (status = 201, body = NewToken),
    (status = 409, description = "there is one of this name", body = Problem),
    (status = 503, description = "it cannot be stored", body = Problem),
))]
pub(super) async fn create(
    State(api): State<Api>,
    Json(order): Json<CreateToken>,
) -> Result<(StatusCode, Json<NewToken>), ApiError> {
    let tokens = api.gate.tokens.clone();
    let made = blocking(move || tokens.create(order, unix_s())).await??;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Makes a token worthless. On the manager's socket only.
#[utoipa::path(delete, path = "/access/tokens/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = TokenView), (status = 404, body = Problem),
    (status = 503, description = "it cannot be stored", body = Problem),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<TokenView>, ApiError> {
    let tokens = api.gate.tokens.clone();
    Ok(Json(blocking(move || tokens.revoke(&name, unix_s())).await??))
}

/// How much of the audit log is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {
    /// The newest so many entries, at most 1000; 100 without it.
    count: Option<usize>,
}

/// Who changed what, and who was refused to; the oldest first.
#[utoipa::path(get, path = "/audit", params(Count), responses((status = 200, body = [AuditEntry])))]
pub(super) async fn audit(
    State(api): State<Api>,
    Query(Count { count }): Query<Count>,
) -> Result<Json<Vec<AuditEntry>>, ApiError> {
    let count = count.unwrap_or(ENTRIES);
    if count > MOST_ENTRIES {
        let detail = format!("expected at most {MOST_ENTRIES}; the files in state_dir have the rest");
        return Err(Problem::bad_parameter("count", detail).into());
    }
    let audit = api.gate.audit.clone();
    let entries = blocking(move || audit.newest(count)).await?;
    Ok(Json(entries.map_err(|error| Problem::new(500, "Cannot be read", format!("the audit log: {error}")))?))
}
