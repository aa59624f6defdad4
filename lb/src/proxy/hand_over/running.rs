//! One hand-over on its way: the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
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

/// On a connection that has just come, the first request may still be on its way.
const LEAST_IDLE: Duration = Duration::from_millis(100);

/// Connections that came since are waited for too, until none is older than this when new ones are held back: what
/// has not finished then may be slow, and has its time.
const YOUNG: Duration = Duration::from_millis(250);

/// How often it is looked in the last moments.
const LOOK: Duration = Duration::from_millis(2);

/// And after them.
const LOOK_AFTERWARDS: Duration = Duration::from_millis(10);

/// What is left is told so and gone within this, also where the processors are busy.
const CUT: Duration = Duration::from_millis(200);

/// Neighbours that still believe that we have the address are helped for so long after it has moved.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// What the speaker may take beyond the time in which somebody must take the addresses: new connections are
/// held back meanwhile.
const SPEAKER_MARGIN: Duration = Duration::from_millis(500);

/// What the steps may take beyond their own times before all is undone: they wait for nothing else.
const MARGIN: Duration = Duration::from_secs(5);

/// One hand-over on its way. However it ends, nobody is told to close any more.
pub(super) struct Running {
    of: Arc<HandOvers>,
    /// Which of the virtual addresses.
    chosen: Vec<usize>,
    step_began: Instant,
    /// It does not go on to hold new connections back before.
    settled: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.set(Stage::Open);
        let mut view = lock(&self.of.view);
        if view.state.is_running() {
            view.state = HandOverState::Undone;
            view.undone = Some("it was interrupted".to_owned());
        }
    }
}

impl Running {
    /// Begins with those of the virtual addresses: from now on each answer is the last one on its connection.
    pub(super) fn new(of: Arc<HandOvers>, chosen: Vec<usize>, settled: Instant) -> Self {
        let running = Running { of, chosen, step_began: Instant::now(), settled };
        running.vips().for_each(Vip::begin);
        tracing::info!(addresses = ?running.addresses(), "hand-over: closing");
        running
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
        self.close(order).await;

        self.step(HandOverState::Holding);
        let addresses = self.addresses();
        let ports = self.of.vips.ports();
        // First, so that none is dropped that is not kept.
        let mut held = Held::gather(&addresses, &ports)
            .inspect_err(|error| {
                tracing::warn!(%error, "clients whose connections are held back will ask again after a second");
            })
            .ok();
        let of = self.of.clone();
        let held_back = of
            .listeners
            .hold_back(&addresses)
            .map_err(|error| format!("new connections cannot be held back: {error}"))?;
        let left = self.finish(order, &addresses, held.as_mut()).await;
        self.cut(&left).await;

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

    /// Until no connection is left from before, and none that has come since and is slow. Those without a request
    /// have less time than the others.
    async fn close(&self, order: &HandOverOrder) {
        let began = Instant::now();
        let [idle, finish] = [order.idle_ms, order.finish_ms].map(Duration::from_millis);
        let (idle, finish) = (began + idle.max(LEAST_IDLE), began + finish);
        let end = finish.max(idle);
        let (mut round_began, mut idle, mut told_idle) = (began, idle, false);
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            if now >= idle && !told_idle {
                self.set(Stage::EndEarlier);
                told_idle = true;
            }
            if now >= self.settled && self.vips().all(|vip| vip.earlier() == 0) {
                if now - round_began < YOUNG {
                    return;
                }
                // Whoever is there now is one of those from before.
                self.vips().for_each(Vip::next_round);
                (round_began, idle, told_idle) = (now, now + LEAST_IDLE, false);
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
            // not yet open the chance to be opened. Closing takes a moment too.
            if !told_all && began.elapsed() >= limit * 4 / 5 {
                self.set(Stage::EndAll);
                told_all = true;
            }
            if is_over || self.vips().all(|vip| vip.open() == 0) {
                let (addresses, ports) = (addresses.clone(), self.of.vips.ports());
                let left = tokio::task::spawn_blocking(move || kernel::left(&addresses, &ports)).await;
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

    /// Ends what is left, while the address is still here: its clients would wait in vain else. What is accepted
    /// from now on is ended likewise.
    async fn cut(&self, left: &Left) {
        let open = || self.vips().map(Vip::open).sum::<u64>();
        if open() + left.open + left.half_open > 0 {
            self.set(Stage::Cut);
            let end = Instant::now() + CUT;
            while open() > 0 && Instant::now() < end {
                sleep(LOOK).await;
            }
        }
        // Those that are still there may have been told in vain, or not at all.
        let cut = self.vips().map(Vip::cut).sum::<u64>();
        lock(&self.of.view).cut = cut.max(open());
    }

    /// Offers the addresses until another balancer holds them; says who.
    async fn release(
        &self,
        order: &HandOverOrder,
        mut held: Option<&mut Held>,
    ) -> Result<Option<IpAddr>, String> {
        let began = Instant::now();
        let end = began + Duration::from_millis(order.take_ms);
        let anybody = BTreeMap::new();
        let mut to = &order.to;
        self.order(VipAction::Release, to).await?;
        loop {
            if let Some(held) = held.as_mut() {
                held.take();
            }
            let status = self.of.link.status().await.map_err(said)?;
            if self.vips().all(|vip| !is_held(&status, vip)) {
                return Ok(self.holder(&status));
            }
            let now = Instant::now();
            if now >= end {
                break;
            }
            if !to.is_empty() && now - began >= (end - began) / 2 {
                // Better anybody than nobody.
                to = &anybody;
                self.order(VipAction::Release, to).await?;
            }
            sleep(LOOK).await;
        }
        // What nobody took is ours again, also in the eyes of the others. Somebody may have taken it just now.
        self.order(VipAction::TakeOver, &anybody).await?;
        Err(format!("no other balancer took the address within {} ms", order.take_ms))
    }

    /// Tells the speaker to do `action` with those of the addresses that are held here; `to` says of each who alone is to
    /// have it when it is released.
    async fn order(&self, action: VipAction, to: &BTreeMap<IpAddr, Vec<IpAddr>>) -> Result<(), String> {
        let status = self.of.link.status().await.map_err(said)?;
        for vip in self.vips().filter(|vip| is_held(&status, vip)) {
            let order = VipOrder {
                address: Some(vip.address),
                action: Some(action),
                to: to.get(&vip.address).cloned().unwrap_or_default(),
                ..VipOrder::default()
            };
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
