//! Several VIPs over all hosts: they are spread evenly in the end, and then stay where they are.

use std::time::Duration;

use super::bug::Bug;
use super::checks::Checker;
use super::run::run;
use super::world::{Options, World};
use crate::config::Config;
use crate::engine::CALM_FOR;
use crate::engine::testing::parse;

/// When all is well nothing moves for so long; an address that is moved back and forth moves every few seconds.
const STAYS: Duration = Duration::from_secs(40);

/// A hand-over and what managers tell of it take so long: they look every half second.
const MOVED_WITHIN: Duration = Duration::from_secs(2);

/// So many seeds are run, unless SIM_SEEDS says otherwise.
const FEW: u64 = 8;

/// A mistake is found within so many.
const FOUND: u64 = 80;

/// Gives each host so many VIPs more, which are spread over the hosts; the first stays who it is.
pub(super) fn add_to(configs: &mut [Config], more: u8) {
    if more == 0 {
        return;
    }
    let count = configs.len();
    for (index, config) in configs.iter_mut().enumerate() {
        let replicas = config.services.first().map_or(1, |service| service.replicas);
        let vips: String = (0..more)
            .map(|at| format!("[[vip]]\naddress = \"10.77.255.{}\"\nvrid = {}\n", 130 + at, 60 + at))
            .collect();
        config.vips = parse(&super::run::text(index, count, replicas, &vips)).vips;
    }
}

impl World {
    /// How many VIPs the balancer of each host holds.
    fn held(&self) -> Vec<usize> {
        let held = |host: &super::host::Host| {
            host.balancer().and_then(|guest| guest.balancer.as_ref()).map_or(0, |lb| lb.has.len())
        };
        self.hosts.iter().map(held).collect()
    }

    /// What is uneven, where managers spread addresses.
    pub(super) fn uneven(&self) -> Option<String> {
        let held = self.held();
        let (most, least) = (held.iter().max()?, held.iter().min()?);
        (self.options.spread > 0 && *most > least + 1).then(|| format!("the hosts hold {held:?} VIPs"))
    }

    /// What spreading them takes at most, once everything else is well: each is moved twice at the most, when all has been
    /// calm for a while.
    pub(super) fn time_to_spread(&self) -> Duration {
        2 * u32::from(self.options.spread) * (CALM_FOR + MOVED_WITHIN)
    }

    /// Nothing is handed over any more, and what is held stays where it is.
    pub(super) fn stays_spread(&mut self) {
        if self.options.spread == 0 {
            return;
        }
        // What is even already may yet be brought to where one more loss leaves it so.
        for _ in 0..=2 * self.options.spread {
            let before = self.checks.handed_over;
            self.run_for(STAYS);
            if self.checks.handed_over == before {
                return;
            }
        }
        self.violated(Checker::Spread, || "VIPs are moved on and on".to_owned());
    }
}

/// Several VIPs make several times the adverts: of those that are asked for, one in four.
fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=super::suite::number("SIM_SEEDS").map_or(FEW, |seeds| seeds.div_ceil(4))
}

fn options(seed: u64) -> Options {
    // Beside the first one, from fewer than hosts to several for each.
    Options { spread: 1 + (seed % 6) as u8, ..Options::of(seed) }
}

#[test]
fn every_promise_is_kept_under_all_faults_with_several_vips() {
    let mut moved = 0;
    for seed in seeds() {
        let report = run(options(seed));
        if let Some(violation) = report.violation {
            let told = run(Options { traced: true, ..options(seed) }).trace;
            println!("{}", told[told.len().saturating_sub(300)..].join("\n"));
            panic!("seed {seed}: {violation}");
        }
        moved += report.reached.evened;
    }
    assert!(moved > *seeds().end(), "only {moved} addresses were moved for evenness");
}

/// Whether a mistake in the spreading of addresses is found.
fn is_found(bug: Bug) {
    let found = (1..=FOUND).any(|seed| {
        let report = run(Options { bug: Some(bug), ..options(seed) });
        report.violation.is_some_and(|violation| violation.checker == Checker::Spread)
    });
    assert!(found, "{bug:?} is not found");
}

#[test]
fn addresses_that_nobody_spreads_again() {
    is_found(Bug::NothingIsEvened);
}

#[test]
fn three_hosts_with_six_addresses_lose_one_and_get_it_back() {
    let configs = (0..3).map(|index| {
        let vips: String = (0..6)
            .map(|at| format!("[[vip]]\naddress = \"10.77.255.{}\"\nvrid = {}\n", 130 + at, 60 + at))
            .collect();
        parse(
            &super::run::text(index, 3, 1, "").replace("[[service]]", &format!("{vips}[[service]]")).replace(
                &format!(
                    "[[vip]]\naddress = \"10.77.255.120\"\nvrid = 50\nrole = \"{}\"\n",
                    if index == 0 { "master" } else { "secondary" }
                ),
                "",
            ),
        )
    });
    let mut world = World::of(Options { faults: 0, spread: 6, ..Options::of(1) }, configs.collect());
    world.run_for(Duration::from_secs(40));
    assert_eq!(world.held(), [2, 2, 2]);
    for lost in 0..3 {
        let back = world.now + Duration::from_secs(5);
        world.lose_host(lost, back);
        world.run_for(Duration::from_millis(400));
        // The election alone: no manager has had the time to say anything.
        let mut expected = [3, 3, 3];
        expected[lost] = 0;
        assert_eq!(world.held(), expected, "without host {lost}");
        world.run_for(Duration::from_secs(30));
        assert_eq!(world.held(), [2, 2, 2], "with host {lost} again");
    }
    // Without a cause nothing moves.
    let before = world.checks.handed_over;
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.checks.handed_over, before);
    assert!(world.checks.violation.is_none(), "{:?}", world.checks.violation);
}
