//! What keeps failing is said, but not ten times a second.

use std::time::Duration;

use crate::engine::testing::config;
use crate::engine::{Command, Engine, Event, Outcome, Time};

/// Lets every list until `end` fail for `reason`, and counts how often that is said.
fn said_until(engine: &mut Engine, from: Time, end: Time, reason: &str) -> usize {
    let (mut now, mut said) = (from, 0);
    while now < end {
        let plan = engine.plan(now);
        for action in plan.actions {
            if matches!(action.command, Command::List) {
                let outcome = Outcome::Failed(reason.to_owned());
                engine.observe(now, Event::Finished { id: action.id, outcome });
            }
        }
        said += engine.take_notices().iter().filter(|notice| notice.kind == "hypervisor.failed").count();
        now += Duration::from_millis(100);
    }
    said
}

#[test]
fn a_failure_that_repeats_is_said_once_in_a_while_and_a_new_one_at_once() {
    let mut engine = Engine::new(config(1), None, Time::ZERO);
    let seconds = Duration::from_secs;
    assert_eq!(said_until(&mut engine, seconds(0), seconds(9), "no bridge"), 1);
    assert_eq!(said_until(&mut engine, seconds(9), seconds(10), "no disk"), 1);
    assert_eq!(said_until(&mut engine, seconds(10), seconds(31), "no disk"), 2);
}
