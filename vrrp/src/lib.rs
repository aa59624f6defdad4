//! VRRP version 3 for IPv4 and IPv6 (RFC 9568) as a pure protocol: no sockets, no clock, no randomness.
//!
//! ```text
//!   bytes ──▶ packet::Advert::decode ──┐
//!                                      ▼
//!   now, orders, troubles ──────▶ router::Router ──▶ effects, one after the other: send an advert,
//!                                      │             add, renew, remove or announce the address
//!                                      └───────────▶ when to look again, and why
//! ```
//!
//! [`packet`] is the codec, [`router`] the state machine of one virtual router, [`effect`] what it asks
//! its caller to do, [`fitness`] what makes a router worth less than its configured priority, [`identity`]
//! the addresses that belong to a virtual router's number, [`presence`] whether there is a proxy to take
//! part for, [`processor`] whether it only waits for its turn, [`settings`] what people may set of it.
//!
//! Time is a [`Duration`](std::time::Duration) since any origin the caller likes, as long as it never
//! runs backwards.

pub mod effect;
pub mod fitness;
pub mod identity;
pub mod packet;
pub mod presence;
pub mod processor;
pub mod router;
pub mod settings;

pub use effect::{Effect, Reason, State, Transition, WakeReason};
pub use fitness::Unfit;
pub use packet::{Advert, ChecksumForm, Malformed};
pub use router::{Refused, Router, RouterConfig};
