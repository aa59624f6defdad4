//! The command line, checked as far as it can be without asking anyone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use http::Uri;

use crate::count::MAX_REQUESTS;
use crate::faults::spec::{FaultSpec, What};
use crate::faults::way::{Proof, manager};
use crate::report::outputs::Outputs;

/// Sends requests on schedule whether or not answers come, breaks things on schedule, and reports
/// what was lost.
///
/// Exit codes: 0 met, 1 missed, 2 bad input, 3 the run itself was invalid, 130 interrupted.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// What is asked for with GET, such as http://192.168.10.120/random/number.
    pub url: String,
    /// Ask with POST instead. The body of each is a number that no other one of the run has, so that the
    /// service can tell whether one was executed twice.
    #[arg(long)]
    pub post: bool,
    /// Requests per second.
    #[arg(long, default_value = "500", value_parser = rate, allow_negative_numbers = true)]
    pub rate: f64,
    /// How long requests are sent; longer if faults have not recovered by then.
    #[arg(long, default_value = "30s", value_parser = positive)]
    pub duration: Duration,
    /// The longest a request may take, from connecting to the last byte of its answer.
    #[arg(long, default_value = "2s", value_parser = positive)]
    pub timeout: Duration,
    /// Open a connection for every request; without it every other one goes over a kept one.
    #[arg(long)]
    pub fresh: bool,
    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The report's other forms.
    #[command(flatten)]
    pub outputs: Outputs,
    /// Where to answer Prometheus during the run, at /metrics, such as 127.0.0.1:9100. The end waits until it has
    /// read the last figures too, for half a minute at most.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub prometheus: Option<SocketAddr>,
    /// What to break and when: "kill stateless @5s", "exec:COMMAND @+5s". May be given several times;
    /// the next fault waits until the one before has recovered.
    #[arg(long = "fault", value_name = "SPEC")]
    pub faults: Vec<FaultSpec>,
    /// A manager of the cluster: http://ADDRESS:8080, https://ADDRESS:8443 with --ca and a token, or
    /// unix:/var/lib/holdfast/manager.sock of this host, as root. May be given several times.
    #[arg(long = "manager", value_name = "URL", value_parser = manager)]
    pub managers: Vec<String>,
    /// How managers are shown that faults may be ordered.
    #[command(flatten)]
    pub proof: Proof,
    /// The run misses its goal if fewer requests succeed, in percent of those intended.
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    pub min_availability: Option<f64>,
    /// The longest a fault may take to recover, and its command to end.
    #[arg(long, default_value = "60s", value_parser = positive)]
    pub fault_timeout: Duration,
    /// The most requests in flight at a time; what is due beyond counts as not-sent. When absent,
    /// twice as many as can be waiting for their timeout, and at least 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_CONNECTIONS))]
    pub connections_max: Option<u32>,
}

const MAX_RATE: f64 = 100_000.0;
const MAX_CONNECTIONS: i64 = 100_000;
const MIN_DEFAULT_CONNECTIONS: f64 = 1000.0;

impl Options {
    /// The most requests in flight at a time.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn connections_max(&self) -> u32 {
        let waiting = self.rate * self.timeout.as_secs_f64() * 2.0;
        let fitting = waiting.clamp(MIN_DEFAULT_CONNECTIONS, MAX_CONNECTIONS as f64) as u32;
        self.connections_max.unwrap_or(fitting)
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    ///
    /// Says what does not fit and what would.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.rate * self.duration.as_secs_f64() <= MAX_REQUESTS as f64,
            "--rate times --duration is more than {MAX_REQUESTS} requests, the most one run keeps account of"
        );
        if self.managers.is_empty() {
            for fault in &self.faults {
                if let What::Order { .. } = fault.what {
                    bail!("--fault \"{fault}\" is done by a manager: give its address with --manager URL");
                }
            }
        }
        Ok(())
    }
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The socket they are sent to; looked up once.
    pub address: SocketAddr,
    /// The value of their `Host`.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Reads `url` and looks its host up.
    ///
    /// # Errors
    ///
    /// When it is no `http://` URL or its host has no address.
    pub async fn find(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => bail!("`{url}`: https is not supported yet; use an http:// URL"),
            _ => bail!("`{url}` is not a URL with http:// in front"),
        }
        let authority = uri.authority().with_context(|| format!("`{url}` names no host"))?;
        ensure!(!authority.as_str().contains('@'), "`{url}`: user and password are not supported");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        ensure!(!host.is_empty(), "`{url}` names no host");
        let port = uri.port_u16().unwrap_or(80);
        ensure!(port > 0, "`{url}`: port 0 cannot be connected to");
        let address = tokio::net::lookup_host((host, port))
            .await
            .with_context(|| format!("looking up `{host}`"))?
            .next()
            .with_context(|| format!("`{host}` has no address"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Target { address, host: authority.to_string(), path })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("expected requests per second, more than 0 and at most {MAX_RATE}")),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a percentage, 0 to 100".to_owned()),
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time above 0 with its unit, such as 500ms, 30s or 2m".to_owned()),
    }
}
