//! Active checks: whoever fails them is out before a request is lost, and comes back by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::get;

/// A backend whose `/up` answers with a status that the test sets; all else is answered well. It counts what it
/// was asked.
struct Checked {
    backend: Backend,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Checked {
    async fn start() -> Self {
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (answering, counting) = (status.clone(), asked.clone());
        let backend = Backend::start(move |request| {
            if request.path() == "/reset" {
                return Reply::Reset;
            }
            if request.path() != "/up" {
                return Reply::Bytes(ok("hello"));
            }
            counting.fetch_add(1, Ordering::SeqCst);
            let status = answering.load(Ordering::SeqCst);
            // A check ends its connection itself.
            Reply::Bytes(
                format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n")
                    .into_bytes(),
            )
        })
        .await;
        Checked { backend, status, asked }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The requests of clients that it had.
    fn requests(&self) -> usize {
        self.backend.seen().iter().filter(|request| request.path() != "/up").count()
    }

    fn upstream(&self) -> Value {
        self.backend.upstream()
    }
}

/// What asks [`Checked`]: a request that the backend does not take for one of those that it knows itself.
fn ask() -> Value {
    json!({"http": {"path": "/up", "headers": {"User-Agent": "a-test"}}})
}

fn often() -> Value {
    json!({"active": true, "ask": ask(), "interval_ms": 30, "edge_interval_ms": 20, "timeout_ms": 3000})
}

async fn passes(balancer: &Balancer, checked: &Checked, passed: bool) -> Value {
    eventually(&format!("its last check passed: {passed}"), async || {
        let record = balancer.record(&checked.backend).await;
        (record["check"]["last"]["passed"] == passed).then_some(record)
    })
    .await
}

async fn configure(balancer: &Balancer, generation: u32, pools: Value) {
    let config = json!({"generation": generation, "routes": [{"name": "all", "pool": "p"}], "pools": pools});
    assert_eq!(balancer.put("/config", &config).await.0, 200);
}

/// A figure of `/metrics`; none if there is no such line.
async fn figure(balancer: &Balancer, series: &str) -> Option<u64> {
    let text = balancer.get("/metrics").await.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn total(id: &str, result: &str) -> String {
    format!("lb_upstream_checks_total{{pool=\"p\",result=\"{result}\",upstream=\"{id}\"}}")
}

#[tokio::test]
async fn whoever_fails_its_checks_has_no_requests_until_it_passes_them() {
    let balancer = Balancer::start().await;
    let [sick, well] = [Checked::start().await, Checked::start().await];
    let mut check = often();
    check["ask"]["http"]["host"] = json!("checked.example");
    check["ask"]["http"]["expect_status"] = json!(["200", "206-299"]);
    check["ask"]["http"]["expect_body"] = json!("all well");
    check["ask"]["http"]["headers"]["X-Key"] = json!("a secret");
    check["fall"] = json!(3);
    balancer.use_policy(json!({"check": check, "balance": {"algorithm": "round_robin"}})).await;
    balancer.use_backends(&[&sick.backend, &well.backend]).await;
    passes(&balancer, &sick, true).await;
    let request = sick.backend.seen().remove(0);
    assert_eq!(
        (request.headers["host"].as_str(), request.headers["x-key"].as_str()),
        ("checked.example", "a secret")
    );
    assert_eq!(
        (request.headers["user-agent"].as_str(), request.headers["connection"].as_str()),
        ("a-test", "close")
    );
    let shown = balancer.get_json("/config").await["pools"]["p"]["check"].clone();
    assert_eq!(shown["ask"]["http"]["headers"]["X-Key"], "(hidden)", "{shown}");

    sick.answer(203);
    balancer.is_ejected(&sick.backend, true).await;
    let record = balancer.record(&sick.backend).await;
    let last = &record["check"]["last"];
    assert_eq!((&last["result"], &last["reason"]), (&json!("status"), &json!("status 203")), "{record}");
    assert!(
        last["in_a_row"].as_u64() >= Some(3) && last["ago_ms"].is_u64() && last["took_ms"].is_f64(),
        "{record}"
    );
    assert_eq!((&record["ejected_for_answers"], &record["failures"]), (&json!(true), &json!(0)), "{record}");
    assert!(figure(&balancer, &total(&sick.backend.id(), "status")).await >= Some(3));
    assert!(figure(&balancer, &total(&sick.backend.id(), "passed")).await >= Some(1));
    assert_eq!(figure(&balancer, &total(&sick.backend.id(), "timeout")).await, None, "never seen");
    for _ in 0..20 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    assert_eq!((sick.requests(), well.requests()), (0, 20));

    sick.answer(206);
    balancer.is_ejected(&sick.backend, false).await;
    assert_eq!(balancer.record(&sick.backend).await["on_trial"], true, "one real request decides");
    eventually("it has requests again", async || {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
        (sick.requests() > 2).then_some(())
    })
    .await;
    assert_eq!(balancer.record(&sick.backend).await["on_trial"], false);
}

#[tokio::test]
async fn trouble_with_a_request_has_the_upstream_checked_at_once() {
    let balancer = Balancer::start().await;
    let [sick, well] = [Checked::start().await, Checked::start().await];
    let mut check = often();
    check["interval_ms"] = json!(3_600_000);
    // Only checks eject here.
    balancer.use_policy(json!({"check": check, "eject_after": 100})).await;
    balancer.use_backends(&[&sick.backend, &well.backend]).await;
    passes(&balancer, &sick, true).await;
    passes(&balancer, &well, true).await;
    assert_eq!((sick.asked(), well.asked()), (1, 1));
    sick.answer(500);
    // Broken off by both, one after the other.
    get(balancer.clients(), "/reset").await;
    balancer.is_ejected(&sick.backend, true).await;
    assert!(sick.asked() >= 3, "the first, the one at once, and the one that made sure");
    eventually("the other was asked too", async || (well.asked() == 2).then_some(())).await;
    assert_eq!(balancer.record(&well.backend).await["ejected"], false);
}

#[tokio::test]
async fn the_managers_word_outranks_checks() {
    let balancer = Balancer::start().await;
    let [ready, suspect, draining] = [Checked::start().await, Checked::start().await, Checked::start().await];
    balancer.use_policy(json!({"check": often()})).await;
    let told = |checked: &Checked, state: &str| told(checked, false, state);
    let set = [told(&ready, "ready"), told(&suspect, "suspect"), told(&draining, "draining")];
    balancer.use_upstreams(&set).await;
    for checked in [&ready, &suspect, &draining] {
        passes(&balancer, checked, true).await;
    }
    let ask = async || {
        for _ in 0..10 {
            assert_eq!(get(balancer.clients(), "/").await.status(), 200);
        }
        [&ready, &suspect, &draining].map(Checked::requests)
    };
    assert_eq!(ask().await, [10, 0, 0], "passing its checks makes nobody better than its manager says");
    ready.answer(500);
    balancer.is_ejected(&ready.backend, true).await;
    assert_eq!(ask().await, [10, 10, 0], "a suspect is better than one that says it is not well");
}

/// `checked` as its manager says it: whether it is left to other balancers, and its state.
fn told(checked: &Checked, elsewhere: bool, state: &str) -> Value {
    let mut upstream = checked.upstream();
    upstream["checked_elsewhere"] = elsewhere.into();
    upstream["state"] = state.into();
    upstream
}

#[tokio::test]
async fn what_other_balancers_check_is_asked_after_trouble_only_and_goes_by_their_word() {
    let balancer = Balancer::start().await;
    let [theirs, own] = [Checked::start().await, Checked::start().await];
    // Only checks eject here.
    balancer.use_policy(json!({"check": often(), "eject_after": 100})).await;
    balancer.use_upstreams(&[told(&theirs, true, "ready"), told(&own, false, "ready")]).await;
    let own_is_asked_on = async || {
        let before = own.asked();
        eventually("its own one is asked on", async || (own.asked() > before + 20).then_some(())).await;
    };
    own_is_asked_on().await;
    assert_eq!(theirs.asked(), 0, "others ask it");
    assert_eq!(figure(&balancer, "lb_pool_checked_upstreams{pool=\"p\"}").await, Some(1));
    let record = balancer.record(&theirs.backend).await;
    assert_eq!((&record["check"]["active"], &record["check"]["elsewhere"]), (&json!(true), &json!(true)));
    let health = &balancer.get_json("/pools").await["pools"]["p"];
    assert_eq!(
        (&health["upstreams"], &health["well"], &health["elsewhere"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let set = balancer.get_json("/upstreams").await["pools"]["p"].clone();
    let left = |upstream: &&Value| upstream["checked_elsewhere"] == true;
    assert_eq!(set.as_array().expect("two").iter().filter(left).count(), 1, "{set}");

    // A request breaks off at both, one after the other: it is asked until it says that it is well.
    get(balancer.clients(), "/reset").await;
    eventually("it was asked", async || (theirs.asked() > 0).then_some(())).await;
    own_is_asked_on().await;
    let asked = theirs.asked();
    own_is_asked_on().await;
    assert_eq!(theirs.asked(), asked, "and not any more");

    // Others say that it fails.
    balancer.use_upstreams(&[told(&theirs, true, "suspect"), told(&own, false, "ready")]).await;
    let requests = theirs.requests();
    for _ in 0..20 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    assert_eq!(theirs.requests(), requests, "it is out");
    let shown = balancer.get_json("/pools").await["pools"]["p"].clone();
    assert_eq!(shown["ill"], json!([]), "that is not what this one found: {shown}");
    balancer.use_upstreams(&[told(&theirs, true, "ready"), told(&own, false, "ready")]).await;
    eventually("it has requests again", async || {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
        (theirs.requests() > requests).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_is_given_an_upstream_to_check_does_so_and_says_whether_it_fails() {
    let balancer = Balancer::start().await;
    let [moves, stays] = [Checked::start().await, Checked::start().await];
    balancer.use_policy(json!({"check": often(), "eject_after": 100})).await;
    balancer.use_upstreams(&[told(&moves, true, "ready"), told(&stays, false, "ready")]).await;
    passes(&balancer, &stays, true).await;
    moves.answer(500);
    let ill = async || balancer.get_json("/pools").await["pools"]["p"]["ill"].clone();
    assert_eq!((moves.asked(), ill().await), (0, json!([])));

    balancer.use_upstreams(&[told(&moves, false, "ready"), told(&stays, false, "ready")]).await;
    let id = moves.backend.id();
    eventually("it says so", async || (ill().await == json!([id])).then_some(())).await;
    balancer.is_ejected(&moves.backend, true).await;

    // Taken back: nobody asks for its word any more, and it brings back whom it ejected.
    balancer.use_upstreams(&[told(&moves, true, "ready"), told(&stays, false, "ready")]).await;
    assert_eq!(ill().await, json!([]));
    moves.answer(200);
    balancer.is_ejected(&moves.backend, false).await;
    let asked = moves.asked();
    let before = stays.asked();
    eventually("the other is asked on", async || (stays.asked() > before + 20).then_some(())).await;
    assert_eq!(moves.asked(), asked);
}

#[tokio::test]
async fn when_all_say_that_they_are_not_well_most_are_used() {
    let balancer = Balancer::start().await;
    let all =
        [Checked::start().await, Checked::start().await, Checked::start().await, Checked::start().await];
    balancer.use_policy(json!({"check": often(), "balance": {"algorithm": "round_robin"}})).await;
    balancer.use_backends(&all.each_ref().map(|checked| &checked.backend)).await;
    all.iter().for_each(|checked| checked.answer(500));
    eventually("each has failed its checks over and over", async || {
        (all.iter().all(|checked| checked.asked() > 10)).then_some(())
    })
    .await;
    let mut ejected = 0;
    for checked in &all {
        ejected += usize::from(balancer.record(&checked.backend).await["ejected"] == true);
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    assert_eq!(ejected, 2, "panic_below is a half");
}

#[tokio::test]
async fn another_check_takes_effect_and_leaves_the_other_pool_alone() {
    let balancer = Balancer::start().await;
    let [changed, beside, untouched] =
        [Checked::start().await, Checked::start().await, Checked::start().await];
    let mut slowly = often();
    slowly["interval_ms"] = json!(3_600_000);
    configure(&balancer, 1, json!({"p": {"check": slowly}, "q": {"check": often()}})).await;
    let set = json!({"generation": 1, "pools": {
        "p": [changed.upstream(), beside.upstream()], "q": [untouched.upstream()],
    }});
    assert_eq!(balancer.put("/upstreams", &set).await.0, 200);
    passes(&balancer, &changed, true).await;
    get(balancer.clients(), "/").await;
    let row = async || {
        let record = balancer.record_of("q", &untouched.backend.id()).await;
        record["check"]["last"]["in_a_row"].as_u64().unwrap_or_default()
    };
    eventually("the other pool is checked", async || (row().await > 5).then_some(())).await;

    let before = row().await;
    let mut strict = often();
    strict["ask"]["http"]["expect_body"] = json!("nothing of the kind");
    configure(&balancer, 2, json!({"p": {"check": strict}, "q": {"check": often()}})).await;
    assert!(row().await >= before, "its row goes on");
    let record = passes(&balancer, &changed, false).await;
    assert_eq!(record["check"]["last"]["result"], "body");
    let requests = balancer.record(&changed.backend).await["requests"].as_u64().unwrap_or_default()
        + balancer.record(&beside.backend).await["requests"].as_u64().unwrap_or_default();
    assert_eq!(requests, 1, "what is known of the upstreams is kept");

    // Without it, whoever it ejected comes back by the question of old, and nobody else is asked.
    configure(&balancer, 3, json!({"p": {"check": {"ask": ask()}}, "q": {"check": often()}})).await;
    for checked in [&changed, &beside] {
        balancer.is_ejected(&checked.backend, false).await;
        let record = balancer.record(&checked.backend).await;
        assert_eq!(record["check"]["active"], false, "{record}");
    }
    let (asked, beside_it) = (changed.asked() + beside.asked(), untouched.asked());
    eventually("the other pool is checked on", async || (untouched.asked() > beside_it + 20).then_some(()))
        .await;
    assert_eq!(changed.asked() + beside.asked(), asked);
}

#[tokio::test]
async fn checks_end_with_the_upstream_and_whoever_comes_anew_begins_anew() {
    let balancer = Balancer::start().await;
    let [leaving, staying] = [Checked::start().await, Checked::start().await];
    let mut check = often();
    check["fall"] = json!(4);
    balancer.use_policy(json!({"check": check})).await;
    let named = |id: &str| {
        let mut upstream = leaving.upstream();
        upstream["id"] = id.into();
        upstream
    };
    leaving.answer(500);
    balancer.use_upstreams(&[named("m.1"), staying.upstream()]).await;
    let is_out = async |id: &str| {
        eventually(&format!("{id} is ejected"), async || {
            (balancer.record_of("p", id).await["ejected"] == true).then_some(())
        })
        .await;
    };
    is_out("m.1").await;
    balancer.use_upstreams(&[named("m.2"), staying.upstream()]).await;
    is_out("m.2").await;
    assert!(figure(&balancer, &total("m.2", "status")).await >= Some(4), "by its own failures");
    assert_eq!(figure(&balancer, &total("m.1", "status")).await, None, "nothing is left of the other");

    balancer.use_upstreams(&[staying.upstream()]).await;
    // The last one may be on its way.
    let others = staying.asked();
    eventually("the other is asked on", async || (staying.asked() > others + 5).then_some(())).await;
    let (asked, others) = (leaving.asked(), staying.asked());
    eventually("the other is asked on", async || (staying.asked() > others + 20).then_some(())).await;
    assert_eq!(leaving.asked(), asked);
}

#[tokio::test]
async fn only_so_many_checks_are_under_way_at_a_time() {
    let balancer = Balancer::start().await;
    let deaf = Backend::healthy().await;
    deaf.freeze(true);
    let check = json!({"active": true, "ask": ask(), "edge_interval_ms": 10, "timeout_ms": 3_600_000});
    balancer.use_policy(json!({"check": check})).await;
    let upstreams: Vec<_> = (0..600)
        .map(|n| json!({"id": format!("m-{n}"), "address": deaf.address.ip(), "port": deaf.address.port()}))
        .collect();
    balancer.use_upstreams(&upstreams).await;
    eventually("as many as may be", async || (deaf.open() == 256).then_some(())).await;
    let other = Checked::start().await;
    balancer.use_upstreams(&[upstreams.as_slice(), &[other.upstream()]].concat()).await;
    for _ in 0..20 {
        assert_eq!((deaf.open(), deaf.connections(), other.asked()), (256, 256, 0), "the rest waits");
        balancer.get_json("/status").await;
    }
    // Whoever is taken out of the set while it is asked is not asked on, and makes room.
    balancer.use_upstreams(&[other.upstream()]).await;
    eventually("no socket is left", async || (deaf.open() == 0).then_some(())).await;
    passes(&balancer, &other, true).await;
}
