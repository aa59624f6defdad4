//! `manager check`: whether this host can be run with its configuration, and how to mend what cannot.

mod addresses;
mod host;
mod time;
mod virtual_machines;

use std::path::Path;

use anyhow::{Result, bail};

use crate::config::{Config, Hypervisor};

/// What was found of one thing.
enum Finding {
    /// It is as it should be.
    Good(String),
    /// It works, but not well.
    Poor(String),
    /// It does not work; says how to mend it.
    Bad(String),
}

impl From<Result<String, String>> for Finding {
    fn from(result: Result<String, String>) -> Self {
        match result {
            Ok(detail) => Finding::Good(detail),
            Err(remedy) => Finding::Bad(remedy),
        }
    }
}

#[derive(Default)]
struct Report {
    failures: usize,
}

impl Report {
    fn add(&mut self, what: &str, finding: impl Into<Finding>) {
        let (mark, text) = match finding.into() {
            Finding::Good(detail) => ("ok  ", detail),
            Finding::Poor(remedy) => ("warn", remedy),
            Finding::Bad(remedy) => {
                self.failures += 1;
                ("FAIL", remedy)
            }
        };
        println!("{mark}  {what}: {text}");
    }
}

/// Checks the host and prints one line for each thing checked.
///
/// # Errors
///
/// When at least one check failed.
pub fn check(path: &Path, config: &Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report::default();
        report.add("configuration", Finding::Good(format!("{} is valid", path.display())));
        report.add("address", host::address(config));
        report.add("bridge", host::bridge(&config.bridge).await);
        addresses::check(config, &mut report).await;
        report.add("state directory", host::state_directory(config));
        time::check(config, &mut report).await;
        match config.hypervisor {
            Hypervisor::Namespaces => {
                report.add("privileges", host::privileges());
                report.add("programs", host::programs(config));
            }
            Hypervisor::Libvirt => virtual_machines::check(config, &mut report).await,
        }
        if report.failures > 0 {
            bail!("{} checks failed", report.failures);
        }
        Ok(())
    })
}
