//! What the speaker tells: hooks, warnings, figures; and what its manager tells it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use wire::vip::VipOrder;

use crate::report;
use crate::vip_net::{Machine, Says, What, eventually, in_namespaces};

fn program(path: &str, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
}

/// The bodies of the requests that arrive at the bridge's address; each is answered with 204.
fn bodies(port: u16) -> Arc<Mutex<Vec<String>>> {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind(("10.77.0.1", port)).expect("listening");
    let all = bodies.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.expect("a connection"), Vec::new());
            let mut part = [0; 4096];
            while !request.ends_with(b"}") {
                let length = stream.read(&mut part).expect("a request");
                request.extend(&part[..length]);
            }
            let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).expect("answered");
            let request = String::from_utf8(request).expect("text");
            let body = request.split("\r\n\r\n").nth(1).expect("a body");
            all.lock().expect("not poisoned").push(body.to_owned());
        }
    });
    bodies
}

#[test]
fn every_change_is_told_to_programs_and_urls_and_none_of_them_delays_a_takeover() {
    in_namespaces(
        "vip_kinds::reports::every_change_is_told_to_programs_and_urls_and_none_of_them_delays_a_takeover",
        |segment| {
            program("/run/tell", "echo \"$@\" >> /run/told");
            program("/run/hang", "exec sleep 1000");
            let bodies = bodies(9000);
            let says = "[[notify]]\ncommand = \"/run/tell\"\n[[notify]]\nurl = \"http://10.77.0.1:9000/vip\"";
            let mut a = Machine::start_with("vip", "a", 10, 240, Says::more(says)).with_proxy();
            a.wait_until_it_holds();
            let hangs = Says::more("[[notify]]\ncommand = \"/run/hang\"");
            let b = Machine::start_with("vip", "b", 20, 230, hangs).with_proxy();
            b.wait_until_it_listens_to(&a);

            let stopped = Instant::now();
            a.signal(Signal::SIGTERM);
            report("taken over while told", stopped, segment.wait_for(&b, What::GratuitousArp, stopped));
            assert_eq!(a.ended(), Some(0));
            let told = || fs::read_to_string("/run/told").unwrap_or_default();
            let expected = "50 10.77.0.120 backup none\n50 10.77.0.120 master 10.77.0.10\n\
                            50 10.77.0.120 init ";
            eventually("the program was told all", || told().starts_with(expected));
            let bodies = bodies.lock().expect("not poisoned");
            let master: serde_json::Value = serde_json::from_str(&bodies[1]).expect("JSON");
            assert_eq!(
                (&master["machine"], &master["vrid"], &master["state"], &master["holder"]),
                (&"a-lb".into(), &50.into(), &"master".into(), &"10.77.0.10".into())
            );
        },
    );
}

/// A packet of `message` to the VRRP group, from the bridge's address.
fn multicast(message: &[u8], ttl: u32) {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(112))).expect("a raw socket");
    socket.set_multicast_if_v4(&[10, 77, 0, 1].into()).expect("br0");
    socket.set_multicast_ttl_v4(ttl).expect("a TTL");
    let group = SocketAddrV4::new(vrrp::packet::MULTICAST, 0);
    socket.send_to(message, &group.into()).expect("sent");
}

#[test]
fn a_neighbour_of_version_2_is_warned_of_with_the_cure_and_bad_packets_are_counted() {
    in_namespaces(
        "vip_kinds::reports::a_neighbour_of_version_2_is_warned_of_with_the_cure_and_bad_packets_are_counted",
        |_| {
            let says = Says { log: true, ..Says::default() };
            let a = Machine::start_with("vip", "a", 10, 240, says).with_proxy();
            a.wait_until_it_holds();
            // RFC 3768, section 5.1: version 2, vrid 50, priority 250, one address, no authentication, 1 s.
            let version_2 = |vrid| {
                let mut message = vec![0x21, vrid, 250, 1, 0, 1, 0, 0, 10, 77, 0, 120];
                message.extend([0; 8]);
                let sum =
                    message.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>();
                let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("16 bits");
                message[6..8].copy_from_slice(&checksum.to_be_bytes());
                message
            };
            let dropped =
                |kind: &str| a.status().expect("it answers").dropped.get(kind).copied().unwrap_or_default();
            let log = || fs::read_to_string(Path::new("/run/a/log")).expect("a log");
            multicast(&version_2(51), 255);
            eventually("one of another group is counted", || dropped("version_2") == 1);
            assert!(!log().contains("version 2"), "it is none of our business");
            for _ in 0..20 {
                multicast(&version_2(50), 255);
            }
            eventually("all are counted", || dropped("version_2") == 21);
            eventually("it is warned of", || log().contains("in keepalived: `version 3`"));
            assert_eq!(log().matches("VRRP version 2").count(), 1, "once in a while");

            multicast(&[0x31, 50, 250, 0, 0, 10, 0, 0], 64);
            multicast(&[0x31, 50, 250, 0, 0, 10, 0, 0], 255);
            multicast(&[0x31], 255);
            for kind in ["ttl", "checksum", "short"] {
                eventually(&format!("{kind} is counted"), || dropped(kind) == 1);
            }
            assert!(a.holds());
        },
    );
}

#[test]
fn a_manager_that_says_that_the_uplink_is_lost_moves_the_address() {
    in_namespaces(
        "vip_kinds::reports::a_manager_that_says_that_the_uplink_is_lost_moves_the_address",
        |segment| {
            let a = Machine::start("vip", "a", 10, 240).with_proxy();
            a.wait_until_it_holds();
            let b = Machine::start("vip", "b", 20, 230).with_proxy();
            b.wait_until_it_listens_to(&a);
            let lost = Instant::now();
            let order = |lost| VipOrder { uplink_lost: Some(lost), ..VipOrder::default() };
            a.order(order(true)).expect("obeyed");
            report("uplink lost", lost, segment.wait_for(&b, What::GratuitousArp, lost));
            a.wait_until_it_listens_to(&b);
            // The other one's is lost too: equal trouble, and nothing moves.
            b.order(order(true)).expect("obeyed");
            eventually("the higher one has it again", || a.holds() && !b.holds());
            a.order(order(false)).expect("obeyed");
            b.order(order(false)).expect("obeyed");
            thread::sleep(Duration::from_secs(1));
            assert!(a.holds() && !b.holds());
        },
    );
}

#[test]
fn a_holder_whose_host_says_that_it_was_paused_lets_go_and_listens() {
    in_namespaces(
        "vip_kinds::reports::a_holder_whose_host_says_that_it_was_paused_lets_go_and_listens",
        |_| {
            let a = Machine::start("vip", "a", 10, 240).with_proxy();
            a.wait_until_it_holds();
            let begin = Instant::now();
            let stamp = |ahead_ms: u64| {
                let elapsed = u64::try_from(begin.elapsed().as_millis()).expect("short");
                let order = VipOrder { host_time_ms: Some(elapsed + ahead_ms), ..VipOrder::default() };
                a.order(order).expect("obeyed").routers[0].clone()
            };
            for _ in 0..8 {
                let router = stamp(1_000_000);
                assert_eq!(router.reason, "no holder heard");
                thread::sleep(Duration::from_millis(20));
            }
            let router = stamp(1_005_000);
            assert!(router.reason.starts_with("the machine was paused for"), "{router:?}");
            assert_eq!(router.state, wire::vip::RouterState::Backup);
            assert!(!a.holds(), "the address is off before the answer comes");
            a.wait_until_it_holds();
            let router = stamp(1_005_000);
            assert_eq!(router.counters.became_master, 2);
        },
    );
}

#[test]
fn the_speakers_figures_are_in_the_balancers_metrics() {
    in_namespaces("vip_kinds::reports::the_speakers_figures_are_in_the_balancers_metrics", |_| {
        let a = Machine::start("run", "a", 10, 240);
        a.wait_until_it_holds();
        let metrics = || {
            let mut stream = TcpStream::connect("10.77.0.10:8080").expect("the admin interface");
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answered");
            answer
        };
        let labels = "{address=\"10.77.0.120\",vrid=\"50\"}";
        eventually("the figures are there", || {
            let metrics = metrics();
            metrics.contains(&format!("lb_vip_holds{labels} 1"))
                && metrics.contains(&format!("lb_vip_taken_total{labels} 1"))
        });
        assert!(!metrics().contains(&format!("lb_vip_adverts_sent_total{labels} 0")));
    });
}
