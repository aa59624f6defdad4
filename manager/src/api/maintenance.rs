//! `/maintenance`: whether the manager only watches.

use axum::Extension;
use axum::extract::State;
use kit::api::{ApiError, Json};
use wire::Problem;
use wire::access::{MaintenanceOrder, MaintenanceView};

use super::{Api, blocking};
use crate::access::rules::Who;
use crate::access::unix_ms;
use crate::maintenance::{self, Maintained};

/// The longest maintenance with an end, in seconds: a year.
const LONGEST_S: u64 = 366 * 86_400;

/// Whether this manager only watches its machines.
#[utoipa::path(get, path = "/maintenance", responses((status = 200, body = MaintenanceView)))]
pub(super) async fn show(State(api): State<Api>) -> Result<Json<MaintenanceView>, ApiError> {
    // The engine's word counts; the rest is what was stored with it.
    let on = api.shared.look(|engine, _| engine.in_maintenance());
    if !on {
        return Ok(Json(MaintenanceView::default()));
    }
    let store = api.store.clone();
    let stored = blocking(move || maintenance::stored(&store)).await?;
    Ok(Json(
        stored
            .map_or_else(MaintenanceView::default, |stored| MaintenanceView { on, ..stored.view(unix_ms()) }),
    ))
}

/// Has this manager only watch its machines, or keep them again. That it is on outlives the manager.
#[utoipa::path(put, path = "/maintenance", request_body = MaintenanceOrder, responses(
    (status = 200, body = MaintenanceView),
    (status = 503, description = "it cannot be stored", body = Problem),
))]
pub(super) async fn order(
    State(api): State<Api>,
    Extension(who): Extension<Who>,
    Json(order): Json<MaintenanceOrder>,
) -> Result<Json<MaintenanceView>, ApiError> {
    let now_ms = unix_ms();
    if order.for_s.is_some_and(|seconds| !order.on || !(1..=LONGEST_S).contains(&seconds)) {
        let detail = "expected, with `on`, from one second to a year; without it, until it is ended";
        return Err(Problem::bad_parameter("for_s", detail).into());
    }
    let maintained = order.on.then(|| Maintained {
        since_unix_ms: now_ms,
        until_unix_ms: order.for_s.map(|seconds| now_ms + seconds * 1000),
        by: who.to_string(),
    });
    // Ending it needs no disk: machines are kept again at once, whatever can be stored.
    if maintained.is_none() {
        api.shared.ask(|engine, now| engine.set_maintenance(now, None));
    }
    let (store, to_store) = (api.store.clone(), maintained.clone());
    blocking(move || maintenance::store(&store, to_store.as_ref())).await?.map_err(|error| {
        let consequence = if order.on {
            "maintenance was not begun, because a restarted manager would not know of it"
        } else {
            "maintenance is over, but a restarted manager would begin it again"
        };
        Problem::unavailable(format!("{consequence}: {error}"))
    })?;
    let Some(maintained) = maintained else { return Ok(Json(MaintenanceView::default())) };
    api.shared.ask(|engine, now| engine.set_maintenance(now, maintained.for_engine(now, now_ms)));
    Ok(Json(maintained.view(now_ms)))
}
