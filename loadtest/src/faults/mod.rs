//! Breaks things on schedule, and finds out when each was well again.
//!
//! Whatever happens, what was broken is mended at the end, as far as it can be: commands are told to end, undoing
//! commands are run, frozen machines are thawed, hosts are healed. What a manager broke it also mends by itself after
//! the time to live that each such order has, whether or not we still reach it.

pub mod cluster;
pub mod command;
pub mod injector;
pub mod orders;
pub mod plan;
pub mod recovery;
pub mod spec;
pub mod undo;
pub mod watch;
pub mod way;

use std::net::IpAddr;

use anyhow::ensure;

use cluster::{Answers, Managers};
use recovery::Victim;

pub use injector::Injector;

/// One fault that was injected. Times in microseconds since the run's start.
#[derive(Clone, Debug)]
pub struct FaultRecord {
    /// What was done.
    pub fault: String,
    /// To whom.
    pub victim: Victim,
    /// When.
    pub at_us: u64,
    /// When all was well again; while others were in force, when the victim was.
    pub recovered_us: Option<u64>,
    /// The victim's address before, if it is a machine.
    pub address_before: Option<IpAddr>,
    /// The victim's address once all was well again.
    pub address_after: Option<IpAddr>,
}

/// What the faults leave for the report.
#[derive(Debug, Default)]
pub struct FaultLog {
    /// The faults that were injected, by their moment.
    pub records: Vec<FaultRecord>,
    /// Why the run does not count: a fault that could not be injected as ordered.
    pub invalid: Vec<String>,
    /// Why the run missed its goal: a fault that did not recover.
    pub missed: Vec<String>,
}

/// How the faults of a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There were none.
    NoFaults,
    /// All were injected and have recovered.
    Recovered,
    /// One could not be injected or has not recovered; the log says which.
    GaveUp,
}

/// Refuses to start on a cluster that is broken already.
///
/// # Errors
///
/// When no manager answers, or one that does says what is missing.
pub async fn ensure_whole(managers: &Managers) -> anyhow::Result<Answers> {
    let answers = managers.ask().await?;
    let broken = answers.views.iter().find(|view| !view.whole);
    ensure!(
        broken.is_none(),
        "the cluster is not whole: {}",
        broken.map(|view| view.missing.join("; ")).unwrap_or_default()
    );
    Ok(answers)
}
