//! What the balancer's processes say to each other, over the unix socket `vip.sock` in the state
//! directory: one JSON value a line.
//!
//! ```text
//!  lb proxy                                     lb vip
//!  worker 0  ── Tick, Tick, Tick … ───────────▶  a worker that stops ticking hangs,
//!  worker 1  ── Tick, Tick, Tick … ───────────▶  a stream that ends is a dead proxy
//!  admin     ── Status or Order ──────────────▶
//!            ◀─ Done or Refused ───────────────
//! ```
//!
//! Each worker ticks from its own event loop, so that a stalled loop shows although the process lives.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::MissedTickBehavior;
use wire::vip::{VipOrder, VipStatus};

/// The socket's name in the state directory.
pub const SOCKET: &str = "vip.sock";

/// The time between two ticks of a worker.
pub const TICK: Duration = Duration::from_millis(50);

/// A question is answered within this time, or the speaker counts as not reachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest line either side reads, in bytes. A status has about 400 for each virtual router, of which
/// there are at most 255 in each family.
pub(crate) const MAX_LINE: u64 = 512 << 10;

/// What is said to the speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToVip {
    /// The event loop of a worker runs. Not answered.
    Tick {
        /// Which worker, from 0.
        worker: usize,
        /// How many workers the proxy has.
        workers: usize,
        /// What the proxy says of itself.
        wish: Wish,
        /// The thread that the event loop runs on. None: from a program that does not say so.
        #[serde(default)]
        thread: Option<i32>,
    },
    /// How are the virtual routers?
    Status,
    /// Do this.
    Order(VipOrder),
}

/// What a proxy says of itself with every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Whether it wants no new connections; see [`set_draining`].
    pub(crate) draining: bool,
    /// Whether it has anything to serve with; see [`set_serving`].
    pub(crate) serving: bool,
}

/// What the speaker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromVip {
    /// How the virtual routers are now.
    Done(VipStatus),
    /// The order was not carried out, and why.
    Refused(String),
}

/// Why the speaker did not do as it was asked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// It does not run, or does not answer. A balancer without a `[[vip]]` has no speaker.
    #[error("the VIP speaker is not reachable: {0}")]
    NotReachable(#[from] io::Error),
    /// It answered that it will not.
    #[error("refused: {0}")]
    Refused(String),
}

/// Asks and orders the VIP speaker of this machine. Each call opens its own connection.
#[derive(Clone, Debug)]
pub struct VipLink {
    path: PathBuf,
}

impl VipLink {
    /// The speaker whose socket is in `state_dir`. Connects to nothing yet.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        VipLink { path: state_dir.join(SOCKET) }
    }

    /// How the virtual routers are now.
    ///
    /// # Errors
    ///
    /// [`LinkError::NotReachable`] when there is no speaker or no answer within a second.
    pub async fn status(&self) -> Result<VipStatus, LinkError> {
        self.ask(&ToVip::Status).await
    }

    /// Carries out `order` and says how the virtual routers are after it.
    ///
    /// # Errors
    ///
    /// [`LinkError::NotReachable`] as for [`status`](Self::status); [`LinkError::Refused`] when the
    /// order names an unknown virtual router, a priority outside 1 to 254, or asks for the address
    /// while this balancer cannot serve.
    pub async fn order(&self, order: VipOrder) -> Result<VipStatus, LinkError> {
        self.ask(&ToVip::Order(order)).await
    }

    async fn ask(&self, question: &ToVip) -> Result<VipStatus, LinkError> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let mut stream = UnixStream::connect(&self.path).await?;
            stream.write_all(&line(question)?).await?;
            read_line(&mut BufReader::new(stream)).await
        })
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 1 s"))??;
        match answer {
            Some(FromVip::Done(status)) => Ok(status),
            Some(FromVip::Refused(reason)) => Err(LinkError::Refused(reason)),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

/// Whether this process's proxy is draining. One for the process, as the proxy is.
static DRAINING: AtomicBool = AtomicBool::new(false);

/// Says that the proxy of this process wants no new connections (or wants them again): its balancer
/// then counts as unfit. It goes with every tick, so that a restarted speaker knows it too.
pub fn set_draining(draining: bool) {
    DRAINING.store(draining, Ordering::Relaxed);
}

/// Whether this process's proxy has anything to serve with.
static SERVING: AtomicBool = AtomicBool::new(true);

/// Says whether the proxy of this process knows an upstream: one that knows none leaves the address to
/// any other balancer. It goes with every tick, like [`set_draining`].
pub fn set_serving(serving: bool) {
    SERVING.store(serving, Ordering::Relaxed);
}

/// Tells the speaker for ever that the event loop this runs on is alive. Each worker of the proxy runs
/// this as a task of its own runtime. Where there is no speaker it waits for one.
///
/// `worker` counts from 0 to `workers` - 1.
pub async fn tick_forever(state_dir: PathBuf, worker: usize, workers: usize) {
    let path = state_dir.join(SOCKET);
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let Ok(mut stream) = UnixStream::connect(&path).await else { continue };
        loop {
            let wish =
                Wish { draining: DRAINING.load(Ordering::Relaxed), serving: SERVING.load(Ordering::Relaxed) };
            let thread = Some(nix::unistd::gettid().as_raw());
            let Ok(tick) = line(&ToVip::Tick { worker, workers, wish, thread }) else { break };
            if stream.write_all(&tick).await.is_err() {
                break;
            }
            clock.tick().await;
        }
    }
}

/// One message as it goes over the socket.
pub(crate) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads the next message; `None` at the end of the stream.
pub(crate) async fn read_line<T: for<'de> Deserialize<'de>>(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if stream.take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_survive_the_way() {
        let order = ToVip::Order(VipOrder { vrid: Some(50), ..VipOrder::default() });
        let wish = Wish { draining: true, serving: false };
        let tick = ToVip::Tick { worker: 1, workers: 2, wish, thread: Some(7) };
        let mut bytes = line(&order).expect("serializable");
        bytes.extend(line(&tick).expect("serializable"));
        let mut stream = bytes.as_slice();
        assert_eq!(read_line(&mut stream).await.expect("readable"), Some(order));
        assert_eq!(read_line(&mut stream).await.expect("readable"), Some(tick));
        assert_eq!(read_line::<ToVip>(&mut stream).await.expect("readable"), None);
    }

    #[tokio::test]
    async fn no_speaker_is_said_so() {
        let link = VipLink::new(Path::new("/nonexistent"));
        assert!(matches!(link.status().await, Err(LinkError::NotReachable(_))));
    }
}
