//! Opens connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::failure;
use super::stream::{Socket, Stream, Traffic};
use super::tls::{self, Trust};
use crate::count::Failure;
use crate::origin::{Origin, look_up};

/// Opens connections to one origin.
pub(super) struct Connector {
    origin: Arc<Origin>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http2: bool,
    traffic: Arc<Traffic>,
}

impl Connector {
    pub(super) fn new(
        origin: Arc<Origin>,
        trust: &Trust,
        http2: bool,
        traffic: Arc<Traffic>,
    ) -> anyhow::Result<Self> {
        let tls = if origin.tls {
            let name = ServerName::try_from(origin.host.clone());
            let name = name.with_context(|| format!("`{}` is no name that TLS knows", origin.host))?;
            Some((TlsConnector::from(tls::config(trust, http2)?), name))
        } else {
            None
        };
        Ok(Connector { origin, tls, http2, traffic })
    }

    /// Opens one by `deadline`, up to where HTTP begins.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Stream, Failure> {
        let Origin { host, port, address, looked_up_each, .. } = &*self.origin;
        let address = if *looked_up_each {
            // A resolver that says nothing has not even begun to connect.
            let found = timeout_at(deadline, look_up(host, *port)).await;
            found.ok().and_then(Result::ok).flatten().ok_or(Failure::Dns)?
        } else {
            *address
        };
        timeout_at(deadline, self.connect_to(address)).await.unwrap_or(Err(Failure::ConnectTimeout))
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Stream, Failure> {
        let stream = TcpStream::connect(address).await.map_err(|error| failure::of_connect(&error))?;
        // A failure here shows in the request itself.
        let _ = stream.set_nodelay(true);
        let socket = match &self.tls {
            None => Socket::Plain(stream),
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await.map_err(|error| of_handshake(&error))?;
                // Without agreement a server that speaks only HTTP/1 would get what it cannot read.
                if self.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(Failure::Tls);
                }
                Socket::Tls(Box::new(stream))
            }
        };
        Ok(Stream::new(socket, self.traffic.clone()))
    }
}

fn of_handshake(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Failure::Reset
        }
        io::ErrorKind::UnexpectedEof => Failure::Eof,
        _ => Failure::Tls,
    }
}
