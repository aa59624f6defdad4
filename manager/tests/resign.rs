//! What a manager says for a dead balancer (`manager::ports::resign`), as a neighbour on the bridge
//! receives it: each test is started once more as the first process of its own namespaces.
//!
//! ```text
//!   br0 10.77.0.1 ── cable ── far, a network of its own: 10.77.0.20, the address of the other balancer
//! ```

#![allow(clippy::expect_used)]

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use kit::config::Source;
use manager::config::{Config, link_local_of};
use manager::ports::resign::resign;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket};
use nix::sys::time::TimeVal;
use vrrp::Advert;
use vrrp::packet::{MULTICAST, MULTICAST_V6, PROTOCOL};

#[path = "../../wire/tests/support/namespaces.rs"]
mod namespaces;

use namespaces::{eventually, run, said_by};

const DEAD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 10));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 20));

/// Whatever should arrive arrives by then, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn the_group_hears_that_the_dead_one_lets_go() {
    in_namespaces("the_group_hears_that_the_dead_one_lets_go", || {
        let far = far();
        resign(&config("checksum = \"message\"", ""), DEAD).expect("said");
        let heard = [hear(&far), hear(&far)];
        let expected = [
            (DEAD, IpAddr::from(MULTICAST), 50, 0),
            (IpAddr::from(link_local_of(DEAD)), IpAddr::from(MULTICAST_V6), 50, 0),
        ];
        assert_eq!(heard, expected);
    });
}

#[test]
fn unicast_peers_hear_it_alone() {
    in_namespaces("unicast_peers_hear_it_alone", || {
        let far = far();
        let peers = "unicast_peers = [\"10.77.0.20\"]";
        resign(&config(peers, peers), DEAD).expect("said");
        let heard = [hear(&far), hear(&far)];
        let expected = [
            (DEAD, OTHER, 50, 0),
            (IpAddr::from(link_local_of(DEAD)), IpAddr::from(link_local_of(OTHER)), 50, 0),
        ];
        assert_eq!(heard, expected);
    });
}

#[test]
fn one_that_cannot_be_said_does_not_keep_the_others_from_it() {
    in_namespaces("one_that_cannot_be_said_does_not_keep_the_others_from_it", || {
        let far = far();
        // A network that nobody here has a way to.
        let refused = resign(&config("unicast_peers = [\"192.0.2.1\"]", ""), DEAD).expect_err("no route");
        assert!(refused.to_string().starts_with("10.77.0.120: "), "{refused}");
        assert_eq!(hear(&far).1, IpAddr::from(MULTICAST_V6));
    });
}

/// A host with one VIP of each family, of which these lines are said.
fn config(v4: &str, v6: &str) -> Config {
    let text = format!(
        "name = \"a\"\naddress = \"10.77.0.1\"\ngateway = \"10.77.0.1\"\nhypervisor = \"namespaces\"\n\
         bridge = \"br0\"\naddress_pool = [\"10.77.0.10-10.77.0.16\"]\n\
         [[vip]]\naddress = \"10.77.0.120\"\nvrid = 50\nrole = \"master\"\n{v4}\n\
         [[vip]]\naddress = \"fd77::120\"\nvrid = 50\nrole = \"master\"\n{v6}\n"
    );
    Config::check(&Source::from_text("a.toml", &text)).expect("valid")
}

/// The next advert that arrives: source, destination, vrid and priority. Checked as a router would.
fn hear(far: &OwnedFd) -> (IpAddr, IpAddr, u8, u8) {
    let limit = Instant::now() + PATIENCE;
    let mut frame = [0; 2048];
    while Instant::now() < limit {
        let Ok(length) = recv(far.as_raw_fd(), &mut frame, MsgFlags::empty()) else { continue };
        let frame = &frame[..length];
        let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).expect("four"));
        let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).expect("sixteen"));
        let (source, destination, message, ttl) = match frame.get(12..14) {
            Some([8, 0]) if frame[23] == PROTOCOL => (v4(26), v4(30), &frame[34..], frame[22]),
            Some([0x86, 0xdd]) if frame[20] == PROTOCOL => (v6(22), v6(38), &frame[54..], frame[21]),
            _ => continue,
        };
        let advert = Advert::decode(message, source, destination, ttl).expect("an advert");
        return (source, destination, advert.vrid, advert.priority);
    }
    panic!("nothing was heard within {PATIENCE:?}");
}

/// A packet socket in the neighbour's network.
fn far() -> OwnedFd {
    let opened = std::thread::spawn(|| {
        let far = File::open("/run/netns/far").expect("the neighbour's network");
        setns(far, CloneFlags::CLONE_NEWNET).expect("to be there");
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
    });
    let socket = opened.join().expect("to end").expect("a packet socket");
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0)).expect("a timeout");
    socket
}

fn in_namespaces(name: &str, story: impl FnOnce()) {
    namespaces::in_namespaces(name, || {
        set_up();
        story();
    });
}

fn set_up() {
    let mac = manager::address_pool::mac_text(manager::address_pool::mac_of(OTHER));
    for command in [
        "ip netns add far".to_owned(),
        "ip link add br0 type bridge".to_owned(),
        format!("ip link add port type veth peer name eth0 address {mac} netns far"),
        "ip link set port master br0 up".to_owned(),
        "ip address add 10.77.0.1/24 dev br0".to_owned(),
        "ip link set br0 up".to_owned(),
        "ip -n far address add 10.77.0.20/24 dev eth0".to_owned(),
        "ip -n far link set eth0 up".to_owned(),
    ] {
        run(&command);
    }
    for ip in ["ip", "ip -n far"] {
        eventually("the link-local address is there", || {
            let shown = said_by(&format!("{ip} -6 -o address show scope link"));
            shown.contains("fe80::") && !shown.contains("tentative")
        });
    }
}
