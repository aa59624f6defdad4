//! Turns SIGTERM and SIGINT into an orderly end.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the process is asked to end, with the signal's name.
///
/// # Errors
///
/// Where the signal handlers cannot be installed.
pub async fn requested() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
