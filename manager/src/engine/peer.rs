//! What is known of another manager.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wire::EndpointId;
use wire::snapshot::HostSnapshot;

use super::Time;
use super::placing::TAKEN_OVER_AFTER;

/// A peer that was not heard for so long is shown as lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Another manager.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Its newest snapshot.
    #[serde(serialize_with = "as_told")]
    pub(super) held: Option<Arc<HostSnapshot>>,
    /// The first and the last of the ids of its endpoints.
    pub(super) ids: Option<(EndpointId, EndpointId)>,
    /// When that snapshot came.
    pub(super) held_since: Time,
    /// When it was last heard, by a snapshot or an answer.
    pub(super) heard: Option<Time>,
    /// When it last told what it has.
    pub(super) told: Option<Time>,
    /// Which of our snapshots it has: epoch and version.
    pub(super) acknowledged: Option<(u64, u64)>,
    /// The newest of our versions that its balancer uses.
    pub(super) applied: u64,
    /// The newest version of its snapshot that our balancer uses.
    pub(super) using: u64,
    /// When to tell it again.
    pub(super) tell_at: Time,
    /// How often telling failed in a row.
    pub(super) failures: u32,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        Peer {
            address,
            held: None,
            ids: None,
            held_since: Time::ZERO,
            heard: None,
            told: None,
            acknowledged: None,
            applied: 0,
            using: 0,
            tell_at: Time::ZERO,
            failures: 0,
        }
    }

    pub(super) fn is_alive(&self, now: Time) -> bool {
        self.heard.is_some_and(|heard| now.saturating_sub(heard) < LOST_AFTER)
    }

    /// Whether what it told is fresh enough to go by.
    pub(super) fn tells(&self, now: Time) -> bool {
        self.told.is_some_and(|told| now.saturating_sub(told) < TAKEN_OVER_AFTER)
    }

    /// When it will count as lost unless it is heard again.
    pub(super) fn lost_at(&self) -> Option<Time> {
        self.heard.map(|heard| heard + LOST_AFTER)
    }
}

fn as_told<S: Serializer>(held: &Option<Arc<HostSnapshot>>, serializer: S) -> Result<S::Ok, S::Error> {
    held.as_deref().serialize(serializer)
}
