//! Where what is in use comes from: what a manager pushed outranks the settings file, and that what stands in for both.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

/// Who said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// Nobody: it stands in for what is missing.
    #[default]
    Default,
    /// The settings file.
    File,
    /// A manager.
    Pushed,
}

impl Origin {
    /// Its name, as `/status` and the header fields of answers have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Pushed => "pushed",
        }
    }
}

/// The origins of a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origins {
    pub(crate) upstreams: Origin,
    pub(crate) config: Origin,
}

/// What counts of what was `pushed` and what the `file` says.
pub(crate) fn of<T>(pushed: Option<&Arc<T>>, file: Option<&Arc<T>>) -> (Option<Arc<T>>, Origin) {
    match (pushed, file) {
        (Some(pushed), _) => (Some(pushed.clone()), Origin::Pushed),
        (None, Some(file)) => (Some(file.clone()), Origin::File),
        (None, None) => (None, Origin::Default),
    }
}
