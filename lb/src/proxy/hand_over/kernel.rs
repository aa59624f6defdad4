//! What the kernel knows of connections to an address and we do not: those whose handshake is not complete,
//! those that wait to be accepted, and those whose client does not have all of its answer yet.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Its tables, one for each family: a socket that listens on `[::]` is in the second.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The states in which something may still be on its way to either side (`enum` in the kernel's
/// `tcp_states.h`), as the tables write them. Of one in `FIN_WAIT2` or `TIME_WAIT` the client has
/// acknowledged all.
const ESTABLISHED: &str = "01";
const SYN_RECEIVED: &str = "03";
const FIN_WAIT_1: &str = "04";
const CLOSE_WAIT: &str = "08";
const LAST_ACK: &str = "09";
const CLOSING: &str = "0B";

/// As much is read of them at once, in bytes.
const PART: usize = 64 << 10;

/// How many connections are in which condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Its handshake is not complete; that of a client that has gone never will be.
    pub(super) half_open: u64,
    /// A request may be on its way, or in progress.
    pub(super) open: u64,
    /// We have ended our side, and the client has not yet said that it has all.
    pub(super) unconfirmed: u64,
}

/// The connections to one of `ports` of one of `addresses`.
///
/// # Errors
///
/// When the kernel's tables cannot be read.
pub(super) fn left(addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>) -> io::Result<Left> {
    let mut left = Left::default();
    for table in TABLES {
        match File::open(table) {
            // Line by line: of a busy balancer it has megabytes, and a hand-over reads it many times.
            Ok(table) => count(BufReader::with_capacity(PART, table), addresses, ports, &mut left)?,
            // Without IPv6 there is no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

fn count(
    mut table: impl BufRead,
    addresses: &BTreeSet<IpAddr>,
    ports: &BTreeSet<u16>,
    left: &mut Left,
) -> io::Result<()> {
    let mut line = String::new();
    table.read_line(&mut line)?;
    loop {
        line.clear();
        if table.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(state)) = (words.next(), words.nth(1)) else { continue };
        let counted = match state {
            SYN_RECEIVED => &mut left.half_open,
            ESTABLISHED | CLOSE_WAIT => &mut left.open,
            FIN_WAIT_1 | LAST_ACK | CLOSING => &mut left.unconfirmed,
            _ => continue,
        };
        if socket(local).is_some_and(|(address, at)| ports.contains(&at) && addresses.contains(&address)) {
            *counted += 1;
        }
    }
}

/// An address and port as the tables write them: words of four bytes in the machine's order.
fn socket(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_are_found_until_the_client_has_all() {
        let address = IpAddr::from([127, 83, 1, 9]);
        let listener = TcpListener::bind((address, 0)).expect("bound");
        let port = listener.local_addr().expect("address").port();
        let here = BTreeSet::from([address]);
        let ports = BTreeSet::from([port, 1]);
        let now = || left(&here, &ports).expect("the tables");
        assert_eq!(now(), Left::default());
        let client = TcpStream::connect((address, port)).expect("connected");
        assert_eq!(now(), Left { open: 1, ..Left::default() }, "before it is accepted");
        let (mut server, _) = listener.accept().expect("accepted");
        server.write_all(b"bye").expect("sent");
        server.shutdown(std::net::Shutdown::Write).expect("ended");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while now() != Left::default() {
            assert!(std::time::Instant::now() < end, "the client's kernel confirms it");
        }
        assert_eq!(left(&BTreeSet::from([IpAddr::from([127, 83, 1, 8])]), &ports).expect("read").open, 0);
        drop(client);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let v4 = format!("{:08X}:0050", u32::from_ne_bytes([192, 168, 10, 120]));
        assert_eq!(socket(&v4), Some(([192, 168, 10, 120].into(), 80)));
        let mapped = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0xff, 0xff], [192, 168, 10, 120]];
        let mapped: String = mapped.map(|word| format!("{:08X}", u32::from_ne_bytes(word))).concat();
        assert_eq!(socket(&format!("{mapped}:1F90")), Some(([192, 168, 10, 120].into(), 8080)));
        for wrong in ["", ":", "00:1", "0100007F", "0100007F:xyz", "é0100007:1"] {
            assert_eq!(socket(wrong), None, "{wrong}");
        }
    }
}
