//! `/vms`: this host's machines.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kit::api::{ApiError, Json, Path};
use wire::cluster::{CreateMachine, DrainOrder, MachineView};
use wire::{MachineId, Problem};

use super::Api;
use crate::engine::{Engine, Time};
use crate::ports::hypervisor::HypervisorError;

/// How much of a console is given, in bytes.
const CONSOLE_LIMIT: u64 = 256 << 10;

/// This host's machines.
#[utoipa::path(get, path = "/vms", responses((status = 200, body = [MachineView])))]
pub(super) async fn list(State(api): State<Api>) -> Json<Vec<MachineView>> {
    Json(api.shared.look(|engine, now| engine.machines(now)))
}

/// One more machine of a service. It gets a free address and is there when its phase is `ready`.
#[utoipa::path(post, path = "/vms", request_body = CreateMachine, responses(
    (status = 202, body = MachineView),
    (status = 404, description = "unknown service", body = Problem),
    (status = 409, description = "no free address", body = Problem),
))]
pub(super) async fn create(
    State(api): State<Api>,
    Json(order): Json<CreateMachine>,
) -> Result<(StatusCode, Json<MachineView>), ApiError> {
    let view = api.shared.ask(|engine, now| {
        let slot = engine.create_machine(now, &order.service)?;
        view(engine, now, &slot.id)
    })?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// One machine.
#[utoipa::path(get, path = "/vms/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = MachineView), (status = 404, body = Problem),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<MachineView>, ApiError> {
    Ok(Json(find(&api, &id.into())?))
}

/// One machine less. It is drained first; it is gone when it is no longer listed.
#[utoipa::path(delete, path = "/vms/{id}", params(("id" = String, Path)), responses(
    (status = 202, body = MachineView),
    (status = 404, body = Problem),
    (status = 409, description = "the balancer, or already on its way out", body = Problem),
))]
pub(super) async fn delete(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<MachineView>), ApiError> {
    let id = MachineId(id);
    // One that does not run yet is gone by the next plan.
    let view = api.shared.ask(|engine, now| {
        engine.delete_machine(now, &id)?;
        view(engine, now, &id)
    })?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// Has balancers send a machine nothing new, or again what is due to it. What it was sent it ends; it lives on, and is
/// rebuilt if it dies. It holds until it is taken back.
#[utoipa::path(put, path = "/vms/{id}/drain", params(("id" = String, Path)), request_body = DrainOrder, responses(
    (status = 200, body = MachineView),
    (status = 404, body = Problem),
    (status = 409, description = "the balancer, or on its way out", body = Problem),
))]
pub(super) async fn drain(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(order): Json<DrainOrder>,
) -> Result<Json<MachineView>, ApiError> {
    let id = MachineId(id);
    api.shared.ask(|engine, _| engine.drain_machine(&id, order.on))?;
    Ok(Json(find(&api, &id)?))
}

/// Builds a machine anew at its address: it is drained and stopped in an orderly way first, a balancer
/// hands its public addresses over. It is done when the machine is `ready` with a higher incarnation.
#[utoipa::path(post, path = "/vms/{id}/replace", params(("id" = String, Path)), responses(
    (status = 202, body = MachineView),
    (status = 404, body = Problem),
    (status = 409, description = "on its way out, being replaced, or being built anyway", body = Problem),
))]
pub(super) async fn replace(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<MachineView>), ApiError> {
    let id = MachineId(id);
    api.shared.ask(|engine, now| engine.replace_machine(now, &id))?;
    Ok((StatusCode::ACCEPTED, Json(find(&api, &id)?)))
}

/// The image that the next machine of each service, and the next balancer (`lb`), is made from, by id.
/// Empty where machines are not made from images.
#[utoipa::path(get, path = "/images", responses((status = 200, body = BTreeMap<String, String>)))]
pub(super) async fn images(State(api): State<Api>) -> Json<BTreeMap<String, String>> {
    let images = api.hypervisor.images().await;
    Json(images.into_iter().map(|(service, image)| (service.to_string(), image)).collect())
}

/// The end of what a machine wrote to its console.
#[utoipa::path(get, path = "/vms/{id}/logs", params(("id" = String, Path)), responses(
    (status = 200, body = String), (status = 404, body = Problem),
))]
pub(super) async fn logs(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = MachineId(id);
    find(&api, &id)?;
    let text = api.hypervisor.console(&id, CONSOLE_LIMIT).await.map_err(|error| problem(&id, &error))?;
    Ok(text.into_response())
}

pub(super) fn find(api: &Api, id: &MachineId) -> Result<MachineView, Problem> {
    api.shared.look(|engine, now| view(engine, now, id))
}

fn view(engine: &Engine, now: Time, id: &MachineId) -> Result<MachineView, Problem> {
    let found = engine.machines(now).into_iter().find(|machine| machine.id == *id);
    found.ok_or_else(|| engine.no_machine(id))
}

pub(super) fn problem(id: &MachineId, error: &HypervisorError) -> Problem {
    match error {
        HypervisorError::Unsupported(_) => Problem::new(501, "Not supported", format!("{id}: {error}")),
        HypervisorError::NotRunning | HypervisorError::Exists => Problem::conflict(format!("{id}: {error}")),
        HypervisorError::NotFenced(_) | HypervisorError::Prevented(..) | HypervisorError::Failed(_) => {
            Problem::new(500, "Hypervisor failed", format!("{id}: {error}"))
        }
    }
}
