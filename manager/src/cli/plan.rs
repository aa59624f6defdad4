//! `manager plan`: what a cluster would need, worked out here without asking any manager.

use std::fmt::Write as _;

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::Cell;
use serde::Serialize;

use super::print::{line, table};
use super::{Output, Usage};
use crate::vip_plan::{Choice, Demand, MAX_BALANCERS, Plan, Rate, Share, parse_rate};

/// The most of a link that is used unless told otherwise, in percent: the rest is for what comes in bursts.
const DEFAULT_FILL: u8 = 80;

/// What can be planned.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Say how many balancers and public addresses are needed, and what each balancer carries before and after a loss.
    Vips(PlanVipsArgs),
}

/// What has to be carried, and by what.
#[derive(Args, Debug)]
pub struct PlanVipsArgs {
    /// All of the traffic at its peak, in its busier direction, such as 1.5Gbit.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    traffic: u64,
    /// What the link of one balancer carries, such as 1Gbit.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    link: u64,
    /// So many balancers may be lost at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..i64::from(MAX_BALANCERS)))]
    survive: u32,
    /// How many balancers there are, or `free`: as few as are enough.
    #[arg(long, value_name = "N|free", default_value = "free", value_parser = parse_balancers)]
    balancers: Balancers,
    /// How full a link may become, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_FILL, value_parser = clap::value_parser!(u8).range(1..=100))]
    fill: u8,
}

#[derive(Clone, Copy, Debug)]
enum Balancers {
    Free,
    Fixed(u32),
}

fn parse_balancers(text: &str) -> Result<Balancers, String> {
    match text.parse() {
        Ok(count @ 1..=MAX_BALANCERS) => Ok(Balancers::Fixed(count)),
        _ if text == "free" => Ok(Balancers::Free),
        _ => Err(format!("expected a number from 1 to {MAX_BALANCERS}, or `free`")),
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Answer {
    traffic_bits_per_second: u64,
    link_bits_per_second: u64,
    survive: u32,
    fill_percent: u8,
    #[serde(flatten)]
    plan: Plan,
}

/// `manager plan …`.
///
/// # Errors
///
/// When what is asked for cannot be, with what could.
pub fn plan(command: &PlanCommand, output: Output) -> Result<()> {
    let PlanCommand::Vips(PlanVipsArgs { traffic, link, survive, balancers, fill }) = command;
    let demand = Demand { traffic: *traffic, link: *link, survive: *survive, fill: *fill };
    let plan = match balancers {
        Balancers::Free => demand.with_any(),
        Balancers::Fixed(count) if *count <= *survive => {
            let nobody = demand.with_balancers(*count).err().map(|nobody| nobody.to_string());
            return Err(Usage::new(&nobody.unwrap_or_default()).into());
        }
        Balancers::Fixed(count) => demand.with_balancers(*count),
    }?;
    let answer = Answer {
        traffic_bits_per_second: *traffic,
        link_bits_per_second: *link,
        survive: *survive,
        fill_percent: *fill,
        plan,
    };
    line(&output.text(&answer, |answer| text(&demand, &answer.plan))?)
}

fn text(demand: &Demand, Plan { answer, others }: &Plan) -> String {
    let mut text = format!(
        "{} balancers with {} public addresses, {} on each\n",
        answer.balancers,
        answer.addresses,
        answer.addresses / answer.balancers
    );
    let lost = match demand.survive {
        0 => "Nothing is to be lost".to_owned(),
        1 => "With any one lost".to_owned(),
        several => format!("With any {several} lost"),
    };
    let _ = writeln!(text, "While all live: {}", shares(&answer.before));
    let _ = writeln!(text, "{lost}: {}", shares(&answer.after));
    let _ = writeln!(
        text,
        "A link carries {} and is to be filled to {} %: {}\n",
        Rate(demand.link),
        demand.fill,
        Rate(demand.allowed())
    );
    let mut rows = table(&["BALANCERS", "ADDRESSES", "EACH CARRIES", "FULLEST AFTER A LOSS", "LINK", ""]);
    let mut all: Vec<&Choice> = others.iter().chain(std::iter::once(answer)).collect();
    all.sort_by_key(|choice| (choice.balancers, choice.addresses));
    for choice in all {
        let fullest = |shares: &[Share]| shares.iter().map(|share| share.bits_per_second).max().unwrap_or(0);
        let after = fullest(&choice.after);
        let full = u128::from(after) * 100 / u128::from(demand.link);
        let note = match (choice == answer, choice.fits) {
            (true, _) => "this one",
            (false, true) => "enough too",
            (false, false) if after >= demand.link => "nothing to spare",
            (false, false) => "too full",
        };
        rows.add_row([
            Cell::new(choice.balancers),
            Cell::new(choice.addresses),
            Cell::new(Rate(fullest(&choice.before))),
            Cell::new(Rate(after)),
            Cell::new(format!("{full} %")),
            Cell::new(note),
        ]);
    }
    let _ = write!(
        text,
        "{rows}\nWhat a lost balancer had goes to the others by whole addresses: with more of them the parts are smaller."
    );
    text
}

fn shares(shares: &[Share]) -> String {
    let one = |Share { balancers, addresses, bits_per_second }: &Share| {
        let (noun, verb) = if *balancers == 1 { ("balancer", "carries") } else { ("balancers", "carry") };
        let of = if *addresses == 1 { "address" } else { "addresses" };
        format!("{balancers} {noun} {verb} {} ({addresses} {of})", Rate(*bits_per_second))
    };
    shares.iter().map(one).collect::<Vec<_>>().join(", ")
}
