//! A planned hand-over of virtual IP addresses, as the balancer that holds them carries it out.
//!
//! ```text
//!   Closing ──▶ Holding ──▶ Releasing ──▶ Done
//!      └───────────┴────────────┴───────▶ Undone: nobody took the addresses, it serves on
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `PUT /hand-over`. All times in milliseconds; each is the most that its step may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HandOverOrder {
    /// The addresses meant; all that are held when empty.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// For each of them the one balancer that is to have it: the addresses that one speaks VRRP from, of each family. Any
    /// other one has those that are not named here, and those that were not taken within half of `take_ms`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    pub to: BTreeMap<IpAddr, Vec<IpAddr>>,
    /// Kept connections without a request are closed after so long, but not before a tenth of a second.
    pub idle_ms: u64,
    /// Requests in progress may take so long; with this over, the hand-over goes on without them.
    pub finish_ms: u64,
    /// New connections are held back for so long while the last ones finish.
    pub hold_ms: u64,
    /// Another balancer must take the addresses within this, or everything is undone.
    pub take_ms: u64,
}

impl HandOverOrder {
    /// The most that any of the times may be.
    pub const LONGEST_MS: u64 = 300_000;

    /// The most that new connections may be held back by either of the last two steps: a client that hears
    /// nothing tries again after a second.
    pub const LONGEST_HOLD_MS: u64 = 1_000;

    /// What is wrong with it, if anything is: the field and what was expected.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let HandOverOrder { addresses: _, to: _, idle_ms, finish_ms, hold_ms, take_ms } = self;
        let limits = [
            ("idle_ms", *idle_ms, Self::LONGEST_MS),
            ("finish_ms", *finish_ms, Self::LONGEST_MS),
            ("hold_ms", *hold_ms, Self::LONGEST_HOLD_MS),
            ("take_ms", *take_ms, Self::LONGEST_HOLD_MS),
        ];
        let (field, _, limit) = limits.into_iter().find(|(_, value, limit)| value > limit)?;
        Some((field, format!("expected at most {limit}")))
    }

    /// The most that all of it takes.
    pub fn longest_ms(&self) -> u64 {
        self.finish_ms.max(self.idle_ms) + self.hold_ms + self.take_ms
    }
}

impl Default for HandOverOrder {
    fn default() -> Self {
        HandOverOrder {
            addresses: Vec::new(),
            to: BTreeMap::new(),
            idle_ms: 2_000,
            finish_ms: 5_000,
            hold_ms: 250,
            take_ms: 500,
        }
    }
}

/// What `PUT /hand-over` and `GET /hand-over` answer: the present or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandOver {
    /// Counts the hand-overs since the balancer started; 0 when there was none.
    pub number: u64,
    /// How far it is.
    pub state: HandOverState,
    /// The addresses handed over.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// The steps that ended, and how long each took.
    pub steps: Vec<StepTook>,
    /// Kept connections that were closed because no request came on them.
    pub idle_closed: u64,
    /// Connections that had to be cut: their requests took too long, or came as the connection was closed.
    pub cut: u64,
    /// New connections that came in the last moments and were passed on to the new holder.
    pub passed_on: u64,
    /// Who holds the address now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub holder: Option<IpAddr>,
    /// Why it was undone, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
}

/// How far a hand-over is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HandOverState {
    /// There was none.
    #[default]
    None,
    /// Connections are told to close; those without a request are closed.
    Closing,
    /// New connections are held back, the last ones finish.
    Holding,
    /// The others are offered the addresses.
    Releasing,
    /// Another balancer holds them.
    Done,
    /// Nobody took them: the balancer serves on as before.
    Undone,
}

impl HandOverState {
    /// Whether it is on its way.
    pub fn is_running(self) -> bool {
        matches!(self, HandOverState::Closing | HandOverState::Holding | HandOverState::Releasing)
    }
}

impl std::fmt::Display for HandOverState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            HandOverState::None => "none",
            HandOverState::Closing => "closing",
            HandOverState::Holding => "holding",
            HandOverState::Releasing => "releasing",
            HandOverState::Done => "done",
            HandOverState::Undone => "undone",
        })
    }
}

/// A step of a hand-over that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepTook {
    /// Which one.
    pub step: HandOverState,
    /// How long it took, in microseconds.
    pub micros: u64,
}
