//! `manager switchover`: moves public addresses to another host's balancer, and waits until they have moved.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use reqwest::Method;
use wire::switchover::{Switchover, SwitchoverOrder, SwitchoverState};

use super::{Client, Output};

/// How often the manager is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// What a switchover may take beyond the time it was given: its last steps, and those of another manager.
const MARGIN: Duration = Duration::from_secs(20);

/// What is to move, and where to.
#[derive(Args, Debug)]
pub struct SwitchoverArgs {
    /// The host whose balancer is to hold the public addresses; the fittest other one if none is named.
    host: Option<String>,
    /// Move only this public address.
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<IpAddr>,
    /// Move all that this host's balancer holds, each to the next in its order unless a host is named.
    #[arg(long, value_name = "HOST", conflicts_with = "vip")]
    from: Option<String>,
    /// How long it may take until the address is offered; requests in progress have half of it.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Client {
    /// `manager switchover …`.
    ///
    /// # Errors
    ///
    /// What the manager refused, or why all is as it was before.
    pub fn switchover(&self, args: &SwitchoverArgs) -> Result<()> {
        let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
        let order = SwitchoverOrder {
            to: args.host.as_deref().map(Into::into),
            vip: args.vip,
            from: args.from.as_deref().map(Into::into),
            timeout_ms,
        };
        let mut view: Switchover = self.ask_at(self.url(), Method::POST, "/switchover", Some(&order))?;
        let (number, end) = (view.number, Instant::now() + args.timeout + MARGIN);
        while !view.state.is_over() {
            if Instant::now() >= end {
                bail!(
                    "not within {} s; GET /switchover says what becomes of it",
                    (args.timeout + MARGIN).as_secs()
                );
            }
            std::thread::sleep(LOOK);
            view = self.ask_at(self.url(), Method::GET, "/switchover", None::<&()>)?;
            if view.number != number {
                bail!("another switchover was begun meanwhile: see manager status");
            }
        }
        if view.state == SwitchoverState::Failed {
            if matches!(self.output(), Output::Json | Output::Yaml) {
                self.print(&view, text)?;
            }
            let reason = view.reason.as_deref().unwrap_or("it did not say why");
            bail!("{} still holds the address: {reason}", view.from);
        }
        self.print(&view, text)
    }
}

fn text(view: &Switchover) -> String {
    let addresses: Vec<String> = view.addresses.iter().map(IpAddr::to_string).collect();
    let to = match view.targets.is_empty() {
        true => view.to.to_string(),
        false => view
            .targets
            .values()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" and "),
    };
    let mut text =
        format!("{} moved from {} to {to} in {} ms", addresses.join(", "), view.from, view.took_ms);
    if let Some(hand_over) = &view.hand_over {
        for step in &hand_over.steps {
            let _ = write!(text, "\n  {:<10} {:>6} ms", step.step, step.micros / 1_000);
        }
        let _ = write!(
            text,
            "\n{} connections were cut, {} idle ones closed, {} new ones passed on",
            hand_over.cut, hand_over.idle_closed, hand_over.passed_on
        );
    }
    if let Some(reason) = &view.reason {
        let _ = write!(text, "\n{reason}");
    }
    text
}
