//! Refuses rules for clients that cannot be used, naming the field.

use wire::clients::Network;

use super::check::{Checked, at_most};

/// The most networks in a list.
const MAX_NETWORKS: usize = 10_000;

/// Whether this list at `place` can be used.
///
/// # Errors
///
/// A problem of 400 that names it.
pub(super) fn networks(networks: &[Network], place: &str) -> Checked {
    at_most(networks.len(), MAX_NETWORKS, place)
}
