//! How the engine's actions are carried out: each port is one neighbour of the manager.

pub mod balancer;
pub mod guests;
pub mod hypervisor;
pub mod libvirt;
pub(crate) mod machine;
pub mod namespaces;
pub mod neighbours;
pub mod peers;
mod probe;
pub(crate) mod pushed;
pub mod resign;
pub mod transport;
pub mod uplink;
