//! The `[heartbeat]` part of the configuration.

use std::time::Duration;

use serde::Deserialize;

use super::Hypervisor;

/// Stands for a boot time that was not written, until the driver is known.
const BY_DRIVER: u64 = u64::MAX;

/// When a silent machine is suspected and when it counts as dead. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// The time between two heartbeats that machines are told to keep, 10 to 60000.
    pub interval_ms: u64,
    /// Silence for so long, at least twice `interval_ms`, makes a machine suspect.
    pub silence_ms: u64,
    /// The waits before each of the 1 to 16 retries; when the last has failed, the machine is dead.
    pub retry_waits_ms: Vec<u64>,
    /// How long one retry waits for a heartbeat, 50 or more.
    pub retry_timeout_ms: u64,
    /// A machine that has not sent its first heartbeat by then, 500 or more, is dead. Without it 60000 with `libvirt`
    /// and 15000 with `namespaces`.
    #[cfg_attr(test, schemars(extend("default" = null)))]
    pub boot_timeout_ms: u64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            interval_ms: 250,
            silence_ms: 800,
            retry_waits_ms: vec![100, 200, 400, 800],
            retry_timeout_ms: 400,
            boot_timeout_ms: BY_DRIVER,
        }
    }
}

impl Heartbeat {
    /// With the boot time of `driver`, where none was written.
    pub(super) fn suiting(self, driver: Hypervisor) -> Self {
        let boot_timeout_ms = match self.boot_timeout_ms {
            BY_DRIVER => boot_timeout_ms(driver),
            written => written,
        };
        Heartbeat { boot_timeout_ms, ..self }
    }

    /// Silence for so long makes a machine suspect.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let Heartbeat { interval_ms, silence_ms, retry_waits_ms, retry_timeout_ms, boot_timeout_ms } = self;
        if !(10..=60_000).contains(interval_ms) {
            return Err("heartbeat.interval_ms: expected 10 to 60000".to_owned());
        }
        if *silence_ms < 2 * interval_ms {
            return Err(format!(
                "heartbeat.silence_ms: expected at least twice interval_ms ({}), else every late beat is a suspicion",
                2 * interval_ms
            ));
        }
        if retry_waits_ms.is_empty() || retry_waits_ms.len() > 16 {
            return Err("heartbeat.retry_waits_ms: expected 1 to 16 waits".to_owned());
        }
        if *retry_timeout_ms < 50 || *boot_timeout_ms < 500 {
            return Err("heartbeat: expected retry_timeout_ms >= 50 and boot_timeout_ms >= 500".to_owned());
        }
        Ok(())
    }
}

/// How long a machine may take from its creation to its first heartbeat unless told otherwise. A guest on an
/// emulated processor needs seconds on a good day.
fn boot_timeout_ms(driver: Hypervisor) -> u64 {
    match driver {
        Hypervisor::Namespaces => 15_000,
        Hypervisor::Libvirt => 60_000,
    }
}
