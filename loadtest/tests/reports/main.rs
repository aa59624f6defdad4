//! Real runs, and what is left of them: files, a terminal, Prometheus.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod comparing;
mod files;
#[path = "../run/process.rs"]
#[allow(dead_code)]
mod process;
mod scraping;
mod terminal;
#[path = "../run/truth.rs"]
#[allow(dead_code)]
mod truth;
