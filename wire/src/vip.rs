//! What a balancer says of the virtual IP addresses it shares with the others, and what it can be told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What `GET /vip` answers: one entry for each virtual router, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VipStatus {
    /// The virtual routers this balancer takes part in.
    pub routers: Vec<RouterStatus>,
    /// The addresses that a BGP daemon beside this balancer announces while it can serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<AnnouncedStatus>,
    /// Packets that were dropped, by kind, since the speaker started. The kinds are few and fixed.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
}

/// One address that several balancers have at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnnouncedStatus {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether it is here, for the daemon to announce.
    pub announced: bool,
    /// Why, in words.
    pub reason: String,
    /// How long that has been so, in milliseconds.
    pub for_ms: u64,
}

/// One virtual router as this balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouterStatus {
    /// The virtual IP address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The virtual router's id on its network segment (RFC 9568, section 5.2.3).
    pub vrid: u8,
    /// What this balancer is in it.
    pub state: RouterState,
    /// The priority it advertises or would advertise now.
    pub priority: u8,
    /// The priority it has while it is fit; none from balancers that do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u8>,
    /// Who holds the address, as far as this balancer knows.
    #[schema(value_type = Option<String>)]
    pub holder: Option<IpAddr>,
    /// Why it last changed state, in words.
    pub reason: String,
    /// How long it has been in this state, in milliseconds.
    pub for_ms: u64,
    /// What it counted since the speaker started.
    #[serde(default)]
    pub counters: RouterCounters,
}

/// What one virtual router counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouterCounters {
    /// Adverts it sent; with unicast peers, each counts once for each peer.
    pub adverts_sent: u64,
    /// Adverts it took.
    pub adverts_received: u64,
    /// How often it became the holder.
    pub became_master: u64,
    /// How often it changed its state, that included.
    pub transitions: u64,
    /// How long it took when it became the holder because another one was lost.
    #[serde(default)]
    pub failovers: Failovers,
}

/// Upper bounds of [`Failovers`], in milliseconds: from a holder that let go to one that was lost with its network.
pub const FAILOVER_BOUNDS_MS: [u64; 12] = [5, 10, 25, 50, 100, 250, 500, 750, 1_000, 2_500, 5_000, 10_000];

/// How long it took from the last word of a holder that was lost until this balancer had announced the address as its own:
/// a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failovers {
    /// How many took at most as long as each of [`FAILOVER_BOUNDS_MS`].
    pub within: [u64; FAILOVER_BOUNDS_MS.len()],
    /// How many there were.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub sum_us: u64,
}

impl Failovers {
    /// Counts one that took so long.
    pub fn count(&mut self, took: Duration) {
        for (count, bound) in self.within.iter_mut().zip(FAILOVER_BOUNDS_MS) {
            *count += u64::from(took <= Duration::from_millis(bound));
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The states of a virtual router (RFC 9568, section 6.4), by the names DESIGN's words have for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouterState {
    /// Takes no part: its proxy is not there.
    Init,
    /// Listens to the holder.
    Backup,
    /// Holds the address.
    Master,
}

impl RouterState {
    /// The name it has in JSON, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RouterState::Init => "init",
            RouterState::Backup => "backup",
            RouterState::Master => "master",
        }
    }
}

/// The body of `PUT /vip`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VipOrder {
    /// The virtual router meant; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrid: Option<u8>,
    /// The virtual router of this address is meant: IPv4 and IPv6 may have the same `vrid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The priority from now on, 1 to 254; below 200 the balancer counts as unfit and is preempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The priority from now on of the virtual router of each of these addresses, 200 to 254, whatever `vrid` and `address`
    /// say. It changes no holder: fit balancers do not preempt each other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, u8>)]
    pub priorities: BTreeMap<IpAddr, u8>,
    /// What to do at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<VipAction>,
    /// With `release`, the one balancer that is to have the address: where it speaks from, of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub to: Vec<IpAddr>,
    /// What the host's monotonic clock shows when this is sent, in milliseconds since any fixed time: so a
    /// balancer learns that its machine was paused while its own clock stood still. It goes to all virtual
    /// routers, whatever `vrid` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_time_ms: Option<u64>,
    /// Whether the host has lost its way to the network beyond. Stays so until said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink_lost: Option<bool>,
}

impl VipOrder {
    /// Whether it only says what a manager says all the time: its clock and how its uplink is.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        let VipOrder {
            vrid: _,
            address: _,
            priority,
            priorities,
            action,
            to: _,
            host_time_ms: _,
            uplink_lost: _,
        } = self;
        priority.is_none() && priorities.is_empty() && action.is_none()
    }
}

/// What a balancer can be asked to do with the address at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VipAction {
    /// Hold the address from now on.
    TakeOver,
    /// Let go of the address, if another balancer is there to hold it.
    Release,
}
