//! Who clients are, and what each of them may.
//!
//! ```text
//!   peer ─▶ trusted? ─▶ hops: what it says of the client ─▶ the client's address, for all that follows
//! ```

pub(crate) mod forwarded;
pub(crate) mod hops;
pub(crate) mod networks;
