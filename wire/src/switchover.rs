//! A planned move of public addresses from one host's balancer to another's, as managers carry it out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hand_over::HandOver;
use crate::{HostName, MachineId};

/// The body of `POST /switchover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchoverOrder {
    /// The host whose balancer is to hold the address; the fittest other one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<HostName>,
    /// The public address meant; all of them when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub vip: Option<IpAddr>,
    /// The host whose balancer is to hold none any more: all that it holds is meant, and goes to `to` or, without that, each
    /// to whom it would go if the balancer died. Not together with `vip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<HostName>,
    /// How long it may take until the address is offered, in milliseconds. Requests in progress have half
    /// of it.
    pub timeout_ms: u64,
}

impl SwitchoverOrder {
    /// The shortest time that makes sense.
    pub const SHORTEST_MS: u64 = 100;

    /// The longest time that may be asked for.
    pub const LONGEST_MS: u64 = 300_000;
}

impl Default for SwitchoverOrder {
    fn default() -> Self {
        SwitchoverOrder { to: None, vip: None, from: None, timeout_ms: 10_000 }
    }
}

/// What `POST /switchover` and `GET /switchover` answer: the present or the last one that was asked for here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Switchover {
    /// Counts the switchovers since this manager started.
    pub number: u64,
    /// How far it is.
    pub state: SwitchoverState,
    /// The public addresses that move.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// The balancer that held them.
    pub from: MachineId,
    /// The balancer that is to hold them; once it is done, the one that does. Where they go to several, that of the first.
    pub to: MachineId,
    /// Who is to hold which, where they do not all go to the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, MachineId>)]
    pub targets: BTreeMap<IpAddr, MachineId>,
    /// What the balancer that held them has done, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
    /// How long all of it took so far, in milliseconds.
    pub took_ms: u64,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a switchover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchoverState {
    /// The balancer that is to hold the addresses is not ready for it yet.
    Preparing,
    /// The manager of the balancer that holds them was asked to do it.
    Forwarded,
    /// The balancer that holds them hands them over.
    HandingOver,
    /// They were handed over; the manager of the new holder has not yet said so.
    Confirming,
    /// The new holder holds them.
    Done,
    /// All is as it was before.
    Failed,
}

impl SwitchoverState {
    /// Whether it has come to its end.
    pub fn is_over(self) -> bool {
        matches!(self, SwitchoverState::Done | SwitchoverState::Failed)
    }
}
