//! `/services`: what this host runs for people, and how it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use kit::api::{ApiError, Json, Path};
use wire::service::{ServiceSpec, ServiceView};
use wire::{PoolName, Problem};

use super::{Api, blocking};
use crate::services::Services;

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
    change(&api, move |services, api| {
        let (service, all) = services.with(spec)?;
        api.shared.look(|engine, _| engine.check_services(&all))?;
        services
            .put(service)
            .map_err(|error| Problem::unavailable(format!("it cannot be stored: {error}")))?;
        api.shared.ask(|engine, now| engine.set_services(now, all))
    })
    .await?;
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
    change(&api, move |services, api| {
        let name = PoolName(name);
        let all = services.without(&name)?;
        api.shared.look(|engine, _| engine.check_services(&all))?;
        services
            .remove(&name)
            .map_err(|error| Problem::unavailable(format!("that cannot be stored: {error}")))?;
        api.shared.ask(|engine, now| engine.set_services(now, all))
    })
    .await?;
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
    change(&api, move |services, api| {
        let (before, all) = services.before(&named)?;
        api.shared.look(|engine, _| engine.check_services(&all))?;
        let stored = match before {
            Some(before) => services.put_back(before),
            None => services.remove(&named),
        };
        stored.map_err(|error| Problem::unavailable(format!("that cannot be stored: {error}")))?;
        api.shared.ask(|engine, now| engine.set_services(now, all))
    })
    .await?;
    Ok(Json(find(&api, &name).await?))
}

/// One change at a time, each of which waits for the disk.
async fn change(
    api: &Api,
    change: impl FnOnce(&mut Services, &Api) -> Result<(), Problem> + Send + 'static,
) -> Result<(), Problem> {
    let api = api.clone();
    blocking(move || change(&mut lock(&api.services), &api)).await?
}

async fn views(api: &Api) -> Result<Vec<ServiceView>, Problem> {
    let api = api.clone();
    // A change may hold them while the disk is slow.
    blocking(move || {
        let services = lock(&api.services);
        let mut views = services
            .views(|name| api.shared.look(|engine, _| (engine.desired_of(name), engine.placement_of(name))));
        let mut scalings = api.shared.look(|engine, now| engine.scalings(now));
        for view in &mut views {
            view.scaling = scalings.remove(&view.spec.name);
        }
        views
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

fn lock(services: &Arc<Mutex<Services>>) -> MutexGuard<'_, Services> {
    services.lock().unwrap_or_else(PoisonError::into_inner)
}
