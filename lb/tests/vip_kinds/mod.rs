//! The kinds of virtual routers there can be, each with a failover of its own.

mod kinds;
mod reports;
