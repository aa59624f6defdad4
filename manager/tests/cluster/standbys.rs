//! Machines that stand by for others, and spares of which others are made.

use std::time::{Duration, Instant};

use wire::cluster::{ClusterView, Phase};

use crate::lab::{Lab, MANAGERS, machine, machines, program, read};
use crate::load::Load;
use crate::run::eventually;
use crate::services::{ask, lab_with};

/// What host a says that happened.
fn events(lab: &Lab) -> Vec<String> {
    let history = lab.get(&format!("{}/events/history", MANAGERS[0]));
    let events: Vec<serde_json::Value> = serde_json::from_str(&history).expect("a list");
    events.iter().map(|event| format!("{} {}", event["kind"], event["subject"]).replace('"', "")).collect()
}

fn happened(lab: &Lab, event: &str) -> bool {
    events(lab).iter().any(|other| other == event)
}

fn phase(view: &ClusterView, id: &str) -> Phase {
    machine(view, id).phase
}

/// Who answers a client, of so many requests.
fn servers(lab: &Lab, requests: u32) -> std::collections::BTreeSet<String> {
    let by = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.lines().find_map(|line| line.strip_prefix("x-served-by: ").map(str::to_owned))
    };
    (0..requests).filter_map(|_| by(ask(lab, "shop.example", "/random/number"))).collect()
}

fn load_of(seconds: u64) -> Load {
    Load::of_seconds(seconds).with("--header", "host: shop.example")
}

#[test]
fn a_cold_standby_serves_while_its_primary_is_gone_and_is_stopped_when_it_is_back() {
    let (lab, _settings) = lab_with(
        "[[service]]\nname = \"shop\"\nreplicas = 1\nstandbys = 1\nstandby_hold_ms = 2000\n\
         [[service.route]]\nhosts = [\"shop.example\"]\n",
    );
    let before = lab.cluster();
    assert!(before.whole, "{before:#?}");
    assert_eq!(phase(&before, "a-shop-2"), Phase::Standby);
    assert!(!lab.host_file("a", "state/machines/a-shop-2").exists(), "nothing of it runs");
    let listed = lab.exec("a", &[&program("manager"), "--manager", MANAGERS[0], "vm", "list"]).ok();
    assert!(listed.lines().any(|line| line.contains("a-shop-2") && line.contains("Standby")), "{listed}");

    std::thread::scope(|scope| {
        let load = load_of(20).start(&lab, scope);
        // One that keeps dying is built anew after longer and longer pauses.
        eventually("its standby serves clients while it is away", || {
            let view = lab.view(MANAGERS[0])?;
            if phase(&view, "a-shop-1") == Phase::Ready {
                lab.fault(&["kill", "a-shop-1"]);
            }
            let is_away = phase(&view, "a-shop-1") == Phase::Dead;
            let stands_in = is_away && phase(&view, "a-shop-2") == Phase::Ready;
            (stands_in && servers(&lab, 4).contains("a-shop-2")).then_some(())
        });
        eventually("it is stopped", || happened(&lab, "standby.stopped a-shop-2").then_some(()));
        load.join().expect("a report").assert_nobody_noticed();
    });
    let after = lab.wait_until_whole();
    eventually("it rests again", || {
        (phase(&lab.view(MANAGERS[0])?, "a-shop-2") == Phase::Standby).then_some(())
    });
    assert_eq!(machine(&after, "a-shop-2").address, machine(&before, "a-shop-2").address);
    let order: Vec<String> = events(&lab)
        .into_iter()
        .filter(|event| event.starts_with("standby.") || event == "machine.ready a-shop-2")
        .collect();
    assert_eq!(
        order,
        ["standby.started a-shop-2", "machine.ready a-shop-2", "standby.stopped a-shop-2"],
        "once, however often its primary died"
    );
    assert_eq!(servers(&lab, 20), ["a-shop-1".to_owned(), "b-shop-1".to_owned()].into());
}

#[test]
fn a_hot_standby_is_sent_nothing_until_no_primary_is_left() {
    let (lab, _settings) = lab_with(
        "[[service]]\nname = \"shop\"\nreplicas = 1\nstandbys = 1\nstandby_mode = \"hot\"\n\
         [[service.route]]\nhosts = [\"shop.example\"]\n\
         [service.readiness]\nkind = \"http\"\npath = \"/health/ready\"\nperiod_ms = 500\nsuccess_threshold = 24\n",
    );
    let (primaries, standbys) = (["a-shop-1", "b-shop-1"], ["a-shop-2", "b-shop-2"]);
    let set = |names: [&str; 2]| names.map(str::to_owned).into();
    let view = lab.cluster();
    assert!(standbys.iter().all(|id| phase(&view, id) == Phase::Ready && machine(&view, id).standby));
    assert_eq!(servers(&lab, 40), set(primaries));
    std::thread::scope(|scope| {
        let load = load_of(45).start(&lab, scope);
        // One is left.
        lab.fault(&["kill", "a-shop-1"]);
        assert_eq!(servers(&lab, 20), ["b-shop-1".to_owned()].into());
        // None is left: those that are built anew take twelve seconds until they are ready.
        lab.fault(&["kill", "b-shop-1"]);
        assert_eq!(servers(&lab, 20), set(standbys));
        eventually("the primaries are back", || {
            let view = lab.view(MANAGERS[0])?;
            primaries.iter().all(|id| phase(&view, id) == Phase::Ready).then_some(())
        });
        lab.wait_until_whole();
        eventually("they serve again", || (servers(&lab, 20) == set(primaries)).then_some(()));
        load.join().expect("a report").assert_nobody_noticed();
    });
    let after = lab.cluster();
    for id in standbys {
        assert_eq!(machine(&after, id).incarnation, machine(&view, id).incarnation, "{id} ran all the time");
    }
}

/// How many spares wait on host a.
fn spares(lab: &Lab) -> u64 {
    let shown = lab.get(&format!("{}/services/shop", MANAGERS[0]));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("a service");
    shown["spares"].as_u64().expect("a count")
}

fn spares_wait(lab: &Lab, count: u64) {
    eventually("so many spares wait", || (spares(lab) == count).then_some(()));
}

/// The processes of host a whose command line has this in it.
fn processes(lab: &Lab, what: &str) -> usize {
    let command = "for line in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$line; echo; done 2>/dev/null";
    let all = lab.exec("a", &["sh", "-c", command]).stdout;
    all.lines().filter(|line| line.contains(what)).count()
}

/// Kills a machine and waits for the next one in its place; gives back how long its manager says that took.
fn replace(lab: &Lab, id: &str) -> f64 {
    let before = machine(&lab.cluster(), id).clone();
    let took = |lab: &Lab| {
        let metrics = lab.get(&format!("{}/metrics", MANAGERS[0]));
        let name = "manager_machine_replacement_duration_seconds_sum{service=\"shop\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.parse::<f64>().expect("a number")
    };
    let sum = took(lab);
    lab.fault(&["kill", id]);
    let after = eventually("it is back", || {
        let view = lab.view(MANAGERS[0])?;
        let after = machine(&view, id).clone();
        (after.incarnation > before.incarnation && after.phase == Phase::Ready).then_some(after)
    });
    assert_eq!(after.address, before.address);
    (took(lab) - sum) * 1_000.0
}

/// So many replacements are measured.
const MEASURED: usize = 5;

/// With a spare a machine is back within this, as a median, in milliseconds, with programs that are not optimized on two
/// busy cores. With optimized ones 150 are to be met, which is a measurement and no test.
const BACK_MS: f64 = 500.0;

#[test]
fn a_machine_is_made_of_a_spare_that_knows_nothing_until_then() {
    let planted = ["planted", "5d2c", "secret"].join("-");
    let (lab, _settings) = lab_with(&format!(
        "[[service]]\nname = \"shop\"\nreplicas = 1\nspares = 2\nenvironment = {{ SHOP_PASSWORD = \"{planted}\" }}\n\
         secrets = {{ \"key\" = {{ value = \"{planted}-key\" }} }}\n\
         [[service.route]]\nhosts = [\"shop.example\"]\n",
    ));
    spares_wait(&lab, 2);
    let root = lab.host_file("a", "state/spares");
    let found = lab.exec("a", &["grep", "-rl", &planted, root.to_str().expect("a plain name")]).stdout;
    assert_eq!(found, "", "spares have no secrets");
    let environment =
        "for pid in $(grep -lzx spare /proc/[0-9]*/cmdline); do tr '\\0' '\\n' <${pid%cmdline}environ; done";
    assert!(!lab.exec("a", &["sh", "-c", environment]).stdout.contains(&planted));

    let load_seconds = 40;
    let mut took = std::thread::scope(|scope| {
        let load = load_of(load_seconds).start(&lab, scope);
        let took: Vec<f64> = (0..MEASURED)
            .map(|round| {
                // One that dies for the third time would be made to wait.
                if round % 2 == 0 && round > 0 {
                    lab.exec("a", &[&program("manager"), "--manager", MANAGERS[0], "vm", "create", "shop"])
                        .ok();
                    lab.wait_until_whole();
                }
                spares_wait(&lab, 2);
                replace(&lab, &format!("a-shop-{}", round / 2 + 1))
            })
            .collect();
        load.join().expect("a report").assert_nobody_noticed();
        took
    });
    took.sort_by(f64::total_cmp);
    println!("from death to readiness at the same address, of a spare: {took:.0?} ms");
    assert!(took[MEASURED / 2] <= BACK_MS, "{took:?}");
    assert!(read(&lab.host_file("a", "manager.log")).matches("made of a spare").count() >= MEASURED);

    // It has what its service has, and is who it was.
    let environment = lab.exec("a", &["sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"]).stdout;
    assert!(environment.lines().any(|line| line == format!("SHOP_PASSWORD={planted}")));
    let key = lab.host_file("a", "state/machines/a-shop-1/guest/secrets/key");
    assert_eq!(read(&key), format!("{planted}-key"));
    assert!(servers(&lab, 30).contains("a-shop-1"));
}

#[test]
fn spares_are_filled_up_and_end_with_their_need() {
    let (lab, _settings) = lab_with("[[service]]\nname = \"shop\"\nreplicas = 1\nspares = 1\n");
    spares_wait(&lab, 1);
    assert_eq!(processes(&lab, "namespace-machine spare "), 1);
    // One that ends by itself is missed.
    lab.exec("a", &["sh", "-c", "kill -KILL $(pgrep -f '[n]amespace-machine spare ')"]).ok();
    eventually("there is another one", || {
        (processes(&lab, "namespace-machine spare ") == 1 && spares(&lab) == 1).then_some(())
    });
    // A manager that is started anew has its own, and one that waits is no machine to it.
    let before = crate::lab::builds(&lab.cluster());
    lab.fault(&["kill-manager"]);
    let began = Instant::now();
    eventually("the next manager made one", || {
        let one = processes(&lab, "namespace-machine spare ") == 1;
        (began.elapsed() > Duration::from_secs(3) && one && lab.view(MANAGERS[0]).is_some()).then_some(())
    });
    assert_eq!(crate::lab::builds(&lab.wait_until_whole()), before);
    spares_wait(&lab, 1);
    // Nobody wants any.
    let file = lab.path().join("shop.toml");
    std::fs::write(&file, "[[service]]\nname = \"shop\"\nreplicas = 1\n").expect("written");
    let file = file.to_str().expect("a plain name");
    lab.exec("a", &[&program("manager"), "--manager", MANAGERS[0], "service", "apply", file]).ok();
    eventually("there is none", || (processes(&lab, "namespace-machine spare ") == 0).then_some(()));
    let left = lab.wait_until_whole();
    assert_eq!(machines(&left).iter().filter(|machine| machine.service.as_str() == "shop").count(), 2);
}
