//! An address as text. For that of most clients the machinery for all kinds of text costs more than the rest of what is
//! said of them.

use std::io::Write as _;
use std::net::IpAddr;

/// No address is longer, in bytes.
pub(crate) const LONGEST: usize = 45;

/// Writes `address` to `out` as it is usually written.
pub(crate) fn write(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // A vector takes anything.
        let _ = write!(out, "{address}");
        return;
    };
    for (index, part) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        if part >= 100 {
            out.push(b'0' + part / 100);
        }
        if part >= 10 {
            out.push(b'0' + part / 10 % 10);
        }
        out.push(b'0' + part % 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_usual() {
        let all = (0..=255u8).flat_map(|part| [[part, 0, 10, 100], [9, part, 99, 255], [1, 2, 3, part]]);
        for address in all.map(IpAddr::from).chain(["2001:db8::7".parse().expect("address")]) {
            let mut written = Vec::new();
            write(&mut written, address);
            assert_eq!(written, address.to_string().into_bytes());
        }
    }
}
