//! The kernel's table of connections whose addresses it translates (ctnetlink): read, and taken out of.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol, Status,
    Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr as Kernel};

/// The state of a connection in both of whose directions anything may be said (`enum tcp_conntrack` of
/// `linux/netfilter/nf_conntrack_tcp.h`).
const ESTABLISHED: u8 = 3;

/// The names of all states, as `conntrack` and `ipvsadm` have them.
const STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) client: SocketAddr,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    /// Who answers.
    pub(crate) upstream: SocketAddr,
    state: u8,
    /// It is forgotten when nothing is said for so long.
    pub(crate) expires: Duration,
}

impl Connection {
    /// Whether neither side has ended.
    pub(crate) fn is_active(&self) -> bool {
        self.state == ESTABLISHED
    }

    /// What its state is called.
    pub(crate) fn state(&self) -> &'static str {
        STATES.get(usize::from(self.state)).copied().unwrap_or("NONE")
    }
}

/// All of TCP whose destination is translated.
///
/// # Errors
///
/// Without the right to (CAP_NET_ADMIN), or where the kernel tracks no connections.
pub(crate) fn list() -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        let message = ConntrackMessage::Get(Vec::new());
        ask(&Table::open()?, family, message, NLM_F_DUMP, |attributes| found.extend(read(attributes)))?;
    }
    Ok(found)
}

/// Takes `connections` out of the table: what is said on them from now on is for nobody. Returns how many were there.
///
/// # Errors
///
/// As [`list`]; that one has ended meanwhile is none.
pub(super) fn forget(connections: &[Connection]) -> io::Result<usize> {
    let table = Table::open()?;
    let mut forgotten = 0;
    for Connection { client, local, .. } in connections {
        let family = if local.is_ipv4() { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 };
        let addresses = vec![IPTuple::SourceAddress(client.ip()), IPTuple::DestinationAddress(local.ip())];
        let ports = vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(client.port()),
            ProtoTuple::DestinationPort(local.port()),
        ];
        let tuple = ConntrackAttribute::CtaTupleOrig(vec![Tuple::Ip(addresses), Tuple::Proto(ports)]);
        match ask(&table, family, ConntrackMessage::Delete(vec![tuple]), NLM_F_ACK, |_| {}) {
            Ok(()) => forgotten += 1,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// A socket to the kernel's table.
struct Table(Socket);

impl Table {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&Kernel::new(0, 0))?;
        Ok(Table(socket))
    }
}

/// Asks for one thing and has each part of the answer be taken.
fn ask(
    table: &Table,
    family: NetfilterProtoFamily,
    message: ConntrackMessage,
    flags: u16,
    mut take: impl FnMut(&[ConntrackAttribute]),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let inner = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(inner));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    table.0.send(&bytes, 0)?;
    loop {
        let (bytes, _) = table.0.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let packet = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
            match packet.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    return if error.raw_code() == 0 { Ok(()) } else { Err(error.to_io()) };
                }
                NetlinkPayload::InnerMessage(NetfilterMessage {
                    inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
                    ..
                }) => take(&attributes),
                _ => {}
            }
            // Each message begins at a multiple of four bytes.
            let length = (packet.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(4)..).unwrap_or_default();
        }
    }
}

/// The connection that an entry describes; none where nothing of it is translated, or it is not of TCP.
fn read(attributes: &[ConntrackAttribute]) -> Option<Connection> {
    let (mut original, mut reply, mut is_translated) = (None, None, false);
    let (mut state, mut expires) = (0, Duration::ZERO);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = ends(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = ends(tuple),
            ConntrackAttribute::CtaStatus(status) => is_translated = status.contains(Status::DstNat),
            ConntrackAttribute::CtaTimeout(seconds) => expires = Duration::from_secs((*seconds).into()),
            ConntrackAttribute::CtaProtoInfo(infos) => {
                let tcp = infos
                    .iter()
                    .filter_map(|info| if let ProtoInfo::TCP(tcp) = info { Some(tcp) } else { None });
                let mut states = tcp.flatten().filter_map(|info| match info {
                    ProtoInfoTCP::State(state) => Some(*state),
                    _ => None,
                });
                state = states.next().unwrap_or(0);
            }
            _ => {}
        }
    }
    let ((client, local), (upstream, _)) = (original?, reply?);
    is_translated.then_some(Connection { client, local, upstream, state, expires })
}

/// Source and destination; none of what is not TCP.
fn ends(tuple: &[Tuple]) -> Option<(SocketAddr, SocketAddr)> {
    let (mut from, mut to) = ((None, None), (None, None));
    let mut is_tcp = false;
    for part in tuple {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => from.0 = Some(*address),
                        IPTuple::DestinationAddress(address) => to.0 = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(ports) => {
                for port in ports {
                    match port {
                        ProtoTuple::Protocol(protocol) => is_tcp = *protocol == Protocol::Tcp,
                        ProtoTuple::SourcePort(port) => from.1 = Some(*port),
                        ProtoTuple::DestinationPort(port) => to.1 = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let end = |(address, port): (Option<IpAddr>, Option<u16>)| Some(SocketAddr::new(address?, port?));
    if is_tcp { Some((end(from)?, end(to)?)) } else { None }
}
