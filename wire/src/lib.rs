//! The data that crosses a process boundary, and nothing else.
//!
//! Every type here is read by one program and written by another: manager to balancer, manager to
//! manager, manager to `loadtest`, guest to manager. The modules follow the way of a fact: a guest
//! says it lives ([`heartbeat`]), its manager tells the other managers ([`snapshot`]), each manager
//! tells its balancer ([`upstreams`], [`proxy_config`], [`vip`], [`hand_over`]), and people and tools read the
//! whole ([`cluster`]) and ask for changes ([`access`]). There is no I/O in this crate, and no decision but the
//! one that every receiver of documents takes alike ([`generation`]).
//!
//! Unknown fields are accepted when reading, so that neighbours of different versions can talk;
//! documents written by people are checked strictly by the program that owns them.

pub mod access;
pub mod actions;
pub mod autoscale;
pub mod balancing;
pub mod certificates;
pub mod changes;
pub mod checks;
pub mod clients;
pub mod cluster;
pub mod compress;
pub mod database_checks;
pub mod generation;
pub mod hand_over;
pub mod heartbeat;
pub mod host_faults;
pub mod ids;
pub mod overrides;
pub mod placement;
pub mod pools;
pub mod problem;
pub mod proxy_config;
pub mod rates;
pub mod routing;
pub mod seed;
pub mod service;
pub mod shared_secrets;
pub mod snapshot;
pub mod switchover;
pub mod tcp;
pub mod tls;
pub mod traffic;
pub mod upstream_tls;
pub mod upstreams;
pub mod vip;

pub use ids::{EndpointId, Generation, HostName, Incarnation, MAX_COUNT, MachineId, PoolName};
pub use problem::Problem;
