//! The choice as a whole: ranks, trust, limits, zones, cookies, ramps and trials.

mod any_pool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::balancing::{Algorithm, Balance, HashKey, Secret, Sticky, UpstreamLimits};
use wire::overrides::{Mode, Override};
use wire::proxy_config::PoolPolicy;
use wire::upstreams::UpstreamState;

use super::super::asked::Asked;
use super::*;
use crate::proxy::state::in_flight::InFlight;

const ALL: [Algorithm; 5] = [
    Algorithm::PeakEwma,
    Algorithm::RoundRobin,
    Algorithm::LeastRequests,
    Algorithm::RingHash,
    Algorithm::Maglev,
];

fn described(name: &str) -> wire::upstreams::Upstream {
    wire::upstreams::Upstream {
        id: name.into(),
        address: [127, 0, 0, 1].into(),
        port: 1,
        weight: 1,
        zone: "".into(),
        backup: false,
        state: UpstreamState::Ready,
        checked_elsewhere: false,
    }
}

fn member_of(described: &wire::upstreams::Upstream) -> Member {
    let upstream = Upstream::new(described.id.clone(), described.socket(), 1);
    Member::in_zone(Arc::new(upstream), described, Arc::new(described.zone.clone()))
}

fn member(name: &str, state: UpstreamState, backup: bool, weight: u32) -> Member {
    member_of(&wire::upstreams::Upstream { weight, backup, state, ..described(name) })
}

fn ready(names: &[&str]) -> Vec<Member> {
    names.iter().map(|name| member(name, UpstreamState::Ready, false, 1)).collect()
}

fn with(algorithm: Algorithm) -> PoolPolicy {
    let balance = Balance { algorithm, slow_start_ms: 0, ..Balance::default() };
    PoolPolicy { balance, ..PoolPolicy::default() }
}

fn pool_by(policy: PoolPolicy, members: Vec<Member>) -> Arc<Pool> {
    Arc::new(Pool::new("p".into(), policy, None, members))
}

fn pool(members: Vec<Member>) -> Arc<Pool> {
    pool_by(PoolPolicy::default(), members)
}

fn begin(pool: &Arc<Pool>, member: &Member) -> InFlight {
    InFlight::begin(pool, &member.upstream, Ask::default(), false, Instant::now()).expect("room")
}

fn asking(key: u64) -> Ask {
    Ask { key: Some(hash::with(42, key)), ..Ask::default() }
}

fn first<'a>(pool: &'a Pool, ask: &Ask) -> &'a str {
    pick(pool, ask, &[], Instant::now()).expect("someone").member.upstream.id.as_str()
}

fn order(pool: &Pool) -> Vec<String> {
    let mut tried = Vec::new();
    while let Ok(pick) = pick(pool, &Ask::default(), &tried, Instant::now()) {
        tried.push(pick.member.upstream.clone());
    }
    tried.iter().map(|upstream| upstream.id.to_string()).collect()
}

fn shares(pool: &Pool, picks: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for key in 0..picks {
        *counts.entry(first(pool, &asking(key)).to_owned()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn the_best_that_can_be_had_comes_first() {
    use UpstreamState::{Draining, Ready, Suspect};
    let ejected = member("ejected", Ready, false, 1);
    ejected.upstream.health.ejected.store(true, Ordering::Relaxed);
    let order_to = |mode| Override { weight: None, mode: Some(mode) };
    let pool = pool(vec![
        member("draining", Draining, false, 1),
        member("suspect", Suspect, false, 1),
        ejected,
        member("backup", Ready, true, 1),
        member("ready", Ready, false, 1),
        member("maintained", Ready, false, 1).seen_from(None, Some(&order_to(Mode::Maintenance))),
    ]);
    assert_eq!(order(&pool), ["ready", "backup", "suspect", "ejected", "draining"]);
    let suspect = member("suspect", Suspect, false, 1);
    let ordered = suspect.seen_from(None, Some(&Override { weight: Some(5), mode: None }));
    assert_eq!((ordered.rank, ordered.weight), (Rank::Suspect, 5), "nobody is brought back by a person");
}

#[test]
fn who_owes_an_answer_too_long_comes_after_its_peers_until_a_byte_comes() {
    use UpstreamState::Ready;
    let pool = pool(vec![
        member("silent", Ready, false, 1),
        member("well", Ready, false, 1),
        member("backup", Ready, true, 1),
    ]);
    let silent = &pool.members()[0].upstream;
    let now = Instant::now();
    silent.asked(now, Duration::from_millis(100));
    let then = now + Duration::from_millis(101);
    let ask = Ask::default();
    for _ in 0..100 {
        assert_eq!(pick(&pool, &ask, &[], then).expect("someone").member.upstream.id.as_str(), "well");
    }
    let well = pool.members()[1].clone();
    let second = pick(&pool, &ask, std::slice::from_ref(&well.upstream), then).expect("someone");
    assert_eq!(second.member.upstream.id.as_str(), "silent", "rather than a backup");
    assert!(second.in_doubt.is_some_and(|member| same(&member.upstream, silent)));
    silent.touch();
    assert!(pick(&pool, &ask, &[well.upstream], then).expect("someone").in_doubt.is_none());
}

#[test]
fn everyone_is_found_however_many_there_are_and_whoever_is_out() {
    for algorithm in ALL {
        let members = (0..200).map(|n| member(&format!("{n:03}"), UpstreamState::Ready, false, 1)).collect();
        let pool = pool_by(with(algorithm), members);
        let mut tried = Vec::new();
        while let Ok(pick) = pick(&pool, &asking(7), &tried, Instant::now()) {
            tried.push(pick.member.upstream.clone());
        }
        let mut order: Vec<_> = tried.iter().map(|upstream| upstream.id.to_string()).collect();
        order.sort();
        order.dedup();
        assert_eq!(order.len(), 200, "{algorithm:?}");
    }
}

#[test]
fn load_follows_weight() {
    for algorithm in ALL {
        let members = vec![
            member("light", UpstreamState::Ready, false, 1),
            member("heavy", UpstreamState::Ready, false, 3),
        ];
        let pool = pool_by(with(algorithm), members);
        let mut in_flight = Vec::new();
        let mut count = BTreeMap::new();
        for key in 0..400 {
            let member = pick(&pool, &asking(key), &[], Instant::now()).expect("someone").member;
            in_flight.push(begin(&pool, member));
            *count.entry(member.upstream.id.to_string()).or_insert(0) += 1;
        }
        // A ring's shares are as even as its points.
        let bounds = if algorithm == Algorithm::RingHash { 230..=360 } else { 270..=330 };
        assert!(bounds.contains(&count["heavy"]), "{algorithm:?} {count:?}");
    }
}

#[test]
fn an_idle_pool_is_used_evenly_and_by_weight() {
    for algorithm in ALL {
        let even = shares(&pool_by(with(algorithm), ready(&["a", "b", "c", "d"])), 8_000);
        let bounds = if algorithm == Algorithm::RingHash { 1_200..2_800 } else { 1_800..2_200 };
        assert!(
            even.len() == 4 && even.values().all(|count| bounds.contains(count)),
            "{algorithm:?} {even:?}"
        );
    }
    let weighted = vec![
        member("light", UpstreamState::Ready, false, 1),
        member("heavy", UpstreamState::Ready, false, 3),
    ];
    let shares = shares(&pool(weighted), 8_000);
    assert!((1_700..2_300).contains(&shares["light"]), "a light one has its share too: {shares:?}");
}

#[test]
fn a_slow_upstream_is_left_alone_until_its_slowness_fades() {
    let pool = pool_by(with(Algorithm::PeakEwma), ready(&["a", "b", "slow"]));
    let now = Instant::now();
    pool.members()[2].upstream.latency.observe(500.0, now);
    let picked = |at| pick(&pool, &Ask::default(), &[], at).expect("someone").member.upstream.id.to_string();
    assert!((0..1_000).all(|_| picked(now) != "slow"));
    assert!((0..1_000).any(|_| picked(now + Duration::from_secs(70)) == "slow"));
}

#[test]
fn a_client_that_uploads_slowly_makes_no_upstream_slow() {
    let pool = pool(ready(&["a", "b"]));
    let upstream = &pool.members()[0].upstream;
    pool.lasting.usual.compare(Ask::default().kind, Duration::from_millis(1), false);
    let after_a_while = |at_hand, status| {
        let ask = Ask { at_hand, ..Ask::default() };
        let mut in_flight = InFlight::begin(&pool, upstream, ask, false, Instant::now()).expect("room");
        std::thread::sleep(Duration::from_millis(50));
        in_flight.answered(status, Instant::now());
        upstream.latency.times_usual(Instant::now())
    };
    assert!(after_a_while(false, 200) < 1.5, "not measured");
    assert!(after_a_while(true, 200) > 5.0, "what was at hand took the upstream so long");
    assert!(after_a_while(false, 503) > 20.0, "a failure is one in any case");
}

#[test]
fn a_key_stays_where_it_is_when_others_come_and_go() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let names: Vec<_> = (0..10).map(|n| format!("a-stateless-{n}.1")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let whole = pool_by(with(algorithm), ready(&names));
        let mut reversed = names.clone();
        reversed.reverse();
        let other_order = pool_by(with(algorithm), ready(&reversed));
        let rebuilt: Vec<_> = names.iter().map(|name| name.replace(".1", ".2")).collect();
        let rebuilt: Vec<_> = rebuilt.iter().map(String::as_str).collect();
        let rebuilt = pool_by(with(algorithm), ready(&rebuilt));
        let ejected = pool_by(with(algorithm), ready(&names));
        ejected.members()[3].upstream.health.ejected.store(true, Ordering::Relaxed);
        let mut moved = 0;
        for key in 0..2_000 {
            let here = first(&whole, &asking(key));
            assert_eq!(here, first(&other_order, &asking(key)), "another balancer agrees");
            let machine = here.trim_end_matches(".1");
            assert_eq!(
                machine,
                first(&rebuilt, &asking(key)).trim_end_matches(".2"),
                "as does a rebuilt machine"
            );
            let without = first(&ejected, &asking(key));
            if here == names[3] {
                moved += 1;
                assert_ne!(without, here);
            } else {
                assert_eq!(without, here, "{algorithm:?}");
            }
        }
        assert!((80..400).contains(&moved), "{moved}");
    }
}

#[test]
fn a_table_is_kept_while_names_and_weights_stay() {
    let before = pool_by(with(Algorithm::Maglev), ready(&["a.1", "b.1"]));
    let after = Pool::new("p".into(), with(Algorithm::Maglev), Some(&before), ready(&["b.2", "a.1"]));
    assert!(after.spread().shares_table_with(before.spread()));
    let other = Pool::new("p".into(), with(Algorithm::RingHash), Some(&before), ready(&["a.1", "b.1"]));
    assert!(!other.spread().shares_table_with(before.spread()));
}

#[test]
fn a_request_without_a_key_goes_to_anyone() {
    let policy = PoolPolicy {
        balance: Balance {
            hash_key: HashKey::Header("X-User".to_owned()),
            ..with(Algorithm::Maglev).balance
        },
        ..PoolPolicy::default()
    };
    let pool = pool_by(policy, ready(&["a", "b"]));
    let mut request = pingora_http::RequestHeader::build("GET", b"/x?y=1", None).expect("request");
    let ask = |request: &_| Ask::of(&pool, Asked::Header(request), [127, 0, 0, 1].into());
    assert!(ask(&request).key.is_none());
    assert!((0..100).any(|_| first(&pool, &ask(&request)) == "a"));
    request.insert_header("x-user", "someone").expect("header");
    assert_eq!(ask(&request).key, Some(hash::hash(b"someone")));
}

#[test]
fn a_cookie_leads_back_while_its_upstream_can_be_used() {
    let sticky = Sticky {
        cookie: "at".to_owned(),
        key: Secret("k".repeat(32)),
        previous_key: None,
        max_age_seconds: 0,
        secure: false,
    };
    let balance = Balance { sticky: Some(sticky), ..Balance::default() };
    let pool = pool_by(PoolPolicy { balance, ..PoolPolicy::default() }, ready(&["a.1", "b.1", "c.1"]));
    let cookies = pool.sticky().expect("cookies");
    let header = cookies.set_cookie("b").expect("a cookie").to_str().expect("text");
    let mut request = pingora_http::RequestHeader::build("GET", b"/", None).expect("request");
    request.insert_header("cookie", header.split(';').next().expect("a pair")).expect("header");
    let ask = Ask::of(&pool, Asked::Header(&request), [127, 0, 0, 1].into());
    assert!((0..200).all(|_| first(&pool, &ask) == "b.1"));
    pool.members()[1].upstream.health.ejected.store(true, Ordering::Relaxed);
    assert!((0..200).all(|_| first(&pool, &ask) != "b.1"));
}

#[test]
fn whoever_has_its_fill_is_left_out_and_so_are_all_when_all_have() {
    let limits = UpstreamLimits { max_requests: 2, ..UpstreamLimits::default() };
    for algorithm in ALL {
        let policy = PoolPolicy { upstream_limits: limits.clone(), ..with(algorithm) };
        let pool = pool_by(policy, ready(&["a", "b", "c"]));
        let mut held = Vec::new();
        for key in 0..6 {
            let member = pick(&pool, &asking(key), &[], Instant::now()).expect("someone").member.clone();
            held.push(begin(&pool, &member));
        }
        assert!(pool.members().iter().all(|member| member.upstream.in_flight() == 2), "{algorithm:?}");
        let full = pick(&pool, &asking(7), &[], Instant::now());
        assert_eq!(full.expect_err("nobody has room"), Nobody::HasRoom);
        drop(held.pop());
        pick(&pool, &asking(7), &[], Instant::now()).expect("room again");
    }
}

#[test]
fn the_own_zone_is_preferred_until_it_is_busier() {
    let zoned = |name: &str, zone: &str| {
        member_of(&wire::upstreams::Upstream { zone: zone.into(), ..described(name) })
            .seen_from(Some(&"a".into()), None)
    };
    for algorithm in [Algorithm::PeakEwma, Algorithm::RoundRobin, Algorithm::LeastRequests] {
        let pool =
            pool_by(with(algorithm), vec![zoned("far", "b"), zoned("near-1", "a"), zoned("near-2", "a")]);
        let mut held = Vec::new();
        let mut far = 0;
        for n in 0..30 {
            let member = pick(&pool, &Ask::default(), &[], Instant::now()).expect("someone").member.clone();
            far += u32::from(member.upstream.id.as_str() == "far");
            assert!(n >= 4 || far == 0, "{algorithm:?}: idle ones of the own zone come first");
            held.push(begin(&pool, &member));
        }
        // Twice as busy at home as elsewhere: 2 + 2 + 1 parts.
        assert!((3..=9).contains(&far), "{algorithm:?} {far}");
        for member in pool.members().iter().take(2) {
            member.upstream.health.ejected.store(true, Ordering::Relaxed);
        }
        drop(held);
        assert_eq!(first(&pool, &Ask::default()), "far");
    }
}

#[test]
fn a_new_upstream_comes_to_its_share_bit_by_bit() {
    for algorithm in ALL {
        let mut policy = with(algorithm);
        policy.balance.slow_start_ms = 10_000;
        let pool = pool_by(policy, ready(&["a", "b", "c", "new"]));
        let now = Instant::now();
        // The others have been there for long.
        let later = now + Duration::from_secs(100);
        pool.members().iter().take(3).for_each(|member| assert!(member.upstream.ramp(later) >= 1.0));
        pool.members()[3].upstream.begin_ramp(later);
        let share = |at: Instant| {
            let new = (0..8_000).filter(|&key| {
                pick(&pool, &asking(key), &[], at).expect("someone").member.upstream.id.as_str() == "new"
            });
            new.count()
        };
        let shares = [1, 5, 20].map(|seconds| share(later + Duration::from_secs(seconds)));
        assert!(shares[0] > 0 && shares[0] < 450, "{algorithm:?} {shares:?}");
        assert!(shares[1] > shares[0] && shares[2] > shares[1], "{algorithm:?} {shares:?}");
        assert!(shares[2] > 1_000, "{algorithm:?} {shares:?}");
    }
}

#[test]
fn one_request_is_the_trial_and_until_it_ends_no_other_goes_there() {
    let pool = pool(ready(&["a", "b", "back"]));
    let back = &pool.members()[2];
    back.upstream.take_out(false).expect("in use");
    back.upstream.let_back();
    let once_only = Ask::default();
    assert!((0..100).all(|_| first(&pool, &once_only) != "back"));
    let repeatable = Ask { repeatable: true, ..Ask::default() };
    let trial = pick(&pool, &repeatable, &[], Instant::now()).expect("someone");
    assert!(trial.is_trial && same(&trial.member.upstream, &back.upstream));
    let mut in_flight =
        InFlight::begin(&pool, &back.upstream, repeatable, true, Instant::now()).expect("room");
    assert!((0..100).all(|_| first(&pool, &repeatable) != "back"));
    in_flight.answered(200, Instant::now());
    drop(in_flight);
    assert!(back.upstream.health.trial.is_over() && back.upstream.ramp(Instant::now()) < 1.0);
    assert!((0..1_000).any(|_| first(&pool, &repeatable) == "back"));
}

#[test]
fn a_trial_goes_by_the_managers_word() {
    let pool = pool(vec![
        member("primary", UpstreamState::Ready, false, 1),
        member("suspect", UpstreamState::Suspect, false, 1),
    ]);
    let (primary, suspect) = (&pool.members()[0], &pool.members()[1]);
    suspect.upstream.take_out(false).expect("in use");
    suspect.upstream.let_back();
    let repeatable = Ask { repeatable: true, ..Ask::default() };
    assert!((0..50).all(|_| first(&pool, &repeatable) == "primary"));
    primary.upstream.take_out(false).expect("in use");
    assert!(pick(&pool, &repeatable, &[], Instant::now()).expect("someone").is_trial);
}

#[test]
fn in_panic_those_that_answer_badly_are_used_again() {
    let pool = pool(ready(&["a", "b", "bad", "dead"]));
    let out = |index: usize, for_answers| pool.members()[index].upstream.take_out(for_answers);
    out(2, true).expect("in use");
    out(3, false).expect("in use");
    assert!((0..200).all(|_| ["a", "b"].contains(&first(&pool, &Ask::default()))));
    out(1, false).expect("in use");
    let used = shares(&pool, 400);
    assert_eq!(used.keys().collect::<Vec<_>>(), ["a", "bad"], "one of four left is too few: {used:?}");
}
