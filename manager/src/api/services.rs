//! `/services`: what this host runs for people, and how it is told.

use std::sync::Mutex;

use axum::extract::State;
use kit::api::{ApiError, Json, Path};
use wire::service::{RollOrder, ServiceSpec, ServiceView};
use wire::{PoolName, Problem};

use super::{Api, blocking};
use crate::executor::Shared;
use crate::services::changes::{self, lock};
use crate::services::{ServiceNow, Services};

/// This host's services, without their secrets.
#[utoipa::path(get, path = "/services", responses((status = 200, body = [ServiceView])))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<ServiceView>>, ApiError> {
    Ok(Json(views(&api).await?))
}

/// One service, without its secrets.
#[utoipa::path(get, path = "/services/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = ServiceView), (status = 404, body = Problem),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<ServiceView>, ApiError> {
    Ok(Json(find(&api, &name.into()).await?))
}

/// Defines a service, or defines it anew: it is checked as in the manager's file, and stored. Machines that run stay
/// as they are until they are built anew. `(hidden)` in the place of a secret leaves it as it is.
#[utoipa::path(put, path = "/services/{name}", params(("name" = String, Path)), request_body = ServiceSpec, responses(
    (status = 200, body = ServiceView),
    (status = 400, description = "what of it cannot be used", body = Problem),
    (status = 409, description = "no room in the address pool, or maintenance", body = Problem),
    (status = 503, description = "it cannot be stored", body = Problem),
))]
pub(super) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(spec): Json<ServiceSpec>,
) -> Result<Json<ServiceView>, ApiError> {
    let name = PoolName(name);
    if spec.name != name {
        let detail = format!("expected `{name}`, as in the path");
        return Err(Problem::bad_parameter("name", detail).into());
    }
    change(&api, move |services, shared| changes::put(services, shared, spec)).await?;
    Ok(Json(find(&api, &name).await?))
}

/// Takes a service away that was put: its machines are drained and stopped. Where the manager's file has one of that
/// name, that is back.
#[utoipa::path(delete, path = "/services/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = [ServiceView], description = "what is left"),
    (status = 404, body = Problem),
    (status = 409, description = "it is in the manager's file, or maintenance", body = Problem),
    (status = 503, description = "that cannot be stored", body = Problem),
))]
pub(super) async fn delete(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Vec<ServiceView>>, ApiError> {
    change(&api, move |services, shared| changes::remove(services, shared, &PoolName(name))).await?;
    Ok(Json(views(&api).await?))
}

/// Makes a service again what it was before it was last put.
#[utoipa::path(post, path = "/services/{name}/rollback", params(("name" = String, Path)), responses(
    (status = 200, body = ServiceView),
    (status = 404, body = Problem),
    (status = 409, description = "there is nothing to go back to, or maintenance", body = Problem),
    (status = 503, description = "that cannot be stored", body = Problem),
))]
pub(super) async fn roll_back(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<ServiceView>, ApiError> {
    let name = PoolName(name);
    let named = name.clone();
    change(&api, move |services, shared| changes::take_back(services, shared, &named)).await?;
    Ok(Json(find(&api, &name).await?))
}

/// Has this host build the machines of a service anew by its present definition, a few at a time, as the service's
/// `rollout` says. `GET /services/{name}` says how far it is.
#[utoipa::path(post, path = "/services/{name}/roll", params(("name" = String, Path)), request_body = RollOrder, responses(
    (status = 200, body = ServiceView),
    (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "its servers are not ours, no machine may be missing and there is no room for one \
                                  more, or maintenance", body = Problem),
))]
pub(super) async fn roll(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<RollOrder>,
) -> Result<Json<ServiceView>, ApiError> {
    let name = PoolName(name);
    find(&api, &name).await?;
    api.shared.ask(|engine, now| engine.roll(now, &name, &order))?;
    Ok(Json(find(&api, &name).await?))
}

/// A change waits for the disk.
async fn change(
    api: &Api,
    change: impl FnOnce(&Mutex<Services>, &Shared) -> Result<(), Problem> + Send + 'static,
) -> Result<(), Problem> {
    let api = api.clone();
    blocking(move || change(&api.services, &api.shared)).await?
}

async fn views(api: &Api) -> Result<Vec<ServiceView>, Problem> {
    let api = api.clone();
    // A change may hold them while the disk is slow.
    blocking(move || {
        let services = lock(&api.services);
        let scalings = api.shared.look(|engine, now| engine.scalings(now));
        services.views(|name| {
            api.shared.look(|engine, _| ServiceNow {
                desired: engine.desired_of(name),
                placement: engine.placement_of(name),
                rollout: engine.rollout_of(name),
                spares: engine.spares_of(name),
                scaling: scalings.get(name).cloned(),
                health: engine.health_of(name),
            })
        })
    })
    .await
}

async fn find(api: &Api, name: &PoolName) -> Result<ServiceView, Problem> {
    let found = views(api).await?.into_iter().find(|view| view.spec.name == *name);
    match found {
        Some(view) => Ok(view),
        None => {
            let (api, name) = (api.clone(), name.clone());
            Err(blocking(move || lock(&api.services).no_service(&name)).await?)
        }
    }
}
