//! What the balancers of the cluster show clients over TLS, and how it comes to them.
//!
//! ```text
//!   [[certificate]] files ─▶ files ─┐
//!   owner: ticket_keys, acme ───────┼─▶ keeper ─▶ engine (Front) ─▶ PUT /config, the seed of a balancer
//!   other managers ◀─▶ exchange ────┘     └─▶ the store
//! ```
//!
//! One manager is the owner: of those that hear each other the one with the lowest address. Two that do not hear
//! each other are owners both, which costs nothing but work: what they made is merged ([`merge`]) as soon as they meet,
//! in the same way on both sides.

mod acme;
mod exchange;
mod files;
pub mod keeper;
mod merge;
mod pem;
pub mod rounds;
mod ticket_keys;
