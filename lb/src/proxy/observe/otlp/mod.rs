//! Spans, sent to a collector of OpenTelemetry over HTTP (OTLP 1.x, in protobuf). A request never waits for it.
//!
//! ```text
//!   trace ──▶ queue ──gathered for a second, or as many as a message takes──▶ spans ──▶ POST /v1/traces
//!               │ full: dropped, and counted           (a thread of its own)     │ no: again, then
//!               ▼                                                                ▼ dropped, and counted
//! ```

mod send;
mod spans;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::send::Collector;
pub(super) use self::spans::{Asked, Finished};
use super::super::lock;

/// So many requests wait to be told at most: a collector that stands still must not take the memory.
const MAX_WAITING: usize = 4_096;

/// The most requests in one message.
const MAX_BATCH: usize = 512;

/// The first of a message waits for others for so long.
const GATHER: Duration = Duration::from_secs(1);

/// At the end there is so much time for what was not sent yet.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What becomes of spans.
#[derive(Debug)]
pub(crate) struct Export {
    waiting: mpsc::Sender<Finished>,
    counts: Arc<Counts>,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a span did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Too many waited.
    Full,
    /// The collector could not be reached, or did not answer in time.
    Unreachable,
    /// The collector did not want it.
    Refused,
}

impl Dropped {
    /// All of them.
    pub(crate) const ALL: [Dropped; 3] = [Dropped::Full, Dropped::Unreachable, Dropped::Refused];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dropped::Full => "full",
            Dropped::Unreachable => "unreachable",
            Dropped::Refused => "refused",
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl Counts {
    fn sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    fn dropped(&self, why: Dropped, spans: u64) {
        self.dropped[why as usize].fetch_add(spans, Ordering::Relaxed);
    }
}

impl Export {
    /// Starts the thread that sends spans of the `service` on this `machine` to the collector at `endpoint`.
    ///
    /// # Errors
    ///
    /// When there can be no thread, or no client of HTTP.
    pub(super) fn start(endpoint: &str, service: &str, machine: &str) -> anyhow::Result<Self> {
        let (waiting, queue) = mpsc::channel(MAX_WAITING);
        let (counts, stop) = (Arc::<Counts>::default(), CancellationToken::new());
        let collector = Collector::new(endpoint, counts.clone())?;
        let origin = spans::origin(service, machine);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (for_thread, stopped) = (counts.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || {
                let mut sending = Sending { queue, batch: Vec::new(), collector, origin, counts: for_thread };
                runtime.block_on(sending.run(&stopped));
            })
            .context("no thread for them")?;
        Ok(Export { waiting, counts, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Has `finished` sent, some time soon.
    pub(super) fn offer(&self, finished: Finished) {
        if let Err(error) = self.waiting.try_send(finished) {
            self.counts.dropped(Dropped::Full, error.into_inner().count());
        }
    }

    /// Spans that have arrived.
    pub(crate) fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Spans that were lost for this reason.
    pub(crate) fn dropped(&self, why: Dropped) -> u64 {
        self.counts.dropped[why as usize].load(Ordering::Relaxed)
    }

    /// Sends what is left, if it can be sent soon, and ends. Blocks.
    pub(super) fn finish(&self) {
        self.stop.cancel();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

/// What the thread does.
struct Sending {
    queue: mpsc::Receiver<Finished>,
    batch: Vec<Finished>,
    collector: Collector,
    origin: spans::Origin,
    counts: Arc<Counts>,
}

impl Sending {
    async fn run(&mut self, stop: &CancellationToken) {
        // When that is over nothing is waited for any more.
        let over = async {
            stop.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.send_all(stop) => {}
            () = over => {
                while let Ok(finished) = self.queue.try_recv() {
                    self.batch.push(finished);
                }
                let lost = self.batch.iter().map(Finished::count).sum();
                self.counts.dropped(Dropped::Unreachable, lost);
            }
        }
    }

    async fn send_all(&mut self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                _ = self.queue.recv_many(&mut self.batch, MAX_BATCH) => {}
                () = stop.cancelled() => {}
            }
            let end = Instant::now() + GATHER;
            while self.batch.len() < MAX_BATCH && !stop.is_cancelled() {
                let room = MAX_BATCH - self.batch.len();
                tokio::select! {
                    _ = self.queue.recv_many(&mut self.batch, room) => {}
                    () = sleep_until(end) => break,
                    () = stop.cancelled() => {}
                }
            }
            while self.batch.len() < MAX_BATCH
                && let Ok(finished) = self.queue.try_recv()
            {
                self.batch.push(finished);
            }
            if self.batch.is_empty() {
                return;
            }
            self.collector.send(&self.origin, &self.batch).await;
            self.batch.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::SystemTime;

    use super::super::super::access_log::About;
    use super::super::context::Context;
    use super::*;

    fn finished() -> Finished {
        let about = About {
            time: SystemTime::now(),
            client: [192, 0, 2, 7].into(),
            peer: [192, 0, 2, 7].into(),
            method: b"GET",
            host: b"example.org",
            target: b"/",
            version: b"HTTP/1.1",
            referer: b"",
            agent: b"",
            id: None,
            context: None,
        };
        let asked = Box::new(Asked::new(&about, "/", false));
        let (context, attempts) = (Context::new(None, true), Vec::new());
        Finished { context, asked, status: Some(200), duration_us: 1, bytes: 0, attempts }
    }

    #[test]
    fn a_collector_that_stands_still_keeps_nobody_waiting_and_takes_no_more_memory() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
        let export = Export::start(&endpoint, "lb", "m").expect("started");
        let offered = (MAX_WAITING + 2 * MAX_BATCH) as u64;
        (0..offered).for_each(|_| export.offer(finished()));
        let full = export.dropped(Dropped::Full);
        assert!((1..=2 * MAX_BATCH as u64).contains(&full), "one message at most is on its way: {full}");
        export.finish();
        assert_eq!((export.sent(), export.dropped(Dropped::Refused)), (0, 0));
        assert_eq!(export.dropped(Dropped::Unreachable) + full, offered, "each is counted once");
    }
}
