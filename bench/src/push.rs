//! Sets of upstreams for a balancer, pushed on schedule. In each of them one upstream in a hundred is another machine than
//! in the one before, at the same address: what a rolling replacement looks like.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

/// So many of a set's upstreams are new: one in …
const NEW_ONE_IN: usize = 100;

/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to push.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the balancer takes changes: address and port.
    target: SocketAddr,
    /// The pool.
    #[arg(long, default_value = "service")]
    pool: String,
    /// How many upstreams each set has: 127.1.0.1, 127.1.0.2 and so on.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    upstreams: u32,
    /// Their port.
    #[arg(long, default_value = "8080")]
    port: u16,
    /// Sets per second.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How many sets.
    #[arg(long)]
    count: u32,
    /// The generation of the first.
    #[arg(long, default_value = "1")]
    generation: u64,
}

/// Pushes all sets and prints how many there were, and the slowest push in ms.
///
/// # Errors
///
/// When one is refused.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut lives = vec![0_u32; usize::try_from(options.upstreams)?];
    let socket = TcpStream::connect(options.target)
        .with_context(|| format!("cannot connect to {}", options.target))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut socket = socket;
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 0..options.count {
        let due = start + Duration::from_secs(1) * number / options.rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let new = lives.len().div_ceil(NEW_ONE_IN);
        let first = new * usize::try_from(number)?;
        if number > 0 {
            for nth in first..first + new {
                let at = nth % lives.len();
                lives[at] += 1;
            }
        }
        let request = request(options, options.generation + u64::from(number), &lives)?;
        let sent = Instant::now();
        socket.write_all(request.as_bytes()).context("the balancer takes nothing")?;
        let status = answer(&mut answers).context("the balancer does not answer")?;
        ensure!(status == "200" || status == "204", "set {number} was refused with {status}");
        slowest = slowest.max(sent.elapsed());
    }
    println!("pushes {}\nslowest_ms {:.1}", options.count, slowest.as_secs_f64() * 1e3);
    Ok(())
}

fn request(options: &Options, generation: u64, lives: &[u32]) -> Result<String> {
    let mut set = format!("{{\"generation\":{generation},\"pools\":{{\"{}\":[", options.pool);
    for (number, life) in lives.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + u32::try_from(number)?);
        write!(
            set,
            "{comma}{{\"id\":\"u{number}-{life}\",\"address\":\"{address}\",\"port\":{}}}",
            options.port
        )?;
    }
    set.push_str("]}}");
    let head = format!(
        "PUT /upstreams HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        options.target,
        set.len()
    );
    Ok(head + &set)
}

/// Reads an answer and returns its status.
fn answer(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        ensure!(from.read_line(&mut line)? > 0, "it ended in the middle of its answer");
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().context("an answer's length is no number")?;
        }
    }
    std::io::copy(&mut from.take(length), &mut std::io::sink())?;
    Ok(status)
}
