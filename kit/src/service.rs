//! What the service manager of the host is told (systemd's sd_notify protocol). Where there is none, nothing is.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// The program serves from now on.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The program ends from now on.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the program is well each time `proof` succeeds, three times in the time after which it would be started
/// anew; for ever, and at once for ever where nobody waits for that. A timer alone would prove nothing: `proof` is to go
/// the way that the program's work goes.
pub async fn watchdog<F: Future<Output = bool>>(mut proof: impl FnMut() -> F) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let pause = limit / 3;
    loop {
        if tokio::time::timeout(pause, proof()).await == Ok(true) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("this program does not get on; it is started anew unless it recovers");
        }
        tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
