//! A service whose number of machines follows its load, over both hosts, while nobody notices.

use std::time::{Duration, Instant};

use wire::autoscale::{MetricName, ScalingView};
use wire::cluster::{ClusterView, Phase};
use wire::service::ServiceView;

use crate::lab::{Lab, MANAGERS, host, program};
use crate::load::{Load, Report};
use crate::run::{PATIENCE, eventually};
use crate::services::lab_of;

/// As in the published experiment, with windows of ten seconds: a tenth of a processor, 70 % of it and 80 % of memory,
/// from 3 machines to 9 and slowly back.
const SHOP: &str = r#"
[[service]]
name = "shop"
total = 3
memory_mib = 512
[[service.route]]
hosts = ["shop.example"]
[service.autoscale]
min = 3
max = 9
cpu_request = 0.1
sync_period_ms = 2000
metrics = { cpu_percent = 70, memory_percent = 80 }
[service.autoscale.scale_up]
stabilization_ms = 0
policy = [{ machines = 2, period_ms = 4000 }]
[service.autoscale.scale_down]
stabilization_ms = 10000
policy = [{ machines = 1, period_ms = 4000 }]
"#;

/// Each request keeps a processor busy for some milliseconds.
const COSTLY: &str = "/burn?millis=8";

/// So many seconds clients ask for next to nothing …
const SECONDS: u64 = 130;

/// … and so many of these, from the start on, others ask for more than nine machines need to be wanted.
const BUSY_SECONDS: u64 = 50;

/// What `manager` says of the shop; none while it does not answer or nobody has decided.
fn scaling(lab: &Lab, manager: &str) -> Option<ScalingView> {
    let url = format!("{manager}/services/shop");
    let asked = lab.exec("client", &["curl", "-s", "--max-time", "2", &url]);
    serde_json::from_str::<ServiceView>(&asked.stdout).ok()?.scaling
}

/// How many machines of the shop on host `name` take requests.
fn ready_on(view: &ClusterView, name: &str) -> usize {
    let is_ready = |phase| phase == Phase::Ready;
    let machines = host(view, name).machines.iter();
    machines.filter(|machine| machine.service.as_str() == "shop" && is_ready(machine.phase)).count()
}

/// What was seen while the load went up and down.
#[derive(Debug, Default)]
struct Seen {
    /// How many machines there were to be, each change once.
    desired: Vec<u32>,
    /// The most that took requests, on a and on b at that moment.
    most: (usize, usize),
}

/// Watches until it is all over: there are 9, and then 3 again.
fn watch(lab: &Lab) -> Seen {
    let mut seen = Seen::default();
    let limit = Instant::now() + Duration::from_secs(SECONDS) + PATIENCE;
    loop {
        if let Some(view) = scaling(lab, MANAGERS[1])
            && seen.desired.last() != Some(&view.desired)
        {
            println!("{view:?}");
            seen.desired.push(view.desired);
        }
        if let Some(view) = lab.view(MANAGERS[0]) {
            let now = (ready_on(&view, "a"), ready_on(&view, "b"));
            if now.0 + now.1 > seen.most.0 + seen.most.1 {
                seen.most = now;
            }
            let is_over = seen.desired.len() > 1 && seen.desired.last() == Some(&3) && now.0 + now.1 == 3;
            if is_over {
                return seen;
            }
        }
        assert!(Instant::now() < limit, "it never came back to 3: {seen:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_ramp_takes_a_service_from_3_machines_to_9_and_back() {
    let (lab, _settings) = lab_of(SHOP, &[]);
    // The pools of the lab's hosts have seven addresses each.
    for (at, manager) in [("a", MANAGERS[0]), ("b", MANAGERS[1])] {
        let id = format!("{at}-stateless-2");
        lab.exec(at, &[&program("manager"), "--manager", manager, "vm", "delete", &id]).ok();
    }
    let before = eventually("somebody decides, and both say so", || {
        let views = MANAGERS.map(|manager| scaling(&lab, manager));
        let [Some(one), Some(other)] = views else { return None };
        let is_measured = one.metrics.iter().all(|metric| metric.value.is_some());
        (one.decider == other.decider && is_measured && one.current == 3).then_some(one)
    });
    assert_eq!((before.decider.as_str(), before.desired), ("a", 3), "{before:?}");
    let metrics: Vec<MetricName> = before.metrics.iter().map(|metric| metric.metric).collect();
    assert_eq!(metrics, [MetricName::CpuPercent, MetricName::MemoryPercent]);

    let (seen, reports) = std::thread::scope(|scope| {
        // They come one after the other, and wait for each answer: what this computer has left is used, and no more.
        let busy = Load::of_users(COSTLY, 8, BUSY_SECONDS).with("--ramp-up", "15s");
        let few = Load::of_users(COSTLY, 1, SECONDS).with("--think", "400ms");
        let loads = [busy, few].map(|load| {
            load.with("--header", "host: shop.example").with("--timeout", "10s").start(&lab, scope)
        });
        let seen = watch(&lab);
        (seen, loads.map(|load| load.join().expect("a report")))
    });
    reports.iter().for_each(Report::assert_nobody_noticed);
    // All the way up, and then all the way down, one after the other.
    let top = seen.desired.iter().position(|desired| *desired == 9).expect("it came to 9");
    let (up, down) = (&seen.desired[..=top], &seen.desired[top..]);
    assert!(up.first() == Some(&3) && up.is_sorted(), "{seen:?}");
    assert!(down.is_sorted_by(|one, next| one > next), "{seen:?}");
    assert_eq!((seen.most.0 + seen.most.1, seen.most.0.abs_diff(seen.most.1)), (9, 1), "spread: {seen:?}");
    let after = lab.wait_until_whole();
    assert_eq!(ready_on(&after, "a").abs_diff(ready_on(&after, "b")), 1, "{after:#?}");

    // It is told: in the log of events, by the command, and as figures.
    let ask = |words: &[&str]| lab.exec("a", words).ok();
    let manager = program("manager");
    let url = format!("{}/events/history?count=512", MANAGERS[0]);
    let events = ask(&["curl", "-s", &url]);
    assert!(events.contains("service.scaled") && events.contains("machines: Cpu at"), "{events}");
    let shown = ask(&[&manager, "--manager", MANAGERS[1], "service", "show", "shop"]);
    for expected in ["as host a decides", "#   cpu_percent: ", "aimed at 70", "last change", "from 4 to 3"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let figures = ask(&["curl", "-s", &format!("{}/metrics", MANAGERS[1])]);
    assert!(figures.contains("manager_autoscale_desired_machines{service=\"shop\"} 3"), "{figures}");
    assert!(
        figures.contains("manager_autoscale_target{metric=\"cpu_percent\",service=\"shop\"} 70"),
        "{figures}"
    );
}
