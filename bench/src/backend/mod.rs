//! The service behind the proxies: one thread, one epoll, answers that were made before they are asked for.
//!
//! ```text
//!   GET  /…       200 bytes of JSON          POST /echo    what was sent
//!   GET  /big     1 MiB                      POST /…       the 200 bytes, once all was read
//!   GET  /huge    100 MiB
//! ```
//!
//! Each descriptor is watched once, for both directions and by its edges: no system call is made to change what is
//! waited for.

mod answers;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use self::answers::{Answers, FILL, Kind, Unsent};
use crate::head::{Head, MAX_HEAD};

/// What is read at once, in bytes.
const READ: usize = 256 << 10;

/// The longest body that is sent back, in bytes.
const MAX_ECHO: u64 = 16 << 20;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 65_535;

/// How many events are taken at once.
const EVENTS: usize = 512;

/// Where to listen.
#[derive(Args)]
pub(crate) struct Options {
    /// The address and port; with port 0, one that is free.
    listen: SocketAddr,
}

/// One connection.
struct Connection {
    socket: TcpStream,
    /// The beginning of a head.
    partial: Vec<u8>,
    /// What of the request's body has not come yet.
    body_left: u64,
    /// The request's body, if it is to be sent back.
    echo: Option<Vec<u8>>,
    /// What is answered when the body is here.
    next: Kind,
    /// What could not be sent yet.
    unsent: Option<Unsent>,
    close: bool,
}

/// What is known of a connection after it was looked after.
#[derive(PartialEq, Eq)]
enum Life {
    Goes,
    Over,
}

impl Connection {
    /// Does all there is to do. `ended`: the other side has, so it is read until that shows.
    fn serve(&mut self, answers: &Answers, scratch: &mut [u8], ended: bool) -> Life {
        if self.flush() == Life::Over {
            return Life::Over;
        }
        if self.unsent.is_none() && !self.partial.is_empty() && self.feed(&[], answers) == Life::Over {
            return Life::Over;
        }
        while self.unsent.is_none() {
            match self.socket.read(scratch) {
                Ok(0) => return Life::Over,
                Ok(count) => {
                    if self.feed(&scratch[..count], answers) == Life::Over {
                        return Life::Over;
                    }
                    // A short read has taken everything (epoll(7)), unless the end is behind it.
                    if count < scratch.len() && !ended {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Life::Over,
            }
        }
        Life::Goes
    }

    fn feed(&mut self, bytes: &[u8], answers: &Answers) -> Life {
        if self.partial.is_empty() {
            return self.take(bytes, answers);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        self.take(&whole, answers)
    }

    fn take(&mut self, mut bytes: &[u8], answers: &Answers) -> Life {
        while !bytes.is_empty() {
            if self.unsent.is_some() {
                // Requests ahead of their turn wait.
                self.partial = bytes.to_vec();
                return Life::Goes;
            }
            if self.body_left == 0 {
                let Some(head) = Head::parse(bytes) else {
                    self.partial = bytes.to_vec();
                    return if bytes.len() > MAX_HEAD { Life::Over } else { Life::Goes };
                };
                self.begin(bytes, &head);
                bytes = &bytes[head.len..];
            }
            let here = usize::try_from(self.body_left).unwrap_or(usize::MAX).min(bytes.len());
            if let Some(echo) = &mut self.echo {
                echo.extend_from_slice(&bytes[..here]);
            }
            bytes = &bytes[here..];
            self.body_left -= here as u64;
            if self.body_left == 0 {
                self.unsent = Some(answers.of(self.next, self.echo.take()));
                if self.flush() == Life::Over {
                    return Life::Over;
                }
            }
        }
        Life::Goes
    }

    fn begin(&mut self, bytes: &[u8], head: &Head) {
        let after = |prefix: &[u8]| bytes.starts_with(prefix);
        let length = head.content_length.unwrap_or(0);
        self.close = head.close;
        self.body_left = length;
        self.next = if head.chunked {
            self.close = true;
            Kind::LengthRequired
        } else if after(b"POST /echo ") && length <= MAX_ECHO {
            Kind::Echo
        } else if after(b"GET /big ") {
            Kind::Big
        } else if after(b"GET /huge ") {
            Kind::Huge
        } else if after(b"HEAD ") {
            Kind::Bare
        } else {
            Kind::Small
        };
        self.echo = matches!(self.next, Kind::Echo).then(Vec::new);
    }

    fn flush(&mut self) -> Life {
        while let Some(unsent) = &mut self.unsent {
            let text = &unsent.text[unsent.at..];
            let sent = if text.is_empty() {
                let most = usize::try_from(unsent.fill).unwrap_or(FILL.len()).min(FILL.len());
                self.socket.write(&FILL[..most])
            } else {
                self.socket.write(text)
            };
            match sent {
                Ok(count) if text.is_empty() => unsent.fill -= count as u64,
                Ok(count) => unsent.at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Life::Goes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Life::Over,
            }
            if unsent.at == unsent.text.len() && unsent.fill == 0 {
                self.unsent = None;
                if self.close {
                    return Life::Over;
                }
            }
        }
        Life::Goes
    }
}

/// Says where it listens, and serves until it is killed.
///
/// # Errors
///
/// When the address cannot be listened on.
pub(crate) fn run(options: &Options) -> Result<()> {
    let listener = listen(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("listening on {}", listener.local_addr()?);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let token = |socket: &dyn AsRawFd| u64::try_from(socket.as_raw_fd()).unwrap_or(0);
    let door = token(&listener);
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, door))?;
    let answers = Answers::new();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut scratch = vec![0; READ];
    let mut events = vec![EpollEvent::empty(); EVENTS];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            count => count?,
        };
        for event in &events[..count] {
            if event.data() == door {
                for socket in accept(&listener) {
                    let token = token(&socket);
                    let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
                    epoll.add(&socket, EpollEvent::new(both | EpollFlags::EPOLLET, token))?;
                    let at = usize::try_from(token)?;
                    if connections.len() <= at {
                        connections.resize_with(at + 1, || None);
                    }
                    connections[at] = Some(Connection {
                        socket,
                        partial: Vec::new(),
                        body_left: 0,
                        echo: None,
                        next: Kind::Small,
                        unsent: None,
                        close: false,
                    });
                }
                continue;
            }
            let slot = usize::try_from(event.data())?;
            let Some(connection) = connections.get_mut(slot).and_then(Option::as_mut) else { continue };
            let ended = event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
            if connection.serve(&answers, &mut scratch, ended) == Life::Over {
                connections[slot] = None;
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// All that wait.
fn accept(listener: &TcpListener) -> impl Iterator<Item = TcpStream> {
    std::iter::from_fn(|| {
        let (socket, _) = listener.accept().ok()?;
        socket.set_nonblocking(true).ok()?;
        let _ = socket.set_nodelay(true);
        Some(socket)
    })
}
