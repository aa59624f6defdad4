//! Start and end of the service.
//!
//! ```text
//! serving ──signal──▶ draining ──`drain` over──▶ finishing ──all answered, or 10 s──▶ gone
//!                     not ready, no heartbeats,   takes no more
//!                     still answers               connections
//! ```

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{self, App};
use crate::settings::Settings;

/// The longest an orderly stop waits for requests in progress.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many `/burn` requests are worked on at a time; more wait their turn.
const MAX_BURNING: usize = 32;

/// Serves until SIGTERM or SIGINT, then ends in order.
///
/// # Errors
///
/// When the address cannot be listened on or the listener fails for good.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BURNING)
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(serve(settings));
    // What is still burning must not hold the process up.
    runtime.shutdown_background();
    result
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let drain = settings.drain;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("listening on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let app = Arc::new(App::new(settings)?);
    let closing = CancellationToken::new();
    let mut server =
        tokio::spawn(kit::api::serve(listener, app::router(app.clone()), closing.clone().cancelled_owned()));
    let serving = async {
        // Whoever started this may have closed the pipe; that is no reason not to serve.
        let _ = writeln!(std::io::stdout(), "listening on {address}");
        tracing::info!(%address, machine = ?app.settings.machine, "serving");
        (&mut server).await
    };
    // In this order: a signal that follows the announcement finds its handler installed.
    tokio::select! {
        biased;
        signal = kit::shutdown::requested() => tracing::info!("stopping: {}", signal?),
        ended = serving => return Ok(ended.context("the server died")??),
    }
    app.stopping.cancel();
    tokio::time::sleep(drain).await;
    closing.cancel();
    match tokio::time::timeout(STOP_TIMEOUT, server).await {
        Ok(ended) => Ok(ended.context("the server died")??),
        Err(_) => {
            tracing::warn!("requests were still in progress after {STOP_TIMEOUT:?}; left unanswered");
            Ok(())
        }
    }
}
