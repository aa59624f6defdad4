//! Claim 12: every attempt is written down and counted, and the log, the figures and what the backends have seen add up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::balancer::{Balancer, eventually};
use crate::client::get;
use crate::load::{Ask, Shot, load};
use crate::stage::{Machine, in_namespaces, use_machines};

/// The sum of all series of a metric in `figures` whose labels have `label` in them.
fn sum(figures: &str, name: &str, label: &str) -> u64 {
    let of_name = figures.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    of_name
        .filter(|line| line.contains(label))
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a value"))
        .sum()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().expect("text")
}

fn attempts(entry: &Value) -> &[Value] {
    entry["attempts"].as_array().expect("attempts")
}

/// Two loads while a backend stands still, is suspected, another dies, and both come back; the third one is not harmed.
async fn trouble(balancer: &Balancer, machines: &mut [Machine]) -> usize {
    let length = Duration::from_secs(4);
    let gets = load(balancer.clients(), Ask::Get("/random/number"), 200, length);
    let slow = load(balancer.clients(), Ask::Get("/stress?seconds=0.3"), 10, length);
    let posts = load(balancer.clients(), Ask::Post("/count"), 100, length);
    tokio::time::sleep(Duration::from_millis(600)).await;
    machines[0].stop();
    tokio::time::sleep(Duration::from_millis(600)).await;
    machines[1].kill();
    tokio::time::sleep(Duration::from_millis(400)).await;
    machines[1].restart().await;
    machines[0].go_on();
    machines[0].is_ejected(balancer, false).await;
    // What is in flight there is sent elsewhere too.
    let suspected = [machines[0].upstream(), machines[1].suspect(), machines[2].upstream()];
    balancer.use_upstreams(&suspected).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    use_machines(balancer, machines).await;
    let loads = [gets.ends_well().await, slow.ends_well().await, posts.end().await];
    let in_vain = knock_where_nobody_is(balancer, machines).await;
    loads.iter().chain([&in_vain]).map(Vec::len).sum()
}

/// One request that has to begin with the backend that has just died: the others are suspected, and a POST
/// goes over a new connection.
async fn knock_where_nobody_is(balancer: &Balancer, machines: &mut [Machine]) -> Vec<Shot> {
    machines[1].is_ejected(balancer, false).await;
    let only_one = [machines[0].suspect(), machines[1].upstream(), machines[2].suspect()];
    balancer.use_upstreams(&only_one).await;
    machines[1].kill();
    let shots = load(balancer.clients(), Ask::Post("/count"), 10, Duration::from_millis(100)).end().await;
    machines[1].restart().await;
    use_machines(balancer, machines).await;
    shots
}

#[test]
fn every_attempt_is_written_down_and_counted() {
    in_namespaces("accounts::every_attempt_is_written_down_and_counted", async {
        let mut machines = Machine::start_all(3).await;
        let directory = tempfile::tempdir().expect("directory");
        let log = directory.path().join("access.json");
        let balancer = Balancer::start_also_with(&format!("[access_log]\npath = {log:?}")).await;
        use_machines(&balancer, &machines).await;
        let asked = trouble(&balancer, &mut machines).await;
        // A try that another has outrun is written down when it ends.
        let entries: Vec<Value> = eventually("all is written", async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let entries = text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
            Some(entries.collect::<Vec<_>>()).filter(|entries| entries.len() >= asked)
        })
        .await;
        assert_eq!(entries.len(), asked, "one line for each request");

        let figures = balancer.get("/metrics").await.text().await.expect("text");
        let requests = sum(&figures, "lb_requests_total", "");
        let retries = sum(&figures, "lb_retries_total", "");
        let sent = sum(&figures, "lb_upstream_requests_total", "");
        println!("{requests} requests, {retries} retries, {sent} attempts");
        assert_eq!((requests, sent), (asked as u64, requests + retries));
        assert!(retries > 0);

        // By upstream and outcome, what was written is what was counted.
        let mut written: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for attempt in entries.iter().flat_map(attempts) {
            *written.entry((text(attempt, "upstream"), text(attempt, "outcome"))).or_default() += 1;
        }
        println!("{written:?}");
        for ((upstream, outcome), count) in &written {
            let label = format!("{{outcome=\"{outcome}\",pool=\"p\",upstream=\"{upstream}\"}}");
            assert_eq!(sum(&figures, "lb_attempts_total", &label), *count, "{upstream} {outcome}");
        }
        assert_eq!(written.values().sum::<u64>(), sent);

        // Each request has one attempt that was passed on at most, and none before the first was a replay.
        for entry in &entries {
            let tries = attempts(entry);
            let answers = tries.iter().filter(|attempt| attempt["outcome"] == "answered").count();
            assert_eq!(answers, usize::from(entry["status"] == 200), "{entry}");
            assert!(tries.iter().take(1).all(|attempt| attempt["replayed"] == false), "{entry}");
        }
        let has =
            |field: &str, value: Value| entries.iter().flat_map(attempts).any(|try_| try_[field] == value);
        assert!(has("replayed", true.into()) && has("reused", true.into()) && has("trial", true.into()));
        assert!(has("phase", "connect".into()) && has("phase", "wait".into()));

        // The backend that came to no harm has begun what was sent to it, and nothing else.
        let unharmed = machines[2].id();
        let to_it = |attempt: &&Value| text(attempt, "upstream") == unharmed && attempt["phase"] != "connect";
        let sent = entries.iter().flat_map(attempts).filter(to_it);
        let executed = get(machines[2].socket(), "/metrics").await.text();
        let routes = ["/random/number", "/stress", "/count"].map(|route| format!("route=\"{route}\""));
        let executed: u64 =
            routes.iter().map(|route| sum(&executed, "stateless_executions_total", route)).sum();
        assert_eq!(executed, sent.count() as u64);
    });
}
