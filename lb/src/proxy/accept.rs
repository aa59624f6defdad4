//! One worker: a thread with its own runtime and its own listeners on the shared ports, so that a
//! connection, its requests and its upstream connections stay on one core.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::arrival::{Arrived, Place, arrive};
use super::client_stream::ClientStream;
use super::connection::{self, Server};
use super::forward::connect::watch_for_death;
use super::state::State;
use super::state::connections::Open;
use super::tcp;
use super::tcp::ended::Ended;
use super::tcp::ports::Opened;

/// The kernel's switch for it, of Linux 5.14 and later, one for each network namespace.
const MIGRATE: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// Connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// What the kernel holds for a client that it cannot send yet, in bytes. Without a limit a client that takes nothing
/// costs what the largest send buffer has, 4 MiB on most systems; and it could not be told from one that takes little.
pub(crate) const UNSENT: u32 = 128 << 10;

/// After an accept fails for want of descriptors or memory, the next one waits so long.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a stopping worker looks whether its requests are done.
const STOP_POLL: Duration = Duration::from_millis(5);

/// A client that keeps its connection has so long to send one more request when we stop; the answer tells it to
/// connect anew. A request that is on its way to a connection that is closed would be lost.
const KEPT_NOTICE: Duration = Duration::from_millis(500);

/// The connections of TCP services that are left when we stop are reset within this.
const LAST_RESETS: Duration = Duration::from_millis(200);

/// Has the kernel give connections to another listener of the same port when one is closed: those that are not
/// accepted yet, and those whose handshake is under way. Without it they are reset, and a program that takes the place
/// of this one would be noticed. Where it cannot be set, only the second kind is lost.
pub(crate) fn leave_nobody_behind() {
    if let Err(error) = std::fs::write(MIGRATE, "1") {
        tracing::debug!(%error, "{MIGRATE} cannot be set: handshakes end with the listener they began with");
    }
}

/// Opens a listener that shares its port with those of the other workers.
///
/// # Errors
///
/// When the address cannot be had.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    opened(address, None)
}

/// The same at `address`, the unspecified one of IPv6, for clients of IPv4 too, whatever the system's default.
///
/// # Errors
///
/// As [`listen`].
pub(crate) fn listen_everywhere(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    opened(address, Some(false))
}

fn opened(address: SocketAddr, only_v6: Option<bool>) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(only_v6) = only_v6 {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these from the listener.
    socket.set_tcp_nodelay(true)?;
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    watch_for_death(&SockRef::from(&socket));
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections until asked to stop, then lets requests in progress finish within
/// `limits.stop_timeout_ms`. Connections that still have no request then are closed when the runtime is dropped.
pub(crate) async fn run(
    listeners: Vec<(TcpListener, Arc<Place>)>,
    tcp: UnboundedReceiver<Opened>,
    state: Arc<State>,
    server: Server,
) {
    let server = Arc::new(server);
    let of_http =
        join_all(listeners.into_iter().map(|(listener, place)| accept(listener, place, &state, &server)));
    tokio::join!(of_http, tcp::accept::run(tcp, server.clone()));
    drain(&state, &server).await;
}

async fn accept(listener: TcpListener, place: Arc<Place>, state: &Arc<State>, server: &Arc<Server>) {
    let mut stop = server.stop.clone();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => admit(tcp, peer, &place, state, server),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Those that came before the stop are served; closing the listener would reset them.
    while let Some(Ok((tcp, peer))) = listener.accept().now_or_never() {
        admit(tcp, peer, &place, state, server);
    }
}

fn admit(tcp: TcpStream, peer: SocketAddr, place: &Arc<Place>, state: &Arc<State>, server: &Arc<Server>) {
    let Some(mut open) = Open::admit(state, server.limits.connections) else { return };
    let on_vip = server.vips.admit(|| tcp.local_addr().ok().map(|local| local.ip())).map(Arc::new);
    let peer = peer.ip().to_canonical();
    let most = server.limits.connections_per_client;
    // Behind the PROXY protocol it is not known yet whose it is.
    let is_told = place.has_proxy();
    if !is_told && !open.count_for(peer, most) {
        return;
    }
    let server = server.clone();
    if place.is_plain() {
        let client = ClientStream::new(Arrived::plain(tcp, peer), on_vip);
        tokio::spawn(connection::serve(client, open, server));
        return;
    }
    let place = place.clone();
    tokio::spawn(async move {
        // Boxed: what a handshake needs must not count for the connection afterwards.
        let arriving = Box::pin(arrive(tcp, peer, on_vip.as_deref(), &place, &server));
        if let Some(arrived) = arriving.await
            && (!is_told || open.count_for(arrived.peer(), most))
        {
            connection::serve(ClientStream::new(arrived, on_vip), open, server).await;
        }
    });
}

async fn drain(state: &State, server: &Server) {
    let end = Instant::now() + Duration::from_millis(server.limits.stop_timeout_ms);
    let noticed = end.min(Instant::now() + KEPT_NOTICE);
    loop {
        // First, so that connections just accepted have begun with the request they brought.
        tokio::time::sleep(STOP_POLL).await;
        let (busy, open) = (state.connections.busy(), state.connections.open());
        let streams = state.tcp.streams.count();
        if busy == 0 && streams == 0 && (open == 0 || Instant::now() >= noticed) {
            return;
        }
        if Instant::now() >= end {
            tracing::warn!(
                requests = busy,
                tcp_connections = streams,
                "stopped before all requests were answered and all connections had ended"
            );
            break;
        }
    }
    // Their clients had better know than take it for the end of what was said.
    state.tcp.streams.end(Ended::Stopped, |_| true);
    while state.tcp.streams.count() > 0 && Instant::now() < end + LAST_RESETS {
        tokio::time::sleep(STOP_POLL).await;
    }
}
