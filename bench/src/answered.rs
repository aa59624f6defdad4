//! When a program that was just started answers for the first time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::Args;

/// How long there is between two tries.
const PAUSE: Duration = Duration::from_micros(500);

/// Whom to ask.
#[derive(Args)]
pub(crate) struct Options {
    /// The address and port.
    target: SocketAddr,
    /// After so many seconds it never will.
    #[arg(long, default_value = "10")]
    patience: u64,
}

/// Asks until there is an answer.
///
/// # Errors
///
/// When there is none for too long.
pub(crate) fn run(options: &Options) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(options.patience);
    while !answers(options.target) {
        ensure!(Instant::now() < end, "{} did not answer for {} s", options.target, options.patience);
        std::thread::sleep(PAUSE);
    }
    println!("{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros());
    Ok(())
}

fn answers(target: SocketAddr) -> bool {
    let ask = || -> std::io::Result<[u8; 12]> {
        let mut socket = TcpStream::connect(target)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        socket.read_exact(&mut status)?;
        Ok(status)
    };
    ask().is_ok_and(|status| status.ends_with(b" 200"))
}
