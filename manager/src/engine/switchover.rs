//! Moves public addresses from one host's balancer to another's, because somebody asked for it or because
//! the balancer that holds them is to be stopped.
//!
//! ```text
//!                 held here                the other one is ready      handed over
//!   switch_over ────────────▶ Preparing ────────────────────────▶ HandingOver ───▶ Confirming ──▶ Done
//!        │                        │ not in time                        │ undone            its manager
//!        │ held on another host   ▼                                    ▼                   says so
//!        └──▶ Forwarded ───▶ as that one's manager says              Failed
//! ```
//!
//! The addresses move only to a balancer that is ready, fit, and uses every endpoint of this host. How they
//! move without failing a request, and how that is undone, is the balancer's business (its `PUT /hand-over`).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::Serialize;
use wire::hand_over::{HandOver, HandOverOrder, HandOverState};
use wire::snapshot::HostSnapshot;
use wire::switchover::{Switchover, SwitchoverOrder, SwitchoverState};
use wire::vip::RouterState;
use wire::{HostName, MachineId, Problem};

use super::machines::HAND_OVER;
use super::{Command, Engine, Job, Outcome, Peer, Plan, Severity, Time, lb_id, millis};

mod takers;

/// While the other balancer is not ready, it is looked at again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The new holder's manager has so long to say that its balancer holds the address.
const CONFIRM: Duration = Duration::from_secs(3);

/// What a forwarded switchover may take beyond its own time.
const FORWARD_MARGIN: Duration = Duration::from_secs(15);

/// Kept connections without a request have at most so long.
const MOST_IDLE_MS: u64 = 2_000;

/// A switchover, present or past.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Switching {
    view: Switchover,
    vrids: Vec<u8>,
    /// The host that was named, or chosen.
    to: HostName,
    /// Requests in progress may take so long.
    finish_ms: u64,
    began: Time,
    /// When the present phase ends at the latest.
    until: Time,
    /// How many of the balancer's steps were told.
    told: usize,
}

impl Switching {
    fn enter(&mut self, now: Time, state: SwitchoverState, until: Time) {
        self.view.state = state;
        self.view.took_ms = millis(now.saturating_sub(self.began));
        self.until = until;
    }
}

impl Engine {
    /// The present or the last switchover that was asked for here.
    pub fn switchover(&self, now: Time) -> Option<Switchover> {
        let switching = self.switching.as_ref()?;
        let mut view = switching.view.clone();
        if !view.state.is_over() {
            view.took_ms = millis(now.saturating_sub(switching.began));
        }
        Some(view)
    }

    /// Moves public addresses to another host's balancer.
    ///
    /// # Errors
    ///
    /// 400 for a time that makes no sense, 404 for an unknown host or address, 409 in maintenance, when another one is on its
    /// way, nobody or several hold the addresses, or the other balancer cannot take them.
    pub fn switch_over(&mut self, now: Time, order: SwitchoverOrder) -> Result<Switchover, Problem> {
        self.refuse_in_maintenance()?;
        let SwitchoverOrder { to, vip, timeout_ms } = &order;
        let limits = SwitchoverOrder::SHORTEST_MS..=SwitchoverOrder::LONGEST_MS;
        if !limits.contains(timeout_ms) {
            let expected = format!("expected {} to {}", limits.start(), limits.end());
            return Err(Problem::bad_parameter("timeout_ms", expected));
        }
        if self.is_switching() {
            return Err(Problem::conflict("a switchover is on its way already: GET /switchover shows it"));
        }
        let addresses = self.meant(*vip)?;
        let from = self.common_holder(now, &addresses)?;
        if to.as_ref() == Some(&from) {
            return Err(Problem::conflict(format!("the balancer of {from} holds the address already")));
        }
        if let Some(to) = to {
            self.host_exists(to)?;
        }
        let timeout = Duration::from_millis(*timeout_ms);
        if from == self.config.name {
            if self.ready_lb().is_none() {
                let detail = format!("{} is not ready, or is being replaced: wait until it is", lb_id(&from));
                return Err(Problem::conflict(detail));
            }
            let to = match to {
                Some(to) => self.can_take(now, to, &addresses).map(|()| to.clone()),
                None => self.fittest(now, &addresses),
            };
            let to = to.map_err(Problem::conflict)?;
            return Ok(self.begin_switching(now, addresses, to, now + timeout, timeout_ms / 2));
        }
        let peer = self.peer_called(&from).map(|peer| peer.address);
        let Some(peer) = peer else {
            return Err(Problem::conflict(format!("the manager of {from} is not heard: ask it itself")));
        };
        let to = to.clone().unwrap_or_else(|| self.config.name.clone());
        let mut view =
            self.begin_switching(now, addresses, to, now + timeout + FORWARD_MARGIN, timeout_ms / 2);
        view.from = lb_id(&from);
        view.state = SwitchoverState::Forwarded;
        if let Some(switching) = &mut self.switching {
            switching.view = view.clone();
        }
        self.forward = Some((peer, order));
        Ok(view)
    }

    /// A balancer that is to be stopped lets go of what it holds. `until` is when it is stopped all the same.
    pub(super) fn switch_before_stop(&mut self, now: Time, until: Time) -> bool {
        if self.is_switching() {
            return true;
        }
        let addresses = self.held_here();
        match self.fittest(now, &addresses) {
            Ok(to) => {
                let wait = until.saturating_sub(now) / 4;
                self.begin_switching(now, addresses, to, now + wait, millis(HAND_OVER / 2));
                true
            }
            Err(_) => false,
        }
    }

    fn begin_switching(
        &mut self,
        now: Time,
        addresses: Vec<IpAddr>,
        to: HostName,
        until: Time,
        finish_ms: u64,
    ) -> Switchover {
        let number = self.switching.as_ref().map_or(0, |last| last.view.number) + 1;
        let vrids = self.config.vips.iter().filter(|vip| addresses.contains(&vip.address.into()));
        let vrids = vrids.map(|vip| vip.vrid).collect();
        let view = Switchover {
            number,
            state: SwitchoverState::Preparing,
            addresses,
            from: lb_id(&self.config.name),
            to: lb_id(&to),
            hand_over: None,
            took_ms: 0,
            reason: None,
        };
        let message = format!("from {} to {}", view.from, view.to);
        self.note_switching("switchover.asked", Severity::Info, &view, message);
        self.switching =
            Some(Switching { view: view.clone(), vrids, to, finish_ms, began: now, until, told: 0 });
        view
    }

    pub(super) fn is_switching(&self) -> bool {
        self.switching.as_ref().is_some_and(|switching| !switching.view.state.is_over())
    }

    pub(super) fn plan_switchover(&mut self, now: Time, plan: &mut Plan) {
        let Some(switching) = self.switching.clone().filter(|switching| !switching.view.state.is_over())
        else {
            return;
        };
        let begun = self.flights.contains_key(&Job::Forward) || self.flights.contains_key(&Job::HandOver);
        let waits = matches!(switching.view.state, SwitchoverState::Preparing | SwitchoverState::Forwarded);
        if self.in_maintenance() && waits && !begun {
            self.forward = None;
            return self.switching_failed(now, "maintenance was begun: no address is handed over meanwhile");
        }
        let addresses = &switching.view.addresses;
        match switching.view.state {
            SwitchoverState::Preparing => {
                let ready = self
                    .can_take(now, &switching.to, addresses)
                    .and_then(|()| self.knows_our_endpoints(&switching.to));
                let lb = self.machines.get(&lb_id(&self.config.name)).map(|machine| machine.slot.address);
                match (ready, lb.filter(|_| self.balancer.holds_vip())) {
                    (Ok(()), Some(lb)) => {
                        let order = HandOverOrder {
                            vrids: switching.vrids.clone(),
                            idle_ms: switching.finish_ms.min(MOST_IDLE_MS),
                            finish_ms: switching.finish_ms,
                            ..HandOverOrder::default()
                        };
                        let limit = Duration::from_millis(order.longest_ms()) + FORWARD_MARGIN;
                        self.enter_switching(now, SwitchoverState::HandingOver, now + limit);
                        self.start(now, Job::HandOver, Command::HandOver { lb, order }, plan);
                    }
                    (_, None) => self.switching_failed(now, "the balancer here does not hold it any more"),
                    (Err(reason), _) if now >= switching.until => self.switching_failed(now, &reason),
                    (Err(reason), _) => {
                        if let Some(switching) = &mut self.switching {
                            switching.view.reason = Some(reason);
                        }
                        plan.wake_by((now + LOOK_AGAIN).min(switching.until), "is the other balancer ready?");
                    }
                }
            }
            SwitchoverState::Forwarded => match self.forward.take() {
                Some((peer, order)) => self.start(now, Job::Forward, Command::Forward { peer, order }, plan),
                None if self.flights.contains_key(&Job::Forward) => {}
                None => self.switching_failed(now, "the other manager did not answer"),
            },
            SwitchoverState::HandingOver => {
                // It is given up with the balancer it was asked of.
                if !self.flights.contains_key(&Job::HandOver) {
                    self.switching_failed(now, "the balancer was lost on the way");
                }
            }
            SwitchoverState::Confirming => {
                let holds = |peer: &Peer| peer.held.as_ref().is_some_and(|held| holds(held, addresses));
                let confirmed = self.peers.values().find(|peer| peer.is_alive(now) && holds(peer));
                let by = confirmed.and_then(|peer| Some(peer.held.as_ref()?.lb.as_ref()?.id.clone()));
                match by {
                    Some(by) => self.switching_done(now, Some(by)),
                    None if now >= switching.until => self.switching_done(now, None),
                    None => plan.wake_by(switching.until, "the new holder's manager should have said so"),
                }
            }
            SwitchoverState::Done | SwitchoverState::Failed => {}
        }
    }

    /// The balancer says how far it is.
    pub(super) fn handing_over(&mut self, hand_over: HandOver) {
        let Some(switching) = &mut self.switching else { return };
        if switching.view.state != SwitchoverState::HandingOver {
            return;
        }
        let fresh: Vec<_> = hand_over.steps.iter().skip(switching.told).cloned().collect();
        switching.told = hand_over.steps.len();
        switching.view.hand_over = Some(hand_over);
        let view = switching.view.clone();
        for step in fresh {
            let kind = match step.step {
                HandOverState::Closing => "switchover.closed",
                HandOverState::Holding => "switchover.held",
                HandOverState::Releasing => "switchover.released",
                HandOverState::None | HandOverState::Done | HandOverState::Undone => continue,
            };
            let message = format!("{} took {:.1} ms", step.step, milliseconds(step.micros));
            self.note_switching(kind, Severity::Info, &view, message);
        }
    }

    pub(super) fn hand_over_finished(&mut self, now: Time, outcome: Outcome) {
        self.balancer.handed_over |= self.lb_is_draining();
        self.balancer.read_at = now;
        let failed = match outcome {
            Outcome::HandedOver(hand_over) => {
                let undone = hand_over.undone.clone();
                self.handing_over(*hand_over);
                undone
            }
            Outcome::Failed(reason) => Some(reason),
            _ => None,
        };
        if !self.is_switching() {
            if let Some(reason) = failed {
                let message = format!("its VIPs were not handed over before it stops: {reason}");
                let lb = lb_id(&self.config.name).to_string();
                self.note(Severity::Warning, "lb.hand-over-failed", lb, message);
            }
            return;
        }
        match failed {
            Some(reason) => self.switching_failed(now, &reason),
            None => self.enter_switching(now, SwitchoverState::Confirming, now + CONFIRM),
        }
    }

    /// What the other manager made of it.
    pub(super) fn forward_finished(&mut self, now: Time, outcome: Outcome) {
        let Some(switching) = &mut self.switching else { return };
        match outcome {
            Outcome::SwitchedOver(theirs) => {
                let number = switching.view.number;
                switching.view = Switchover { number, ..*theirs };
                let view = switching.view.clone();
                let (kind, severity) = match view.state {
                    SwitchoverState::Done => ("switchover.done", Severity::Info),
                    _ => ("switchover.failed", Severity::Error),
                };
                let message = view.reason.clone().unwrap_or_else(|| format!("{} holds it", view.to));
                self.note_switching(kind, severity, &view, message);
            }
            Outcome::Failed(reason) => self.switching_failed(now, &reason),
            _ => self.switching_failed(now, "the other manager answered something else"),
        }
    }

    fn enter_switching(&mut self, now: Time, state: SwitchoverState, until: Time) {
        if let Some(switching) = &mut self.switching {
            switching.view.reason = None;
            switching.enter(now, state, until);
        }
    }

    fn switching_failed(&mut self, now: Time, reason: &str) {
        // One that is to be stopped tries once: what cannot be handed over does not keep it from stopping.
        self.balancer.handed_over |= self.lb_is_draining();
        let Some(switching) = &mut self.switching else { return };
        switching.enter(now, SwitchoverState::Failed, now);
        switching.view.reason = Some(reason.to_owned());
        let view = switching.view.clone();
        self.note_switching("switchover.failed", Severity::Error, &view, reason.to_owned());
    }

    /// `by` is the new holder, where its manager has said so.
    fn switching_done(&mut self, now: Time, by: Option<MachineId>) {
        let Some(switching) = &mut self.switching else { return };
        switching.enter(now, SwitchoverState::Done, now);
        if by.is_none() {
            switching.view.reason = Some("its new holder's manager has not said so yet".to_owned());
        }
        switching.view.to = by.unwrap_or_else(|| switching.view.to.clone());
        let view = switching.view.clone();
        let cut = view.hand_over.as_ref().map_or(0, |hand_over| hand_over.cut);
        let message = format!("{} holds it after {} ms, {cut} connections were cut", view.to, view.took_ms);
        let severity = if cut == 0 { Severity::Info } else { Severity::Warning };
        self.note_switching("switchover.done", severity, &view, message);
    }

    fn note_switching(&mut self, kind: &'static str, severity: Severity, view: &Switchover, message: String) {
        let addresses: Vec<String> = view.addresses.iter().map(IpAddr::to_string).collect();
        self.note(severity, kind, addresses.join(", "), message);
    }
}

fn holds(held: &HostSnapshot, addresses: &[IpAddr]) -> bool {
    let vips = || held.lb.iter().flat_map(|lb| &lb.vips);
    let is_held =
        |address: &IpAddr| vips().any(|vip| vip.address == *address && vip.state == RouterState::Master);
    addresses.iter().all(is_held)
}

#[allow(clippy::cast_precision_loss)] // shown with one decimal
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// What waits to be asked of another manager.
pub(super) type Forward = Option<(Ipv4Addr, SwitchoverOrder)>;
