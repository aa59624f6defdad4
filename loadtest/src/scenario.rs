//! A scenario: a file that has a whole run, so that it can be kept, shared and repeated.
//!
//! ```toml
//! url = "http://192.168.10.120/random/number"
//! managers = ["http://192.168.10.1:8080"]
//! require = ["availability>=99.9", "outage<2s"]
//!
//! [load]
//! rate = 500
//! duration = "30s"
//!
//! [[fault]]
//! kill = "stateless"
//! at = "5s"
//! ```

mod fault;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod value;

use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source};
use serde::Deserialize;

use crate::faults::spec::FaultSpec;
use crate::load::Connections;
use crate::options::load;
use crate::origin::Resolve;
use crate::require::Requirement;
use crate::schedule::Stages;
use crate::target;
pub use fault::FaultTable;
pub use value::{Manager, Percent, Rate, Read, Time};

/// What a file says.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Scenario {
    /// The URL that requests go to; an argument outranks it.
    pub url: Option<String>,
    /// As `--manager`.
    pub managers: Vec<Manager>,
    /// As `--token-file`, beside the scenario.
    pub token_file: Option<PathBuf>,
    /// As `--ca`, beside the scenario.
    pub ca: Option<PathBuf>,
    /// As `--require`.
    pub require: Vec<Read<Requirement>>,
    /// As `--slo`.
    pub slo: Option<Percent>,
    /// As `--success-threshold`.
    pub success_threshold: Option<Percent>,
    /// As `--lateness-max`.
    pub lateness_max: Option<Time>,
    /// As `--fault-timeout`.
    pub fault_timeout: Option<Time>,
    /// How requests are begun.
    pub load: LoadTable,
    /// What is asked for.
    pub target: Vec<target::Written>,
    /// What is broken.
    pub fault: Vec<FaultTable>,
}

/// How requests are begun.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LoadTable {
    /// As `--rate`.
    pub rate: Option<Rate>,
    /// As `--duration`.
    pub duration: Option<Time>,
    /// As `--stages`.
    pub stages: Option<Read<Stages>>,
    /// As `--arrivals`.
    pub arrivals: Option<load::Written>,
    /// As `--users`.
    pub users: Option<u32>,
    /// As `--loops`.
    pub loops: Option<u64>,
    /// As `--think`.
    pub think: Option<Time>,
    /// As `--ramp-up`.
    pub ramp_up: Option<Time>,
    /// As `--timeout`.
    pub timeout: Option<Time>,
    /// `half`, `fresh` (as `--fresh`) or `kept` (as `--keep-alive`).
    pub connections: Option<Connections>,
    /// As `--connections-max`.
    pub connections_max: Option<u32>,
    /// As `--http2`.
    pub http2: bool,
    /// As `--insecure`.
    pub insecure: bool,
    /// As `--resolve`.
    pub resolve: Vec<Read<Resolve>>,
    /// As `--look-up-each`.
    pub look_up_each: bool,
    /// As `--threads`.
    pub threads: Option<u32>,
    /// As `--seed`.
    pub seed: Option<u64>,
}

/// A file that was read.
#[derive(Debug)]
pub struct Written {
    /// Its text, to point into.
    pub source: Source,
    /// What it says.
    pub scenario: Scenario,
    /// Its faults.
    pub faults: Vec<FaultSpec>,
}

/// Reads a scenario.
///
/// # Errors
///
/// With file, line and column where it is wrong.
pub fn read(file: &Path) -> Result<Written, ConfigError> {
    let source = Source::read(file)?;
    let scenario: Scenario = source.parse()?;
    let faults = scenario.fault.iter().enumerate().map(|(index, fault)| {
        fault.meant().map_err(|error| source.error_in(&format!("fault[{index}]"), &error))
    });
    let faults = faults.collect::<Result<_, _>>()?;
    Ok(Written { source, scenario, faults })
}

impl Written {
    /// A file that is named in the scenario: beside it.
    pub fn beside(&self, file: &Path) -> PathBuf {
        self.source.path().parent().unwrap_or(Path::new(".")).join(file)
    }
}
