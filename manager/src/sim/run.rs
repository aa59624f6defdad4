//! One run: hosts start, faults come, faults end, and all is well again; then nothing happens for a while.

use std::time::Duration;

use wire::cluster::Phase;

use super::checks::{Checker, Violation};
use super::reached::Reached;
use super::world::{Happening, Options, World};
use crate::config::Config;
use crate::engine::testing::parse;

/// The faults of a run.
pub(super) const FAULTS: u32 = 24;

/// Before the first fault, all hosts get ready.
const START: Duration = Duration::from_secs(3);

/// All is well at the latest so long after the last fault has ended: the longest pause of a crash loop
/// (60 s), a boot that has to time out (15 s), a call that has to be given up (30 s), the hold-down of a standby and its
/// end (20 s), and ten more.
const RECOVERED: Duration = Duration::from_secs(135);

/// What was delayed by a fault has arrived so long after its end.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// Then nothing may happen for so long.
const STEADY: Duration = Duration::from_secs(3);

/// How often recovery is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// What became of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) violation: Option<Violation>,
    pub(super) reached: Reached,
    pub(super) faults: u64,
    pub(super) events: u64,
    /// The time that passed in the simulation.
    pub(super) lasted: Duration,
    /// From the last fault's end until all was well.
    pub(super) recovered: Duration,
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// The steps that the manager of host 0 had taken when the faults ended.
    pub(super) steps: u64,
    pub(super) trace: Vec<String>,
}

/// The configuration of host number `index` of `count`.
pub(super) fn config(index: usize, count: usize, replicas: u32) -> Config {
    parse(&text(index, count, replicas, ""))
}

/// The same as it is written, with further lines for its service.
pub(super) fn text(index: usize, count: usize, replicas: u32, more: &str) -> String {
    let peers: Vec<String> =
        (0..count).filter(|peer| *peer != index).map(|peer| format!("\"10.77.{peer}.1\"")).collect();
    format!(
        "name = \"h{index}\"\naddress = \"10.77.{index}.1\"\nprefix = 16\npeers = [{}]\n\
         gateway = \"10.77.{index}.1\"\nhypervisor = \"namespaces\"\n\
         address_pool = [\"10.77.{index}.10-10.77.{index}.15\"]\n\
         [[vip]]\naddress = \"10.77.255.120\"\nvrid = 50\nrole = \"{}\"\n\
         [[service]]\nname = \"stateless\"\nreplicas = {replicas}\n{more}",
        peers.join(", "),
        if index == 0 { "master" } else { "secondary" },
    )
}

/// Hosts and machines as the seed wants them: mostly two hosts, sometimes three.
pub(super) fn world(options: Options) -> World {
    let mut dice = super::dice::Dice::new(options.seed ^ 0x5eed);
    let count = if dice.chance(15) { 3 } else { 2 };
    let checked = if options.checked { super::checked::CHECKED } else { "" };
    let more = format!("{}{checked}", super::standbys::drawn(options.seed));
    let mut configs: Vec<Config> =
        (0..count).map(|index| parse(&text(index, count, 1 + dice.below(3) as u32, &more))).collect();
    if options.placed {
        super::placed::add_to(&mut configs, &mut dice);
    }
    super::spread::add_to(&mut configs, options.spread);
    World::of(options, configs)
}

/// Runs one seed.
pub(super) fn run(options: Options) -> Report {
    let mut world = world(options);
    world.run_for(START);
    if world.faults_left > 0 {
        world.after(Duration::ZERO, Happening::Fault);
    }
    while world.faults_left > 0 && world.checks.violation.is_none() {
        world.run_for(LOOK);
    }
    finish(world)
}

/// Ends all faults, waits until all is well, and watches whether it stays so.
pub(super) fn finish(mut world: World) -> Report {
    let steps = world.steps;
    world.heal();
    let healed = world.now;
    world.run_for(ON_THE_WAY);
    let mut recovered = Duration::ZERO;
    while world.checks.violation.is_none() {
        let Some((checker, what)) = world.not_yet_well() else {
            recovered = world.now - healed;
            world.say(|| "all is well".to_owned());
            break;
        };
        let limit = RECOVERED + world.time_to_spread();
        if world.now >= healed + limit {
            world.violated(checker, || format!("{limit:?} after the last fault: {what}"));
        }
        world.run_for(LOOK);
    }
    if world.checks.violation.is_none() {
        stay_well(&mut world);
    }
    report(world, recovered, steps)
}

/// Nothing happens any more: nothing moves, and every client is served.
fn stay_well(world: &mut World) {
    // What was put off while something recovered may still come.
    world.run_for(super::holders::SETTLED);
    let unanswered = |world: &World| -> Vec<u64> {
        world.hosts.iter().map(|host| host.client.asked - host.client.answered).collect()
    };
    let before = unanswered(world);
    world.run_for(STEADY);
    let upstreams = world.hosts.iter().flat_map(|host| host.guests.values()).any(super::guest::Guest::serves);
    if upstreams && before != unanswered(world) {
        world.violated(Checker::OneHolder, || "clients are not served although nothing happens".to_owned());
    }
    if let Some((checker, what)) = world.not_yet_well() {
        world.violated(checker, || format!("in steady state: {what}"));
    }
    world.stays_spread();
}

fn report(world: World, recovered: Duration, steps: u64) -> Report {
    let clients = world.hosts.iter().map(|host| &host.client);
    let (asked, answered) =
        clients.fold((0, 0), |(asked, answered), client| (asked + client.asked, answered + client.answered));
    Report {
        seed: world.options.seed,
        lasted: world.now - world.options.origin,
        violation: world.checks.violation,
        reached: world.reached,
        faults: u64::from(world.faults),
        events: world.events,
        recovered,
        asked,
        answered,
        steps,
        trace: world.trace.unwrap_or_default(),
    }
}

impl World {
    /// What is not as it should be, and who minds.
    pub(super) fn not_yet_well(&self) -> Option<(Checker, String)> {
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(manager) = host.manager.as_ref() else {
                return Some((Checker::Liveness, format!("no manager runs on host {index}")));
            };
            let at = self.now + host.ahead;
            let machines = manager.engine.machines(at).into_iter();
            let wanted: Vec<_> = machines
                .filter(|machine| machine.phase != Phase::Standby)
                .map(|machine| machine.id)
                .collect();
            let unready = host.guests.values().find(|guest| !guest.is_alive());
            if let Some(guest) = unready {
                return Some((Checker::Liveness, format!("{} does not run", guest.purpose.id)));
            }
            if !wanted.iter().eq(host.guests.keys()) {
                let there: Vec<_> = host.guests.keys().map(ToString::to_string).collect();
                return Some((Checker::Liveness, format!("host {index} has {there:?} and wants {wanted:?}")));
            }
            if let Some(missing) = self.misplaced(index) {
                return Some((Checker::Placement, missing));
            }
            if let Some(needless) = self.needless_standby(index) {
                return Some((Checker::Standbys, needless));
            }
            if let Some(missing) = manager.engine.cluster(at).missing.into_iter().next() {
                return Some((Checker::Liveness, format!("host {index}: {missing}")));
            }
        }
        let living: std::collections::BTreeSet<_> = self
            .hosts
            .iter()
            .flat_map(|host| host.guests.values())
            .filter(|guest| guest.serves())
            .map(super::guest::Guest::address)
            .collect();
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(lb) = host.balancer().and_then(|guest| guest.balancer.as_ref()) else {
                return Some((Checker::Liveness, format!("host {index} has no balancer")));
            };
            let known: std::collections::BTreeSet<_> = lb.proxy.upstreams().collect();
            if known != living {
                let what = format!("the balancer of host {index} knows {known:?}, and {living:?} serve");
                return Some((Checker::Generations, what));
            }
            // People may have taken away all there was.
            let unserved = (0..host.config.vips.len()).find(|vip| !self.would_be_served(index, *vip));
            if let Some(vip) = unserved.filter(|_| !living.is_empty()) {
                let what = format!("the client of host {index} is not served at VIP {vip}");
                return Some((Checker::OneHolder, what));
            }
        }
        self.uneven().map(|what| (Checker::Spread, what))
    }
}
