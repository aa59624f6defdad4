//! The control channel: what a host can ask of a machine while the network is down or not there yet.
//!
//! It is a virtio-serial port on which each side sends JSON, one object a line. Every line of the host
//! has one answer, in order. Once, unasked, the machine says that it has booted. Blank lines are passed
//! over: a host that starts with one cuts off whatever half line the host before it left behind.

mod daemon;
mod lines;
mod port;
mod serve;

use serde::{Deserialize, Serialize};
use wire::MachineId;

pub use daemon::daemon;
pub use lines::LONGEST_LINE;
pub use serve::serve;

/// The port's name, by which the guest finds it among others.
pub const PORT: &str = "holdfast.control.0";

/// What the host asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// How are you? Answered by [`Told::Status`].
    Status,
    /// Finish what you do and power off. [`Told::Done`] says that it has begun.
    Shutdown,
    /// Kill the program. Its supervisor starts it again.
    StopProgram,
}

/// What the machine says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "kebab-case")]
pub enum Told {
    /// The channel is being read from now on.
    Booted {
        /// The machine.
        machine: MachineId,
    },
    /// The answer to [`Ask::Status`].
    Status {
        /// The machine.
        machine: MachineId,
        /// Whether its program runs.
        program: bool,
    },
    /// What was asked is done.
    Done,
    /// What was asked cannot be done, or cannot be understood.
    Failed {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
