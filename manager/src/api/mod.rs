//! The manager's HTTP interface.

mod access;
mod certificates;
mod cluster;
pub(crate) mod console;
mod events;
mod faults;
mod machines;
mod maintenance;
mod peers;
mod pki;
mod sd;
mod services;
mod switchover;
mod traffic;

use std::sync::{Arc, Mutex};

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
use crate::faults::Faults;
use crate::page::{self, Board};
use crate::pki::keeper::Pki;
use crate::ports::hypervisor::Hypervisor;
use crate::services::Services;
use crate::store::Store;

pub(crate) use events::written;

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    /// What the manager knows and wants.
    pub shared: Arc<Shared>,
    /// What makes its machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Where it keeps what it must not forget.
    pub store: Store,
    /// What it runs for people.
    pub services: Arc<Mutex<Services>>,
    /// Who may do what.
    pub gate: Arc<Gate>,
    /// The cluster's certificates.
    pub pki: Arc<Pki>,
    /// The certificates that clients are shown.
    pub certificates: Arc<Keeper>,
    /// What the page shows.
    pub board: Arc<Board>,
    /// The faults that may be ordered, where they may.
    pub faults: Option<Arc<Faults>>,
}

#[derive(OpenApi)]
#[openapi(info(title = "Holdfast manager", description = "Keeps the machines of one host alive."))]
struct Document;

/// All routes, behind the gate, and the page. Those that harm machines and the host exist only with `faults`.
pub fn router(api: Api) -> Router {
    let (gate, board) = (Arc::clone(&api.gate), Arc::clone(&api.board));
    let mut router = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(machines::list, machines::create))
        .routes(routes!(machines::show, machines::delete))
        .routes(routes!(machines::replace))
        .routes(routes!(machines::drain))
        .routes(routes!(machines::images))
        .routes(routes!(machines::logs))
        .routes(routes!(services::list))
        .routes(routes!(services::show, services::put, services::delete))
        .routes(routes!(services::roll_back))
        .routes(routes!(services::roll))
        .routes(routes!(console::console))
        .routes(routes!(peers::receive, peers::receive_changes, peers::forget))
        .routes(routes!(peers::gossip))
        .routes(routes!(pki::join))
        .routes(routes!(pki::revocations, pki::take_revocations))
        .routes(routes!(certificates::exchange))
        .routes(routes!(switchover::begin, switchover::show))
        .routes(routes!(cluster::cluster))
        .routes(routes!(events::events))
        .routes(routes!(events::history))
        .routes(routes!(traffic::traffic))
        .routes(routes!(cluster::addresses))
        .routes(routes!(cluster::state))
        .routes(routes!(maintenance::show, maintenance::order))
        .routes(routes!(access::list, access::create))
        .routes(routes!(access::revoke))
        .routes(routes!(access::audit))
        .routes(routes!(cluster::live))
        .routes(routes!(cluster::metrics))
        .routes(routes!(sd::targets));
    if api.faults.is_some() {
        router =
            router.routes(routes!(faults::harm)).routes(routes!(faults::show, faults::begin, faults::end));
    }
    let (router, document) = router.with_state(api).split_for_parts();
    let router = with_docs(router, &document).merge(page::routes(board, Arc::clone(&gate)));
    with_fallbacks(router).layer(from_fn_with_state(gate, gatekeeper))
}

/// Does something that waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::new(500, "Internal error", error.to_string()))
}
