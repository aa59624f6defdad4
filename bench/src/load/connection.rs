//! One connection of the load, with or without TLS, and the request on it.
//!
//! ```text
//!             ask                 head              body
//!   Idle ───────────▶ Asking ───────────▶ Reading ───────▶ Idle, or with `--fresh` Closing ──▶ over
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use socket2::{Domain, Socket, Type};

use super::Options;
use super::tls;
use crate::head::{Head, MAX_HEAD};

/// What all requests are and where they go.
pub(super) struct Target {
    address: SocketAddr,
    request: Vec<u8>,
    tls: Option<Arc<ClientConfig>>,
    name: ServerName<'static>,
    pub(super) fresh: bool,
}

/// The name that is asked for, and that the certificate is for.
const NAME: &str = "bench.test";

impl Target {
    /// # Errors
    ///
    /// When the certificates cannot be read.
    pub(super) fn new(options: &Options) -> Result<Self> {
        let method = if options.post.is_some() { "POST" } else { "GET" };
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: bench\r\nAccept: */*\r\n",
            options.path
        );
        if options.fresh {
            head += "Connection: close\r\n";
        }
        if let Some(length) = options.post {
            head += &format!("Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n");
        }
        head += "\r\n";
        let mut request = head.into_bytes();
        request.resize(request.len() + options.post.unwrap_or(0), b'x');
        let tls = options.tls.as_deref().map(|file| tls::client(file, options.resume)).transpose()?;
        let name = ServerName::try_from(NAME)?;
        Ok(Target { address: options.target, request, tls, name, fresh: options.fresh })
    }
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asking,
    Reading(u64),
    Closing,
}

/// What became of a connection when it was looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing to tell.
    Waits,
    /// The answer is complete, and the connection can be used again.
    Answered,
    /// The answer is complete, and the connection ends.
    AnsweredLast,
    /// The connection has ended where it might.
    Ended,
    /// The request failed, or the connection ended where it must not.
    Failed,
}

/// One connection.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    state: State,
    /// When the request was due.
    pub(super) due: Instant,
    /// What of the request is sent, where there is no TLS; with it the session keeps what is not.
    sent: usize,
    partial: Vec<u8>,
    close: bool,
}

impl Connection {
    /// Begins to connect. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// When there are no descriptors or no ports left.
    pub(super) fn open(target: &Target) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(target.address), Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&target.address.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        let tls = target.tls.as_ref().map(|config| {
            let mut session = ClientConnection::new(config.clone(), target.name.clone())?;
            session.set_buffer_limit(None);
            Ok::<_, rustls::Error>(Box::new(session))
        });
        Ok(Connection {
            socket: socket.into(),
            tls: tls.transpose()?,
            state: State::Idle,
            due: Instant::now(),
            sent: 0,
            partial: Vec::new(),
            // It is asked to close; that it says so too, it need not.
            close: target.fresh,
        })
    }

    /// Whether it waits for an answer.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Asking | State::Reading(_))
    }

    /// Whether its session was resumed; none where there is no TLS, or its handshake is not done.
    pub(super) fn resumed(&self) -> Option<bool> {
        let kind = self.tls.as_ref()?.handshake_kind()?;
        Some(kind == HandshakeKind::Resumed)
    }

    /// Sends a request that was due at `due`. It goes out as far as the socket takes it; the rest follows.
    pub(super) fn ask(&mut self, target: &Target, due: Instant) -> Outcome {
        self.state = State::Asking;
        self.due = due;
        self.sent = 0;
        if let Some(tls) = &mut self.tls {
            // It keeps all of it, until the handshake is done at first.
            if tls.writer().write_all(&target.request).is_err() {
                return Outcome::Failed;
            }
        }
        match self.send(target) {
            Ok(()) => Outcome::Waits,
            Err(_) => Outcome::Failed,
        }
    }

    /// Does all there is to do. `ended`: the other side has, so it is read until that shows.
    pub(super) fn drive(&mut self, target: &Target, scratch: &mut [u8], ended: bool) -> Outcome {
        if self.send(target).is_err() {
            return Outcome::Failed;
        }
        loop {
            match self.receive(scratch) {
                Ok(0) => return if self.is_busy() { Outcome::Failed } else { Outcome::Ended },
                Ok(count) => {
                    // A short read has taken everything (epoll(7)), unless the end is behind it; sessions of TLS give
                    // what they have in parts.
                    let drained = count < scratch.len() && !ended && self.tls.is_none();
                    match self.feed(&scratch[..count]) {
                        Outcome::Waits if drained => return Outcome::Waits,
                        Outcome::Waits => {}
                        outcome => return outcome,
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever closes without a farewell of TLS after its answer has lost nothing of it.
                Err(_) if self.state == State::Closing => return Outcome::Ended,
                Err(_) => return Outcome::Failed,
            }
        }
    }

    fn send(&mut self, target: &Target) -> io::Result<()> {
        let retry = |error: io::Error| match error.kind() {
            // Not connected yet is not writable yet.
            ErrorKind::WouldBlock | ErrorKind::NotConnected => Ok(()),
            _ => Err(error),
        };
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                if let Err(error) = tls.write_tls(&mut self.socket) {
                    return retry(error);
                }
            }
            return Ok(());
        }
        while self.state == State::Asking && self.sent < target.request.len() {
            match self.socket.write(&target.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) => return retry(error),
            }
        }
        Ok(())
    }

    /// What came, without TLS.
    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(scratch) };
        loop {
            match tls.reader().read(scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Outcome {
        let body = match self.state {
            State::Asking => {
                let joined;
                let mut whole = bytes;
                if !self.partial.is_empty() {
                    self.partial.extend_from_slice(bytes);
                    joined = std::mem::take(&mut self.partial);
                    whole = &joined;
                }
                let Some(head) = Head::parse(whole) else {
                    self.partial = whole.to_vec();
                    return if whole.len() > MAX_HEAD { Outcome::Failed } else { Outcome::Waits };
                };
                // Everything that is asked for here is answered with 200 and a length.
                let (Some(length), true) = (head.content_length, whole.starts_with(b"HTTP/1.1 200 ")) else {
                    return Outcome::Failed;
                };
                self.close |= head.close;
                self.state = State::Reading(length);
                whole.len() - head.len
            }
            State::Reading(_) => bytes.len(),
            // Nobody has asked.
            State::Idle | State::Closing => return Outcome::Failed,
        };
        let State::Reading(left) = self.state else { return Outcome::Failed };
        let Some(left) = left.checked_sub(body as u64) else { return Outcome::Failed };
        self.state = State::Reading(left);
        if left > 0 {
            return Outcome::Waits;
        }
        self.state = if self.close { State::Closing } else { State::Idle };
        if self.close { Outcome::AnsweredLast } else { Outcome::Answered }
    }
}
