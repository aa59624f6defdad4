//! Programs for the kernel's packet filter (classic BPF, see the kernel's `Documentation/networking/filter`)
//! that tell the first packet of a TCP connection to one of some addresses.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

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

/// More instructions than this leave no room for a jump over all of them.
const MOST: usize = 250;

/// Where an instruction goes on.
#[derive(Clone, Copy)]
enum To {
    Next,
    Match,
    Else,
}

/// One instruction before its jumps are known.
type Step = (u16, u32, To, To);

/// For a listener: drops what asks for a new connection to one of `addresses`. The packet at hand begins
/// with its TCP header.
pub(super) fn drop_new(addresses: &BTreeSet<Ipv4Addr>) -> Vec<SockFilter> {
    let mut steps = vec![
        (LOAD_BYTE, 13, To::Next, To::Next),
        (AND, SYN_OR_ACK, To::Next, To::Next),
        (IF_EQUAL, SYN, To::Next, To::Else),
        (LOAD_BYTE, IP_HEADER, To::Next, To::Next),
        (AND, 0xf0, To::Next, To::Next),
        (IF_EQUAL, 0x40, To::Next, To::Else),
        (LOAD_WORD, IP_HEADER + 16, To::Next, To::Next),
    ];
    steps.extend(any_of(addresses));
    program(steps, NOTHING, ALL)
}

/// For a packet socket: takes only what asks for a new connection to `port` of one of `addresses`, and came
/// from outside. The packet at hand begins with its IP header.
pub(super) fn take_new(addresses: &BTreeSet<Ipv4Addr>, port: u16) -> Vec<SockFilter> {
    let mut steps = vec![
        (LOAD_WORD, PACKET_TYPE, To::Next, To::Next),
        (IF_EQUAL, TO_US, To::Next, To::Else),
        (LOAD_BYTE, 0, To::Next, To::Next),
        (AND, 0xf0, To::Next, To::Next),
        (IF_EQUAL, 0x40, To::Next, To::Else),
        (LOAD_BYTE, 9, To::Next, To::Next),
        (IF_EQUAL, TCP, To::Next, To::Else),
        // Not the later part of a packet that was cut into several.
        (LOAD_HALF, 6, To::Next, To::Next),
        (IF_ANY_BIT, 0x1fff, To::Else, To::Next),
        (LOAD_HEADER_LENGTH, 0, To::Next, To::Next),
        (LOAD_HALF_AT_X, 2, To::Next, To::Next),
        (IF_EQUAL, u32::from(port), To::Next, To::Else),
        (LOAD_BYTE_AT_X, 13, To::Next, To::Next),
        (AND, SYN_OR_ACK, To::Next, To::Next),
        (IF_EQUAL, SYN, To::Next, To::Else),
        (LOAD_WORD, 16, To::Next, To::Next),
    ];
    steps.extend(any_of(addresses));
    program(steps, ALL, NOTHING)
}

fn any_of(addresses: &BTreeSet<Ipv4Addr>) -> impl Iterator<Item = Step> {
    addresses.iter().map(|address| (IF_EQUAL, u32::from(*address), To::Match, To::Next))
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
