//! Sets of upstreams for a balancer, pushed on schedule. In each of them one upstream in a hundred is another machine than
//! in the one before, at the same address: what a rolling replacement looks like. Or one upstream at a time, and of each
//! set only what changes, as a manager sends it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use wire::changes::{Digest, PoolChanges, UpstreamChanges};
use wire::upstreams::{Upstream, UpstreamState};
use wire::{EndpointId, PoolName};

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
    /// Change the set that was pushed first, one upstream at a time. The balancer holds it, with the generation before.
    #[arg(long, requires = "generation")]
    one_by_one: bool,
}

/// Pushes all sets and prints how many there were, the bytes of a push on average, heads included, and the slowest push
/// in ms.
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
    let (mut slowest, mut bytes) = (Duration::ZERO, 0);
    let mut changes = Changes::new(options)?;
    for number in 0..options.count {
        let due = start + Duration::from_secs(1) * number / options.rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if options.one_by_one {
            let request = changes.next(options, &mut lives)?;
            bytes += request.len();
            slowest = slowest.max(push(&mut socket, &mut answers, &request, number)?);
            continue;
        }
        let new = lives.len().div_ceil(NEW_ONE_IN);
        let first = new * usize::try_from(number)?;
        if number > 0 {
            for nth in first..first + new {
                let at = nth % lives.len();
                lives[at] += 1;
            }
        }
        let request = request(options, options.generation + u64::from(number), &lives)?;
        bytes += request.len();
        slowest = slowest.max(push(&mut socket, &mut answers, &request, number)?);
    }
    let count = options.count;
    println!("pushes {count}\nbytes_per_push {}", bytes / usize::try_from(count.max(1))?);
    println!("slowest_ms {:.1}", slowest.as_secs_f64() * 1e3);
    Ok(())
}

/// Sends the `number`th request. Returns how long its answer took.
fn push(socket: &mut TcpStream, answers: &mut impl BufRead, request: &str, number: u32) -> Result<Duration> {
    let sent = Instant::now();
    socket.write_all(request.as_bytes()).context("the balancer takes nothing")?;
    let status = answer(answers).context("the balancer does not answer")?;
    ensure!(status == "200" || status == "204", "set {number} was refused with {status}");
    Ok(sent.elapsed())
}

/// What was changed so far, one upstream at a time.
struct Changes {
    pool: PoolName,
    digest: Digest,
    held: u64,
    at: usize,
}

impl Changes {
    fn new(options: &Options) -> Result<Self> {
        let pool = PoolName::from(options.pool.as_str());
        let mut digest = Digest::default().with_pool(&pool);
        for number in 0..usize::try_from(options.upstreams)? {
            digest = digest.with(&pool, &upstream(options, number, 0)?);
        }
        Ok(Changes { pool, digest, held: options.generation.saturating_sub(1), at: 0 })
    }

    /// The request that replaces the next upstream.
    fn next(&mut self, options: &Options, lives: &mut [u32]) -> Result<String> {
        let number = self.at % lives.len();
        let before = upstream(options, number, lives[number])?;
        lives[number] += 1;
        let after = upstream(options, number, lives[number])?;
        self.digest = self.digest.without(&self.pool, &before).with(&self.pool, &after);
        let changes = PoolChanges { put: vec![after], remove: vec![before.id] };
        let changes = UpstreamChanges {
            base: self.held,
            generation: self.held + 1,
            digest: self.digest,
            pools: [(self.pool.clone(), changes)].into(),
        };
        (self.held, self.at) = (self.held + 1, self.at + 1);
        Ok(head(options, "PATCH", &serde_json::to_string(&changes)?))
    }
}

fn upstream(options: &Options, number: usize, life: u32) -> Result<Upstream> {
    Ok(Upstream {
        id: EndpointId(format!("u{number}-{life}")),
        address: address(number)?.into(),
        port: options.port,
        weight: 1,
        zone: "".into(),
        backup: false,
        state: UpstreamState::Ready,
        checked_elsewhere: false,
    })
}

fn address(number: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + u32::try_from(number)?))
}

fn request(options: &Options, generation: u64, lives: &[u32]) -> Result<String> {
    let mut set = format!("{{\"generation\":{generation},\"pools\":{{\"{}\":[", options.pool);
    for (number, life) in lives.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let address = address(number)?;
        write!(
            set,
            "{comma}{{\"id\":\"u{number}-{life}\",\"address\":\"{address}\",\"port\":{}}}",
            options.port
        )?;
    }
    set.push_str("]}}");
    Ok(head(options, "PUT", &set))
}

/// The request that does `method` with `body`.
fn head(options: &Options, method: &str, body: &str) -> String {
    format!(
        "{method} /upstreams HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        options.target,
        body.len()
    )
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
