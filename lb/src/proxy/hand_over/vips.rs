//! Which client connections came to which virtual address, and what they are told while it is handed over.
//!
//! ```text
//!   Open ──▶ Closing ──▶ EndEarlier ──▶ EndAll ──▶ Cut: what is left is ended
//!    ▲  each answer is the    of those open before,   all without a request
//!    │  last on its connection  those without a request   are closed
//!    │                          are closed                    │
//!    └────────────────────────────────────────────────────────┘ done or undone
//! ```
//!
//! A connection that is told that its answer is the last one counts as gone when the client has all of it (see
//! `../ending.rs`); of those that nobody holds any more, the kernel knows (see `kernel`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::super::lock;
use crate::settings::Settings;

/// What the connections of an address are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing.
    Open,
    /// Every answer is the last one on its connection.
    Closing,
    /// Also, those that were there before and have no request are closed.
    EndEarlier,
    /// All that have no request are closed.
    EndAll,
    /// All are ended: their clients had better know at once, while we can tell them.
    Cut,
}

/// All virtual addresses of this balancer.
#[derive(Debug)]
pub(crate) struct Vips {
    vips: Vec<Vip>,
    /// Wakes the connections of each worker that wait for a request.
    wake: Vec<Notify>,
    /// Where clients connect to: for HTTP, and for TCP services.
    http_ports: BTreeSet<u16>,
    tcp_ports: Mutex<BTreeSet<u16>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Vip {
    pub(crate) address: IpAddr,
    stage: AtomicU8,
    /// Counts the hand-overs begun. Connections are counted apart by whether this was even or odd when
    /// they came, so that those from before can be told.
    round: AtomicU64,
    open: [AtomicU64; 2],
    idle_closed: AtomicU64,
    cut: AtomicU64,
}

/// An open connection to a virtual address, counted until it leaves.
#[derive(Debug)]
pub(crate) struct OnVip {
    vips: Arc<Vips>,
    index: usize,
    round: u64,
    left: AtomicBool,
}

impl Vips {
    pub(crate) fn new(settings: &Settings) -> Self {
        let vips = settings.vips.iter().map(|vip| Vip {
            address: vip.address,
            stage: AtomicU8::new(Stage::Open as u8),
            round: AtomicU64::new(0),
            open: [AtomicU64::new(0), AtomicU64::new(0)],
            idle_closed: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        });
        let wake = (0..settings.workers).map(|_| Notify::new()).collect();
        let http_ports = settings.listeners.iter().map(|listener| listener.address.port()).collect();
        Vips { vips: vips.collect(), wake, http_ports, tcp_ports: Mutex::default() }
    }

    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        &self.http_ports | &lock(&self.tcp_ports)
    }

    /// From now on TCP services are at these ports.
    pub(crate) fn set_tcp_ports(&self, ports: BTreeSet<u16>) {
        *lock(&self.tcp_ports) = ports;
    }

    pub(crate) fn all(&self) -> &[Vip] {
        &self.vips
    }

    /// Counts a connection that was accepted at `local`, where that is a virtual address. `local` is asked
    /// for only where there are any.
    pub(crate) fn admit(self: &Arc<Self>, local: impl FnOnce() -> Option<IpAddr>) -> Option<OnVip> {
        if self.vips.is_empty() {
            return None;
        }
        let local = local()?.to_canonical();
        let index = self.vips.iter().position(|vip| vip.address == local)?;
        let vip = &self.vips[index];
        let round = vip.round.load(Ordering::SeqCst);
        vip.slot(round).fetch_add(1, Ordering::SeqCst);
        Some(OnVip { vips: self.clone(), index, round, left: AtomicBool::new(false) })
    }

    /// Has `look` look at once, and resolves when it is time to look again; false: that will never be.
    pub(crate) async fn changed(&self, worker: usize, look: impl FnOnce()) -> bool {
        let Some(wake) = self.wake.get(worker).filter(|_| !self.vips.is_empty()) else { return false };
        let mut woken = std::pin::pin!(wake.notified());
        // Before it looks: from here on no change is missed.
        woken.as_mut().enable();
        look();
        woken.await;
        true
    }

    /// Has the connections that wait for a request look at their stage.
    pub(crate) fn wake(&self) {
        self.wake.iter().for_each(Notify::notify_waiters);
    }
}

impl Vip {
    fn slot(&self, round: u64) -> &AtomicU64 {
        &self.open[usize::from(!round.is_multiple_of(2))]
    }

    /// Begins a hand-over.
    pub(crate) fn begin(&self) {
        self.idle_closed.store(0, Ordering::SeqCst);
        self.cut.store(0, Ordering::SeqCst);
        self.round.fetch_add(1, Ordering::SeqCst);
        self.set(Stage::Closing);
    }

    /// All that are open now are from before; to be called when none of those is left that were.
    pub(crate) fn next_round(&self) {
        // In this order, so that none that has just come is closed for having no request.
        self.set(Stage::Closing);
        self.round.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::SeqCst) >= stage as u8
    }

    /// Connections that are open since before the present hand-over.
    pub(crate) fn earlier(&self) -> u64 {
        let round = self.round.load(Ordering::SeqCst);
        self.slot(round.wrapping_add(1)).load(Ordering::SeqCst)
    }

    /// Open connections.
    pub(crate) fn open(&self) -> u64 {
        self.open.iter().map(|open| open.load(Ordering::SeqCst)).sum()
    }

    /// Connections closed in this hand-over because they had no request.
    pub(crate) fn idle_closed(&self) -> u64 {
        self.idle_closed.load(Ordering::SeqCst)
    }

    /// Requests that were cut, and those that were on their way to a connection as it was closed.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::SeqCst)
    }
}

impl OnVip {
    fn vip(&self) -> &Vip {
        &self.vips.vips[self.index]
    }

    /// Whether the next answer is the last one.
    pub(crate) fn is_closing(&self) -> bool {
        self.vip().is_at(Stage::Closing)
    }

    /// Whether what is on it is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.vip().is_at(Stage::Cut)
    }

    fn is_to_end(&self) -> bool {
        let earlier = self.round != self.vip().round.load(Ordering::SeqCst);
        self.vip().is_at(if earlier { Stage::EndEarlier } else { Stage::EndAll })
    }

    /// Resolves when this connection is to be closed unless there is a request on it.
    pub(crate) async fn end(&self, worker: usize) {
        self.until(worker, Self::is_to_end).await;
    }

    /// Resolves when what is on this connection is to be ended, whatever it is.
    pub(crate) async fn cut(&self, worker: usize) {
        self.until(worker, Self::is_cut).await;
    }

    async fn until(&self, worker: usize, is_so: impl Fn(&Self) -> bool) {
        let Some(wake) = self.vips.wake.get(worker) else { return std::future::pending().await };
        loop {
            let mut woken = std::pin::pin!(wake.notified());
            woken.as_mut().enable();
            if is_so(self) {
                return;
            }
            woken.await;
        }
    }

    /// The client has the last that was sent on it, or it is without a request: it counts no more.
    pub(crate) fn leave(&self) {
        if !self.left.swap(true, Ordering::SeqCst) {
            self.vip().slot(self.round).fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// It was closed because it had no request.
    pub(crate) fn count_idle_closed(&self) {
        self.vip().idle_closed.fetch_add(1, Ordering::SeqCst);
    }

    /// Its request was cut, or came as it was closed.
    pub(crate) fn count_cut(&self) {
        self.vip().cut.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for OnVip {
    fn drop(&mut self) {
        self.leave();
    }
}
