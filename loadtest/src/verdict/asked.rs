//! What load was asked for: enough to repeat it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{Connections, Shape};
use crate::schedule::Arrivals;
use crate::settings::Settings;

/// The load as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// `open`: requests are begun on schedule whatever became of those before; `closed`: users wait for answers.
    pub kind: String,
    /// `even`, or `poisson`; empty in a closed loop.
    pub arrivals: String,
    /// The highest rate, in requests per second; 0 in a closed loop.
    pub peak_rate: f64,
    /// How many users; 0 in an open loop.
    pub users: u32,
    /// How often each asked, where that was said.
    pub loops: Option<u64>,
    /// How long each waited after an answer.
    pub think_ms: f64,
    /// `half`, `fresh` or `kept`.
    pub connections: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: String,
    /// The longest that a request could take.
    pub timeout_ms: f64,
    /// How many threads sent.
    pub threads: usize,
    /// What chance was drawn by: the same seed means the same arrivals, targets and faults.
    pub seed: u64,
}

impl Asked {
    /// What `settings` ask for.
    pub fn of(settings: &Settings) -> Self {
        let connections = match settings.connections {
            Connections::Half => "half",
            Connections::Fresh => "fresh",
            Connections::Kept => "kept",
        };
        let asked = Asked {
            connections: connections.to_owned(),
            protocol: if settings.http2 { "HTTP/2" } else { "HTTP/1.1" }.to_owned(),
            timeout_ms: settings.timeout.as_secs_f64() * 1000.0,
            threads: settings.threads,
            seed: settings.seed,
            ..Default::default()
        };
        match &settings.shape {
            Shape::Open { profile, arrivals } => {
                let arrivals = match arrivals {
                    Arrivals::Even => "even",
                    Arrivals::Poisson(_) => "poisson",
                };
                let arrivals = arrivals.to_owned();
                Asked { kind: "open".to_owned(), arrivals, peak_rate: profile.peak(), ..asked }
            }
            Shape::Closed { users, loops, think, .. } => Asked {
                kind: "closed".to_owned(),
                users: *users,
                loops: *loops,
                think_ms: think.as_secs_f64() * 1000.0,
                ..asked
            },
        }
    }
}
