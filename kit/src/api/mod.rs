//! The shape of every HTTP interface of ours.

mod bounded;
mod docs;
mod extract;
mod heartbeat;
mod metrics;
mod problem;
mod serve;

pub use bounded::serve_bounded;
pub use docs::with_docs;
pub use extract::{Body, Json, Path, Query, parse_json};
pub use heartbeat::heartbeat_stream;
pub use metrics::{metrics_response, process_registry, register_build_info};
pub use problem::{ApiError, last_answer};
pub use serve::{MAX_BODY, serve, with_fallbacks};
