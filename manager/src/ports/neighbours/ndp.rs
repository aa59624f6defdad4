//! Questions by neighbour discovery: solicitations without a sender address, as duplicate address detection sends them
//! (RFC 4862, section 5.4.2). Who has the address answers all nodes.

use std::net::Ipv6Addr;

use super::HEADER;

pub(super) const ETHERTYPE: u16 = 0x86dd;

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// What has passed a router is no neighbour's (RFC 4861, section 7.1).
const HOP_LIMIT: u8 = 255;

/// Where things are in a frame, in bytes from its beginning: of the IPv6 header (RFC 8200, section 3) …
const NEXT_HEADER: usize = HEADER + 6;
const HOPS: usize = HEADER + 7;
const SOURCE: usize = HEADER + 8;
/// … and of the message behind it (RFC 4861, sections 4.3 and 4.4).
const TYPE: usize = HEADER + 40;
const TARGET: usize = TYPE + 8;
const END: usize = TARGET + 16;

/// Who says in `frame` that `address` is his, or is about to be.
pub(super) fn claimant(frame: &[u8], own: &[[u8; 6]], address: Ipv6Addr) -> Option<[u8; 6]> {
    let frame: &[u8; END] = frame.first_chunk()?;
    let is_neighbours = frame[HEADER - 2..HEADER] == ETHERTYPE.to_be_bytes()
        && frame[NEXT_HEADER] == ICMPV6
        && frame[HOPS] == HOP_LIMIT;
    let sender: [u8; 6] = frame[6..12].try_into().ok()?;
    let source = &frame[SOURCE..SOURCE + 16];
    let is_target = frame[TARGET..END] == address.octets();
    let claims = match frame[TYPE] {
        ADVERTISEMENT => is_target,
        SOLICITATION => {
            let wants = is_target && source == Ipv6Addr::UNSPECIFIED.octets() && !own.contains(&sender);
            wants || source == address.octets()
        }
        _ => false,
    };
    (is_neighbours && claims).then_some(sender)
}

/// A solicitation of `address`, to those whose addresses end like it (RFC 4291, section 2.7.1).
pub(super) fn probe(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    let sum = checksum(Ipv6Addr::UNSPECIFIED, group, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = Vec::with_capacity(END);
    // RFC 2464, section 7.
    frame.extend([0x33, 0x33, 0xff, a, b, c]);
    frame.extend(mac);
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend([ICMPV6, HOP_LIMIT]);
    frame.extend(Ipv6Addr::UNSPECIFIED.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// Of an ICMPv6 message of an even number of bytes, with the pseudo-header of RFC 8200, section 8.1.
fn checksum(source: Ipv6Addr, target: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
    };
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sum =
        words(&source.octets()) + words(&target.octets()) + words(message) + length + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0x12, 0x3456);

    #[test]
    fn who_has_the_address_or_wants_it_is_a_claimant() {
        let (nobody, other) = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 8));
        for (sender, kind, source, target, expected, what) in [
            (THEIRS, ADVERTISEMENT, ADDRESS, ADDRESS, true, "an answer"),
            (THEIRS, ADVERTISEMENT, other, ADDRESS, true, "an answer from another of its addresses"),
            (THEIRS, SOLICITATION, ADDRESS, other, true, "a question of who has it"),
            (THEIRS, SOLICITATION, nobody, ADDRESS, true, "another's probe"),
            (OURS, SOLICITATION, nobody, ADDRESS, false, "our own probe"),
            (THEIRS, SOLICITATION, nobody, other, false, "a probe for another one"),
            (THEIRS, SOLICITATION, other, ADDRESS, false, "a question for it"),
            (THEIRS, ADVERTISEMENT, other, other, false, "an answer for another one"),
            (THEIRS, 128, ADDRESS, ADDRESS, false, "a ping"),
        ] {
            let mut frame = probe(sender, target);
            frame[TYPE] = kind;
            frame[SOURCE..SOURCE + 16].copy_from_slice(&source.octets());
            assert_eq!(claimant(&frame, &[OURS], ADDRESS), expected.then_some(sender), "{what}");
        }
        let mut routed = probe(THEIRS, ADDRESS);
        routed[HOPS] = 254;
        assert_eq!(claimant(&routed, &[OURS], ADDRESS), None);
        assert_eq!(claimant(&routed[..END - 1], &[OURS], ADDRESS), None, "too short");
    }
}
