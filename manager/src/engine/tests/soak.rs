//! Thousands of faults in random order, the same for the same seed. The world checks with every action
//! that no address is on two machines, that nothing is done twice at a time, that incarnations are new
//! and stored, that a rebuilt machine keeps its address and that nobody wakes up for nothing; here is
//! checked that all is well again in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::cluster::FaultKind;

use crate::engine::testing::{Guest, Kind, World, config, config_of_peer};

/// Numbers that look random (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or_default()
    }
}

const KINDS: [Kind; 11] = [
    Kind::Save,
    Kind::List,
    Kind::Create,
    Kind::Stop,
    Kind::Fence,
    Kind::Push,
    Kind::Configure,
    Kind::ReadLb,
    Kind::Tell,
    Kind::Probe,
    Kind::HandOver,
];

fn harm(world: &mut World, dice: &mut Dice) {
    let host = dice.index(2);
    let ids: Vec<String> = world.hosts[host].guests.keys().map(ToString::to_string).collect();
    let id = if ids.is_empty() { None } else { Some(ids[dice.index(ids.len())].clone()) };
    let kind = KINDS[dice.index(KINDS.len())];
    let alive = world.hosts[host].engine.is_some();
    match (dice.below(18), id) {
        (0..=2, Some(id)) => world.harm(&id, FaultKind::Kill),
        (3..=4, Some(id)) => world.harm(&id, FaultKind::Freeze),
        (5..=6, Some(id)) => world.harm(&id, FaultKind::Thaw),
        (7, Some(id)) => {
            let host = &mut world.hosts[host];
            match dice.below(4) {
                0 => _ = host.never_boot.insert(id.into()),
                1 => _ = host.crash_on_start.insert(id.into()),
                _ => {
                    host.never_boot.clear();
                    host.crash_on_start.clear();
                }
            }
        }
        (8, _) if alive && dice.below(2) == 0 => world.kill_manager_midway(host),
        (8, _) if alive => world.kill_manager(host),
        (8..=9, _) if !alive => world.start_manager(host),
        (9, _) => world.stall_manager(host, dice.below(4_000)),
        (10, _) => world.cut = !world.cut,
        (11, _) => _ = world.hosts[host].failing.insert(kind, 1 + u32::try_from(dice.below(4)).unwrap_or(0)),
        (12, _) => _ = world.hosts[host].delays.insert(kind, Duration::from_millis(dice.below(3_000))),
        (13, _) => world.hosts[host].delays.clear(),
        (14, _) if alive && dice.below(2) == 0 => _ = world.create(host, "stateless"),
        (14, Some(id)) if alive => _ = world.delete(host, &id),
        (16, Some(id)) if alive => _ = world.replace(host, &id),
        (17, _) => {
            let pool = world.hosts[host].config.pool.addresses();
            let address = pool[dice.index(pool.len())].to_string();
            let in_use = |guest: &Guest| guest.purpose.address.to_string() == address;
            world.hosts[host].strangers.clear();
            if dice.below(2) == 0 && !world.hosts[host].guests.values().any(in_use) {
                world.add_stranger(host, &address);
            }
        }
        (15, _) => world.hosts[host].exits_are_lost = dice.below(2) == 0,
        _ => {}
    }
}

fn heal(world: &mut World) {
    world.cut = false;
    for host in 0..world.hosts.len() {
        let ids: Vec<String> = world.hosts[host].guests.keys().map(ToString::to_string).collect();
        for id in ids {
            world.thaw(&id);
        }
        let healed = &mut world.hosts[host];
        healed.never_boot.clear();
        healed.crash_on_start.clear();
        healed.failing.clear();
        healed.delays.clear();
        healed.exits_are_lost = false;
        healed.strangers.clear();
        if healed.engine.is_none() {
            world.start_manager(host);
        }
    }
}

/// Returns the kinds of everything that was noticed.
fn soak(seed: u64, steps: usize) -> BTreeSet<&'static str> {
    let mut dice = Dice(seed);
    let mut world = World::of([config(3), config_of_peer(2)]);
    for _ in 0..steps {
        harm(&mut world, &mut dice);
        let pause = dice.below(600);
        world.run_ms(pause);
    }
    heal(&mut world);
    // The longest pause of a crash loop, and then some.
    world.run(Duration::from_secs(100));
    assert_eq!(world.missing(), Vec::<String>::new(), "seed {seed}");
    assert_eq!(world.upstreams(0), world.upstreams(1), "seed {seed}");
    let running: usize = world.hosts.iter().map(|host| host.guests.len()).sum();
    assert_eq!(world.upstreams(0).len() + 2, running, "seed {seed}");
    world.hosts.iter().flat_map(|host| &host.notices).map(|notice| notice.kind).collect()
}

#[test]
fn all_is_well_in_the_end() {
    let reached: BTreeSet<&str> = (1..=8).flat_map(|seed| soak(seed * 7_919, 1_000)).collect();
    // A soak that no longer gets into trouble shows nothing.
    for kind in [
        "host.mass-death",
        "address.conflict",
        "address.unprobed",
        "hypervisor.failed",
        "lb.push-failed",
        "machine.adopted",
        "machine.gone",
        "machine.relocated",
        "machine.stop-failed",
        "machine.suspect",
        "machine.unfenced",
        "manager.stalled",
        "store.failed",
        "vip.changed",
    ] {
        assert!(reached.contains(kind), "no {kind} among {reached:?}");
    }
}
