//! Six public addresses over the balancers of three hosts: they are spread evenly, at once when one balancer dies, and
//! again when it is back, without a failed request.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use wire::cluster::ClusterView;
use wire::vip::{RouterState, VipStatus};

use crate::lab::{Lab, program};
use crate::load::Load;
use crate::run::eventually;

/// The addresses, 192.168.10.120 and the five that follow.
const COUNT: u8 = 6;

/// The machine addresses of the balancers of a, b and c.
const BALANCERS: [&str; 3] = ["192.168.10.10", "192.168.10.20", "192.168.10.30"];

/// A balancer is gone for its neighbours after 0.3 s of silence, and sooner by its manager's word. The test runs with
/// programs that are not optimized, on processors that others use too.
const TAKEN_WITHIN: Duration = Duration::from_millis(1_000);

/// Requests per second on each of the addresses, half of them on kept connections.
const RATE: u32 = 25;

fn address(at: u8) -> String {
    format!("192.168.10.{}", 120 + at)
}

fn lab() -> (Lab, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = directory.path().join("settings.toml");
    let vips = (0..COUNT).map(|at| format!("[[vip]]\naddress = \"{}\"\nvrid = {}\n\n", address(at), 50 + at));
    std::fs::write(&settings, vips.collect::<String>()).expect("a file");
    let path = settings.to_str().expect("a plain name");
    let lab = Lab::begin_with(&[("HOLDFAST_HOSTS", "a b c"), ("HOLDFAST_SETTINGS", path)]);
    lab.wait_until_whole();
    (lab, directory)
}

/// How many of the addresses each balancer holds, where each is held by exactly one.
fn held(view: &ClusterView) -> Option<BTreeMap<String, usize>> {
    let mut held = BTreeMap::new();
    for vip in &view.vips {
        let [holder] = vip.holders.as_slice() else { return None };
        *held.entry(holder.to_string()).or_default() += 1;
    }
    Some(held)
}

fn evenly(balancers: &[&str], each: usize) -> BTreeMap<String, usize> {
    balancers.iter().map(|balancer| ((*balancer).to_owned(), each)).collect()
}

fn wait_for(lab: &Lab, balancers: &[&str], each: usize) {
    let expected = evenly(balancers, each);
    eventually(&format!("{expected:?} hold the addresses"), || {
        (held(&lab.cluster())? == expected).then_some(())
    });
}

/// What the balancer at `address` says of its part in each address.
fn status(lab: &Lab, address: &str) -> VipStatus {
    serde_json::from_str(&lab.get(&format!("http://{address}:8080/vip"))).expect("its part")
}

#[test]
fn six_addresses_stay_evenly_spread_when_one_of_three_balancers_dies_and_returns() {
    let (lab, _settings) = lab();
    wait_for(&lab, &["a-lb", "b-lb", "c-lb"], 2);

    let before = [0, 2].map(|host| status(&lab, BALANCERS[host]));
    lab.fault(&["kill", "b-lb"]);
    let since = Instant::now();
    let after = eventually("each address is held exactly once", || {
        let all = [0, 2].map(|host| status(&lab, BALANCERS[host]));
        let holds = |status: &VipStatus, at: usize| status.routers[at].state == RouterState::Master;
        (0..usize::from(COUNT)).all(|at| holds(&all[0], at) != holds(&all[1], at)).then_some(all)
    });
    println!("seen from outside {} ms after the fault was ordered", since.elapsed().as_millis());
    // The balancers count from the last word of the one that died until their own announcement.
    let mut taken = 0;
    for (before, after) in before.iter().zip(&after) {
        let masters = after.routers.iter().filter(|router| router.state == RouterState::Master).count();
        assert_eq!(masters, usize::from(COUNT) / 2, "evenly, at once: {after:?}");
        for (before, after) in before.routers.iter().zip(&after.routers) {
            let (was, is) = (before.counters.failovers, after.counters.failovers);
            if is.count == was.count {
                continue;
            }
            taken += 1;
            let took = Duration::from_micros(is.sum_us - was.sum_us);
            println!("{} was held again after {:.1} ms", after.address, took.as_secs_f64() * 1e3);
            assert!(took <= TAKEN_WITHIN, "{} after {took:?}", after.address);
        }
    }
    assert_eq!(taken, 2, "those that it held, and no other");

    // It is built anew, and gets two back, while clients are served at all of them.
    let reports: Vec<_> = thread::scope(|scope| {
        let loads: Vec<_> = (0..COUNT)
            .map(|at| Load::on(&format!("http://{}/random/number", address(at)), RATE, 25).start(&lab, scope))
            .collect();
        wait_for(&lab, &["a-lb", "b-lb", "c-lb"], 2);
        assert!(
            loads.iter().all(|load| !load.is_finished()),
            "the load ended before the addresses had moved"
        );
        loads.into_iter().map(|load| load.join().expect("a report")).collect()
    });
    for report in reports {
        report.assert_nobody_noticed();
    }
    let events =
        lab.exec("a", &[&program("manager"), "--manager", "http://192.168.10.1:8080", "events"]).ok();
    let moves = events.lines().filter(|line| line.contains("vip.spread")).count();
    assert!(moves >= 2, "{events}");
    let view = lab.wait_until_whole();
    assert!(view.vips.iter().all(|vip| vip.order.len() == 3 && vip.should.is_some()), "{:?}", view.vips);
}
