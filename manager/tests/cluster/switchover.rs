//! The public address moves because somebody asked for it. No client notices, not even one that keeps its
//! connections; and where it cannot move, it stays.

use std::thread;
use std::time::Duration;

use wire::switchover::{Switchover, SwitchoverState};

use crate::lab::{Lab, MANAGERS, builds, program};
use crate::load::Load;
use crate::run::Ended;

/// Requests per second, half of them on kept connections.
const RATE: u32 = 500;

/// Asks the manager of a host (0 or 1) for a switchover, on host a, from which both take changes.
fn switchover(lab: &Lab, manager: usize, words: &[&str]) -> Ended {
    let program = program("manager");
    let all = [&[program.as_str(), "--manager", MANAGERS[manager], "switchover"], words].concat();
    lab.exec_within("a", &all, Duration::from_secs(60))
}

#[test]
fn no_request_fails_while_the_address_moves_back_and_forth() {
    let lab = Lab::start();
    let before = lab.wait_until_whole();
    let mut holder = lab.holder();
    let report = thread::scope(|scope| {
        let load = Load::at_rate(RATE, 16).start(&lab, scope);
        // Not before requests are on their way.
        thread::sleep(Duration::from_secs(1));
        for round in 0..6 {
            // Sometimes the holder's manager is asked, sometimes the other one.
            let said = switchover(&lab, round / 2 % 2, &["-o", "json"]).ok();
            let moved: Switchover = serde_json::from_str(&said).expect("a switchover");
            assert_eq!(moved.state, SwitchoverState::Done, "{said}");
            assert_eq!(moved.from.as_str(), holder);
            assert_ne!(moved.to.as_str(), holder);
            let hand_over = moved.hand_over.expect("the balancer's own account");
            assert_eq!(hand_over.cut, 0, "{said}");
            println!("{} -> {} in {} ms: {hand_over:?}", moved.from, moved.to, moved.took_ms);
            holder = moved.to.to_string();
            assert_eq!(lab.holder(), holder);
        }
        assert!(!load.is_finished(), "the load ended before the switchovers: give it longer");
        load.join().expect("a report")
    });
    report.assert_nobody_noticed();
    assert_eq!(builds(&lab.wait_until_whole()), builds(&before), "nothing was built anew");
}

/// Stops (or continues) the process of a balancer that speaks VRRP, and no other.
fn signal_speaker(lab: &Lab, balancer: &str, signal: &str) {
    let host = balancer.split('-').next().expect("a host");
    let script = format!(
        "for process in /proc/[0-9]*; do \
             if tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -q '^[^ ]*lb vip '; then \
                 kill -{signal} ${{process#/proc/}} && echo signalled; \
             fi; \
         done"
    );
    let said = lab.exec(host, &["sh", "-c", &script]).ok();
    assert_eq!(said, "signalled\n", "one speaker on {host}");
}

#[test]
fn where_nobody_takes_the_address_it_stays_and_no_client_notices() {
    let lab = Lab::start();
    let holder = lab.holder();
    let (host, other) = if holder == "a-lb" { ("a", "b-lb") } else { ("b", "a-lb") };
    let manager = usize::from(host == "b");
    // A bad name and a bad address are told before anything is done.
    for (words, said) in [
        (&["c"][..], "there is no host `c`; there is: "),
        (&[host], "already"),
        (&["--vip", "192.168.10.121"], "no public address of this cluster; there is: 192.168.10.120"),
        (&["--timeout", "0s"], "expected 100 to 300000 ms"),
    ] {
        let ended = switchover(&lab, manager, words);
        assert!(ended.code == Some(1) && ended.stderr.contains(said), "{words:?}: {ended:?}");
    }
    assert_eq!(switchover(&lab, manager, &["--vip", "nonsense"]).code, Some(2));

    let report = thread::scope(|scope| {
        let load = Load::at_rate(RATE, 6).start(&lab, scope);
        thread::sleep(Duration::from_secs(1));
        // It stands by in everybody's eyes, and takes nothing.
        signal_speaker(&lab, other, "STOP");
        let ended = switchover(&lab, manager, &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{holder} still holds the address")), "{ended:?}");
        assert_eq!(lab.holder(), holder);
        load.join().expect("a report")
    });
    report.assert_nobody_noticed();
    signal_speaker(&lab, other, "CONT");
    lab.wait_until_whole();
    // And later it can be done.
    switchover(&lab, manager, &[]).ok();
    assert_eq!(lab.holder(), other);
}

#[test]
fn a_request_that_takes_too_long_is_cut_and_counted_and_others_do_not_notice() {
    let lab = Lab::start();
    let (said, slow) = thread::scope(|scope| {
        let slow = scope.spawn(|| {
            // It ends with 28 when its patience is over.
            let url = format!("http://{}/stress?seconds=30", crate::lab::VIP);
            lab.exec("client", &["curl", "-sS", "-o", "/dev/null", "-m", "40", "-w", "%{http_code}", &url])
        });
        let load = Load::at_rate(RATE, 6).start(&lab, scope);
        thread::sleep(Duration::from_secs(1));
        let said = switchover(&lab, 0, &["--timeout", "2s"]).ok();
        load.join().expect("a report").assert_nobody_noticed();
        (said, slow.join().expect("curl"))
    });
    assert!(said.contains("1 connections were cut"), "{said}");
    assert_eq!((slow.code, slow.stdout.as_str()), (Some(0), "503"), "it is told at once: {slow:?}");
}
