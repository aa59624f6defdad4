//! The VIP speaker as a process among others: who holds the address when one of them dies, ends, hangs
//! or freezes. Times are asserted generously, for a machine that does something else as well.

#![allow(clippy::expect_used)]

mod vip_kinds;
mod vip_net;

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lb::link::LinkError;
use nix::sys::signal::{Signal, kill};
use vip_net::{Machine, What, eventually, in_namespaces, is_gone, lb_in};
use wire::vip::{RouterState, VipAction, VipOrder};

/// Silence costs 306 to 310 ms here.
const SOON: Duration = Duration::from_millis(1500);

/// Machine `a`, which holds the address, and `b`, which would like to.
fn pair() -> (Machine, Machine) {
    let a = Machine::start("vip", "a", 10, 240).with_proxy();
    a.wait_until_it_holds();
    let b = Machine::start("vip", "b", 20, 230).with_proxy();
    b.wait_until_it_listens_to(&a);
    assert!(!b.holds());
    (a, b)
}

pub(crate) fn report(what: &str, since: Instant, until: Instant) {
    let took = until - since;
    println!("{what}: announced after {:.1} ms", took.as_secs_f64() * 1e3);
    assert!(took < SOON);
}

#[test]
fn a_machine_that_dies_is_replaced_and_its_kernel_drops_the_address() {
    in_namespaces("a_machine_that_dies_is_replaced_and_its_kernel_drops_the_address", |segment| {
        let (a, b) = pair();
        a.unplug();
        a.signal(Signal::SIGKILL);
        let killed = Instant::now();
        report("machine dead", killed, segment.wait_for(&b, What::GratuitousArp, killed));
        b.wait_until_it_holds();
        assert!(a.holds(), "nobody is left there to remove it");
        a.wait_until_it_holds_not();
        println!("address of the dead one gone after {:.1} s", killed.elapsed().as_secs_f64());
    });
}

#[test]
fn an_orderly_stop_says_so_and_hands_over() {
    in_namespaces("an_orderly_stop_says_so_and_hands_over", |segment| {
        let (mut a, b) = pair();
        // Meant for whoever keeps a log; it ends nobody.
        a.signal(Signal::SIGUSR1);
        let stopped = Instant::now();
        a.signal(Signal::SIGTERM);
        segment.wait_for(&a, What::Advert(0), stopped);
        report("orderly stop", stopped, segment.wait_for(&b, What::GratuitousArp, stopped));
        assert_eq!(a.ended(), Some(0));
        b.wait_until_it_holds();
        assert!(!a.holds());
    });
}

#[test]
fn a_dead_or_hung_proxy_moves_the_address_and_its_return_does_not() {
    in_namespaces("a_dead_or_hung_proxy_moves_the_address_and_its_return_does_not", |segment| {
        let (mut a, b) = pair();
        let died = Instant::now();
        a.kill_proxy();
        segment.wait_for(&a, What::Advert(0), died);
        report("proxy dead", died, segment.wait_for(&b, What::GratuitousArp, died));
        b.wait_until_it_holds();
        a.wait_until_it_holds_not();

        a.start_proxy();
        sleep(Duration::from_millis(800));
        assert!(b.holds() && !a.holds());

        let hung = Instant::now();
        b.hang_proxy(Duration::from_secs(1));
        report("proxy hung", hung, segment.wait_for(&a, What::GratuitousArp, hung));
        a.wait_until_it_holds();
        sleep(Duration::from_millis(1500));
        assert!(a.holds() && !b.holds());
    });
}

/// On a machine with more to do than it has processors for, the address was moved to and fro.
#[test]
fn a_proxy_that_waits_for_a_processor_keeps_the_address() {
    in_namespaces("a_proxy_that_waits_for_a_processor_keeps_the_address", |segment| {
        let (a, b) = pair();
        let busy = Instant::now();
        if !a.starve_proxy(Duration::from_millis(600)) {
            return println!("not tried: this takes the right to real-time priority");
        }
        assert!(busy.elapsed() >= Duration::from_millis(600));
        sleep(Duration::from_millis(500));
        assert!(a.holds() && !b.holds());
        assert!(segment.heard(&b, busy).is_empty(), "nobody else claimed it meanwhile");
    });
}

#[test]
fn a_frozen_holder_says_nothing_before_it_let_go() {
    in_namespaces("a_frozen_holder_says_nothing_before_it_let_go", |segment| {
        let (a, b) = pair();
        let frozen = Instant::now();
        a.signal(Signal::SIGSTOP);
        report("speaker frozen", frozen, segment.wait_for(&b, What::GratuitousArp, frozen));
        sleep(Duration::from_secs(1).saturating_sub(frozen.elapsed()));
        assert!(a.holds());
        let thawed = Instant::now();
        a.signal(Signal::SIGCONT);
        a.wait_until_it_holds_not();
        println!("woken one let go after {:.1} ms", thawed.elapsed().as_secs_f64() * 1e3);
        sleep(Duration::from_millis(1000));
        // Not then, and not after: the other one holds the address.
        assert!(segment.heard(&a, thawed).is_empty());
        assert!(b.holds() && !a.holds());
    });
}

#[test]
fn orders_over_the_link_are_obeyed_or_refused() {
    in_namespaces("orders_over_the_link_are_obeyed_or_refused", |_| {
        let (a, b) = pair();
        let order = |action| VipOrder { action: Some(action), ..VipOrder::default() };
        let status = b.order(order(VipAction::TakeOver)).expect("obeyed");
        assert_eq!((status.routers[0].state, status.routers[0].priority), (RouterState::Master, 241));
        b.wait_until_it_holds();
        a.wait_until_it_holds_not();
        b.order(order(VipAction::Release)).expect("obeyed");
        a.wait_until_it_holds();
        b.wait_until_it_holds_not();
        a.order(VipOrder { priority: Some(150), ..VipOrder::default() }).expect("obeyed");
        b.wait_until_it_holds();

        let refused = a.order(order(VipAction::TakeOver));
        assert!(matches!(refused, Err(LinkError::Refused(_))), "unfit: {refused:?}");
        for order in [
            VipOrder { vrid: Some(51), ..VipOrder::default() },
            VipOrder { priority: Some(255), ..VipOrder::default() },
        ] {
            assert!(matches!(a.order(order), Err(LinkError::Refused(_))));
        }
    });
}

#[test]
fn a_left_over_address_is_removed_and_a_missing_interface_named() {
    in_namespaces("a_left_over_address_is_removed_and_a_missing_interface_named", |_| {
        let mut a = Machine::start("vip", "a", 10, 240).with_proxy();
        a.wait_until_it_holds();
        a.signal(Signal::SIGKILL);
        a.ended();
        assert!(a.holds());
        let files = Path::new("/run/a");
        let mut next = lb_in("a", "vip", files).spawn().expect("lb vip");
        let started = Instant::now();
        a.wait_until_it_holds_not();
        assert!(started.elapsed() < Duration::from_secs(2), "not by its lifetime");
        next.kill().and_then(|()| next.wait()).expect("it lives");

        let settings = std::fs::read_to_string(files.join("lb.toml")).expect("settings");
        std::fs::write(files.join("lb.toml"), format!("interface = \"eth7\"\n{settings}")).expect("settings");
        let ended = lb_in("a", "vip", files).output().expect("lb vip");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1));
        assert!(said.contains("there is no network interface `eth7`"), "{said}");
    });
}

#[test]
fn the_supervisor_restarts_what_dies_and_hands_over_at_the_end() {
    in_namespaces("the_supervisor_restarts_what_dies_and_hands_over_at_the_end", |segment| {
        let mut a = Machine::start("run", "a", 10, 240);
        a.wait_until_it_holds();
        let mut b = Machine::start("run", "b", 20, 230);
        b.wait_until_it_listens_to(&a);

        let (speaker, killed) = (a.child("vip"), Instant::now());
        kill(speaker, Signal::SIGKILL).expect("it lives");
        report("speaker killed", killed, segment.wait_for(&b, What::GratuitousArp, killed));
        a.wait_until_it_holds_not();
        assert!(killed.elapsed() < SOON, "not by its lifetime");
        a.wait_until_it_listens_to(&b);
        assert_ne!(a.child("vip"), speaker);

        let (proxy, killed) = (b.child("proxy"), Instant::now());
        kill(proxy, Signal::SIGKILL).expect("it lives");
        report("proxy killed", killed, segment.wait_for(&a, What::GratuitousArp, killed));
        b.wait_until_it_holds_not();
        b.wait_until_it_listens_to(&a);

        let stopped = Instant::now();
        a.signal(Signal::SIGTERM);
        report("balancer stopped", stopped, segment.wait_for(&b, What::GratuitousArp, stopped));
        assert_eq!(a.ended(), Some(0));

        // What a dead supervisor leaves does not outlive it, and hands over too.
        let (proxy, speaker, killed) = (b.child("proxy"), b.child("vip"), Instant::now());
        b.signal(Signal::SIGKILL);
        segment.wait_for(&b, What::Advert(0), killed);
        b.ended();
        eventually("its children end", || is_gone(proxy) && is_gone(speaker));
        assert!(!b.holds());
    });
}
