//! `manager top`: what the balancers do right now.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Cell, CellAlignment};
use kit::page::{availability, is_used, millis};
use reqwest::Method;
use wire::traffic::{BalancerTraffic, Traffic};

use super::Client;
use super::print::{table, word};
use super::watch::WatchArgs;

/// How often it is shown.
const PAUSE: Duration = Duration::from_secs(2);

/// What `manager top` takes.
#[derive(clap::Args, Debug)]
pub struct TopArgs {
    /// Show it once and end.
    #[arg(long, conflicts_with = "watch")]
    once: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

impl Client {
    /// `manager top`.
    ///
    /// # Errors
    ///
    /// When the manager cannot be asked.
    pub fn top(&self, args: &TopArgs) -> Result<()> {
        let watch = if args.once { args.watch } else { args.watch.always(PAUSE) };
        watch.show(|| {
            let all: Vec<BalancerTraffic> = self.ask(Method::GET, "/traffic", None::<&()>)?;
            self.output().text(&all, |all| text(all))
        })
    }
}

fn text(all: &[BalancerTraffic]) -> String {
    let mut balancers =
        table(&["BALANCER", "REQ/S", "P50", "P99", "OPEN", "BUSY", "REQUESTS", "ANSWERED", "RETRIES"]);
    let mut upstreams = table(&[
        "SEEN BY", "UPSTREAM", "STATE", "REQ/S", "BUSY", "MEAN", "ERRORS", "RETRIED", "EJECTED", "NOTE",
    ]);
    for one in all {
        match (&one.traffic, &one.error) {
            (Some(traffic), _) => {
                balancers.add_row(balancer(traffic));
                for upstream in &traffic.upstreams {
                    upstreams.add_row([
                        Cell::new(&traffic.machine),
                        Cell::new(&upstream.id),
                        word(&upstream.state.to_string(), is_used(upstream)),
                        right(format!("{:.1}", upstream.per_s)),
                        right(upstream.in_flight),
                        right(millis(upstream.mean_ms)),
                        right(upstream.errors),
                        right(upstream.retried),
                        right(upstream.ejections),
                        Cell::new(&upstream.reason),
                    ]);
                }
            }
            (None, error) => {
                let why = error.as_deref().unwrap_or("it has not been asked yet");
                balancers.add_row([Cell::new(&one.machine), Cell::new(why)]);
            }
        }
    }
    format!("{balancers}\n\n{upstreams}")
}

fn balancer(traffic: &Traffic) -> [Cell; 9] {
    [
        Cell::new(&traffic.machine),
        right(format!("{:.1}", traffic.per_s)),
        right(millis(traffic.p50_ms)),
        right(millis(traffic.p99_ms)),
        right(traffic.connections),
        right(traffic.in_flight),
        right(traffic.requests),
        right(availability(traffic.requests, traffic.failed)),
        right(traffic.retries),
    ]
}

fn right(value: impl std::fmt::Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}
