//! The classic check: somebody asks with curl every half second while parts die.

use std::thread;
use std::time::Duration;

use crate::lab::{Lab, VIP};

/// Asks `times` times, every half second; gives back curl's words for each failure.
fn ask_every_half_second(lab: &Lab, times: u32, options: &str) -> Vec<String> {
    let command = format!(
        "for i in $(seq {times}); do \
           curl -sS -o /dev/null -w '%{{http_code}}\\n' {options} http://{VIP}/random/number 2>&1; sleep 0.5; \
         done"
    );
    let said = lab.exec_within("client", &["sh", "-c", &command], Duration::from_secs(60)).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.iter().filter(|line| line.len() == 3).count() == times as usize, "{said}");
    lines.into_iter().filter(|line| *line != "200").map(str::to_owned).collect()
}

/// Asks for five seconds and does `what` to the lab after the first.
fn errors_while(lab: &Lab, what: &str, options: &str) -> Vec<String> {
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask_every_half_second(lab, 10, options));
        thread::sleep(Duration::from_secs(1));
        lab.fault(&[what]);
        asking.join().expect("it asked")
    })
}

#[test]
fn somebody_with_curl_hardly_notices() {
    let lab = Lab::start();
    let limits = "--connect-timeout 1 --max-time 2";
    assert_eq!(errors_while(&lab, "kill-stateless", limits), Vec::<String>::new());
    lab.wait_until_whole();
    assert_eq!(errors_while(&lab, "freeze-stateless", limits), Vec::<String>::new());
    lab.wait_until_whole();
    // One request may be on its way to the balancer that dies: two lines, the error and the code 000.
    let errors = errors_while(&lab, "kill-lb", limits);
    assert!(errors.len() <= 2, "{errors:?}");
    lab.wait_until_whole();
    // With patience not even that one is lost.
    assert_eq!(errors_while(&lab, "kill-lb", ""), Vec::<String>::new());
    lab.wait_until_whole();
}
