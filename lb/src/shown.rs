//! What a balancer that runs says of itself, on a terminal: for people who sit at its machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};

/// It answers within this time, or it does not run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the connections of the TCP services of the balancer whose admin interface is at `admin`; `one_by_one`, or by
/// service and upstream.
///
/// # Errors
///
/// When it does not answer.
pub fn connections(admin: SocketAddr, one_by_one: bool) -> anyhow::Result<()> {
    let path = if one_by_one { "/connections/list" } else { "/connections" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let answer = client.get(format!("http://{admin}{path}")).send().await;
        let answer = answer.with_context(|| format!("nobody answers at {admin}: does the balancer run?"))?;
        if !answer.status().is_success() {
            bail!("the balancer at {admin} answers {}", answer.status());
        }
        anyhow::Ok(answer.text().await?)
    })?;
    // Whoever reads it may have seen enough (`| head`).
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
