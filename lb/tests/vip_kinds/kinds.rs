//! IPv6, unicast peers, virtual MAC addresses, preemption.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::report;
use crate::vip_net::{Machine, Says, Segment, VIP, VIP_V6, What, eventually, in_namespaces, said_by};

fn pair(says: impl Fn(u8) -> Says) -> (Machine, Machine) {
    let a = Machine::start_with("vip", "a", 10, 240, says(20)).with_proxy();
    a.wait_until_it_holds();
    let b = Machine::start_with("vip", "b", 20, 230, says(10)).with_proxy();
    b.wait_until_it_listens_to(&a);
    (a, b)
}

/// The MAC address that the bridge has for `address` in its neighbour table.
fn neighbour(address: IpAddr) -> String {
    let said = said_by(&format!("ip neighbour show {address} dev br0"));
    let mut words = said.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

/// Waits until a machine that has `address` answers; nothing listens there, so it refuses.
fn is_answered(address: IpAddr) {
    eventually(&format!("{address} is answered"), || {
        let answer = TcpStream::connect_timeout(&SocketAddr::new(address, 7), Duration::from_millis(500));
        answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

fn power_cut(machine: &Machine) -> Instant {
    machine.unplug();
    machine.signal(Signal::SIGKILL);
    Instant::now()
}

#[test]
fn an_ipv6_address_moves_and_its_neighbours_are_told() {
    in_namespaces(
        "vip_kinds::kinds::an_ipv6_address_moves_and_its_neighbours_are_told",
        |segment: &Segment| {
            let (a, b) = pair(|_| Says::v6(""));
            is_answered(VIP_V6.into());
            assert_eq!(neighbour(VIP_V6.into()), "02:00:00:00:00:10");
            let link_local = vrrp::identity::virtual_link_local(50);
            let shown = said_by(&format!("ip -n a -o address show to {link_local}"));
            assert!(shown.contains("/128") && shown.contains("deprecated"), "{shown}");

            let killed = power_cut(&a);
            let told = segment.wait_for(&b, What::NeighbourAdvertisement, killed);
            report("machine dead, IPv6", killed, told);
            eventually("the neighbour has learned", || neighbour(VIP_V6.into()) == "02:00:00:00:00:20");
            is_answered(VIP_V6.into());
            a.wait_until_it_holds_not();
        },
    );
}

#[test]
fn both_families_share_a_number_and_an_orderly_stop_hands_both_over() {
    in_namespaces(
        "vip_kinds::kinds::both_families_share_a_number_and_an_orderly_stop_hands_both_over",
        |segment| {
            let v6 = format!("[[vip]]\naddress = \"{VIP_V6}\"\nvrid = 50\npriority = 2");
            let a = Machine::start_with("vip", "a", 10, 240, Says::more(format!("{v6}40"))).with_proxy();
            a.wait_until_it_holds();
            segment.wait_for(&a, What::NeighbourAdvertisement, Instant::now() - Duration::from_secs(60));
            let b = Machine::start_with("vip", "b", 20, 230, Says::more(format!("{v6}30"))).with_proxy();
            b.wait_until_it_listens_to(&a);
            eventually("b has heard the other holder too", || {
                let status = b.status().expect("it answers");
                status.routers[1].holder == Some(a.link_local().into())
            });
            let stopped = Instant::now();
            a.signal(Signal::SIGTERM);
            report("IPv4 handed over", stopped, segment.wait_for(&b, What::GratuitousArp, stopped));
            report("IPv6 handed over", stopped, segment.wait_for(&b, What::NeighbourAdvertisement, stopped));
            let status = b.status().expect("it answers");
            assert_eq!(
                status.routers.iter().map(|router| router.address).collect::<Vec<_>>(),
                [IpAddr::from(VIP), IpAddr::from(VIP_V6)]
            );
        },
    );
}

#[test]
fn unicast_peers_fail_over_and_strangers_are_not_heard() {
    in_namespaces("vip_kinds::kinds::unicast_peers_fail_over_and_strangers_are_not_heard", |segment| {
        let started = Instant::now();
        let (a, b) = pair(|other| Says::more(format!("unicast_peers = [\"10.77.0.{other}\"]")));
        // Of higher priority, but nobody's peer.
        let says = Says::more("unicast_peers = [\"10.77.0.10\"]");
        let stranger = Machine::start_with("vip", "c", 30, 254, says).with_proxy();
        stranger.wait_until_it_holds();
        eventually("the stranger's adverts are dropped", || {
            let dropped = a.status().expect("it answers").dropped;
            dropped.get("unlisted_peer").is_some_and(|count| *count > 10)
        });
        assert!(a.holds());
        stranger.signal(Signal::SIGTERM);
        stranger.wait_until_it_holds_not();

        let killed = power_cut(&a);
        report("machine dead, unicast", killed, segment.wait_for(&b, What::GratuitousArp, killed));
        b.wait_until_it_holds();
        for machine in [&a, &b] {
            let multicast = segment.heard(machine, started);
            assert!(multicast.iter().all(|heard| !matches!(heard.what, What::Advert(_))), "{multicast:?}");
        }
    });
}

#[test]
fn unicast_peers_of_ipv6_fail_over() {
    in_namespaces("vip_kinds::kinds::unicast_peers_of_ipv6_fail_over", |segment| {
        let (a, b) = pair(|other| Says::v6(format!("unicast_peers = [\"fe80::ff:fe00:{other}\"]")));
        let killed = power_cut(&a);
        let told = segment.wait_for(&b, What::NeighbourAdvertisement, killed);
        report("machine dead, unicast IPv6", killed, told);
        b.wait_until_it_holds();
    });
}

#[test]
fn with_a_virtual_mac_address_no_neighbour_learns_anything() {
    in_namespaces("vip_kinds::kinds::with_a_virtual_mac_address_no_neighbour_learns_anything", |segment| {
        let (a, b) = pair(|_| Says::more("virtual_mac = true"));
        virtual_mac_moves(segment, &a, &b, VIP.into(), "00:00:5e:00:01:32");
    });
}

#[test]
fn with_a_virtual_mac_address_of_ipv6_no_neighbour_learns_anything() {
    in_namespaces(
        "vip_kinds::kinds::with_a_virtual_mac_address_of_ipv6_no_neighbour_learns_anything",
        |segment| {
            let (a, b) = pair(|_| Says::v6("virtual_mac = true"));
            virtual_mac_moves(segment, &a, &b, VIP_V6.into(), "00:00:5e:00:02:32");
        },
    );
}

fn virtual_mac_moves(segment: &Segment, a: &Machine, b: &Machine, address: IpAddr, mac: &str) {
    is_answered(address);
    assert_eq!(neighbour(address), mac);
    let at_port = |port: &str| said_by(&format!("bridge fdb show br br0 brport {port}")).contains(mac);
    assert!(at_port("port-a") && !at_port("port-b"), "a standby has said nothing from there");
    let killed = power_cut(a);
    segment.wait_for(b, What::Advert(241), killed);
    b.wait_until_it_holds();
    assert!(at_port("port-b") && !at_port("port-a"), "the bridge has learned from the first advert");
    assert_eq!(neighbour(address), mac);
    is_answered(address);
    // Asked anew, only the virtual interface answers.
    let _ = said_by("ip neighbour flush dev br0");
    is_answered(address);
    assert_eq!(neighbour(address), mac);
}

#[test]
fn with_preempt_the_higher_one_comes_back_after_its_delay() {
    in_namespaces("vip_kinds::kinds::with_preempt_the_higher_one_comes_back_after_its_delay", |segment| {
        let (mut a, b) = pair(|_| Says::more("preempt = true\npreempt_delay_ms = 2500"));
        let died = Instant::now();
        a.kill_proxy();
        segment.wait_for(&b, What::GratuitousArp, died);
        b.wait_until_it_holds();
        a.wait_until_it_holds_not();

        let back = Instant::now();
        a.start_proxy();
        a.wait_until_it_listens_to(&b);
        let taken = segment.wait_for(&a, What::Advert(240), back);
        assert!(taken - back >= Duration::from_millis(2500), "{:?}", taken - back);
        a.wait_until_it_holds();
        b.wait_until_it_holds_not();
        b.wait_until_it_listens_to(&a);
    });
}
