//! The network a story plays in: namespaces of its own, a bridge, and a cable for each machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::capture::{Capture, Said};
pub(crate) use crate::namespaces::eventually;
use crate::namespaces::{self, run, said_by};

/// The address that everything is about, in either family.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 120);
pub(crate) const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x120);

/// The virtual router's id.
pub(crate) const VRID: u8 = 50;

/// Runs `story` in namespaces of its own; `name` is the test's own.
pub(crate) fn in_namespaces(name: &str, story: impl FnOnce(&Segment)) {
    namespaces::in_namespaces(name, || {
        let segment = Segment::new();
        story(&segment);
        segment.end();
    });
}

/// The bridge, and all that is said on it.
pub(crate) struct Segment {
    pub(crate) capture: Capture,
}

impl Segment {
    fn new() -> Self {
        run("ip link set lo up");
        run("ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        run("ip address add 10.77.0.1/24 dev br0");
        run("ip link set br0 up");
        Segment { capture: Capture::start("br0", PathBuf::from("/run/interop.pcap")) }
    }

    /// Waits until `holder`, and nobody else of `all`, has the address, and only `holder` advertises. From
    /// then on that has to stay so for as long as `steady`.
    pub(crate) fn settles_on(&self, holder: &Port, all: &[&Port], steady: Duration) {
        let alone = || all.iter().all(|port| port.holds() == (port.name == holder.name));
        eventually(&format!("{} holds the address alone", holder.name), alone);
        let since = self.capture.now();
        thread::sleep(steady);
        assert!(alone(), "{} held the address alone, but not for {steady:?}", holder.name);
        // What was under way when it became the holder is no claim of now.
        let claims = self.capture.since(since).into_iter().filter_map(|packet| match packet.said {
            Said::Advert(advert) => Some((packet.from, advert.priority)),
            Said::Announcement => None,
        });
        let claims: Vec<_> = claims.skip_while(|(from, _)| *from != holder.address).collect();
        assert!(!claims.is_empty(), "{} says nothing", holder.name);
        assert!(claims.iter().all(|(from, _)| *from == holder.address), "somebody contradicts: {claims:?}");
    }

    fn end(self) {
        self.capture.end();
    }
}

/// A machine's place on the bridge.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) address: Ipv4Addr,
    /// The machine's files, on a file system of the test's own.
    pub(crate) files: PathBuf,
}

impl Port {
    /// Plugs machine `name` with the address 10.77.0.`last` into the bridge.
    pub(crate) fn plug_in(name: &'static str, last: u8) -> Self {
        let address = Ipv4Addr::new(10, 77, 0, last);
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add port-{name} type veth peer name eth0 address 02:00:00:00:00:{last:02x} netns {name}"
        ));
        run(&format!("ip link set port-{name} master br0 up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} address add {address}/24 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
        let files = PathBuf::from("/run").join(name);
        fs::create_dir(&files).expect("directory");
        eventually(&format!("{name} has its link-local address"), || {
            let shown = said_by(&format!("ip -n {name} -6 -o address show dev eth0"));
            shown.contains("scope link") && !shown.contains("tentative")
        });
        Port { name, address, files }
    }

    /// Cuts the way behind the bridge: the machine hears nothing and is not heard, and its interface does
    /// not notice.
    pub(crate) fn cut(&self) {
        run(&format!("ip link set port-{} nomaster", self.name));
    }

    /// Mends that.
    pub(crate) fn heal(&self) {
        run(&format!("ip link set port-{} master br0", self.name));
    }

    /// Whether the virtual address, of either family, is on its interface.
    pub(crate) fn holds(&self) -> bool {
        let shown = said_by(&format!("ip -n {} -o address show dev eth0", self.name));
        [format!(" {VIP}/"), format!(" {VIP_V6}/")].iter().any(|address| shown.contains(address))
    }

    /// The address its adverts come from, of the family of `vip`.
    pub(crate) fn speaks_from(&self, vip: IpAddr) -> IpAddr {
        match vip {
            IpAddr::V4(_) => self.address.into(),
            // Made from its MAC address, 02:00:00:00:00 and the last byte of the address (RFC 4291, appendix A).
            IpAddr::V6(_) => {
                let last = u16::from(self.address.octets()[3]);
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, last).into()
            }
        }
    }

    /// A command in the machine's network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }
}
