//! The command line, checked as far as it can be without asking anyone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

pub mod load;

use self::load::{GoalOptions, LoadOptions, RequestOptions};
use crate::faults::spec::FaultSpec;
use crate::faults::way::{Proof, manager};
use crate::report::outputs::Outputs;
use crate::schedule::MAX_RATE;

/// Sends requests on schedule whether or not answers come, breaks things on schedule, and reports
/// what was lost.
///
///     loadtest http://127.0.0.1:8080/ --rate 200 --duration 10s
///     loadtest URL --manager http://192.168.10.1:8080 --fault 'kill stateless @5s' --require 'outage<1s'
///
/// Exit codes: 0 met, 1 missed, 2 bad input, 3 the run itself was invalid, 130 interrupted.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
pub struct Options {
    /// What is asked for, such as http://192.168.10.120/random/number. Left out where the scenario has it.
    #[arg(required_unless_present = "scenario")]
    pub url: Option<String>,
    /// A file that has all of this: load, targets, faults and goals (TOML). What is given here too outranks it.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Ask with POST instead. The body of each is a number that no other one of the run has, so that the
    /// service can tell whether one was executed twice.
    #[arg(help_heading = "Requests", long)]
    pub post: bool,
    /// Requests per second [default: 500].
    #[arg(help_heading = "Load", long, value_parser = rate, allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// How long requests are sent; longer if faults have not recovered by then [default: 30s].
    #[arg(help_heading = "Load", long, value_name = "TIME", value_parser = positive)]
    pub duration: Option<Duration>,
    /// The longest a request may take, from connecting to the last byte of its answer [default: 2s].
    #[arg(help_heading = "Requests", long, value_name = "TIME", value_parser = positive)]
    pub timeout: Option<Duration>,
    /// How requests are begun.
    #[command(flatten, next_help_heading = "Load")]
    pub load: LoadOptions,
    /// What a request is.
    #[command(flatten, next_help_heading = "Requests")]
    pub request: RequestOptions,
    /// What is judged.
    #[command(flatten, next_help_heading = "Goals")]
    pub goals: GoalOptions,
    /// Open a connection for every request; without it every other one goes over a kept one.
    #[arg(help_heading = "Requests", long)]
    pub fresh: bool,
    /// Where to write the report as JSON.
    #[arg(help_heading = "Reports", long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The report's other forms.
    #[command(flatten, next_help_heading = "Reports")]
    pub outputs: Outputs,
    /// Where to answer Prometheus during the run, at /metrics, such as 127.0.0.1:9100. The end waits until it has
    /// read the last figures too, for half a minute at most.
    #[arg(help_heading = "Reports", long, value_name = "ADDRESS:PORT")]
    pub prometheus: Option<SocketAddr>,
    /// What to break and when: "kill stateless @5s", "freeze a-lb for 3s @every 20s", "cut b for 5s @10s",
    /// "stop-manager a for 2s @+5s", "kill stateless @random 30s", "exec:COMMAND @+5s", "exec:COMMAND undo:COMMAND for
    /// 3s @5s". May be given several times; a fault waits until those before have recovered, unless " overlap" is at its
    /// end.
    #[arg(help_heading = "Faults", long = "fault", value_name = "SPEC")]
    pub faults: Vec<FaultSpec>,
    /// A manager of the cluster: http://ADDRESS:8080, https://ADDRESS:8443 with --ca and a token, or
    /// unix:/var/lib/holdfast/manager.sock of this host, as root. May be given several times.
    #[arg(help_heading = "Faults", long = "manager", value_name = "URL", value_parser = manager)]
    pub managers: Vec<String>,
    /// How managers are shown that faults may be ordered.
    #[command(flatten, next_help_heading = "Faults")]
    pub proof: Proof,
    /// The run misses its goal if fewer requests succeed, in percent of those intended.
    #[arg(help_heading = "Goals", long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    pub min_availability: Option<f64>,
    /// The longest a fault may take to recover, and its command to end [default: 60s].
    #[arg(help_heading = "Faults", long, value_name = "TIME", value_parser = positive)]
    pub fault_timeout: Option<Duration>,
    /// The most requests in flight at a time; what is due beyond counts as not-sent. When absent,
    /// twice as many as can be waiting for their timeout, and at least 1000.
    #[arg(help_heading = "Load", long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_CONNECTIONS))]
    pub connections_max: Option<u32>,
}

/// The most that may be in flight at a time.
pub(crate) const MAX_CONNECTIONS: i64 = 100_000;

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("expected requests per second, more than 0 and at most {MAX_RATE}")),
    }
}

pub(crate) fn percent_above(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("expected a percentage above 0 and up to 100".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a percentage, 0 to 100".to_owned()),
    }
}

pub(crate) fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time above 0 with its unit, such as 500ms, 30s or 2m".to_owned()),
    }
}
