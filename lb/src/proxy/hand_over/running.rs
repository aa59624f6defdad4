//! One hand-over on its way: the steps.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use wire::hand_over::{HandOverOrder, HandOverState, StepTook};
use wire::vip::{VipAction, VipOrder, VipStatus};

use super::held::Held;
use super::kernel::{self, Left};
use super::vips::{Stage, Vip};
use super::{HandOvers, is_held, lock};
use crate::link::LinkError;

/// How often it is looked whether the connections from before have gone.
const LOOK_CLOSING: Duration = Duration::from_millis(5);

/// The same in the last moments.
const LOOK: Duration = Duration::from_millis(2);

/// And after them.
const LOOK_AFTERWARDS: Duration = Duration::from_millis(10);

/// What is left is reset within this.
const CUT: Duration = Duration::from_millis(50);

/// Neighbours that still believe that we have the address are helped for so long after it has moved.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// What the speaker may take beyond the time in which somebody must take the addresses: new connections are
/// held back meanwhile.
const SPEAKER_MARGIN: Duration = Duration::from_millis(500);

/// What the steps may take beyond their own times before all is undone: they wait for nothing else.
const MARGIN: Duration = Duration::from_secs(5);

/// One hand-over on its way. However it ends, nobody is told to close any more.
pub(super) struct Running<'a> {
    of: &'a HandOvers,
    /// Which of the virtual addresses.
    chosen: Vec<usize>,
    step_began: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.set(Stage::Open);
        let mut view = lock(&self.of.view);
        if view.state.is_running() {
            view.state = HandOverState::Undone;
            view.undone = Some("it was interrupted".to_owned());
        }
    }
}

impl<'a> Running<'a> {
    /// Begins with those of the virtual addresses.
    pub(super) fn new(of: &'a HandOvers, chosen: Vec<usize>) -> Self {
        Running { of, chosen, step_began: Instant::now() }
    }

    pub(super) async fn run(mut self, order: &HandOverOrder) {
        let limit = Duration::from_millis(order.longest_ms()) + MARGIN;
        match timeout(limit, self.steps(order)).await {
            Ok(Ok(Some(held))) => self.help_afterwards(held).await,
            Ok(Ok(None)) => {}
            Ok(Err(reason)) => self.undone(&reason),
            Err(_elapsed) => self.undone(&format!("it did not end within {} ms", limit.as_millis())),
        }
    }

    /// All steps in their order. Gives back what is still needed when another balancer has the addresses.
    ///
    /// # Errors
    ///
    /// Why they have not moved, in words.
    async fn steps(&mut self, order: &HandOverOrder) -> Result<Option<Held>, String> {
        self.vips().for_each(Vip::begin);
        tracing::info!(addresses = ?self.addresses(), "hand-over: closing");
        self.close(order).await;

        self.step(HandOverState::Holding);
        let addresses = self.addresses();
        let port = self.of.vips.port();
        // First, so that none is dropped that is not kept.
        let mut held = Held::gather(&addresses, port)
            .inspect_err(|error| {
                tracing::warn!(%error, "clients whose connections are held back will ask again after a second");
            })
            .ok();
        let held_back = self
            .of
            .listeners
            .hold_back(&addresses)
            .map_err(|error| format!("new connections cannot be held back: {error}"))?;
        let left = self.finish(order, &addresses, held.as_mut()).await;
        lock(&self.of.view).cut = left.open + self.vips().map(Vip::cut).sum::<u64>();
        self.cut().await;

        self.step(HandOverState::Releasing);
        let limit = Duration::from_millis(order.take_ms) + SPEAKER_MARGIN;
        let released = timeout(limit, self.release(order, held.as_mut())).await.unwrap_or_else(|_elapsed| {
            // An offer that it heard of ends by itself.
            Err("the VIP speaker did not answer in time".to_owned())
        });
        // In this order: what is accepted from now on is nobody's to close.
        self.set(Stage::Open);
        drop(held_back);
        let passed_on = held.as_mut().map_or(0, |held| {
            held.take();
            held.send_on()
        });
        let mut view = lock(&self.of.view);
        view.idle_closed = self.vips().map(Vip::idle_closed).sum();
        view.passed_on = passed_on;
        drop(view);
        let holder = released?;
        lock(&self.of.view).holder = holder;
        self.step(HandOverState::Done);
        Ok(held)
    }

    /// Until no connection is left from before. Those without a request have less time than the others.
    async fn close(&self, order: &HandOverOrder) {
        let began = Instant::now();
        let [idle, finish] = [order.idle_ms, order.finish_ms].map(|ms| began + Duration::from_millis(ms));
        let mut told_idle = false;
        loop {
            let now = Instant::now();
            if now >= idle && !told_idle {
                self.set(Stage::EndEarlier);
                told_idle = true;
            }
            if self.vips().all(|vip| vip.earlier() == 0) || now >= finish.max(idle) {
                return;
            }
            sleep(LOOK_CLOSING).await;
        }
    }

    /// Until no connection is left at all, or the time is over; returns what is left.
    async fn finish(
        &self,
        order: &HandOverOrder,
        addresses: &BTreeSet<IpAddr>,
        mut held: Option<&mut Held>,
    ) -> Left {
        let began = Instant::now();
        let limit = Duration::from_millis(order.hold_ms);
        let mut told_all = false;
        loop {
            if let Some(held) = held.as_mut() {
                held.take();
            }
            let is_over = began.elapsed() >= limit;
            // Those that were opened ahead and never used get the chance to be used first, those that are
            // not yet open the chance to be opened.
            if !told_all && began.elapsed() >= limit / 2 {
                self.set(Stage::EndAll);
                told_all = true;
            }
            if is_over || self.vips().all(|vip| vip.open() == 0) {
                let (addresses, port) = (addresses.clone(), self.of.vips.port());
                let left = tokio::task::spawn_blocking(move || kernel::left(&addresses, port)).await;
                let left = match left.map_err(std::io::Error::other) {
                    Ok(Ok(left)) => left,
                    Ok(Err(error)) | Err(error) => {
                        tracing::warn!(%error, "what is left of the connections is not known");
                        Left { open: self.vips().map(Vip::open).sum(), ..Left::default() }
                    }
                };
                let half_open = if told_all { 0 } else { left.half_open };
                if is_over || (half_open, left.open, left.unconfirmed) == (0, 0, 0) {
                    return left;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Resets what is left, while the address is still here: its clients would wait in vain else.
    async fn cut(&self) {
        if self.vips().all(|vip| vip.open() == 0) {
            return;
        }
        self.set(Stage::Cut);
        let end = Instant::now() + CUT;
        while self.vips().any(|vip| vip.open() > 0) && Instant::now() < end {
            sleep(LOOK).await;
        }
    }

    /// Offers the addresses until another balancer holds them; says who.
    async fn release(
        &self,
        order: &HandOverOrder,
        mut held: Option<&mut Held>,
    ) -> Result<Option<IpAddr>, String> {
        let end = Instant::now() + Duration::from_millis(order.take_ms);
        self.order(VipAction::Release).await?;
        loop {
            if let Some(held) = held.as_mut() {
                held.take();
            }
            let status = self.of.link.status().await.map_err(said)?;
            if self.vips().all(|vip| !is_held(&status, vip)) {
                return Ok(self.holder(&status));
            }
            if Instant::now() >= end {
                break;
            }
            sleep(LOOK).await;
        }
        // What nobody took is ours again, also in the eyes of the others. Somebody may have taken it just now.
        self.order(VipAction::TakeOver).await?;
        Err(format!("no other balancer took the address within {} ms", order.take_ms))
    }

    /// Tells the speaker to do `action` with those of the addresses that are held here.
    async fn order(&self, action: VipAction) -> Result<(), String> {
        let status = self.of.link.status().await.map_err(said)?;
        for vip in self.vips().filter(|vip| is_held(&status, vip)) {
            let order = VipOrder { vrid: Some(vip.vrid), action: Some(action), ..VipOrder::default() };
            self.of.link.order(order).await.map_err(said)?;
        }
        Ok(())
    }

    fn holder(&self, status: &VipStatus) -> Option<IpAddr> {
        let address = self.vips().next()?.address;
        status.routers.iter().find(|router| router.address == address)?.holder
    }

    /// What still comes here, sent by neighbours that have not heard of the change, is sent on.
    async fn help_afterwards(self, mut held: Held) {
        let end = Instant::now() + AFTERWARDS;
        while Instant::now() < end {
            // The new holder may be lost at once: then what comes is for us.
            let status = self.of.link.status().await;
            if !status.is_ok_and(|status| self.vips().all(|vip| !is_held(&status, vip))) {
                return;
            }
            held.take();
            lock(&self.of.view).passed_on += held.send_on();
            sleep(LOOK_AFTERWARDS).await;
        }
    }

    fn undone(&mut self, reason: &str) {
        tracing::warn!(reason, "hand-over: undone");
        self.step(HandOverState::Undone);
        lock(&self.of.view).undone = Some(reason.to_owned());
    }

    /// The present step ends, the next one begins.
    fn step(&mut self, next: HandOverState) {
        let took = self.step_began.elapsed();
        self.step_began = Instant::now();
        let mut view = lock(&self.of.view);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let ended = std::mem::replace(&mut view.state, next);
        view.steps.push(StepTook { step: ended, micros });
        tracing::info!(%ended, micros, cut = view.cut, "hand-over: {next}");
    }

    fn vips(&self) -> impl Iterator<Item = &Vip> {
        self.chosen.iter().filter_map(|at| self.of.vips.all().get(*at))
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        self.vips().map(|vip| vip.address).collect()
    }

    fn set(&self, stage: Stage) {
        self.vips().for_each(|vip| vip.set(stage));
        self.of.vips.wake();
    }
}

fn said(error: LinkError) -> String {
    error.to_string()
}
