//! SIGHUP: reads the settings file anew. What can change while requests pass is taken into use, as one snapshot; a file
//! that is wrong changes nothing.
//!
//! ```text
//!   SIGHUP ──▶ read, check ──wrong──▶ logged with line and column, counted; all goes on as it was
//!                  │ right
//!                  ├── [config], [upstreams] ──▶ in use, unless a manager's are
//!                  └── the rest, where it differs ──▶ logged: it stays until the next start
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounterVec, IntGauge, Opts};
use tokio::signal::unix::Signal;

use super::lock;
use super::state::State;
use crate::link;
use crate::settings::Settings;

/// What became of the reloads so far.
#[derive(Debug)]
pub(crate) struct Reloads {
    taken: AtomicU64,
    refused: AtomicU64,
    last: Mutex<Last>,
}

/// How the file was read last.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    /// When what is in use was read.
    pub(crate) taken_at: SystemTime,
    /// Why it could not be used when it was read the last time, if it could not.
    pub(crate) error: Option<String>,
    /// The keys that have changed in it and stay as they were.
    pub(crate) staying: Vec<&'static str>,
}

impl Default for Reloads {
    /// As it is at the start, mostly: the file could be used.
    fn default() -> Self {
        let last = Last { taken_at: SystemTime::now(), error: None, staying: Vec::new() };
        Reloads { taken: AtomicU64::new(0), refused: AtomicU64::new(0), last: Mutex::new(last) }
    }
}

impl Reloads {
    /// How many were taken and refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    pub(crate) fn last(&self) -> Last {
        lock(&self.last).clone()
    }

    /// Notes that the file was read: which keys stay as they were, or why it could not be used.
    pub(crate) fn note(&self, read: Result<Vec<&'static str>, &str>) {
        let mut last = lock(&self.last);
        match read {
            Ok(staying) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                *last = Last { taken_at: SystemTime::now(), error: None, staying };
            }
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                // Without the line itself, which may have a secret in it: anyone may read this.
                last.error = Some(error.lines().next().unwrap_or_default().to_owned());
            }
        }
    }

    /// Its figures for Prometheus.
    ///
    /// # Errors
    ///
    /// Never: names and labels are constants that are valid together.
    pub(crate) fn families(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "lb_config_reloads_total",
                "Times the settings file was read anew, by what came of it.",
            ),
            &["result"],
        )?;
        let (taken, refused) = self.counts();
        reloads.with_label_values(&["taken"]).inc_by(taken);
        reloads.with_label_values(&["refused"]).inc_by(refused);
        let last = self.last();
        let successful = IntGauge::new(
            "lb_config_last_reload_successful",
            "1 if the settings file could be used when it was read last.",
        )?;
        successful.set(i64::from(last.error.is_none()));
        let at = Gauge::new(
            "lb_config_last_reload_success_timestamp_seconds",
            "When the settings file that is in use was read.",
        )?;
        at.set(last.taken_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        Ok([reloads.collect(), successful.collect(), at.collect()].concat())
    }
}

/// Reads the file anew at each of `requests`; those that come together are one.
pub(crate) async fn on(mut requests: Signal, running: Arc<Settings>, state: Arc<State>) {
    while requests.recv().await.is_some() {
        let (running, state) = (running.clone(), state.clone());
        if let Err(error) = tokio::task::spawn_blocking(move || reload(&running, &state)).await {
            tracing::error!(%error, "the settings file was not read anew");
        }
    }
}

/// Blocks on the disk.
fn reload(running: &Settings, state: &State) {
    match Settings::load(running.path()) {
        Err(error) => {
            tracing::error!("THE SETTINGS FILE CANNOT BE USED; what is in use stays\n{error}");
            state.reloads.note(Err(&error.to_string()));
        }
        Ok(mut fresh) => {
            let staying = running.unchangeable(&fresh);
            for key in &staying {
                tracing::warn!(
                    key,
                    "changed in the settings file, but stays as it is until lb is started anew"
                );
            }
            // First: whoever sees it in use may rely on it.
            fresh.use_state_dir(&running.state_dir);
            if let Err(error) = fresh.keep() {
                tracing::error!(%error, "the settings are taken, but their copy in the state directory was not made");
            }
            state.use_file(fresh.proxying);
            link::set_serving(state.snapshot().can_serve());
            state.reloads.note(Ok(staying));
            tracing::info!(path = %running.path().display(), "settings file read anew");
        }
    }
}
