//! Our VIP speaker beside the real keepalived: each test is a story on a bridge with both of them.
//!
//! ```text
//!   the test, in namespaces of its own, which the kernel clears away with it
//!   ┌───────────────────────────────────────────────────────┐
//!   │  br0 10.77.0.1, captured by tcpdump                   │
//!   │   ├── ours:        lb run (proxy and speaker)         │
//!   │   ├── keepalived:  keepalived --vrrp                  │
//!   │   └── a third one, of either kind                     │
//!   └───────────────────────────────────────────────────────┘
//! ```
//!
//! Every story ends with tcpdump decoding all that was said, without an error. Times are read from the
//! packets, and asserted only where they tell one cause from another: silence takes more than three
//! intervals, priority 0 takes less.

#![allow(clippy::expect_used)]

mod capture;
mod elections;
mod keepalived;
#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;
mod ours;
mod stage;
mod three;
mod times;
mod voice;
