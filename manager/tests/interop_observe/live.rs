//! One cluster under load: balancers and machines die meanwhile, and at last a manager.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::boards::{self, Query};
use crate::expressions::without_filters;
use crate::lab::{Lab, MANAGERS, VIP, machines, program};
use crate::prometheus::Prometheus;
use crate::reference::Told;
use crate::run::{Ended, PATIENCE, eventually, run_within};

/// Where the measurement has its figures.
const LOADTEST: &str = "192.168.10.100:9100";

/// What rightly has nothing to show in this run, and why.
const EMPTY: [(&str, &str); 3] = [
    ("HoldfastNoManager", "it asks whether something is absent that is there"),
    ("overview.json: Alerts", "nothing has to be wrong for long enough"),
    ("vip.json: Dropped", "nobody but the balancers speaks VRRP here"),
];

/// Settings of hosts that show clients a certificate.
fn settings(directory: &Path) -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["www.example.org".to_owned()]).expect("a name");
    let (chain_file, key_file) = (directory.join("chain.pem"), directory.join("key.pem"));
    fs::write(&chain_file, params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(&key_file, key.serialize_pem()).expect("written");
    let settings = directory.join("settings.toml");
    let text = format!(
        "\n[[listener]]\naddress = \"0.0.0.0:80\"\n\n[[listener]]\naddress = \"0.0.0.0:443\"\n[listener.tls]\n\n\
         [[certificate]]\nchain_file = {chain_file:?}\nkey_file = {key_file:?}\n"
    );
    fs::write(&settings, text).expect("written");
    settings.display().to_string()
}

#[test]
fn all_that_is_asked_of_a_cluster_is_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(directory.path());
    let lab = Lab::begin_with(&[("HOLDFAST_CERTIFICATES", "1"), ("HOLDFAST_SETTINGS", &settings)]);
    lab.wait_until_whole();
    let prometheus = Prometheus::start(&lab, LOADTEST);

    every_machine_of_every_host_is_found_once(&lab, &prometheus);
    let (told, ended) = thread::scope(|scope| {
        let load = scope.spawn(|| load(&lab));
        let told = while_it_runs(&lab, &prometheus);
        everything_has_something_to_show(&prometheus);
        (told, load.join().expect("the load"))
    });
    // It is no measurement: the machine may be busy with other things.
    assert!(matches!(ended.code, Some(0 | 1 | 3)), "{ended:?}");
    told.compare_with_the_page();
    lab.wait_until_whole();
    either_manager_suffices_and_the_dead_are_seen(&lab, &prometheus);
}

/// By its address: what Prometheus has of each target.
fn targets(prometheus: &Prometheus<'_>) -> BTreeMap<String, Value> {
    let found = prometheus.get("targets?state=active")["activeTargets"].as_array().expect("targets").clone();
    let count = found.len();
    let targets: BTreeMap<String, Value> = found
        .into_iter()
        .map(|target| (target["labels"]["instance"].as_str().expect("an address").to_owned(), target))
        .collect();
    assert_eq!(targets.len(), count, "nothing is scraped twice: {targets:#?}");
    targets
}

fn every_machine_of_every_host_is_found_once(lab: &Lab, prometheus: &Prometheus<'_>) {
    let view = lab.cluster();
    let mut expected: BTreeSet<(String, String, String)> = machines(&view)
        .iter()
        .map(|machine| {
            (format!("{}:8080", machine.address), machine.service.to_string(), machine.id.to_string())
        })
        .collect();
    assert_eq!(expected.len(), 6, "two hosts with a balancer and two machines each");
    for host in &view.hosts {
        expected.insert((format!("{}:8080", host.address), "manager".to_owned(), String::new()));
    }
    expected.insert((LOADTEST.to_owned(), "loadtest".to_owned(), String::new()));
    let found = eventually("all targets are found", || {
        let found = targets(prometheus);
        (found.len() == expected.len()).then_some(found)
    });
    let text = |target: &Value, label: &str| target["labels"][label].as_str().unwrap_or_default().to_owned();
    let found: BTreeSet<_> = found
        .iter()
        .map(|(address, target)| (address.clone(), text(target, "job"), text(target, "machine")))
        .collect();
    assert_eq!(found, expected);
    eventually("all but the measurement are scraped", || {
        let up = targets(prometheus);
        up.iter().all(|(address, target)| address == LOADTEST || target["health"] == "up").then_some(())
    });
}

/// A load of half a minute, in which a service machine and the balancer that holds the address die.
fn load(lab: &Lab) -> Ended {
    let (url, loadtest) = (format!("http://{VIP}/random/number"), program("loadtest"));
    let faults = [("kill-stateless", "@4s"), ("kill-lb", "@9s")];
    let faults = faults.map(|(what, when)| format!("{} {when}", lab.fault_command(what)));
    let mut words =
        vec![loadtest.as_str(), &url, "--rate", "60", "--duration", "18s", "--prometheus", LOADTEST];
    for fault in &faults {
        words.extend(["--fault", fault]);
    }
    lab.exec_within("client", &words, Duration::from_secs(120))
}

/// While requests are sent: what each program tells, as promtool and the reference see it.
fn while_it_runs(lab: &Lab, prometheus: &Prometheus<'_>) -> Told {
    eventually("the measurement is scraped", || {
        let rate = "sum(rate(loadtest_requests_total[20s])) > 0";
        (!prometheus.query(rate).is_empty()).then_some(())
    });
    let mut told = Told::default();
    // First, because it ends first.
    told.add("loadtest", &metrics(lab, LOADTEST));
    // Somebody comes by TLS.
    lab.exec("client", &["curl", "-sk", "-m", "5", &format!("https://{VIP}/random/number")]);
    eventually("machines died and came back", || {
        let died = "sum(manager_machine_replacement_duration_seconds_count) >= 2";
        (!prometheus.query(died).is_empty()).then_some(())
    });
    for (address, target) in targets(prometheus) {
        if address != LOADTEST {
            told.add(target["labels"]["job"].as_str().expect("a job"), &metrics(lab, &address));
        }
    }
    told
}

/// What a program tells; promtool finds nothing about it to object to.
fn metrics(lab: &Lab, address: &str) -> String {
    let url = format!("http://{address}/metrics");
    // A machine may just have died.
    let text = eventually("metrics are told", || {
        let got = lab.exec("client", &["curl", "-sf", "-m", "10", &url]);
        (got.code == Some(0) && !got.stdout.is_empty()).then_some(got.stdout)
    });
    let file = lab.path().join("metrics");
    fs::write(&file, &text).expect("written");
    let script = format!("promtool check metrics <{}", file.display());
    let checked = run_within(Command::new("sh").args(["-c", &script]), PATIENCE);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{address}: {text}");
    text
}

/// The expressions of all rules, without what leaves things out: an alert is silent because of what it sees, not because
/// it sees nothing.
fn rules(prometheus: &Prometheus<'_>) -> Vec<Query> {
    let groups = prometheus.get("rules")["groups"].as_array().expect("groups").clone();
    let rules: Vec<Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect();
    assert!(rules.len() >= 35, "{rules:#?}");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#?}");
    }
    let text = |rule: &Value, name: &str| rule[name].as_str().expect("text").to_owned();
    rules
        .iter()
        .map(|rule| Query { place: text(rule, "name"), expression: without_filters(&text(rule, "query")) })
        .collect()
}

fn everything_has_something_to_show(prometheus: &Prometheus<'_>) {
    eventually("all rules were evaluated", || {
        let groups = prometheus.get("rules")["groups"].as_array().expect("groups").clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        rules.into_iter().all(|rule| rule["health"] != "unknown").then_some(())
    });
    let mut queries = rules(prometheus);
    for board in boards::all() {
        queries.extend(board.queries());
        queries.extend(board.variables());
        queries.extend(
            board
                .marks()
                .into_iter()
                .map(|mark| Query { expression: without_filters(&mark.expression), ..mark }),
        );
    }
    assert!(queries.len() >= 130, "{}", queries.len());
    for (place, why) in EMPTY {
        assert!(queries.iter().any(|query| query.place == place), "{place} ({why}) is nowhere asked");
    }
    let limit = Instant::now() + PATIENCE;
    // What a rate is made of may have been scraped only once so far.
    while !queries.is_empty() && Instant::now() < limit {
        let expressions: Vec<String> = queries.iter().map(|query| query.expression.clone()).collect();
        let mut answers = prometheus.queries(&expressions).into_iter();
        queries.retain(|query| match answers.next().expect("one for each") {
            Ok(series) => series.is_empty() && EMPTY.iter().all(|(place, _)| query.place != *place),
            Err(error) => panic!("{}: {error}: {}", query.place, query.expression),
        });
        thread::sleep(Duration::from_millis(500));
    }
    let empty: Vec<String> =
        queries.iter().map(|query| format!("{}: {}", query.place, query.expression)).collect();
    assert!(empty.is_empty(), "nothing is shown by\n{}", empty.join("\n"));
}

/// A manager is away, and with it who would replace a machine of its host: the other one still names both.
fn either_manager_suffices_and_the_dead_are_seen(lab: &Lab, prometheus: &Prometheus<'_>) {
    let before: BTreeSet<String> = targets(prometheus).into_keys().collect();
    lab.fault(&["stop-manager", "a"]);
    lab.fault(&["kill", "a-stateless-1"]);
    eventually("both are seen as down", || {
        let down = prometheus.query("up{job!=\"loadtest\"} < 1");
        let named = |label: &str, value: &str| down.iter().any(|series| series["metric"][label] == value);
        (down.len() == 2 && named("machine", "a-stateless-1") && named("instance", "192.168.10.1:8080"))
            .then_some(())
    });
    let alerting = "ALERTS{alertname=\"HoldfastTargetDown\"} or ALERTS{alertname=\"HoldfastPeerSilent\"}";
    eventually("alerts are raised", || (prometheus.query(alerting).len() >= 3).then_some(()));
    assert_eq!(targets(prometheus).into_keys().collect::<BTreeSet<_>>(), before, "none is forgotten");
    // What Prometheus remembers of the first one's answer does not help it here: the second one says the same.
    let said = lab.get(&format!("{}/sd", MANAGERS[1]));
    let said: Value = serde_json::from_str(&said).expect("targets");
    assert_eq!(said.as_array().expect("a list").len(), before.len() - 1, "all but the measurement: {said}");
    lab.fault(&["start-manager", "a"]);
    lab.wait_until_whole();
    let sd = |manager: &str| lab.get(&format!("{manager}/sd"));
    assert_eq!(sd(MANAGERS[0]), sd(MANAGERS[1]));
}
