//! What Prometheus makes of a cluster: the real one, with the rules of `deploy/observe`, scrapes two hosts under load while
//! machines die; then every query of every board and every rule is asked, and must have something to show.
//!
//! ```text
//!   files.rs       rules, their tests, runbooks and boards, as promtool and Grafana read them ┐
//!   live.rs        a cluster under load, and all that is asked about it                        ├ stories
//!   reference.rs   docs/metrics.md, made of what the programs really tell                      ┘
//!   boards.rs expressions.rs prometheus.rs   the means
//! ```
//!
//! Grafana itself is no package of Debian: its boards are checked as JSON, and their queries by Prometheus.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod boards;
mod expressions;
mod files;
#[path = "../cluster/lab.rs"]
#[allow(dead_code)]
mod lab;
mod live;
mod prometheus;
mod reference;
#[path = "../cluster/run.rs"]
#[allow(dead_code)]
mod run;

use std::path::{Path, PathBuf};

/// A path of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
