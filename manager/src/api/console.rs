//! `/vms/{id}/console`: a machine's console, over an upgraded connection.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kit::api::{ApiError, Path};
use tokio::io::copy_bidirectional;
use wire::{MachineId, Problem};

use super::Api;
use super::machines::{find, problem};

/// What the connection becomes: bytes as they are, both ways.
pub(crate) const PROTOCOL: &str = "holdfast-console";

/// A machine's console, to read and to type at. One at a time: who comes later waits.
#[utoipa::path(get, path = "/vms/{id}/console", params(("id" = String, Path)), responses(
    (status = 101, description = "from now on the connection is the console"),
    (status = 404, body = Problem),
    (status = 409, description = "it does not run", body = Problem),
    (status = 501, description = "machines of this driver have none", body = Problem),
    (status = 426, description = "asked for without Upgrade: holdfast-console", body = Problem),
))]
pub(super) async fn console(
    State(api): State<Api>,
    Path(id): Path<String>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let id = MachineId(id);
    find(&api, &id)?;
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|protocol| protocol == PROTOCOL);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().filter(|_| wanted);
    let Some(upgrade) = upgrade else {
        let detail =
            format!("ask with Connection: upgrade and Upgrade: {PROTOCOL}, or use manager vm console");
        return Err(Problem::new(426, "Upgrade required", detail).into());
    };
    let mut console = api.hypervisor.open_console(&id).await.map_err(|error| problem(&id, &error))?;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(client) => {
                // Either side may leave whenever it likes.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut console).await;
            }
            Err(error) => tracing::debug!(machine = %id, "the console's client left: {error}"),
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
