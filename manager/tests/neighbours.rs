//! Questions of who has an address (`manager::ports::neighbours`) on a real bridge: each test is started once more as
//! the first process of its own namespaces, with a neighbour at the other end of a cable.
//!
//! ```text
//!   br0 10.77.0.1, fd00:77::1 ── cable ── far, a network of its own: 10.77.0.7, fd00:77::7
//! ```

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use manager::ports::neighbours::{ProbeError, probe};
use nix::sched::{CloneFlags, setns};

#[path = "../../wire/tests/support/namespaces.rs"]
mod namespaces;

use namespaces::{run, said_by};

/// The bridge.
const BRIDGE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The neighbour.
const NEIGHBOUR: [u8; 6] = [0x7e, 0, 0, 0, 0, 7];

const TAKEN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 7));
const FREE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 8));

/// The same by neighbour discovery.
const TAKEN_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 7));
const FREE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 8));

#[test]
fn a_free_address_is_known_as_such_within_half_a_second() {
    in_namespaces("a_free_address_is_known_as_such_within_half_a_second", async || {
        let asked = Instant::now();
        let (v4, v6) = tokio::join!(probe("br0", FREE), probe("br0", FREE_V6));
        assert_eq!((v4.expect("an answer"), v6.expect("an answer")), (None, None));
        let took = asked.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_millis(1_500)).contains(&took), "{took:?}");
    });
}

#[test]
fn whoever_has_the_address_is_named_at_once() {
    in_namespaces("whoever_has_the_address_is_named_at_once", async || {
        for _ in 0..5 {
            assert_eq!(probe("br0", TAKEN).await.expect("an answer"), Some(NEIGHBOUR));
            assert_eq!(probe("br0", TAKEN_V6).await.expect("an answer"), Some(NEIGHBOUR));
        }
        // A probe is in nobody's way: the neighbour has learnt nothing from it.
        for own in ["10.77.0.1", "fd00:77::1"] {
            let known = said_by(&format!("ip -netns far neighbour show {own}"));
            assert_eq!(known.trim(), "");
        }
    });
}

#[test]
fn many_are_asked_for_at_the_same_time() {
    in_namespaces("many_are_asked_for_at_the_same_time", async || {
        let asked = Instant::now();
        let probes: Vec<_> = (2..40)
            .map(|last| tokio::spawn(async move { probe("br0", IpAddr::from([10, 77, 0, last])).await }))
            .collect();
        for (probe, last) in probes.into_iter().zip(2..40) {
            let found = probe.await.expect("to end").expect("an answer");
            assert_eq!(found, (last == 7).then_some(NEIGHBOUR), "10.77.0.{last}");
        }
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    });
}

#[test]
fn two_that_want_the_same_address_hear_of_each_other() {
    in_namespaces("two_that_want_the_same_address_hear_of_each_other", async || {
        // Again and again: on a busy computer one of the two may be done before the other begins.
        let over = Arc::new(AtomicBool::new(false));
        let rival = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let far = File::open("/run/netns/far").expect("the neighbour's network");
                setns(far, CloneFlags::CLONE_NEWNET).expect("to be there");
                // The thread that asks is started by this one, and is where this one is.
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let mut found = None;
                while found.is_none() || !over.load(Ordering::Relaxed) {
                    found = found.or(runtime.block_on(probe("eth0", FREE)).expect("an answer"));
                }
                found
            }
        });
        let limit = Instant::now() + Duration::from_secs(20);
        let mut found = None;
        while (found.is_none() || !rival.is_finished()) && Instant::now() < limit {
            found = found.or(probe("br0", FREE).await.expect("an answer"));
            over.store(found.is_some(), Ordering::Relaxed);
        }
        assert!(rival.is_finished(), "it has not heard of us");
        assert_eq!((found, rival.join().expect("to end")), (Some(NEIGHBOUR), Some(BRIDGE)));
    });
}

#[test]
fn the_hosts_own_addresses_are_taken() {
    in_namespaces("the_hosts_own_addresses_are_taken", async || {
        let own = probe("br0", IpAddr::from([10, 77, 0, 1])).await.expect("an answer");
        assert_eq!(own, Some(BRIDGE));
        let own = probe("br0", "fd00:77::1".parse().expect("an address")).await.expect("an answer");
        assert_eq!(own, Some(BRIDGE));
    });
}

#[test]
fn a_bridge_to_which_nobody_is_connected_has_only_free_addresses() {
    in_namespaces("a_bridge_to_which_nobody_is_connected_has_only_free_addresses", async || {
        run("ip link add lonely type bridge");
        run("ip link set lonely up");
        assert_eq!(probe("lonely", TAKEN).await.expect("an answer"), None);
    });
}

#[test]
fn what_is_missing_is_told_apart() {
    in_namespaces("what_is_missing_is_told_apart", async || {
        let error = async |bridge: &str| probe(bridge, FREE).await.expect_err("cannot be asked");
        assert!(matches!(error("br9").await, ProbeError::NoInterface(name) if name == "br9"));
        run("ip link set br0 down");
        assert!(matches!(error("br0").await, ProbeError::Down(name) if name == "br0"));
    });
}

#[test]
fn without_the_right_to_it_says_which_one_is_missing() {
    on_stage(
        "without_the_right_to_it_says_which_one_is_missing",
        &["setpriv", "--bounding-set", "-net_raw"],
        async || {
            let error = probe("br0", FREE).await.expect_err("cannot be asked");
            assert!(matches!(error, ProbeError::NotPermitted), "{error:?}");
            assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
        },
    );
}

fn in_namespaces(name: &str, story: impl AsyncFnOnce()) {
    on_stage(name, &[], story);
}

/// Runs `story` as the first process of new namespaces, started by `by`. `name` is the test's own.
fn on_stage(name: &str, by: &[&str], story: impl AsyncFnOnce()) {
    namespaces::in_namespaces_by(name, by, || {
        for command in [
            "ip netns add far",
            "ip link add br0 address 02:00:00:00:00:01 type bridge stp_state 0 forward_delay 0",
            "ip link add cable type veth peer name eth0 address 7e:00:00:00:00:07 netns far",
            "ip link set cable master br0 up",
            "ip address add 10.77.0.1/24 dev br0",
            "ip link set br0 up",
            "ip -netns far address add 10.77.0.7/24 dev eth0",
            "ip -netns far link set eth0 up",
            "ip address add fd00:77::1/64 dev br0 nodad",
            "ip -netns far address add fd00:77::7/64 dev eth0 nodad",
        ] {
            run(command);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(story());
    });
}
