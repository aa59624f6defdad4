//! Worked examples of the published algorithm. Each `steps` is a story in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// The first look of each story; all its machines have been ready for an hour then.
const START: Time = Duration::from_secs(3_600);

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

fn cpu(percent: u32) -> BTreeMap<Metric, Target> {
    [(Metric::Cpu, Target::Utilization(percent))].into()
}

/// A machine that has been ready for long, and used so many per cent of one processor lately.
fn uses(now: Time, percent: u64) -> Machine {
    let stage = Stage::Running { started: Time::ZERO, ready: true, since: Duration::from_secs(1) };
    with(stage, [(Metric::Cpu, read(now, percent * 10, 1_000))])
}

fn read(at: Time, used: u64, asked_for: u64) -> Reading {
    Reading { used, asked_for, at, window: Duration::from_secs(30) }
}

fn with<const N: usize>(stage: Stage, readings: [(Metric, Reading); N]) -> Machine {
    Machine { id: "a-web-1".into(), stage, readings: readings.into() }
}

/// A machine that came up `ago` seconds before and is ready, or is not.
fn young(now: Time, ago: u64, ready: bool, percent: u64) -> Machine {
    let started = now - Duration::from_secs(ago);
    with(Stage::Running { started, ready, since: started }, [(Metric::Cpu, read(now, percent * 10, 1_000))])
}

/// Of a machine that runs nothing was read.
fn silent() -> Machine {
    with(Stage::Running { started: Time::ZERO, ready: true, since: Duration::from_secs(1) }, [])
}

fn once(rules: &Rules, current: u32, machines: &[Machine]) -> u32 {
    Autoscaler::default().decide(START, rules, current, machines).desired
}

/// From 1 to 100 machines, at once.
fn free(targets: BTreeMap<Metric, Target>) -> Rules {
    let at_once = Behaviour {
        stabilization: Duration::ZERO,
        policies: vec![Policy { step: Step::Machines(1_000), period: Duration::from_secs(15) }],
        select: Select::Max,
    };
    Rules { up: at_once.clone(), down: at_once, ..Rules::new(1, 100, targets) }
}

#[test]
fn the_number_follows_the_ratio() {
    // Current, use of each in per cent, target, and what the published formula gives.
    let examples: [(u32, u64, u32, u32); 18] = [
        (1, 200, 100, 2), // the page's own: twice the target, twice as many
        (4, 50, 100, 2),  // … and half of it, half as many
        (3, 100, 70, 5),  // ceil(3 × 1.43)
        (3, 210, 70, 9),
        (5, 70, 70, 5),
        (5, 77, 70, 5),     // 1.1 is within the tolerance of 0.1
        (5, 78, 70, 6),     // 1.114 is not
        (5, 63, 70, 5),     // 0.9 is
        (5, 62, 70, 5),     // 0.886 is not, and ceil(4.43) is 5 all the same
        (10, 62, 70, 9),    // ceil(8.86)
        (10, 1, 70, 1),     // ceil(0.14)
        (10, 0, 70, 1),     // never below the least
        (50, 500, 70, 100), // never above the most
        (2, 36, 70, 2),     // ceil(1.03)
        (2, 35, 70, 1),
        (7, 81, 80, 7),
        (1, 111, 100, 2), // 1.11 leaves the tolerance
        (1, 110, 100, 1), // 1.10 does not
    ];
    for (current, used, target, desired) in examples {
        let machines: Vec<Machine> = (0..current).map(|_| uses(START, used)).collect();
        assert_eq!(
            once(&free(cpu(target)), current, &machines),
            desired,
            "{current} at {used}% for {target}%"
        );
    }
}

#[test]
fn machines_are_added_up_and_what_is_left_of_a_per_cent_is_cut_off() {
    let rules = free(cpu(50));
    // 30 + 90 = 120 of 200: 60 %, 1.2 × 2.
    assert_eq!(once(&rules, 2, &[uses(START, 30), uses(START, 90)]), 3);
    // 551 of 1,000 thousandths are 55 % for the controller: 1.1, within the tolerance.
    let stage = Stage::Running { started: Time::ZERO, ready: true, since: Time::ZERO };
    assert_eq!(once(&rules, 1, &[with(stage, [(Metric::Cpu, read(START, 559, 1_000))])]), 1);
    assert_eq!(once(&rules, 1, &[with(stage, [(Metric::Cpu, read(START, 560, 1_000))])]), 2);
    // A tenth of a processor was asked for, as in the experiment with `cpu_request` 0.1: 84 % of it, for 70 %.
    let small: Vec<Machine> = (0..3).map(|_| with(stage, [(Metric::Cpu, read(START, 84, 100))])).collect();
    assert_eq!(once(&free(cpu(70)), 3, &small), 4);
    // An average needs nothing to have been asked for: 250 a second each for a target of 100.
    let rules = free([(Metric::Requests, Target::Average(100_000))].into());
    let busy: Vec<Machine> =
        (0..2).map(|_| with(stage, [(Metric::Requests, read(START, 250_000, 0))])).collect();
    assert_eq!(once(&rules, 2, &busy), 5);
}

#[test]
fn of_several_metrics_the_one_that_asks_for_most_wins() {
    let both: BTreeMap<Metric, Target> =
        [(Metric::Cpu, Target::Utilization(70)), (Metric::Memory, Target::Utilization(80))].into();
    let stage = Stage::Running { started: Time::ZERO, ready: true, since: Time::ZERO };
    let uses = |cpu: u64, memory: u64| -> Vec<Machine> {
        let readings = [(Metric::Cpu, read(START, cpu, 100)), (Metric::Memory, read(START, memory, 100))];
        (0..4).map(|_| with(stage, readings)).collect()
    };
    assert_eq!(once(&free(both.clone()), 4, &uses(35, 160)), 8, "memory");
    assert_eq!(once(&free(both.clone()), 4, &uses(140, 40)), 8, "processors");
    assert_eq!(once(&free(both.clone()), 4, &uses(35, 60)), 3, "both less, memory less so");
    // Where one of them cannot be read, the other may ask for more, but nothing for less.
    let only_cpu = |cpu: u64| -> Vec<Machine> {
        (0..4).map(|_| with(stage, [(Metric::Cpu, read(START, cpu, 100))])).collect()
    };
    assert_eq!(once(&free(both.clone()), 4, &only_cpu(140)), 8);
    assert_eq!(once(&free(both.clone()), 4, &only_cpu(7)), 4);
    let said = Autoscaler::default().decide(START, &free(both), 4, &[]);
    assert_eq!(said.desired, 4);
    assert!(said.reason.contains("Cpu") && said.reason.contains("Memory"), "{said:?}");
}

#[test]
fn machines_that_are_not_ready_dampen_growth_only() {
    let rules = free(cpu(50));
    // Two at 100 %, and one that started ten seconds ago: 0 for it, so 200 / 300 = 66 % and ceil(1.32 × 3).
    assert_eq!(once(&rules, 3, &[uses(START, 100), uses(START, 100), young(START, 10, false, 500)]), 4);
    // Ready, but what was read of it is in part from before: the same.
    assert_eq!(once(&rules, 3, &[uses(START, 100), uses(START, 100), young(START, 10, true, 500)]), 4);
    // Ready for longer than the reading's window: it counts. 700 / 300 = 233 %.
    assert_eq!(once(&rules, 3, &[uses(START, 100), uses(START, 100), young(START, 30, true, 500)]), 14);
    // Growth that they turn into the opposite is none: 60 % by itself, 20 % with two that start.
    let starting = || young(START, 5, false, 0);
    assert_eq!(once(&rules, 3, &[uses(START, 60), starting(), starting()]), 3);
    // Downwards they are not looked at: 20 % of 50 %, of the two that are ready.
    assert_eq!(once(&rules, 3, &[uses(START, 20), uses(START, 20), starting()]), 1);
    // One that is not there yet counts as not ready, one that is being taken away not at all.
    let (pending, ended) = (with(Stage::Pending, []), with(Stage::Ended, []));
    assert_eq!(once(&rules, 3, &[uses(START, 100), uses(START, 100), pending]), 4);
    assert_eq!(once(&rules, 3, &[uses(START, 100), uses(START, 100), ended]), 4);
    // Old, and not ready any more: perhaps for its load, which counts.
    let since = at(0) - Duration::from_secs(60);
    let overloaded = Stage::Running { started: Time::ZERO, ready: false, since };
    let overloaded = with(overloaded, [(Metric::Cpu, read(START, 1_000, 1_000))]);
    assert_eq!(once(&rules, 1, &[overloaded]), 2);
    // Old, and not ready from the beginning on: not yet.
    let never = Stage::Running { started: Time::ZERO, ready: false, since: Duration::from_secs(2) };
    let never = with(never, [(Metric::Cpu, read(START, 1_000, 1_000))]);
    let said = Autoscaler::default().decide(START, &rules, 1, &[never]);
    assert_eq!(said, Decision { desired: 1, reason: "Cpu: nothing was read of a ready machine".to_owned() });
    // For anything but processors, youth is no excuse.
    let memory = free([(Metric::Memory, Target::Utilization(50))].into());
    let started = Stage::Running { started: START, ready: false, since: START };
    assert_eq!(once(&memory, 1, &[with(started, [(Metric::Memory, read(START, 100, 100))])]), 2);
}

#[test]
fn what_is_not_known_argues_against_the_change() {
    let rules = free(cpu(50));
    // Growth: as if the silent one used nothing. 100 %, then 66 %: ceil(1.32 × 3).
    assert_eq!(once(&rules, 3, &[uses(START, 100), uses(START, 100), silent()]), 4);
    // Shrinking: as if it used all it asked for. 10 %, then (10 + 10 + 100) / 3 = 40 %: ceil(0.8 × 3).
    assert_eq!(once(&rules, 3, &[uses(START, 10), uses(START, 10), silent()]), 3);
    let many = |silent_ones: usize| -> Vec<Machine> {
        let known = (0..8).map(|_| uses(START, 10));
        known.chain((0..silent_ones).map(|_| silent())).collect()
    };
    // (80 + 200) / 10 = 28 %: ceil(0.56 × 10).
    assert_eq!(once(&rules, 10, &many(2)), 6);
    // A target above what was asked for is what the silent one is taken to use: 100 %, then (100 + 150) / 2 = 125 %.
    assert_eq!(once(&free(cpu(150)), 2, &[uses(START, 100), silent()]), 2);
    // Growth that they turn into shrinking is none: 60 %, then 20 %.
    assert_eq!(once(&rules, 3, &[uses(START, 60), silent(), silent()]), 3);
    // Nor may fewer be asked for by growth because machines are missing that are wanted: 150 % of two, of five wanted.
    assert_eq!(once(&rules, 5, &[uses(START, 100), uses(START, 50), silent()]), 5);
    // Of averages: what is aimed at. 10 each, then (10 + 10 + 50) / 3 = 23: ceil(0.46 × 3).
    let requests = free([(Metric::Requests, Target::Average(50))].into());
    let stage = Stage::Running { started: Time::ZERO, ready: true, since: Time::ZERO };
    let quiet = || with(stage, [(Metric::Requests, read(START, 10, 0))]);
    assert_eq!(once(&requests, 3, &[quiet(), quiet(), silent()]), 2);
}

/// Looks at the seconds named, each with all machines using so much; asserts what is wanted then. What is wanted is
/// there at the next look.
#[track_caller]
fn steps(rules: &Rules, mut current: u32, looks: &[(u64, u64, u32)]) {
    let mut scaler = Autoscaler::default();
    for (seconds, used, desired) in looks {
        let now = at(*seconds);
        let machines: Vec<Machine> = (0..current).map(|_| uses(now, *used)).collect();
        let decision = scaler.decide(now, rules, current, &machines);
        assert_eq!(decision.desired, *desired, "after {seconds} s, from {current}: {decision:?}");
        current = decision.desired;
    }
}

#[test]
fn by_default_growth_is_four_or_twice_as_many_in_fifteen_seconds() {
    let rules = Rules::new(1, 100, cpu(50));
    steps(&rules, 1, &[(0, 5_000, 5), (15, 5_000, 10), (30, 5_000, 20), (45, 5_000, 40), (60, 5_000, 80)]);
    // Within a period there is no more than its share, counted from its beginning …
    steps(&rules, 1, &[(0, 5_000, 5), (5, 5_000, 5), (14, 5_000, 5), (15, 5_000, 10)]);
    // … and as much as is left of it.
    steps(&rules, 4, &[(0, 74, 6), (5, 5_000, 8), (14, 5_000, 8), (16, 5_000, 12)]);
}

#[test]
fn by_default_shrinking_waits_for_five_minutes_without_need() {
    let rules = Rules::new(3, 10, cpu(50));
    // What was asked for counts for 300 s, to the second.
    steps(&rules, 9, &[(0, 50, 9), (15, 10, 9), (299, 10, 9), (300, 10, 3)]);
    // Need in between starts it anew.
    steps(&rules, 9, &[(0, 50, 9), (150, 50, 9), (300, 10, 9), (449, 10, 9), (450, 10, 3)]);
    // Of what was asked for, the most: eight were, then four.
    steps(&rules, 9, &[(0, 44, 8), (15, 20, 8), (100, 20, 8), (299, 20, 8), (300, 20, 4)]);
    // And never below the least.
    steps(&rules, 9, &[(0, 0, 3)]);
}

#[test]
fn windows_upwards_take_the_least_that_was_asked_for() {
    let mut rules = Rules::new(1, 100, cpu(50));
    rules.up.stabilization = Duration::from_secs(60);
    steps(&rules, 4, &[(0, 50, 4), (30, 100, 4), (59, 100, 4), (60, 100, 8)]);
    // The smaller of two that both ask for more.
    steps(&rules, 4, &[(0, 50, 4), (30, 100, 4), (60, 75, 6)]);
}

#[test]
fn policies_bound_the_change_in_a_period() {
    let minute = Duration::from_secs(60);
    let mut rules = Rules::new(1, 100, cpu(50));
    // The page's example: four machines or a tenth of them a minute, whichever is more.
    rules.down = Behaviour {
        stabilization: Duration::ZERO,
        policies: vec![
            Policy { step: Step::Machines(4), period: minute },
            Policy { step: Step::Percent(10), period: minute },
        ],
        select: Select::Max,
    };
    steps(&rules, 80, &[(0, 0, 72), (60, 0, 64), (120, 0, 57), (180, 0, 51), (240, 0, 45), (300, 0, 40)]);
    steps(&rules, 40, &[(0, 0, 36), (60, 0, 32), (120, 0, 28)]);
    // The smaller of the two instead.
    rules.down.select = Select::Min;
    steps(&rules, 80, &[(0, 0, 76), (60, 0, 72)]);
    steps(&rules, 20, &[(0, 0, 18), (30, 0, 18), (60, 0, 16)]);
    // Not at all.
    rules.down.select = Select::Disabled;
    steps(&rules, 80, &[(0, 0, 80), (600, 0, 80)]);
    rules.up.select = Select::Disabled;
    steps(&rules, 80, &[(0, 500, 80)]);
    // A tenth more, rounded up.
    rules.up = Behaviour {
        stabilization: Duration::ZERO,
        policies: vec![Policy { step: Step::Percent(10), period: minute }],
        select: Select::Max,
    };
    steps(&rules, 11, &[(0, 500, 13), (30, 500, 13), (60, 500, 15)]);
    // What shrank within the period may come back, and its share on top.
    rules.down = Behaviour { select: Select::Max, ..Rules::new(1, 100, cpu(50)).down };
    rules.down.stabilization = Duration::ZERO;
    steps(&rules, 20, &[(0, 25, 10), (30, 500, 22)]);
}

#[test]
fn what_is_outside_of_the_limits_is_brought_back_at_once() {
    let rules = Rules::new(3, 9, cpu(70));
    assert_eq!(once(&rules, 1, &[]), 3, "whatever is measured");
    assert_eq!(once(&rules, 20, &[]), 9);
    assert_eq!(once(&rules, 0, &[]), 0, "turned off by a person");
}

/// Who takes over from another does not know what was asked for before: it goes on as if what is there just had been.
#[test]
fn who_begins_shrinks_nothing_before_its_window_has_passed() {
    let rules = Rules::new(3, 20, cpu(50));
    let idle = |now, count: u32| -> Vec<Machine> { (0..count).map(|_| uses(now, 10)).collect() };
    let mut scaler = Autoscaler::beginning(START, 9);
    for seconds in [0, 15, 299] {
        assert_eq!(
            scaler.decide(at(seconds), &rules, 9, &idle(at(seconds), 9)).desired,
            9,
            "after {seconds} s"
        );
    }
    assert_eq!(scaler.decide(at(300), &rules, 9, &idle(at(300), 9)).desired, 3);
    // It grows at once.
    let busy: Vec<Machine> = (0..9).map(|_| uses(START, 100)).collect();
    assert_eq!(Autoscaler::beginning(START, 9).decide(START, &rules, 9, &busy).desired, 18);
}

#[test]
fn what_is_measured_is_what_decides() {
    let stage = Stage::Running { started: Time::ZERO, ready: true, since: Time::ZERO };
    let both: BTreeMap<Metric, Target> =
        [(Metric::Cpu, Target::Utilization(70)), (Metric::Requests, Target::Average(100_000))].into();
    let rules = free(both);
    let machine = |cpu, requests| {
        with(stage, [(Metric::Cpu, read(START, cpu, 100)), (Metric::Requests, read(START, requests, 0))])
    };
    let machines = [machine(84, 10_500), machine(21, 0), young(START, 5, false, 900), silent()];
    let expected = [(Metric::Cpu, 52), (Metric::Requests, 5_250)];
    assert_eq!(measured(START, &rules, &machines), expected.into());
    assert_eq!(measured(START, &rules, &[silent()]), BTreeMap::new());
}

/// The experiment that the README names: from 3 to 9 and back, with windows of ten seconds.
#[test]
fn a_ramp_goes_from_three_to_nine_and_back() {
    let mut rules = Rules::new(3, 9, cpu(70));
    for behaviour in [&mut rules.up, &mut rules.down] {
        behaviour.stabilization = Duration::from_secs(10);
    }
    rules.down.policies = vec![Policy { step: Step::Machines(1), period: Duration::from_secs(5) }];
    let mut scaler = Autoscaler::default();
    let (mut current, mut seen) = (3, vec![3]);
    for second in 0..120 {
        // All machines together; in thousandths of a tenth of a processor each.
        let load: u64 = match second {
            0..20 => 150,
            20..60 => 620,
            _ => 60,
        };
        let now = at(second);
        let stage = Stage::Running { started: Time::ZERO, ready: true, since: Time::ZERO };
        let machines: Vec<Machine> = (0..current)
            .map(|_| with(stage, [(Metric::Cpu, read(now, load / u64::from(current), 100))]))
            .collect();
        let decision = scaler.decide(now, &rules, current, &machines);
        if decision.desired != current {
            seen.push(decision.desired);
        }
        current = decision.desired;
    }
    assert_eq!(seen, [3, 7, 9, 8, 7, 6, 5, 4, 3]);
}
