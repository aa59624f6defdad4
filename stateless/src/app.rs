//! The table of routes, and what every response has.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::{delay, faults, health, random};

/// Names the machine that answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    /// The settings.
    pub settings: Settings,
    /// The series of `/metrics`.
    pub metrics: Metrics,
    /// Cancelled when an orderly stop begins.
    pub stopping: CancellationToken,
    /// How often `POST /count` was executed.
    pub posts: AtomicU64,
    /// The bodies of those that had one, in the order of their execution.
    pub ids: Mutex<faults::Ids>,
    /// How long every answer is held back, in milliseconds.
    pub delay_ms: AtomicU64,
}

pub(crate) type Shared = Arc<App>;

#[derive(OpenApi)]
#[openapi(info(
    title = "stateless",
    description = "The sample service: random values.",
    license(name = "Apache-2.0")
))]
struct Document;

impl App {
    /// The state of a service that has not been asked anything yet.
    ///
    /// # Errors
    ///
    /// When the file for the ids of counted POSTs cannot be opened.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let ids = Mutex::new(faults::Ids::new(settings.count_file.as_deref())?);
        let metrics = Metrics::new()?;
        Ok(App {
            settings,
            metrics,
            stopping: CancellationToken::new(),
            posts: AtomicU64::new(0),
            ids,
            delay_ms: AtomicU64::new(0),
        })
    }
}

/// The whole HTTP interface.
pub fn router(app: Shared) -> Router {
    let mut routes = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(random::boolean))
        .routes(routes!(random::integer))
        .routes(routes!(random::float))
        .routes(routes!(random::double))
        .routes(routes!(random::percent))
        .routes(routes!(health::heartbeat))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics));
    if app.settings.test_routes {
        routes = routes
            .routes(routes!(faults::stress))
            .routes(routes!(faults::burn))
            .routes(routes!(faults::status))
            .routes(routes!(faults::bytes))
            .routes(routes!(faults::echo))
            .routes(routes!(faults::count, faults::counted))
            .routes(routes!(faults::ids))
            .routes(routes!(delay::set_delay));
    }
    let (router, document) = routes.split_for_parts();
    let mut router = kit::api::with_fallbacks(kit::api::with_docs(router.with_state(app.clone()), &document));
    if app.settings.test_routes {
        router = router.layer(middleware::from_fn_with_state(app.clone(), delay::delay));
    }
    router
        .layer(middleware::from_fn_with_state(app.clone(), crate::metrics::count))
        .layer(middleware::from_fn_with_state(app, name_the_machine))
}

async fn name_the_machine(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(SERVED_BY, app.settings.machine.clone());
    response
}
