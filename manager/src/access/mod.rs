//! Who asks, and what they may do.

mod origin;

pub use origin::{From, Origin};
