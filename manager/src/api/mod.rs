//! The manager's HTTP interface.

mod cluster;
pub(crate) mod console;
mod machines;
mod peers;
mod pki;
mod switchover;

use std::sync::Arc;

use axum::Router;
use kit::api::{with_docs, with_fallbacks};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::executor::Shared;
use crate::pki::keeper::Pki;
use crate::ports::hypervisor::Hypervisor;

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    hypervisor: Arc<dyn Hypervisor>,
    pki: Arc<Pki>,
}

#[derive(OpenApi)]
#[openapi(info(title = "Holdfast manager", description = "Keeps the machines of one host alive."))]
struct Document;

/// All routes. Those that harm machines exist only with `chaos`.
pub fn router(shared: Arc<Shared>, hypervisor: Arc<dyn Hypervisor>, pki: Arc<Pki>, chaos: bool) -> Router {
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
        .routes(routes!(switchover::begin, switchover::show))
        .routes(routes!(cluster::cluster))
        .routes(routes!(cluster::events))
        .routes(routes!(cluster::addresses))
        .routes(routes!(cluster::state))
        .routes(routes!(cluster::live))
        .routes(routes!(cluster::metrics));
    if chaos {
        router = router.routes(routes!(machines::fault));
    }
    let (router, document) = router.with_state(Api { shared, hypervisor, pki }).split_for_parts();
    with_fallbacks(with_docs(router, document))
}
