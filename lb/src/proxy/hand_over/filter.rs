//! Programs for the kernel's packet filter (classic BPF, see the kernel's `Documentation/networking/filter`)
//! that tell the first packet of a TCP connection to one of some addresses.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use socket2::SockFilter;

/// Instructions: what is loaded, how it is changed, where to go on.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Loads from here count from the IP header, wherever the packet at hand begins.
const IP_HEADER: u32 = 0xfff0_0000;

/// What kind of packet it is: to this machine, to another one, from this machine.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const TO_US: u32 = 0;

/// The whole packet, or nothing of it.
const ALL: u32 = u32::MAX;
const NOTHING: u32 = 0;

const TCP: u32 = 6;
const SYN: u32 = 0x02;
const SYN_OR_ACK: u32 = 0x12;

/// A fixed header has so many bytes in IPv6.
const HEADER_V6: u32 = 40;

/// More instructions than this leave no room for a jump over all of them.
const MOST: usize = 250;

/// Where an instruction goes on.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// After so many more.
    Skip(usize),
    Match,
    Else,
}

/// One instruction before its jumps are known.
type Step = (u16, u32, To, To);

/// For a listener: drops what asks for a new connection to one of `addresses`. The packet at hand begins
/// with its TCP header.
pub(super) fn drop_new(addresses: &BTreeSet<IpAddr>) -> Vec<SockFilter> {
    let mut steps = vec![
        (LOAD_BYTE, 13, To::Next, To::Next),
        (AND, SYN_OR_ACK, To::Next, To::Next),
        (IF_EQUAL, SYN, To::Next, To::Else),
    ];
    let to_v6 = to_one_of_v6(addresses, IP_HEADER);
    steps.extend(is_version(6, IP_HEADER, To::Skip(to_v6.len())));
    steps.extend(to_v6);
    steps.extend(is_version(4, IP_HEADER, To::Else));
    steps.extend(to_one_of_v4(addresses, IP_HEADER));
    program(steps, NOTHING, ALL)
}

/// For a packet socket of IPv4: takes only what asks for a new connection to one of `ports` of one of
/// `addresses`, and came from outside. The packet at hand begins with its IP header.
pub(super) fn take_new_v4(addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>) -> Vec<SockFilter> {
    let mut steps: Vec<Step> = from_outside().into();
    steps.extend(is_version(4, 0, To::Else));
    steps.extend([
        (LOAD_BYTE, 9, To::Next, To::Next),
        (IF_EQUAL, TCP, To::Next, To::Else),
        // Not the later part of a packet that was cut into several.
        (LOAD_HALF, 6, To::Next, To::Next),
        (IF_ANY_BIT, 0x1fff, To::Else, To::Next),
        (LOAD_HEADER_LENGTH, 0, To::Next, To::Next),
        (LOAD_HALF_AT_X, 2, To::Next, To::Next),
    ]);
    steps.extend(is_one_of(ports));
    steps.extend([
        (LOAD_BYTE_AT_X, 13, To::Next, To::Next),
        (AND, SYN_OR_ACK, To::Next, To::Next),
        (IF_EQUAL, SYN, To::Next, To::Else),
    ]);
    steps.extend(to_one_of_v4(addresses, 0));
    program(steps, ALL, NOTHING)
}

/// The same for IPv6. One with extension headers, which nobody sends to a web server, is not told.
pub(super) fn take_new_v6(addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>) -> Vec<SockFilter> {
    let mut steps: Vec<Step> = from_outside().into();
    steps.extend(is_version(6, 0, To::Else));
    steps.extend([
        (LOAD_BYTE, 6, To::Next, To::Next),
        (IF_EQUAL, TCP, To::Next, To::Else),
        (LOAD_HALF, HEADER_V6 + 2, To::Next, To::Next),
    ]);
    steps.extend(is_one_of(ports));
    steps.extend([
        (LOAD_BYTE, HEADER_V6 + 13, To::Next, To::Next),
        (AND, SYN_OR_ACK, To::Next, To::Next),
        (IF_EQUAL, SYN, To::Next, To::Else),
    ]);
    steps.extend(to_one_of_v6(addresses, 0));
    program(steps, ALL, NOTHING)
}

fn from_outside() -> [Step; 2] {
    [(LOAD_WORD, PACKET_TYPE, To::Next, To::Next), (IF_EQUAL, TO_US, To::Next, To::Else)]
}

/// Goes on with the next step for this version of IP, else to `otherwise`.
fn is_version(version: u32, header: u32, otherwise: To) -> [Step; 3] {
    [
        (LOAD_BYTE, header, To::Next, To::Next),
        (AND, 0xf0, To::Next, To::Next),
        (IF_EQUAL, version << 4, To::Next, otherwise),
    ]
}

/// Goes on with the next step when what is loaded is one of these.
fn is_one_of(ports: &BTreeSet<u16>) -> Vec<Step> {
    let last = ports.len().saturating_sub(1);
    let compare = |(at, &port): (usize, &u16)| {
        let otherwise = if at == last { To::Else } else { To::Next };
        (IF_EQUAL, u32::from(port), To::Skip(last - at), otherwise)
    };
    ports.iter().enumerate().map(compare).collect()
}

fn to_one_of_v4(addresses: &BTreeSet<IpAddr>, header: u32) -> Vec<Step> {
    let of_v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(u32::from(*address)),
        IpAddr::V6(_) => None,
    });
    let load = std::iter::once((LOAD_WORD, header + 16, To::Next, To::Next));
    load.chain(of_v4.map(|address| (IF_EQUAL, address, To::Match, To::Next))).collect()
}

/// Four words for each; with the first that differs, the next address has its turn.
fn to_one_of_v6(addresses: &BTreeSet<IpAddr>, header: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    for address in addresses {
        let IpAddr::V6(address) = address else { continue };
        let bits = address.to_bits();
        for (word, shift) in (0u32..4).zip([96, 64, 32, 0]) {
            #[allow(clippy::cast_possible_truncation)] // that word is meant
            let value = (bits >> shift) as u32;
            let left = 2 * (3 - word as usize);
            let equal = if word == 3 { To::Match } else { To::Next };
            steps.push((LOAD_WORD, header + 24 + 4 * word, To::Next, To::Next));
            steps.push((IF_EQUAL, value, equal, To::Skip(left)));
        }
    }
    steps
}

/// `steps`, and after them what is returned when they come to their end or [`To::Else`], and for
/// [`To::Match`].
fn program(steps: Vec<Step>, on_match: u32, otherwise: u32) -> Vec<SockFilter> {
    let end = steps.len();
    let mut program: Vec<SockFilter> = steps
        .into_iter()
        .enumerate()
        .map(|(at, (code, operand, yes, no))| {
            let jump = |to| match to {
                To::Next => 0,
                To::Skip(steps) => distance(steps),
                To::Else => distance(end - at - 1),
                To::Match => distance(end - at),
            };
            SockFilter::new(code, jump(yes), jump(no), operand)
        })
        .collect();
    program.push(SockFilter::new(RETURN, 0, 0, otherwise));
    program.push(SockFilter::new(RETURN, 0, 0, on_match));
    program
}

/// A jump; one that is too long is in a program that is refused as too long.
fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

/// `program`, if it is not too long.
///
/// # Errors
///
/// When it is: there are more addresses than one filter can tell.
pub(super) fn checked(program: Vec<SockFilter>) -> io::Result<Vec<SockFilter>> {
    if program.len() <= MOST {
        return Ok(program);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "too many addresses for one filter: hand over fewer at once",
    ))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs as _};
    use std::time::Duration;

    use super::*;

    fn connects(to: (IpAddr, u16)) -> bool {
        let address = to.to_socket_addrs().expect("an address").next().expect("one");
        TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
    }

    #[test]
    fn the_kernel_drops_what_is_meant_and_nothing_else() {
        let (own, other) = (IpAddr::from([127, 84, 0, 1]), IpAddr::from([127, 84, 0, 2]));
        let many = |last: IpAddr| {
            let strangers = (1..=20).map(|n| IpAddr::from([192, 0, 2, n]));
            let strangers_v6 = (1..=5).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
            strangers.chain(strangers_v6).chain([last]).collect::<BTreeSet<IpAddr>>()
        };
        let listener = TcpListener::bind(("0.0.0.0", 0)).expect("bound");
        let port = listener.local_addr().expect("address").port();
        let socket = socket2::SockRef::from(&listener);
        socket.attach_filter(&checked(drop_new(&many(own))).expect("short enough")).expect("taken");
        assert_eq!((connects((own, port)), connects((other, port))), (false, true));
        socket.detach_filter().expect("was there");
        assert!(connects((own, port)));

        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
        let port = listener.local_addr().expect("address").port();
        let own = IpAddr::from(Ipv6Addr::LOCALHOST);
        let socket = socket2::SockRef::from(&listener);
        socket.attach_filter(&drop_new(&many(own))).expect("taken");
        assert!(!connects((own, port)));
        socket.attach_filter(&drop_new(&many([192, 0, 2, 99].into()))).expect("taken");
        assert!(connects((own, port)), "all but this one");
    }

    #[test]
    fn more_addresses_than_fit_are_refused() {
        let some = |count: u32| (0..count).map(|n| IpAddr::from(n.to_be_bytes())).collect::<BTreeSet<_>>();
        assert!(checked(drop_new(&some(200))).is_ok());
        assert!(checked(drop_new(&some(300))).is_err());
    }
}
