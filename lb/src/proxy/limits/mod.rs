//! Who clients are, and what each of them may.
//!
//! ```text
//!   peer ─▶ trusted? ─▶ hops: what it says of the client ─▶ the client's address, for all that follows
//!   request ─▶ guard: allowed? not too often (rate)? ─▶ the way of any request, perhaps after a wait
//! ```

pub(crate) mod forwarded;
pub(crate) mod guard;
pub(crate) mod hops;
pub(crate) mod networks;
pub(crate) mod rate;
mod table;
