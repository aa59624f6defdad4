//! The flags that say what load is put on.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{percent_above, positive};
use crate::origin::Resolve;
use crate::schedule::Stages;

/// How requests are begun.
#[derive(Args, Clone, Debug, Default)]
pub struct LoadOptions {
    /// Ramps: go evenly to RATE within TIME, and so on, from --rate or else from 0. They say how long the run is.
    #[arg(long, value_name = "TIME:RATE,…", conflicts_with = "duration")]
    pub stages: Option<Stages>,
    /// Whether requests are begun evenly, or by chance like those of clients that know nothing of each other.
    #[arg(long, value_name = "even|poisson")]
    pub arrivals: Option<Written>,
    /// Instead of a rate: so many users, each of whom waits for its answer before it asks again. A service that
    /// stalls is then asked less: for comparisons with other tools, not for availability.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "stages", "arrivals"],
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub users: Option<u32>,
    /// How often each user asks; until --duration where it is not said.
    #[arg(long, value_name = "N", requires = "users", conflicts_with = "duration",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub loops: Option<u64>,
    /// How long a user waits after an answer.
    #[arg(long, value_name = "TIME", requires = "users", value_parser = positive)]
    pub think: Option<Duration>,
    /// In what time the users begin, one after the other.
    #[arg(long, value_name = "TIME", requires = "users", value_parser = positive)]
    pub ramp_up: Option<Duration>,
    /// Threads that send; one is enough for some ten thousand requests per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// What chance is drawn by: arrivals, targets and faults are the same for the same seed. The report has the one
    /// that was taken where none is given.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

/// What a request is.
#[derive(Args, Clone, Debug, Default)]
pub struct RequestOptions {
    /// Open a connection only where none is kept; without it or --fresh every other request opens one.
    #[arg(long, conflicts_with = "fresh")]
    pub keep_alive: bool,
    /// Speak HTTP/2: by ALPN with https, else straight away. Kept requests of a thread share one connection.
    #[arg(long)]
    pub http2: bool,
    /// Believe any certificate of the target.
    #[arg(long)]
    pub insecure: bool,
    /// Use ADDRESS for HOST and PORT instead of looking it up. May be given several times.
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub resolve: Vec<Resolve>,
    /// Look the host up for each connection that is opened, not once.
    #[arg(long)]
    pub look_up_each: bool,
    /// The method; GET, or POST where there is a body.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["post", "targets"])]
    pub method: Option<String>,
    /// A header. May be given several times.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", conflicts_with = "targets")]
    pub headers: Vec<String>,
    /// The body.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["post", "targets", "body_file"])]
    pub body: Option<String>,
    /// The file that has the body.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["post", "targets"])]
    pub body_file: Option<PathBuf>,
    /// A file of tables [[target]] with name, weight, method, path, headers, body or body-file, and what their answers
    /// must be: status, json, regex.
    #[arg(long, value_name = "FILE", conflicts_with = "post")]
    pub targets: Option<PathBuf>,
    /// Which statuses count as success, instead of 2xx and 3xx.
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',', conflicts_with = "targets")]
    pub expect_status: Vec<u16>,
    /// What the answer's JSON must have for a success: a JSONPath that finds something, such as $.value or
    /// '$[?@.value > 3]'.
    #[arg(long, value_name = "JSONPATH", conflicts_with = "targets")]
    pub expect_json: Option<String>,
    /// What the answer must match for a success.
    #[arg(long, value_name = "REGEX", conflicts_with = "targets")]
    pub expect_body: Option<String>,
}

/// What is judged.
#[derive(Args, Clone, Debug, Default)]
pub struct GoalOptions {
    /// A goal such as 'availability>=99.99', 'p99<50ms' or 'outage<150ms'; the run misses if it is not met. May be
    /// given several times.
    #[arg(long = "require", value_name = "GOAL")]
    pub require: Vec<crate::require::Requirement>,
    /// The availability that was promised, in percent: the report says how much of its error budget was used.
    #[arg(long, value_name = "PERCENT", value_parser = percent_above)]
    pub slo: Option<f64>,
    /// Time in which a smaller share of the requests succeeded, in percent, counts as degraded.
    #[arg(long, value_name = "PERCENT", value_parser = percent_above)]
    pub success_threshold: Option<f64>,
    /// The run is invalid if one request in a hundred is sent later than this [default: 100ms].
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub lateness_max: Option<Duration>,
}

/// The values of `--arrivals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Arrivals"))]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// As evenly as the rate allows.
    Even,
    /// By chance.
    Poisson,
}
