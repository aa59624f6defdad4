//! A machine's console, to read and to look back at.

use std::thread;
use std::time::Duration;

use crate::lab::{MANAGERS, program};
use crate::run::eventually;
use crate::start;

#[test]
fn what_a_machine_writes_is_seen_as_it_comes_and_later() {
    let lab = start();
    let manager = program("manager");
    let console = ["timeout", "15", &manager, "--manager", MANAGERS[0], "vm", "console", "a-stateless-1"];
    let seen = thread::scope(|scope| {
        let console = scope.spawn(|| lab.exec_within("a", &console, Duration::from_secs(60)));
        // Its program is killed again and again, until the one who looks has seen the next one start.
        while !console.is_finished() {
            let order = ["-sS", "-X", "POST", "-H", "content-type: application/json", "-d"];
            let fault = format!("{}/vms/a-stateless-1/fault", MANAGERS[0]);
            let words: Vec<&str> =
                ["curl"].into_iter().chain(order).chain([r#"{"fault":"stop-process"}"#, &fault]).collect();
            lab.exec("a", &words);
            thread::sleep(Duration::from_secs(1));
        }
        console.join().expect("it ended").stdout
    });
    assert!(seen.contains("serving"), "nothing of the program in {seen:?}");
    let later = eventually("it can be looked back at", || {
        let logs =
            lab.exec("client", &[&manager, "--manager", MANAGERS[0], "vm", "logs", "a-stateless-1"]).ok();
        logs.contains("serving").then_some(logs)
    });
    assert!(later.contains("holdfast-guest"), "its start too: {later}");
}
