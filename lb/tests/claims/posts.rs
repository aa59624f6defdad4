//! Claim 5: a POST is executed at most once, and its client learns what became of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::balancer::{Balancer, eventually};
use crate::client::{Message, Reader, get, post};
use crate::load::{Ask, load, load_with_limit};
use crate::stage::{Machine, balance, in_namespaces, use_machines};

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

/// A POST whose body is at hand, and one that is passed on as it comes.
const BOTH_WAYS: [&str; 2] = [
    "POST /count HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n7",
    "POST /count HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n",
];

#[test]
fn no_post_is_lost_with_a_kept_connection_to_a_machine_that_vanished() {
    in_namespaces("posts::no_post_is_lost_with_a_kept_connection_to_a_machine_that_vanished", async {
        let machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let clients = balancer.clients();
        // Of every kind that is kept.
        let many = async |asked: &'static str| {
            let asks =
                (0..60).map(|_| tokio::spawn(async move { Reader::connect(clients).await.ask(asked).await }));
            for answer in asks.collect::<Vec<_>>() {
                assert_eq!(answer.await.expect("no panic").status(), 200);
            }
        };
        for asked in ["GET /random/number HTTP/1.1\r\nHost: t\r\n\r\n", BOTH_WAYS[0], BOTH_WAYS[1]] {
            many(asked).await;
        }
        assert!(machines[1].sockets() > 0, "a connection is kept");
        machines[1].drop_packets(100);
        for asked in BOTH_WAYS {
            many(asked).await;
        }
        assert!(machines[0].executed().await.len() + machines[2].executed().await.len() >= 120);
    });
}

/// A POST hangs on a machine that stands still and was the only one; now there is another, and `news` comes.
/// What its client is told, and how long after the news.
async fn told(asked: &'static str, news: impl AsyncFnOnce(&Balancer, &[Machine])) -> (Message, Duration) {
    let machines = Machine::start_all(2).await;
    let balancer = balance(&machines[..1]).await;
    let clients = balancer.clients();
    machines[0].stop();
    let hanging = tokio::spawn(async move { Reader::connect(clients).await.ask(asked).await });
    eventually("it has arrived", async || (machines[0].unread() == 1).then_some(())).await;
    use_machines(&balancer, &machines).await;
    news(&balancer, &machines).await;
    let told = Instant::now();
    let answer = hanging.await.expect("no panic");
    let took = told.elapsed();
    assert!(machines[1].executed().await.is_empty(), "it is sent once");
    machines[0].go_on();
    machines[0].serves_again().await;
    assert!(machines[0].executed().await.len() <= 1);
    (answer, took)
}

fn kind_of(answer: &Message) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    problem["type"].as_str().expect("a type").to_owned()
}

async fn is_told_at_once(asked: &'static str) {
    let out = async |balancer: &Balancer, machines: &[Machine]| use_machines(balancer, &machines[1..]).await;
    let (answer, took) = told(asked, out).await;
    println!("told {took:?} after the news");
    assert_eq!((answer.status(), kind_of(&answer).as_str()), (502, "/problems/upstream-gone"));
    // Without the news it would be half a minute.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_post_at_a_machine_that_is_dead_is_refused_at_once() {
    in_namespaces(
        "posts::a_post_at_a_machine_that_is_dead_is_refused_at_once",
        is_told_at_once(BOTH_WAYS[0]),
    );
}

#[test]
fn a_post_that_streams_to_a_machine_that_is_dead_is_refused_at_once() {
    in_namespaces(
        "posts::a_post_that_streams_to_a_machine_that_is_dead_is_refused_at_once",
        is_told_at_once(BOTH_WAYS[1]),
    );
}

async fn is_told_soon(asked: &'static str) {
    let ejected = async |balancer: &Balancer, machines: &[Machine]| {
        eventually("it is ejected", async || {
            assert_eq!(get(balancer.clients(), "/random/number").await.status(), 200);
            (machines[0].record(balancer).await?["ejected"] == true).then_some(())
        })
        .await;
    };
    let (answer, took) = told(asked, ejected).await;
    println!("told {took:?} after the ejection");
    assert_eq!((answer.status(), kind_of(&answer).as_str()), (504, "/problems/upstream-silent"));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_post_at_a_machine_that_was_ejected_for_its_silence_is_refused_soon() {
    in_namespaces(
        "posts::a_post_at_a_machine_that_was_ejected_for_its_silence_is_refused_soon",
        is_told_soon(BOTH_WAYS[0]),
    );
}

#[test]
fn a_post_that_streams_to_a_machine_that_was_ejected_for_its_silence_is_refused_soon() {
    in_namespaces(
        "posts::a_post_that_streams_to_a_machine_that_was_ejected_for_its_silence_is_refused_soon",
        is_told_soon(BOTH_WAYS[1]),
    );
}
