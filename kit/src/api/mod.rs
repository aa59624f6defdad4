//! The shape of every HTTP interface of ours.

mod docs;
mod extract;
mod heartbeat;
mod metrics;
mod problem;
mod serve;

pub use docs::with_docs;
pub use extract::{Json, Path, Query};
pub use heartbeat::heartbeat_stream;
pub use metrics::{metrics_response, process_registry};
pub use problem::ApiError;
pub use serve::{MAX_BODY, serve, with_fallbacks};
