//! `/host/fault`, and what becomes of a machine's: faults that the host itself ends.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use kit::api::{ApiError, Json, Path};
use wire::cluster::{FaultKind, FaultOrder};
use wire::host_faults::{HostFaultBegun, HostFaultKind, HostFaultOrder, HostFaults, LONGEST_MS};
use wire::{MachineId, Problem};

use super::Api;
use super::machines::{find, problem};
use crate::faults::{Faults, LEAD};

const NO_UPLINK: &str = "it is not known which interface leaves this host: name it in `uplink`";

/// What this host can be ordered to suffer, and whether it does. Only there with `chaos = true`.
#[utoipa::path(get, path = "/host/fault", responses((status = 200, body = HostFaults)))]
pub(super) async fn show(State(api): State<Api>) -> Result<Json<HostFaults>, ApiError> {
    let faults = of(&api)?;
    let mut shown = HostFaults { possible: vec![HostFaultKind::StopManager], ..HostFaults::default() };
    match faults.uplink() {
        Some(_) => shown.possible.insert(0, HostFaultKind::Cut),
        None => shown.why_not = Some(NO_UPLINK.to_owned()),
    }
    shown.cut = faults.is_cut().map_err(failed)?;
    Ok(Json(shown))
}

/// Harms this host, to see what happens: cuts it off, or stops its manager. It ends by itself after `ttl_ms`,
/// whoever can be reached by then. Only there with `chaos = true`.
#[utoipa::path(post, path = "/host/fault", request_body = HostFaultOrder, responses(
    (status = 202, description = "in force in a moment", body = HostFaultBegun),
    (status = 409, description = "it is cut off already, or it is not known which interface to switch off", body = Problem),
))]
pub(super) async fn begin(
    State(api): State<Api>,
    Json(HostFaultOrder { fault, ttl_ms }): Json<HostFaultOrder>,
) -> Result<(StatusCode, Json<HostFaultBegun>), ApiError> {
    let faults = of(&api)?;
    if !(1..=LONGEST_MS).contains(&ttl_ms) {
        let expected = format!("expected 1 to {LONGEST_MS} ms");
        return Err(Problem::bad_parameter("ttl_ms", &expected).into());
    }
    let ttl = Duration::from_millis(ttl_ms);
    let begun = match fault {
        HostFaultKind::Cut if faults.uplink().is_none() => return Err(Problem::conflict(NO_UPLINK).into()),
        HostFaultKind::Cut => faults.cut(ttl).await.map_err(failed)?,
        HostFaultKind::StopManager => faults.stop_manager(ttl),
    };
    if !begun {
        return Err(Problem::conflict(format!("{} was ordered already", fault.name())).into());
    }
    tracing::warn!(fault = fault.name(), ?ttl, "fault of this host ordered");
    let in_ms = u64::try_from(LEAD.as_millis()).unwrap_or(u64::MAX);
    Ok((StatusCode::ACCEPTED, Json(HostFaultBegun { in_ms })))
}

/// Heals this host before its time. One that is not cut off is fine.
#[utoipa::path(delete, path = "/host/fault", responses((status = 204)))]
pub(super) async fn end(State(api): State<Api>) -> Result<StatusCode, ApiError> {
    of(&api)?.heal().await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Harms a machine, to see what happens. Only there with `chaos = true`. A freeze with `ttl_ms` ends by itself.
#[utoipa::path(post, path = "/vms/{id}/fault", params(("id" = String, Path)), request_body = FaultOrder, responses(
    (status = 204), (status = 404, body = Problem), (status = 409, description = "it does not run", body = Problem),
))]
pub(super) async fn harm(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(order): Json<FaultOrder>,
) -> Result<StatusCode, ApiError> {
    let (id, faults) = (MachineId(id), of(&api)?);
    find(&api, &id)?;
    if order.ttl_ms.is_some_and(|ttl| order.fault != FaultKind::Freeze || ttl > LONGEST_MS) {
        let expected = format!("expected, with `freeze` only, at most {LONGEST_MS} ms");
        return Err(Problem::bad_parameter("ttl_ms", &expected).into());
    }
    let ttl = order.ttl_ms.map(Duration::from_millis);
    tracing::warn!(machine = %id, fault = ?order.fault, ?ttl, "fault ordered");
    if let Some(ttl) = ttl {
        faults.thaw_after(&id, ttl).await.map_err(failed)?;
    }
    let harmed = api.hypervisor.inject(&id, order.fault).await;
    // One that is not frozen, or is for good, needs nobody to thaw it.
    let to_thaw = harmed.is_ok() && (ttl.is_some() || order.fault == FaultKind::StopProcess);
    if !to_thaw {
        faults.thawed(&id).await.map_err(failed)?;
    }
    harmed.map_err(|error| problem(&id, &error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn of(api: &Api) -> Result<&Faults, Problem> {
    // The routes are only there with it.
    api.faults.as_deref().ok_or_else(|| Problem::not_found("faults can be ordered only with `chaos = true`"))
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::new(500, "Fault failed", format!("{error:#}"))
}
