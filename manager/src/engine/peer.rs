//! What is known of another manager.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wire::EndpointId;
use wire::snapshot::HostSnapshot;

use super::placing::TAKEN_OVER_AFTER;
use super::{Telling, Time};

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
    /// When it was last said that it is still true.
    pub(super) confirmed: Time,
    /// When it was last heard, by a snapshot or an answer.
    pub(super) heard: Option<Time>,
    /// When it last told what it has.
    pub(super) told: Option<Time>,
    /// Whether it lives, where hosts gossip about that.
    pub(super) member: Option<bool>,
    /// Which of our snapshots it has: epoch and version.
    pub(super) acknowledged: Option<(u64, u64)>,
    /// The newest of our versions that its balancer uses.
    pub(super) applied: u64,
    /// The newest version of its snapshot that our balancer uses.
    pub(super) using: u64,
    /// What it has of us, so that it need be told only what has changed since.
    #[serde(skip)]
    pub(super) base: Option<Telling>,
    /// When it last said that it has what it was told.
    pub(super) told_at: Time,
    /// When it is told all of it again, whatever it has.
    pub(super) whole_at: Time,
    /// When to tell it again after that failed.
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
            confirmed: Time::ZERO,
            heard: None,
            told: None,
            member: None,
            acknowledged: None,
            applied: 0,
            using: 0,
            base: None,
            told_at: Time::ZERO,
            whole_at: Time::ZERO,
            tell_at: Time::ZERO,
            failures: 0,
        }
    }

    pub(super) fn is_alive(&self, now: Time) -> bool {
        self.heard_by(now).is_some_and(|heard| now.saturating_sub(heard) < LOST_AFTER)
    }

    /// When it was last heard, by ourselves or by others who say that it lives.
    pub(super) fn heard_by(&self, now: Time) -> Option<Time> {
        if self.member == Some(true) { Some(now) } else { self.heard }
    }

    /// When what it told was last true: it tells of changes, and while others say that it lives nothing has changed.
    pub(super) fn said_at(&self, now: Time) -> Time {
        if self.member == Some(true) { now } else { self.confirmed }
    }

    /// Whether what it told is fresh enough to go by.
    pub(super) fn tells(&self, now: Time) -> bool {
        let told = if self.member == Some(true) { self.told.map(|_| now) } else { self.told };
        told.is_some_and(|told| now.saturating_sub(told) < TAKEN_OVER_AFTER)
    }

    /// It says that its own snapshot is the one of this epoch and version.
    pub(super) fn says_it_is_at(&mut self, now: Time, own: (u64, u64)) {
        if self.held.as_ref().is_some_and(|held| (held.epoch, held.version) == own) {
            self.told = Some(now);
            self.confirmed = now;
        }
    }

    /// When it will count as lost unless it is heard again.
    pub(super) fn lost_at(&self) -> Option<Time> {
        self.heard.map(|heard| heard + LOST_AFTER)
    }
}

fn as_told<S: Serializer>(held: &Option<Arc<HostSnapshot>>, serializer: S) -> Result<S::Ok, S::Error> {
    held.as_deref().serialize(serializer)
}
