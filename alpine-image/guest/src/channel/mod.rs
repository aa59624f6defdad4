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
use wire::seed::Seed;

pub use daemon::daemon;
pub use lines::LONGEST_LINE;
pub use serve::serve;

/// The port's name, by which the guest finds it among others.
pub const PORT: &str = "holdfast.control.0";

/// What the host asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// How are you? Answered by [`Told::Status`].
    Status,
    /// Finish what you do and power off. [`Told::Done`] says that it has begun.
    Shutdown,
    /// Kill the program. Its supervisor starts it again.
    StopProgram,
    /// To a spare: this is the machine that you are. [`Told::Became`] says that it is, and that its program starts.
    Become {
        /// What it would have found on its seed disk. It may hold secrets.
        seed: Box<Seed>,
        /// The MAC address that its network card is to have.
        mac: [u8; 6],
    },
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
    /// The answer to [`Ask::Become`]: where the time went, in microseconds.
    Became {
        /// Writing the program's files.
        files_us: u64,
        /// Setting name, MAC address, address and route.
        address_us: u64,
    },
    /// What was asked cannot be done, or cannot be understood.
    Failed {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
