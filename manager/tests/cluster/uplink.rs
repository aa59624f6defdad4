//! The cable that leaves a host dies while the host lives: its balancer gives way, and does not come back
//! uncalled.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, builds, host, read};
use crate::load::Load;
use crate::run::eventually;

/// Tells both managers which interface leaves their host, and waits until they know it.
pub(crate) fn with_uplinks() -> Lab {
    let lab = Lab::start();
    for name in ["a", "b"] {
        let path = lab.host_file(name, "manager.toml");
        let text = read(&path);
        let bridge = "bridge = \"br0\"";
        assert!(text.contains(bridge), "{text}");
        fs::write(&path, text.replace(bridge, &format!("{bridge}\nuplink = \"uplink\""))).expect("a file");
        lab.fault(&["stop-manager", name]);
        lab.fault(&["start-manager", name]);
    }
    lab.wait_until_whole();
    lab
}

/// What a balancer says of its part in the public address, asked on its own host.
fn vip_of(lab: &Lab, at: &str) -> Option<serde_json::Value> {
    let address = if at == "a" { "192.168.10.10" } else { "192.168.10.20" };
    let asked = lab.exec(at, &["curl", "-s", "--max-time", "1", &format!("http://{address}:8080/vip")]);
    serde_json::from_str(&asked.stdout).ok()
}

fn priority(lab: &Lab, at: &str) -> Option<u64> {
    vip_of(lab, at)?["routers"][0]["priority"].as_u64()
}

#[test]
fn a_dead_uplink_gives_the_address_away_and_its_return_does_not_take_it_back() {
    let lab = with_uplinks();
    let before = lab.wait_until_whole();
    let holder = lab.holder();
    let (own, other) = if holder == "a-lb" { ("a", "b") } else { ("b", "a") };
    let unfit = |at: &str| priority(&lab, at).is_some_and(|priority| priority < 200);
    assert!(!unfit("a") && !unfit("b"));

    let cut = Instant::now();
    lab.fault(&["cut", own]);
    eventually("its balancer counts as unfit", || unfit(own).then_some(()));
    println!("the balancer knew {:?} after the cable was cut", cut.elapsed());
    eventually("the other one holds the address", || {
        (vip_of(&lab, other)?["routers"][0]["state"] == "master").then_some(())
    });
    let took = cut.elapsed();
    println!("the other balancer held the address {took:?} after the cable was cut");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let log = read(&lab.host_file(own, "manager.log"));
    assert!(log.contains("host.uplink-lost") && log.contains("no carrier"), "{log}");
    let metrics = lab.exec(own, &["curl", "-s", &format!("http://{}:8080/metrics", address_of(own))]).ok();
    assert!(metrics.contains("manager_uplink_lost 1"), "{metrics}");

    lab.fault(&["heal", own]);
    eventually("it counts as fit again", || (!unfit(own)).then_some(()));
    let after = lab.wait_until_whole();
    assert_eq!(lab.holder(), format!("{other}-lb"), "the address stays where it is");
    assert_eq!(builds(&after), builds(&before), "nothing was built anew");
    assert!(host(&after, own).warnings.is_empty(), "{:?}", host(&after, own).warnings);
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}

#[test]
fn an_uplink_that_works_is_left_alone_under_load_and_in_silence() {
    let lab = with_uplinks();
    let holder = lab.holder();
    Load::of_seconds(3).run(&lab).assert_nobody_noticed();
    // Longer than silence may last.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(lab.holder(), holder);
    for name in ["a", "b"] {
        assert!(!read(&lab.host_file(name, "manager.log")).contains("host.uplink-lost"));
        assert_eq!(priority(&lab, name).map(|priority| priority >= 200), Some(true));
    }
}

fn address_of(host: &str) -> &'static str {
    if host == "a" { "192.168.10.1" } else { "192.168.10.2" }
}
