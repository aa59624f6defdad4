//! What a person tells a balancer about one machine, at run time, over what its manager says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::MachineId;

/// The body of `PUT /overrides/MACHINE`: all of the person's word on that machine. It holds until it is
/// taken back, whatever sets come and however often the machine is rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Its share of the load instead of the set's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A person's word on whether a machine is used. It can take a machine out, never bring one back that its
/// manager takes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No new requests while there is any other; those in flight finish.
    Drain,
    /// No new requests at all; those in flight finish, and no connections are kept.
    Maintenance,
}

/// What `GET /overrides` answers, and what a balancer stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Overrides(pub BTreeMap<MachineId, Override>);
