//! Questions by ARP: probes (RFC 5227, section 2.1), which are requests without a sender address.

use std::net::Ipv4Addr;

use super::HEADER;

pub(super) const ETHERTYPE: u16 = 0x0806;

const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u16 = 1;

/// Ethernet header and ARP packet, in bytes.
const FRAME: usize = HEADER + 28;

/// What every ARP packet for IPv4 on Ethernet begins with (RFC 826): hardware type, protocol type, and
/// the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Who says in `frame` that `address` is his, or is about to be.
pub(super) fn claimant(frame: &[u8], own: &[[u8; 6]], address: Ipv4Addr) -> Option<[u8; 6]> {
    let frame: &[u8; FRAME] = frame.first_chunk()?;
    let is_arp = frame[12..14] == ETHERTYPE.to_be_bytes() && frame[14..20] == KIND;
    let operation = u16::from_be_bytes([frame[20], frame[21]]);
    let sender: [u8; 6] = frame[22..28].try_into().ok()?;
    let has = frame[28..32] == address.octets();
    let wants = operation == REQUEST
        && frame[28..32] == Ipv4Addr::UNSPECIFIED.octets()
        && frame[38..42] == address.octets();
    (is_arp && (has || (wants && !own.contains(&sender)))).then_some(sender)
}

/// A probe for `address`.
pub(super) fn probe(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.extend(KIND);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(Ipv4Addr::UNSPECIFIED.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn packet(sender: [u8; 6], operation: u16, has: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME] {
        let mut packet: [u8; FRAME] = probe(sender, target).try_into().expect("the size of a frame");
        packet[20..22].copy_from_slice(&operation.to_be_bytes());
        packet[28..32].copy_from_slice(&has.octets());
        packet
    }

    #[test]
    fn who_has_the_address_or_wants_it_is_a_claimant() {
        let (nobody, other) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 8));
        for (sender, operation, has, target, expected, what) in [
            (THEIRS, 2, ADDRESS, nobody, true, "an answer"),
            (THEIRS, 1, ADDRESS, ADDRESS, true, "an announcement"),
            (THEIRS, 1, ADDRESS, other, true, "a question of who has it"),
            (THEIRS, 1, nobody, ADDRESS, true, "another's probe"),
            (OURS, 1, nobody, ADDRESS, false, "our own probe"),
            (THEIRS, 1, nobody, other, false, "a probe for another one"),
            (THEIRS, 1, other, ADDRESS, false, "a question for it"),
            (THEIRS, 2, other, ADDRESS, false, "an answer for another one"),
        ] {
            let found = claimant(&packet(sender, operation, has, target), &[OURS], ADDRESS);
            assert_eq!(found, expected.then_some(sender), "{what}");
        }
        let mut other_kind = packet(THEIRS, 2, ADDRESS, nobody);
        other_kind[14] = 6;
        assert_eq!(claimant(&other_kind, &[OURS], ADDRESS), None);
    }
}
