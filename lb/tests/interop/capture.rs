//! What is said on the bridge, as tcpdump writes it down. The tests read the file while it grows; at the
//! end tcpdump has to read all of it too, and to find nothing wrong with it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vrrp::packet::PROTOCOL;
use vrrp::{Advert, ChecksumForm};

use crate::stage::{VIP, VIP_V6, eventually};

/// The lengths of what pcap puts before the file and before each packet, in bytes (pcap-savefile(5)).
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// Next header and type of a neighbour advertisement (RFC 4861, section 4.4).
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// A tcpdump that runs.
pub(crate) struct Capture {
    file: PathBuf,
    tcpdump: Child,
}

/// One packet that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Since the Unix epoch, by the kernel's clock.
    pub(crate) at: Duration,
    /// The machine, by the MAC address the frame came from.
    pub(crate) from: Ipv4Addr,
    /// Where to; the announced address for an announcement.
    pub(crate) to: IpAddr,
    pub(crate) said: Said,
    /// Which forms of the checksum the advert has right.
    pub(crate) forms: Forms,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Advert(Advert),
    /// A gratuitous ARP or an unsolicited neighbour advertisement for the virtual address.
    Announcement,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    pub(crate) pseudo_header: bool,
    pub(crate) message: bool,
}

impl Capture {
    /// Captures on `interface` into `file`.
    pub(crate) fn start(interface: &str, file: PathBuf) -> Self {
        let log = fs::File::create(file.with_extension("log")).expect("a log");
        let tcpdump = Command::new("tcpdump")
            .args(["-i", interface, "-U", "--immediate-mode", "-Z", "root", "-s", "0", "-w"])
            .arg(&file)
            .arg("arp or ip proto 112 or ip6 proto 112 or icmp6")
            .stderr(log)
            .spawn()
            .expect("tcpdump, which deploy/test.sh interop installs");
        // It says so before it hears anything, and writes the head of the file when it does.
        eventually("tcpdump listens", || fs::read(&file).is_ok_and(|bytes| bytes.len() >= FILE_HEADER));
        Capture { file, tcpdump }
    }

    /// Now, by the clock of the packets.
    pub(crate) fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
    }

    /// What was said from `since` on.
    pub(crate) fn since(&self, since: Duration) -> Vec<Packet> {
        packets(&fs::read(&self.file).expect("the capture"), since)
    }

    /// Waits for the first packet from `since` on that `is_it`.
    pub(crate) fn wait_for(&self, what: &str, since: Duration, is_it: impl Fn(&Packet) -> bool) -> Packet {
        let mut found = None;
        eventually(what, || {
            found = self.since(since).into_iter().find(|packet| is_it(packet));
            found.is_some()
        });
        found.expect("found")
    }

    /// Waits for the first advert of `priority` from `from` since then.
    pub(crate) fn advert(&self, from: Ipv4Addr, priority: u8, since: Duration) -> Packet {
        self.wait_for(&format!("an advert of priority {priority} from {from}"), since, |packet| {
            packet.from == from && packet.priority() == Some(priority)
        })
    }

    /// Waits for the first advert from `from` since then that claims the address.
    pub(crate) fn claim(&self, from: Ipv4Addr, since: Duration) -> Packet {
        self.wait_for(&format!("an advert from {from}"), since, |packet| {
            packet.from == from && packet.priority().is_some_and(|priority| priority > 0)
        })
    }

    /// The time between the last advert of `gone`, which died at `died`, and the first of its `successor`.
    pub(crate) fn silence(&self, gone: Ipv4Addr, successor: Ipv4Addr, died: Duration) -> Duration {
        let first = self.claim(successor, died);
        let last = self
            .since(Duration::ZERO)
            .into_iter()
            .rfind(|packet| packet.from == gone && packet.advert().is_some() && packet.at < first.at);
        first.at - last.expect("the dead one's last word").at
    }

    /// Waits for the first announcement of the address by `from` since then.
    pub(crate) fn announcement(&self, from: Ipv4Addr, since: Duration) -> Packet {
        self.wait_for(&format!("a gratuitous ARP from {from}"), since, |packet| {
            packet.from == from && packet.said == Said::Announcement
        })
    }

    /// Ends the capture and has tcpdump decode all of it: no packet may be cut short or wrong in any way. The
    /// one thing tcpdump may complain of is the checksum that the RFC asks for and tcpdump does not know:
    /// of just the adverts that have it.
    pub(crate) fn end(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.tcpdump.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("tcpdump lives");
        assert!(self.tcpdump.wait().expect("a child").success());
        let adverts: Vec<_> =
            self.since(Duration::ZERO).into_iter().filter(|packet| packet.priority().is_some()).collect();
        assert!(!adverts.is_empty(), "nothing was captured");
        let lines = decoded(&self.file);
        let decoded: Vec<_> = lines.iter().filter(|line| line.contains("VRRPv3, Advertisement")).collect();
        assert_eq!(decoded.len(), adverts.len(), "tcpdump sees other adverts than we do: {lines:#?}");
        for (line, packet) in decoded.into_iter().zip(&adverts) {
            let complains = line.contains("(bad vrrp cksum");
            assert_eq!(complains, !packet.forms.pseudo_header, "{line}\n{packet:?}");
        }
        // The kernel's own questions carry a random number, in which any of the words may turn up.
        for line in lines.iter().filter(|line| !line.contains("neighbor solicitation")) {
            let line = line.replace("bad vrrp cksum", "").to_lowercase();
            for wrong in ["bad", "invalid", "[|", "malformed", "truncated"] {
                assert!(!line.contains(wrong), "{wrong}: {line}");
            }
        }
        println!("{} packets decoded by tcpdump, {} of them adverts", lines.len(), adverts.len());
    }
}

/// tcpdump's reading of `file`, a line for each packet.
fn decoded(file: &Path) -> Vec<String> {
    let output = Command::new("tcpdump")
        .args(["-n", "-v", "-t", "-r"])
        .arg(file)
        .stderr(Stdio::inherit())
        .output()
        .expect("tcpdump");
    assert!(output.status.success(), "tcpdump cannot read what it wrote");
    let text = String::from_utf8(output.stdout).expect("text");
    // What belongs to the line above is set in.
    text.replace("\n    ", " ").replace("\n\t", " ").lines().map(str::to_owned).collect()
}

impl Packet {
    pub(crate) fn advert(&self) -> Option<&Advert> {
        match &self.said {
            Said::Advert(advert) => Some(advert),
            Said::Announcement => None,
        }
    }

    pub(crate) fn priority(&self) -> Option<u8> {
        self.advert().map(|advert| advert.priority)
    }
}

/// The complete packets of a capture file, from `since` on.
fn packets(file: &[u8], since: Duration) -> Vec<Packet> {
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    let mut all = Vec::new();
    // The file is written in this machine's byte order.
    let number = |bytes: &[u8], at: usize| {
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    while let Some((head, tail)) = rest.split_at_checked(PACKET_HEADER) {
        let Some((frame, next)) = tail.split_at_checked(number(head, 8) as usize) else { break };
        let at = Duration::from_secs(number(head, 0).into()) + Duration::from_micros(number(head, 4).into());
        if at >= since {
            all.extend(understand(at, frame));
        }
        rest = next;
    }
    all
}

fn understand(at: Duration, frame: &[u8]) -> Option<Packet> {
    let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?));
    // A machine's MAC address ends in the last byte of its address.
    let from = Ipv4Addr::new(10, 77, 0, *frame.get(11)?);
    let announcement =
        |to: IpAddr| Packet { at, from, to, said: Said::Announcement, forms: Forms::default() };
    let advert = |source: IpAddr, to: IpAddr, ttl: u8, message: &[u8]| {
        let advert = Advert::decode(message, source, to, ttl).expect("all routers speak VRRPv3");
        let is = |form| advert.encode(form, source, to) == message;
        let forms =
            Forms { pseudo_header: is(ChecksumForm::PseudoHeader), message: is(ChecksumForm::MessageOnly) };
        Packet { at, from, to, said: Said::Advert(advert), forms }
    };
    // Short frames are padded behind the packet.
    let length = |at: usize| Some(usize::from(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?])));
    match frame.get(12..14)? {
        [0x08, 0x06] if v4(28)? == VIP && v4(38)? == VIP => Some(announcement(VIP.into())),
        [0x08, 0x00] if *frame.get(23)? == PROTOCOL => {
            let message = frame.get(34..14 + length(16)?)?;
            Some(advert(v4(26)?.into(), v4(30)?.into(), frame[22], message))
        }
        [0x86, 0xdd] if *frame.get(20)? == PROTOCOL => {
            let message = frame.get(54..54 + length(18)?)?;
            Some(advert(v6(22)?.into(), v6(38)?.into(), frame[21], message))
        }
        [0x86, 0xdd] if *frame.get(20)? == ICMPV6 && *frame.get(54)? == NEIGHBOUR_ADVERTISEMENT => {
            (v6(62)? == VIP_V6).then(|| announcement(VIP_V6.into()))
        }
        _ => None,
    }
}
