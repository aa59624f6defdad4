//! A virtual address is handed over: what clients see of it, and that it ends whatever happens.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, SOON, eventually};
use crate::client::{Reader, get};
use crate::network::{VIP, VIP_V6, in_network};
use crate::speaker::{Others, Speaker};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

/// So much comes of an answer that does not go on, in bytes: more than the balancer keeps to itself.
const HALF: usize = 1 << 20;

/// As many bytes as a kernel takes to send at once, and more than a client with a small buffer takes.
pub(crate) const LARGE: usize = 48 << 10;

/// A balancer that holds its address, with one upstream.
pub(crate) async fn holder(others: Others) -> (Balancer, Speaker, Backend) {
    holder_of(VIP, others).await
}

async fn holder_of(vip: IpAddr, others: Others) -> (Balancer, Speaker, Backend) {
    let balancer = Balancer::start_with_vip(vip).await;
    let backend = Backend::start(|request| match request.path() {
        "/never" => Reply::Nothing,
        "/half" => Reply::Bytes(ok(&"x".repeat(2 * HALF))[..HALF].to_vec()),
        "/large" => Reply::Bytes(ok(&"x".repeat(LARGE))),
        "/slow" => Reply::Parts(vec![(Duration::from_millis(700), ok("slow"))]),
        _ => Reply::Bytes(ok("hello")),
    })
    .await;
    balancer.use_policy(json!({"first_byte_cold_ms": 20_000, "first_byte_max_ms": 20_000})).await;
    balancer.use_backends(&[&backend]).await;
    let speaker = Speaker::start(&balancer.state_dir(), balancer.clients().ip(), others);
    (balancer, speaker, backend)
}

/// Waits until the hand-over has come to its end.
pub(crate) async fn ended(balancer: &Balancer) -> Value {
    eventually("the hand-over ends", async || {
        let view = balancer.get_json("/hand-over").await;
        ["done", "undone"].contains(&view["state"].as_str().expect("a state")).then_some(view)
    })
    .await
}

pub(crate) async fn begin(balancer: &Balancer, order: Value) -> Value {
    let (status, view) = balancer.put("/hand-over", &order).await;
    assert_eq!((status, &view["state"]), (202, &json!("closing")), "{view}");
    view
}

/// Whether the answer says that its connection is kept.
async fn is_kept(connection: &mut Reader) -> bool {
    let answer = connection.ask(REQUEST).await;
    assert_eq!(answer.status(), 200);
    answer.headers.get("connection").is_none_or(|connection| connection != "close")
}

#[test]
fn each_kept_connection_ends_with_its_next_answer_and_an_idle_one_by_itself() {
    in_network(
        "hand_over::each_kept_connection_ends_with_its_next_answer_and_an_idle_one_by_itself",
        async {
            let (balancer, speaker, _backend) = holder(Others::Take).await;
            let mut used = Reader::connect(balancer.clients()).await;
            let mut idle = Reader::connect(balancer.clients()).await;
            let mut unused = Reader::connect(balancer.clients()).await;
            assert!(is_kept(&mut used).await && is_kept(&mut idle).await);
            // Only what came to the virtual address is told.
            begin(&balancer, json!({"idle_ms": 1_500})).await;
            assert!(!is_kept(&mut used).await, "told in its answer");
            assert!(used.closed_within(SOON).await);
            assert!(!is_kept(&mut Reader::connect(balancer.clients()).await).await, "so is a new one");
            assert!(speaker.ordered().is_empty(), "not before the idle ones have gone");
            assert!(idle.closed_within(SOON).await && unused.closed_within(SOON).await);

            let view = ended(&balancer).await;
            assert_eq!(
                (&view["state"], &view["cut"], &view["idle_closed"]),
                (&json!("done"), &json!(0), &json!(2)),
                "{view}"
            );
            assert_eq!(view["holder"], "127.0.0.9");
            let steps: Vec<_> =
                view["steps"].as_array().expect("steps").iter().map(|step| &step["step"]).collect();
            assert_eq!(steps, ["closing", "holding", "releasing"]);
            assert_eq!(speaker.ordered(), ["release"]);
            // On this network the address stays where it is, so what comes later can be seen.
            eventually("connections are kept again", async || {
                is_kept(&mut Reader::connect(balancer.clients()).await).await.then_some(())
            })
            .await;
        },
    );
}

#[test]
fn requests_in_progress_finish_and_the_one_that_does_not_is_cut_and_counted() {
    in_network(
        "hand_over::requests_in_progress_finish_and_the_one_that_does_not_is_cut_and_counted",
        async {
            let (balancer, speaker, _backend) = holder(Others::Take).await;
            let mut slow = Reader::connect(balancer.clients()).await;
            slow.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n").await;
            let mut never = Reader::connect(balancer.clients()).await;
            never.send("GET /never HTTP/1.1\r\nHost: t\r\n\r\n").await;
            eventually("both are in progress", async || {
                (balancer.get_json("/status").await["connections"]["busy"] == 2).then_some(())
            })
            .await;
            begin(&balancer, json!({"idle_ms": 0, "finish_ms": 3_000})).await;
            let answer = slow.answer().await;
            assert_eq!((answer.status(), answer.headers["connection"].as_str()), (200, "close"));
            assert!(speaker.ordered().is_empty(), "the other one has time left");
            let view = ended(&balancer).await;
            assert_eq!((&view["state"], &view["cut"]), (&json!("done"), &json!(1)), "{view}");
            assert_eq!(never.answer().await.status(), 503, "its client knows");
        },
    );
}

#[test]
fn where_nobody_takes_the_address_all_is_undone_and_nobody_noticed() {
    in_network("hand_over::where_nobody_takes_the_address_all_is_undone_and_nobody_noticed", async {
        let (balancer, speaker, _backend) = holder(Others::Leave).await;
        begin(&balancer, json!({"idle_ms": 0, "take_ms": 900})).await;
        eventually("it is offered", async || (!speaker.ordered().is_empty()).then_some(())).await;
        // Held back now, answered when it is undone: by itself, or when it asks again.
        let began = Instant::now();
        let held_back = get(balancer.clients(), "/").await;
        assert_eq!(held_back.status(), 200);
        println!("a connection that was held back was answered after {:?}", began.elapsed());
        let view = ended(&balancer).await;
        assert_eq!(view["state"], "undone");
        assert!(view["undone"].as_str().expect("a reason").contains("no other balancer"), "{view}");
        assert_eq!(speaker.ordered(), ["release", "take_over"]);
        assert!(is_kept(&mut Reader::connect(balancer.clients()).await).await, "as before");
        // And it can be tried again.
        let again = begin(&balancer, json!({"idle_ms": 0, "take_ms": 50})).await;
        assert_eq!(again["number"], 2);
        assert_eq!(ended(&balancer).await["state"], "undone");
    });
}

#[test]
fn it_ends_by_itself_when_its_speaker_says_nothing_and_nobody_asks() {
    in_network("hand_over::it_ends_by_itself_when_its_speaker_says_nothing_and_nobody_asks", async {
        let (balancer, _speaker, _backend) = holder(Others::Silence).await;
        begin(&balancer, json!({"idle_ms": 0})).await;
        // Clients only; whoever ordered it is gone.
        eventually("new connections are answered and kept as before", async || {
            is_kept(&mut Reader::connect(balancer.clients()).await).await.then_some(())
        })
        .await;
        let view = ended(&balancer).await;
        assert_eq!(view["state"], "undone", "{view}");
    });
}

#[test]
fn what_cannot_be_handed_over_is_refused_in_words() {
    in_network("hand_over::what_cannot_be_handed_over_is_refused_in_words", async {
        let (balancer, speaker, _backend) = holder(Others::Take).await;
        for (order, status, said) in [
            (json!({"idle_ms": 300_001}), 400, "at most 300000"),
            (json!({"hold_ms": 1_001}), 400, "at most 1000"),
            (json!({"addresses": ["127.0.0.77"]}), 409, "holds none"),
            (json!({"vrid": 1}), 400, "unknown field"),
        ] {
            let (refused, problem) = balancer.put("/hand-over", &order).await;
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(refused == status && detail.contains(said), "{order}: {problem}");
        }
        begin(&balancer, json!({"idle_ms": 60_000, "addresses": [balancer.clients().ip()]})).await;
        ended(&balancer).await;
        speaker.hold(true);
        let _kept = Reader::connect(balancer.clients()).await;
        eventually("the connection is there", async || {
            (balancer.get_json("/status").await["connections"]["open"] == 1).then_some(())
        })
        .await;
        eventually("it is begun", async || {
            (balancer.put("/hand-over", &json!({"idle_ms": 60_000})).await.0 == 202).then_some(())
        })
        .await;
        let (status, problem) = balancer.put("/hand-over", &json!({})).await;
        assert!(
            status == 409 && problem["detail"].as_str().is_some_and(|said| said.contains("already")),
            "{problem}"
        );
        drop(speaker);
        let other = Balancer::start().await;
        assert_eq!(other.put("/hand-over", &json!({})).await.0, 409, "it has no virtual address");
    });
}

#[test]
fn no_request_fails_on_kept_and_fresh_connections_through_many_hand_overs() {
    in_network("hand_over::no_request_fails_on_kept_and_fresh_connections_through_many_hand_overs", async {
        let (balancer, speaker, _backend) = holder(Others::Take).await;
        let clients = balancer.clients();
        let done = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..8)
            .map(|n| {
                let done = done.clone();
                tokio::spawn(async move {
                    let (mut kept, mut count, mut last_ones) = (None, 0, 0);
                    while !done.load(Ordering::SeqCst) {
                        if n % 2 == 0 {
                            assert_eq!(get(clients, "/").await.status(), 200);
                        } else {
                            let mut connection = match kept.take() {
                                Some(connection) => connection,
                                None => Reader::connect(clients).await,
                            };
                            if is_kept(&mut connection).await {
                                kept = Some(connection);
                            } else {
                                last_ones += 1;
                            }
                        }
                        count += 1;
                        tokio::time::sleep(Duration::from_millis(n)).await;
                    }
                    (count, last_ones)
                })
            })
            .collect();
        for number in 1..=5 {
            eventually("it is begun", async || {
                (balancer.put("/hand-over", &json!({})).await.0 == 202).then_some(())
            })
            .await;
            let view = ended(&balancer).await;
            assert_eq!(
                (&view["number"], &view["state"], &view["cut"]),
                (&json!(number), &json!("done"), &json!(0))
            );
            println!("{view}");
            speaker.hold(true);
        }
        done.store(true, Ordering::SeqCst);
        let mut sums = (0, 0);
        for worker in load {
            let (count, last_ones) = worker.await.expect("every request answered");
            sums = (sums.0 + count, sums.1 + last_ones);
        }
        println!("{} requests, {} of them the last on a kept connection", sums.0, sums.1);
        assert!(sums.1 >= 5 * 4, "{sums:?}");
    });
}

#[test]
fn an_ipv6_address_is_handed_over_in_the_same_way() {
    in_network("hand_over::an_ipv6_address_is_handed_over_in_the_same_way", async {
        let (balancer, speaker, _backend) = holder_of(VIP_V6, Others::Leave).await;
        let mut kept = Reader::connect(balancer.clients()).await;
        assert!(is_kept(&mut kept).await);
        begin(&balancer, json!({"idle_ms": 0, "take_ms": 900})).await;
        assert!(kept.closed_within(SOON).await);
        eventually("it is offered", async || (!speaker.ordered().is_empty()).then_some(())).await;
        assert_eq!(get(balancer.clients(), "/").await.status(), 200, "held back, and answered");
        let view = ended(&balancer).await;
        assert_eq!((&view["state"], &view["idle_closed"]), (&json!("undone"), &json!(1)), "{view}");
        assert!(view["passed_on"].as_u64().is_some_and(|passed_on| passed_on > 0), "to itself: {view}");
    });
}
