//! The interface's own documentation: the OpenAPI document and a page to try it on.

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// Adds `/api-docs/openapi.json` and the Swagger UI at `/swagger-ui/` to `router`.
pub fn with_docs(router: Router, document: OpenApi) -> Router {
    router.merge(SwaggerUi::new("/swagger-ui").url("/api-docs/openapi.json", document))
}
