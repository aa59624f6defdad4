//! Claim 5: a POST is executed at most once, and its client learns what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::balancer::eventually;
use crate::client::{Reader, post};
use crate::load::{Ask, load, load_with_limit};
use crate::stage::{Machine, balance, in_namespaces};

async fn executions(machines: &[Machine]) -> BTreeMap<String, u32> {
    let mut executed = BTreeMap::new();
    for machine in machines {
        for id in machine.executed().await {
            *executed.entry(id).or_default() += 1;
        }
    }
    executed
}

#[test]
fn no_post_is_executed_twice_when_a_backend_stands_still_and_goes_on() {
    in_namespaces("posts::no_post_is_executed_twice_when_a_backend_stands_still_and_goes_on", async {
        let machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let length = Duration::from_secs(3);
        let posts =
            load_with_limit(balancer.clients(), Ask::Post("/count"), 250, length, Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(600)).await;
        machines[1].stop();
        machines[1].is_ejected(&balancer, true).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        machines[1].go_on();
        let shots = posts.end().await;
        let failed = shots.iter().filter(|shot| shot.result != Ok(200)).count();
        let executed = executions(&machines).await;
        println!("{} POSTs, {failed} failed, {} executed", shots.len(), executed.len());
        assert!(executed.values().all(|&times| times == 1), "{executed:?}");
        assert!(executed.len() >= shots.len() - failed);
        // A third of them came to it as long as nobody knew; without that knowledge it would be hundreds.
        assert!(failed <= 60, "{failed}");
    });
}

#[test]
fn posts_that_cannot_connect_are_executed_elsewhere() {
    in_namespaces("posts::posts_that_cannot_connect_are_executed_elsewhere", async {
        let mut machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        machines[0].kill();
        machines[1].drop_packets(100);
        let shots =
            load(balancer.clients(), Ask::Post("/count"), 100, Duration::from_secs(2)).ends_well().await;
        let executed = executions(&machines[2..]).await;
        assert_eq!(executed.len(), shots.len());
        assert!(executed.values().all(|&times| times == 1), "{executed:?}");
    });
}

#[test]
fn a_post_whose_backend_dies_is_refused_with_the_reason_unless_it_may_be_repeated() {
    in_namespaces(
        "posts::a_post_whose_backend_dies_is_refused_with_the_reason_unless_it_may_be_repeated",
        async {
            for keyed in [false, true] {
                let number = if keyed { 3 } else { 1 };
                let mut machines = [Machine::start(number).await, Machine::start(number + 1).await];
                let balancer = balance(&machines[..1]).await;
                let clients = balancer.clients();
                // Stopped, so that it has the request and does not answer it before it dies.
                machines[0].stop();
                let asked = tokio::spawn(async move {
                    if !keyed {
                        return post(clients, "/count", "7").await;
                    }
                    let keyed =
                        "POST /count HTTP/1.1\r\nHost: t\r\nIdempotency-Key: 7\r\nContent-Length: 1\r\n\r\n7";
                    Reader::connect(clients).await.ask(keyed).await
                });
                eventually("it has arrived", async || (machines[0].unread() == 1).then_some(())).await;
                balancer.use_upstreams(&[machines[0].upstream(), machines[1].upstream()]).await;
                machines[0].kill();
                let answer = asked.await.expect("no panic");
                let executed = machines[1].executed().await;
                if keyed {
                    assert_eq!((answer.status(), executed), (200, vec!["7".to_owned()]));
                } else {
                    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                    assert_eq!((answer.status(), &problem["type"]), (502, &json!("/problems/broken-off")));
                    assert!(executed.is_empty(), "{executed:?}");
                }
            }
        },
    );
}
