//! One worker's share of the TCP services: takes the listeners it is given, and the connections that come to them.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use pingora_core::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::super::accept::ACCEPT_PAUSE;
use super::super::connection::Server;
use super::super::state::connections::Open;
use super::ports::Opened;
use super::serve::{Accepted, serve};

/// Takes connections at the listeners that come, until asked to stop.
pub(crate) async fn run(mut opened: UnboundedReceiver<Opened>, server: Arc<Server>) {
    let mut stop = server.stop.clone();
    tokio::spawn(follow_vips(server.clone()));
    let ports = TaskTracker::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(opened) = opened.recv() => {
                ports.spawn(accept(opened, server.clone()));
            }
        }
    }
    ports.close();
    ports.wait().await;
}

/// Resolves when the balancer stops.
async fn stopped(stop: &mut ShutdownWatch) {
    // It is never closed before that.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Has this worker's connections look at their addresses when something changes there.
async fn follow_vips(server: Arc<Server>) {
    while server.vips.changed(server.worker, || server.state.tcp.streams.wake(server.worker)).await {}
}

async fn accept(opened: Opened, server: Arc<Server>) {
    let Opened { port, listener, closing } = opened;
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(port, %error, "A PORT OF A TCP SERVICE CANNOT BE SERVED"),
    };
    let mut stop = server.stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = closing.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => admit(tcp, peer, port, &server),
            Err(error) => {
                tracing::warn!(port, %error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Those that came before are served while there is a service for them; closing the listener would reset them.
    while let Some(Ok((tcp, peer))) = listener.accept().now_or_never() {
        admit(tcp, peer, port, &server);
    }
}

fn admit(tcp: TcpStream, peer: SocketAddr, number: u16, server: &Arc<Server>) {
    let state = &server.state;
    let Some(port) = state.tcp.at(number) else { return };
    let Some(mut open) = Open::admit(state, server.limits.connections) else { return };
    let Ok(local) = tcp.local_addr() else { return };
    let [peer, local] = [peer, local].map(canonical);
    // Behind the PROXY protocol it is not known yet whose it is.
    if !port.has_proxy() && !open.count_for(peer.ip(), server.limits.connections_per_client) {
        return;
    }
    let on_vip = server.vips.admit(|| Some(local.ip()));
    tokio::spawn(serve(Accepted { tcp, peer, local, on_vip, port, open }, server.clone()));
}

/// An address of IPv4 as such, also where a socket for both took the connection.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
