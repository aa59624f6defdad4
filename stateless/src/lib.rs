//! The sample service behind the balancer: it keeps no state that a client could miss, so any of its
//! machines can answer any request.
//!
//! [`settings`] is what an operator writes; [`server`] starts and ends it; [`app`] is the table of
//! routes. What the routes do: [`random`] values, the word on its own [`health`], and [`faults`] and
//! [`delay`], which let a test see through the balancer what happened to a request. [`metrics`] counts.

pub mod app;
pub mod delay;
pub mod faults;
pub mod health;
pub mod metrics;
pub mod random;
pub mod server;
pub mod settings;
