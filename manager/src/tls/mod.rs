//! TLS as a manager uses it: its requests to others ([`client`]), and the first one to a cluster that it knows
//! nothing of but a fingerprint ([`pin`]).

pub mod client;
pub mod origin;
pub mod pin;
