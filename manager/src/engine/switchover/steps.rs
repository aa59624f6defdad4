//! How a switchover goes on: what each of its states waits for, and what is told of it.

use std::net::IpAddr;
use std::time::Duration;

use wire::MachineId;
use wire::hand_over::{HandOver, HandOverOrder, HandOverState};
use wire::snapshot::HostSnapshot;
use wire::switchover::{Switchover, SwitchoverState};
use wire::vip::RouterState;

use super::{CONFIRM, FORWARD_MARGIN, LOOK_AGAIN, MOST_IDLE_MS};
use crate::engine::{Command, Engine, Job, Outcome, Plan, Severity, Time, lb_id};

impl Engine {
    pub(in crate::engine) fn plan_switchover(&mut self, now: Time, plan: &mut Plan) {
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
                let mut takers = switching.to.iter();
                let ready = takers.try_for_each(|(address, host)| {
                    self.can_take(now, host, &[*address]).and_then(|()| self.knows_our_endpoints(host))
                });
                let lb = self.machines.get(&lb_id(&self.config.name)).map(|machine| machine.slot.address);
                match (ready, lb.filter(|_| self.balancer.holds_vip())) {
                    (Ok(()), Some(lb)) => {
                        let order = HandOverOrder {
                            addresses: addresses.clone(),
                            to: self.speak_from(&switching.to),
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
                let alive = || self.peers.values().filter(|peer| peer.is_alive(now));
                let holder = |address: &IpAddr| {
                    let held =
                        alive().filter_map(|peer| peer.held.as_ref()).find(|held| holds(held, address));
                    held.and_then(|held| Some(held.lb.as_ref()?.id.clone()))
                };
                let by: Option<Vec<MachineId>> = addresses.iter().map(holder).collect();
                match by.and_then(|by| by.into_iter().next()) {
                    Some(by) => self.switching_done(now, Some(by)),
                    None if now >= switching.until => self.switching_done(now, None),
                    None => plan.wake_by(switching.until, "the new holder's manager should have said so"),
                }
            }
            SwitchoverState::Done | SwitchoverState::Failed => {}
        }
    }

    /// The balancer says how far it is.
    pub(in crate::engine) fn handing_over(&mut self, hand_over: HandOver) {
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

    pub(in crate::engine) fn hand_over_finished(&mut self, now: Time, outcome: Outcome) {
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
    pub(in crate::engine) fn forward_finished(&mut self, now: Time, outcome: Outcome) {
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

    pub(super) fn note_switching(
        &mut self,
        kind: &'static str,
        severity: Severity,
        view: &Switchover,
        message: String,
    ) {
        let addresses: Vec<String> = view.addresses.iter().map(IpAddr::to_string).collect();
        self.note(severity, kind, addresses.join(", "), message);
    }
}

fn holds(held: &HostSnapshot, address: &IpAddr) -> bool {
    let mut vips = held.lb.iter().flat_map(|lb| &lb.vips);
    vips.any(|vip| vip.address == *address && vip.state == RouterState::Master)
}

#[allow(clippy::cast_precision_loss)] // shown with one decimal
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}
