//! TCP services that the kernel forwards: real balancers, servers and clients, each in a network namespace.
//!
//! ```text
//!   the test, in namespaces of its own, which the kernel clears away with it
//!   ┌───────────────────────────────────────────────────────────────────┐
//!   │  br0 10.77.0.1, fd77::1: clients                                  │
//!   │   ├── a, b:   eth0 .10, .20: lb run, which have 10.77.0.100       │
//!   │   └── s1 … s3: eth0 .31 … .33: servers                            │
//!   └───────────────────────────────────────────────────────────────────┘
//! ```

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;

mod balancer;
mod cases;
mod client;
mod direct;
mod lifetimes;
mod nat;
mod server;

/// The port of the service.
pub(crate) const PORT: u16 = 3306;

/// Its public address.
pub(crate) const VIP: &str = "10.77.0.100";

/// How often servers are checked, in milliseconds, and by how much more or less that is at random.
pub(crate) const CHECKED_MS: u64 = 500;
pub(crate) const JITTER: f64 = 0.1;

/// The bridge that all machines are at, and where clients are.
pub(crate) fn segment() {
    namespaces::run("ip link set lo up");
    namespaces::run("ip link add br0 type bridge stp_state 0 forward_delay 0");
    namespaces::run("ip address add 10.77.0.1/24 dev br0");
    namespaces::run("ip address add fd77::1/64 dev br0 nodad");
    namespaces::run("ip link set br0 up");
}

/// Plugs a machine in, whose addresses end in `last`.
pub(crate) fn plug_in(name: &str, last: u8) {
    namespaces::run(&format!("ip netns add {name}"));
    namespaces::run(&format!("ip link add port-{name} type veth peer name eth0 netns {name}"));
    namespaces::run(&format!("ip link set port-{name} master br0 up"));
    namespaces::run(&format!("ip -n {name} link set lo up"));
    namespaces::run(&format!("ip -n {name} address add 10.77.0.{last}/24 dev eth0"));
    namespaces::run(&format!("ip -n {name} address add fd77::{last}/64 dev eth0 nodad"));
    namespaces::run(&format!("ip -n {name} link set eth0 up"));
}

/// Has the kernel of machine `name` behave so.
pub(crate) fn set(name: &str, key: &str, value: &str) {
    namespaces::run(&format!("nsenter --net=/run/netns/{name} sysctl -q -w {key}={value}"));
}
