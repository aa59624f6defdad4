//! Many who watch one stream that never ends, some of whom do not read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

/// Reads of one stream are at most so large.
const BUFFER: usize = 64 * 1024;

/// What each event has one of.
const MARK: &[u8] = b"\ndata: ";

/// Whom to watch.
#[derive(Args)]
pub(crate) struct Options {
    /// Where it answers.
    address: SocketAddr,
    /// The path of the stream.
    path: String,
    /// How many read all that comes.
    #[arg(long, default_value_t = 0)]
    watchers: usize,
    /// How many ask for the stream and read nothing of it.
    #[arg(long, default_value_t = 0)]
    silent: usize,
    /// The first of the own addresses that they come from, each after the other.
    #[arg(long, default_value = "127.0.0.1")]
    from: Ipv4Addr,
    /// How many of these there are, one behind the other: who is asked may bear only so many connections from one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    addresses: u32,
    /// For how long, in seconds.
    #[arg(long)]
    seconds: u64,
}

/// Opens all streams, prints `open N`, reads, and prints `events`, `bytes` (of all who read), `least` and `most` (of one of them) and
/// `open` (those that were not ended).
///
/// # Errors
///
/// When a stream cannot be opened.
pub(crate) fn run(options: &Options) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut readers = Vec::new();
    for number in 0..options.watchers {
        let stream = open(options, number)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(number)?))?;
        readers.push(Some(stream));
    }
    let silent = (0..options.silent)
        .map(|number| open(options, readers.len() + number))
        .collect::<Result<Vec<_>>>()?;
    println!("open {}", readers.len() + silent.len());
    std::io::stdout().flush()?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut received = vec![0_u64; readers.len()];
    let (mut first, mut events) = (Vec::new(), vec![EpollEvent::empty(); 256]);
    let mut buffer = vec![0; BUFFER];
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let count = epoll.wait(&mut events, EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX))?;
        for event in &events[..count] {
            let number = usize::try_from(event.data())?;
            let Some(stream) = &mut readers[number] else { continue };
            match stream.read(&mut buffer) {
                Ok(0) => readers[number] = None,
                Ok(count) => {
                    received[number] += u64::try_from(count)?;
                    if number == 0 {
                        first.extend_from_slice(&buffer[..count]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => readers[number] = None,
            }
        }
    }
    println!("events {}", memchr::memmem::find_iter(&first, MARK).count());
    println!("bytes {}", received.iter().sum::<u64>());
    println!("least {}", received.iter().min().copied().unwrap_or_default());
    println!("most {}", received.iter().max().copied().unwrap_or_default());
    println!("open {}", readers.iter().flatten().count() + silent.len());
    Ok(())
}

/// The stream of watcher `number`, whose head has come.
fn open(options: &Options, number: usize) -> Result<TcpStream> {
    let Options { address, path, from, addresses, .. } = options;
    let from = Ipv4Addr::from_bits(from.to_bits() + u32::try_from(number)? % addresses);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket
        .bind(&SocketAddrV4::new(from, 0).into())
        .with_context(|| format!("{from} is no address of this host"))?;
    socket.connect(&(*address).into()).with_context(|| format!("nobody answers at {address}"))?;
    let mut stream = TcpStream::from(socket);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        ensure!(head.len() < BUFFER, "the head of the answer has no end");
    }
    ensure!(head.starts_with(b"HTTP/1.1 200 "), "refused: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}
