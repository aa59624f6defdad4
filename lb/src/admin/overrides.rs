//! What people tell this balancer about single machines: weight, drain, maintenance. It outlives every set and
//! every restart, until it is taken back.

use std::sync::Arc;

use axum::extract::State;
use kit::api::{ApiError, Json, Path};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::overrides::{Override, Overrides};
use wire::{MachineId, Problem};

use super::changes::blocking;
use super::{Admin, Shared};

/// What is asked on the port for reads.
pub(super) fn reads() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(get_overrides))
}

/// What is changed on the port for changes.
pub(super) fn changes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(put_override)).routes(routes!(delete_override))
}

/// What people told this balancer, by machine.
#[utoipa::path(get, path = "/overrides", responses((status = 200, body = Overrides)))]
async fn get_overrides(State(admin): Shared) -> Json<Overrides> {
    Json(admin.state.overrides())
}

/// Sets all that is said about a machine: its weight, and whether it is drained or in maintenance.
#[utoipa::path(put, path = "/overrides/{machine}", request_body = Override,
    params(("machine" = String, Path, description = "the machine's name, without its incarnation")),
    responses(
        (status = 200, description = "in use and stored"),
        (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "no such machine in the upstream set", body = Problem),
    ))]
async fn put_override(
    State(admin): Shared,
    Path(machine): Path<MachineId>,
    Json(order): Json<Override>,
) -> Result<(), ApiError> {
    blocking(admin, move |state| {
        let is_known = state.snapshot().upstreams().any(|upstream| upstream.id.machine() == machine.as_str());
        tracing::info!(%machine, ?order, "override");
        state.change_overrides(|overrides| {
            // One that is known already may be away for the moment.
            if !is_known && !overrides.0.contains_key(&machine) {
                return Err(unknown(&machine));
            }
            overrides.0.insert(machine, order);
            Ok(())
        })
    })
    .await
}

/// Takes back all that was said about a machine.
#[utoipa::path(delete, path = "/overrides/{machine}",
    params(("machine" = String, Path, description = "the machine's name, without its incarnation")),
    responses(
        (status = 200, description = "in use and stored"), (status = 403, body = Problem),
        (status = 404, description = "nothing was said about it", body = Problem),
    ))]
async fn delete_override(State(admin): Shared, Path(machine): Path<MachineId>) -> Result<(), ApiError> {
    blocking(admin, move |state| {
        tracing::info!(%machine, "override taken back");
        state.change_overrides(|overrides| match overrides.0.remove(&machine) {
            Some(_) => Ok(()),
            None => Err(at_fault(format!("nothing was said about {machine}; see GET /overrides"))),
        })
    })
    .await
}

fn unknown(machine: &MachineId) -> Problem {
    at_fault(format!(
        "the upstream set has no machine {machine}; its name is the upstream's id without the incarnation, see GET /status"
    ))
}

fn at_fault(detail: String) -> Problem {
    Problem { parameter: Some("machine".to_owned()), ..Problem::not_found(detail) }
}
