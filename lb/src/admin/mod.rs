//! The admin interface: what the balancer says of itself, and what its manager tells it.
//!
//! ```text
//!   address:8080 ─▶ reads                     anyone on the network
//!   address:8443 ─▶ peer ─▶ allowed? ─▶ changes    the manager of its host, by its certificate
//! ```
//!
//! Both are bound to the machine's own address, never to the VIP, and run on a thread of their own: a
//! question never waits behind requests, nor they behind it.

mod changes;
mod check;
mod connections;
mod credentials;
mod listen;
mod overrides;
mod page;
mod peer;
mod pools;
mod reads;
mod statistics;
mod status;
mod traffic;
mod vip_figures;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use self::credentials::Guard;
use crate::allocator;
use crate::link::{self, VipLink};
use crate::proxy::hand_over::HandOvers;
use crate::proxy::metrics::StateCollector;
use crate::proxy::state::State;
use crate::settings::Settings;
use traffic::Looks;
use vip_figures::VipFigures;

/// What the handlers share.
pub(crate) struct Admin {
    settings: Arc<Settings>,
    state: Arc<State>,
    vip: VipLink,
    hand_overs: Arc<HandOvers>,
    guard: Guard,
    metrics: prometheus::Registry,
    vip_figures: Option<VipFigures>,
    started: Instant,
    looks: Looks,
}

type Shared = axum::extract::State<Arc<Admin>>;

/// Serves both ports for ever.
pub(crate) async fn serve(settings: Arc<Settings>, state: Arc<State>, hand_overs: Arc<HandOvers>) {
    let metrics = kit::api::process_registry();
    if let Err(error) = kit::api::register_build_info(&metrics, "lb", env!("CARGO_PKG_VERSION")) {
        tracing::error!(%error, "the version will be missing from /metrics");
    }
    if let Err(error) = metrics.register(Box::new(StateCollector::new(state.clone()))) {
        tracing::error!(%error, "the proxy's figures will be missing from /metrics");
    }
    let vip_figures = match VipFigures::new().and_then(|figures| {
        metrics.register(Box::new(figures.clone()))?;
        Ok(figures)
    }) {
        Ok(figures) => Some(figures),
        Err(error) => {
            tracing::error!(%error, "the figures of the VIPs will be missing from /metrics");
            None
        }
    };
    let vip = VipLink::new(&settings.state_dir);
    let started = Instant::now();
    let (guard, open) = match Guard::load(&settings.state_dir) {
        Ok(guard) => (guard, true),
        Err(error) => {
            tracing::error!(
                path = %settings.state_dir.join(wire::tls::FILE).display(), %error,
                "THE CREDENTIALS CANNOT BE USED; no changes are taken until this machine is built anew"
            );
            (Guard::Address, false)
        }
    };
    let live = guard.live();
    let read_again = {
        let state = state.clone();
        move || {
            state.read_again();
            link::set_serving(state.snapshot().can_serve());
        }
    };
    let admin = Arc::new(Admin {
        settings: settings.clone(),
        state,
        vip,
        hand_overs,
        guard,
        metrics,
        vip_figures,
        started,
        looks: Looks::default(),
    });
    let keep = admin.clone();
    let looking = async move { keep.looks.keep(&keep.state).await };
    let (reads, changes) = routers(admin);
    // This thread has read the settings and made the description of this interface: more than what stays of both.
    allocator::give_back();
    let reads = listen::reads(settings.admin, reads);
    if open {
        tokio::join!(looking, reads, listen::changes(settings.admin_changes, changes, live, read_again));
    } else {
        tokio::join!(looking, reads);
    }
}

fn routers(admin: Arc<Admin>) -> (Router, Router) {
    let info = utoipa::openapi::InfoBuilder::new()
        .title("Holdfast balancer")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("PUT is taken on the port for changes only, and only from the host's manager."))
        .build();
    let document = utoipa::openapi::OpenApiBuilder::new().info(info).build();
    let (reads, mut document) = OpenApiRouter::with_openapi(document)
        .merge(reads::router())
        .merge(overrides::reads())
        .split_for_parts();
    let (changes, changes_document) = changes::router().merge(overrides::changes()).split_for_parts();
    document.merge(changes_document);
    let pages = Router::new().route("/", axum::routing::get(page::page)).merge(kit::page::assets());
    let reads = kit::api::with_docs(reads.merge(pages).with_state(admin.clone()), &document);
    let changes = changes
        .layer(axum::middleware::from_fn_with_state(admin.clone(), changes::only_from_managers))
        .with_state(admin);
    (kit::api::with_fallbacks(reads), kit::api::with_fallbacks(changes))
}
