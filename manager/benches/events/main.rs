//! What an event costs the engine, on hosts of 10, 1,000 and 10,000 machines: `deploy/bench.sh engine` runs it.
//!
//!     cargo bench -p manager --bench events -- [--rounds N] [--samples N] [--case KIND]… [--size N]…
//!
//! Writes its figures to stdout, one JSON object a line, as the suites of deploy/bench.sh do: for each kind of event
//! and size the median, least and most of the rounds. Time is that of the processor, of this thread alone.

// A bench that cannot go on says so and ends.
#![allow(clippy::expect_used, clippy::print_stderr)]

mod samples;
mod stage;

use std::collections::BTreeMap;
use std::time::Duration;

use manager::engine::{Event, Plan};
use samples::Samples;
use stage::{PEER, SERVICE, Stage};

/// A virtual moment between two events: so little that nobody's time is over for it.
const MOMENT: Duration = Duration::from_micros(5);

/// After so many events everybody is heard again.
const HEARD_AFTER: usize = 10_000;

/// The kinds of event that are measured.
const KINDS: [&str; 4] = ["steady", "lost", "peer", "asked"];

struct Order {
    rounds: usize,
    samples: usize,
    cases: Vec<String>,
    sizes: Vec<usize>,
}

fn order() -> Order {
    let mut order = Order { rounds: 5, samples: 2_000, cases: Vec::new(), sizes: Vec::new() };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} expects a number, not '{value}'"));
        match name.as_str() {
            "--rounds" => order.rounds = number(),
            "--samples" => order.samples = number(),
            "--size" => order.sizes.push(number()),
            "--case" => order.cases.push(value),
            _ => panic!("unknown argument {name}; there are --rounds, --samples, --size and --case"),
        }
    }
    if order.cases.is_empty() {
        order.cases = KINDS.map(str::to_owned).to_vec();
    }
    if order.sizes.is_empty() {
        order.sizes = vec![10, 1_000, 10_000];
    }
    order
}

fn main() {
    let order = order();
    for size in &order.sizes {
        let mut stage = Stage::new(*size);
        let mut values: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for round in 1..=order.rounds {
            let mut samples = Samples::default();
            for case in &order.cases {
                match case.as_str() {
                    "steady" => steady(&mut stage, &mut samples, order.samples),
                    "lost" => lost(&mut stage, &mut samples, order.samples / 20),
                    "peer" => peer(&mut stage, &mut samples, order.samples / 20),
                    "asked" => asked(&mut stage, &mut samples, order.samples / 20),
                    _ => panic!("there is no case '{case}'; there are: {}", KINDS.join(", ")),
                }
            }
            for (kind, metric, value) in samples.figures() {
                values.entry((kind, metric)).or_default().push(value);
            }
            eprintln!("  {size} machines: round {round} of {}", order.rounds);
        }
        for ((kind, metric), mut values) in values {
            values.sort_by(f64::total_cmp);
            let unit = if metric == "events_per_s" { "events/s" } else { "us" };
            println!(
                "{{\"suite\": \"engine\", \"case\": \"{kind}\", \"subject\": \"{size}\", \"metric\": \"{metric}\", \
                 \"unit\": \"{unit}\", \"median\": {:.2}, \"min\": {:.2}, \"max\": {:.2}, \"n\": {}}}",
                values[values.len() / 2],
                values[0],
                values[values.len() - 1],
                values.len()
            );
        }
    }
}

/// Nothing but heartbeats, and looks at the clock.
fn steady(stage: &mut Stage, samples: &mut Samples, count: usize) {
    for number in 0..count {
        rest(stage, number);
        let (machine, incarnation) = stage.machine(number);
        let beat = Event::Beat { machine, incarnation };
        let (_, plan) = samples.measure("heartbeat", stage, |stage| stage.engine.observe(stage.now, beat));
        follow(stage, samples, plan);
        stage.now += MOMENT;
        let (_, plan) = samples.measure("tick", stage, |stage| stage.engine.observe(stage.now, Event::Tick));
        follow(stage, samples, plan);
    }
}

/// A machine dies, is fenced and built again, and is heard.
fn lost(stage: &mut Stage, samples: &mut Samples, count: usize) {
    for number in 0..count {
        let (machine, incarnation) = stage.machine(number);
        let exit =
            Event::Exited { machine: machine.clone(), incarnation, reason: "it was killed".to_owned() };
        let (_, plan) = samples.measure("machine lost", stage, |stage| stage.engine.observe(stage.now, exit));
        follow(stage, samples, plan);
        let purpose =
            stage.machines.iter().map(|machine| &machine.purpose).find(|purpose| purpose.id == machine);
        let Some(incarnation) = purpose.map(|purpose| purpose.incarnation) else {
            // It has died too often, and waits for its turn.
            stage.pass(Duration::from_secs(90));
            continue;
        };
        let beat = Event::Beat { machine, incarnation };
        let (_, plan) =
            samples.measure("machine ready", stage, |stage| stage.engine.observe(stage.now, beat));
        follow(stage, samples, plan);
        // On a small host several deaths within seconds are a mass death, and many of one machine a crash loop.
        stage.pass(Duration::from_secs(if stage.machines.len() < 100 { 4 } else { 0 }));
        rest(stage, number * 100);
    }
    stage.pass(Duration::from_secs(6));
}

/// The peer says what it has: the same again, and with one endpoint changed.
fn peer(stage: &mut Stage, samples: &mut Samples, count: usize) {
    for number in 0..count {
        rest(stage, number * 100);
        for (kind, changed) in [("peer: the same", None), ("peer: a change", Some(number))] {
            let told = stage.told_by_peer(changed);
            let (answer, plan) =
                samples.measure(kind, stage, |stage| stage.engine.receive(stage.now, PEER, told));
            answer.expect("it is taken");
            follow(stage, samples, plan);
        }
    }
}

/// Somebody asks for a machine more, and for one less.
fn asked(stage: &mut Stage, samples: &mut Samples, count: usize) {
    for number in 0..count {
        rest(stage, number * 100);
        let service = SERVICE.into();
        let (slot, plan) =
            samples.measure("create", stage, |stage| stage.engine.create_machine(stage.now, &service));
        let slot = slot.expect("there is room");
        follow(stage, samples, plan);
        stage.hear_all();
        let (answer, plan) =
            samples.measure("delete", stage, |stage| stage.engine.delete_machine(stage.now, &slot.id));
        answer.expect("it is there");
        follow(stage, samples, plan);
        stage.pass(Duration::from_millis(500));
        assert!(
            stage.machines.iter().all(|machine| machine.purpose.id != slot.id),
            "{} is still there",
            slot.id
        );
    }
}

/// What was started ends, one after the other, and so does what follows from that.
fn follow(stage: &mut Stage, samples: &mut Samples, plan: Plan) {
    stage.took(plan.actions);
    while let Some(end) = stage.next_end() {
        let kind = match &end {
            Event::Finished { outcome: manager::engine::Outcome::Listed { .. }, .. } => "list",
            _ => "end of an action",
        };
        let (_, plan) = samples.measure(kind, stage, |stage| stage.engine.observe(stage.now, end));
        stage.took(plan.actions);
    }
}

fn rest(stage: &mut Stage, number: usize) {
    if number.is_multiple_of(HEARD_AFTER) {
        stage.pass(Duration::from_millis(250));
    }
}
