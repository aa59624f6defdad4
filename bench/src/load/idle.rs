//! Connections that ask once and then do nothing: what they cost the one who keeps them.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::epoll::EpollEvent;

use super::Options;
use super::connection::{Outcome, Target};
use super::run::Connections;

/// So many are opened at a time: more would overflow queues, and be memory that idle connections do not have.
const AT_ONCE: usize = 16;

/// All have to be open after that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens all, prints `open N`, waits until standard input ends, and prints `still N`.
///
/// # Errors
///
/// When one of them is not answered.
pub(super) fn run(options: &Options, target: &Target) -> Result<()> {
    let mut connections = Connections::new(target)?;
    let mut events = vec![EpollEvent::empty(); AT_ONCE];
    let end = Instant::now() + PATIENCE;
    let (mut begun, mut answered) = (0, 0);
    while answered < options.connections {
        while begun < options.connections && begun - answered < AT_ONCE {
            connections.ask_anew(Instant::now())?;
            begun += 1;
        }
        let count = connections.wait(&mut events, end)?;
        for event in &events[..count] {
            match connections.serve(event) {
                Some((_, Outcome::Answered)) => answered += 1,
                Some((_, Outcome::Waits)) | None => {}
                Some((_, outcome)) => anyhow::bail!("connection {answered} ended: {outcome:?}"),
            }
        }
        ensure!(Instant::now() < end, "only {answered} connections were open after {PATIENCE:?}");
    }
    println!("open {answered}");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let open = connections.open().filter(|connection| {
        let peeked = connection.socket.peek(&mut [0]);
        match peeked {
            // Tickets of TLS may lie there.
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    });
    println!("still {}", open.count());
    Ok(())
}
