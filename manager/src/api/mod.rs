//! The manager's HTTP interface.

mod access;
mod certificates;
mod cluster;
pub(crate) mod console;
mod events;
mod machines;
mod maintenance;
mod peers;
mod pki;
mod switchover;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use kit::api::{with_docs, with_fallbacks};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::Problem;

use crate::access::gate::{Gate, gate as gatekeeper};
use crate::certificates::keeper::Keeper;
use crate::executor::Shared;
use crate::pki::keeper::Pki;
use crate::ports::hypervisor::Hypervisor;
use crate::store::Store;

pub(crate) use events::written;

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    hypervisor: Arc<dyn Hypervisor>,
    store: Store,
    gate: Arc<Gate>,
    pki: Arc<Pki>,
    certificates: Arc<Keeper>,
}

#[derive(OpenApi)]
#[openapi(info(title = "Holdfast manager", description = "Keeps the machines of one host alive."))]
struct Document;

/// All routes, behind `gate`. Those that harm machines exist only with `chaos`.
pub fn router(
    shared: Arc<Shared>,
    hypervisor: Arc<dyn Hypervisor>,
    store: Store,
    gate: Arc<Gate>,
    pki: Arc<Pki>,
    certificates: Arc<Keeper>,
    chaos: bool,
) -> Router {
    let mut router = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(machines::list, machines::create))
        .routes(routes!(machines::show, machines::delete))
        .routes(routes!(machines::replace))
        .routes(routes!(machines::images))
        .routes(routes!(machines::logs))
        .routes(routes!(console::console))
        .routes(routes!(peers::receive, peers::forget))
        .routes(routes!(pki::join))
        .routes(routes!(pki::revocations, pki::take_revocations))
        .routes(routes!(certificates::exchange))
        .routes(routes!(switchover::begin, switchover::show))
        .routes(routes!(cluster::cluster))
        .routes(routes!(events::events))
        .routes(routes!(cluster::addresses))
        .routes(routes!(cluster::state))
        .routes(routes!(maintenance::show, maintenance::order))
        .routes(routes!(access::list, access::create))
        .routes(routes!(access::revoke))
        .routes(routes!(access::audit))
        .routes(routes!(cluster::live))
        .routes(routes!(cluster::metrics));
    if chaos {
        router = router.routes(routes!(machines::fault));
    }
    let api = Api { shared, hypervisor, store, gate: Arc::clone(&gate), pki, certificates };
    let (router, document) = router.with_state(api).split_for_parts();
    with_fallbacks(with_docs(router, document)).layer(from_fn_with_state(gate, gatekeeper))
}

/// Does something that waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::new(500, "Internal error", error.to_string()))
}
