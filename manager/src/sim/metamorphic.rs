//! What must not matter: that something is told twice, what time it is, and at which step a manager dies.

use std::time::Duration;

use super::run::{Report, config, finish, run};
use super::world::{Options, World};

/// So many seeds are run twice.
const SEEDS: u64 = 5;

/// Among the quick tests managers are killed so many steps apart; where the simulator is run for long, at
/// every step.
const STRIDE: usize = 29;

fn traced(options: Options) -> Vec<String> {
    run(Options { traced: true, ..options }).trace
}

fn same(seed: u64, one: &[String], other: &[String]) {
    let differs = one.iter().zip(other).find(|(one, other)| one != other);
    assert_eq!(differs, None, "seed {seed}");
    assert_eq!(one.len(), other.len(), "seed {seed}");
    assert!(one.len() > 300, "seed {seed}: nothing happens");
}

#[test]
fn what_is_told_twice_changes_nothing() {
    for seed in 1..=SEEDS {
        let once = Options::of(seed);
        same(seed, &traced(once), &traced(Options { everything_twice: true, ..once }));
    }
}

#[test]
fn another_time_of_day_changes_nothing() {
    for seed in 1..=SEEDS {
        let early = Options::of(seed);
        let late = Options { origin: early.origin + Duration::from_secs(40_000_000), ..early };
        same(seed, &traced(early), &traced(late));
    }
}

/// A host whose manager has much to do: machines die, are asked for, replaced and deleted. The manager
/// is killed at step `kill_at`.
fn eventful(kill_at: Option<u64>) -> Report {
    let options = Options { kill_at, faults: 0, ..Options::of(1) };
    let mut world = World::of(options, (0..2).map(|index| config(index, 2, 2)).collect());
    let pause = Duration::from_millis(700);
    world.run_for(pause);
    world.end_machine(0, &"h0-stateless-1".into(), "it was killed");
    world.run_for(pause);
    ask(&mut world, |engine, at| engine.create_machine(at, &"stateless".into()).is_ok());
    world.run_for(pause);
    world.end_machine(0, &"h0-lb".into(), "it was killed");
    world.run_for(pause);
    replace(&mut world, "h0-stateless-2");
    world.run_for(pause);
    replace(&mut world, "h0-lb");
    world.run_for(pause);
    finish(world)
}

fn ask(world: &mut World, question: impl FnOnce(&mut crate::engine::Engine, Duration) -> bool) -> bool {
    let at = world.now;
    // It may be the moment at which there is no manager.
    let Some(manager) = world.hosts[0].manager.as_mut() else { return false };
    manager.dirty = true;
    question(&mut manager.engine, at)
}

fn replace(world: &mut World, machine: &str) {
    if ask(world, |engine, at| engine.replace_machine(at, &machine.into()).is_ok()) {
        world.hosts[0].dismissed.insert(machine.into());
    }
}

#[test]
fn a_manager_killed_at_any_step_converges() {
    let whole = eventful(None);
    assert!(whole.violation.is_none(), "{:?}", whole.violation);
    assert!(whole.steps > 300, "only {} steps", whole.steps);
    let stride = if std::env::var_os("SIM_SEEDS").is_some() { 1 } else { STRIDE };
    for step in (1..=whole.steps).step_by(stride) {
        let report = eventful(Some(step));
        assert!(report.violation.is_none(), "killed at step {step}: {:?}", report.violation);
        assert!(report.steps >= step, "it was not killed at step {step}");
    }
}
