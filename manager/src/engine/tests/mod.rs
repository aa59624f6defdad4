//! What the engine does, told as stories: one file for each thing that can happen.

mod addresses;
mod adoption;
mod autoscale;
mod balancer;
mod brake;
mod conditions;
mod crash_loop;
mod death;
mod deletion;
mod fencing;
mod front;
mod hostile_peers;
mod maintenance;
mod members;
mod observed;
mod peers;
mod placing;
mod replacement;
mod rollout;
mod services;
mod soak;
mod standbys;
mod start;
mod switchover;
mod troubles;
mod uplink;
